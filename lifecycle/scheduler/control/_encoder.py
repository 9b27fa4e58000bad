"""Encodes Python values as RESP2 or RESP3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

OK = b"+OK\r\n"
PONG = b"+PONG\r\n"


class Push(tuple[Any, ...]):
    """A message that is not the answer to a command."""

    __slots__ = ()


def error(text: str, kind: str = "ERR") -> bytes:
    """Return an error reply; line ends in *text* become blanks."""
    line = " ".join(f"{kind} {text}".split())
    return b"-" + line.encode("utf-8", "replace") + b"\r\n"


def simple(text: str) -> bytes:
    """Return a reply of one plain line."""
    return b"+" + text.encode() + b"\r\n"


def bulk(text: bytes) -> bytes:
    """Return a reply of any bytes."""
    return b"$%d\r\n%b\r\n" % (len(text), text)


def encode(value: Any, resp: int) -> bytes:
    """Return *value* in the given version of the protocol.

    None, booleans, numbers, text, bytes, sequences, mappings and `Push`. RESP2 cannot express some of them and gets
    the nearest type that it has, as from Redis.
    """
    pieces: list[bytes] = []
    _encode(value, resp, pieces)
    return b"".join(pieces)


def _encode(value: Any, resp: int, out: list[bytes]) -> None:
    if isinstance(value, bytes):
        out.append(bulk(value))
    elif isinstance(value, str):
        out.append(bulk(value.encode("utf-8", "replace")))
    elif value is None:
        out.append(b"_\r\n" if resp == 3 else b"$-1\r\n")
    elif isinstance(value, bool):
        out.append((b"#t\r\n" if value else b"#f\r\n") if resp == 3 else b":%d\r\n" % value)
    elif isinstance(value, int):
        out.append(b":%d\r\n" % value)
    elif isinstance(value, float):
        text = repr(value).encode()
        out.append(b",%b\r\n" % text if resp == 3 else bulk(text))
    elif isinstance(value, Mapping):
        out.append(b"%%%d\r\n" % len(value) if resp == 3 else b"*%d\r\n" % (2 * len(value)))
        for key, inner in value.items():
            _encode(key, resp, out)
            _encode(inner, resp, out)
    elif isinstance(value, Sequence):
        mark = b">" if isinstance(value, Push) and resp == 3 else b"*"
        out.append(b"%b%d\r\n" % (mark, len(value)))
        for inner in value:
            _encode(inner, resp, out)
    else:
        raise TypeError(f"RESP cannot express {value!r}")
