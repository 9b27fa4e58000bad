"""Ask a PostgreSQL server from anywhere, inside a running event loop or not, without a thread and in a millisecond.

Just enough of its protocol: a server of the tests, which trusts everybody, over its Unix socket.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

Row = tuple[Any, ...]

#: By the number of a type in the server's catalogue; everything else stays text.
KINDS: Mapping[int, Callable[[str], Any]] = {
    16: lambda text: text == "t", 20: int, 21: int, 23: int, 26: int, 700: float, 701: float, 1700: float,
}  # fmt: skip


class ServerSaidNo(Exception):
    """The server has refused a statement; the text is what it said."""


def ask(url: str, *statements: str) -> list[Row]:
    """Run statements, each in a transaction of its own, and return the rows of the last.

    Args:
        url: a database, as `Postgres.url` gives it.
        statements: SQL, with everything written out.

    Raises:
        ServerSaidNo: a statement was refused; those after it were not run.
    """
    parts = urlsplit(url)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60.0)
        connection.connect(f"{parse_qs(parts.query)['host'][0]}/.s.PGSQL.5432")
        stream = connection.makefile("rb")
        settings = {"user": parts.username or "", "database": parts.path[1:], "application_name": "tests"}
        told = "".join(f"{name}\0{value}\0" for name, value in settings.items()) + "\0"
        connection.sendall(struct.pack("!ii", len(told.encode()) + 8, 3 << 16) + told.encode())
        rows = _answer(stream)
        for statement in statements:
            body = statement.encode() + b"\0"
            connection.sendall(b"Q" + struct.pack("!i", len(body) + 4) + body)
            rows = _answer(stream)
        connection.sendall(b"X\0\0\0\4")
        return rows


def _answer(stream: Any) -> list[Row]:
    """Return the rows of an answer."""
    rows: list[Row] = []
    kinds: list[Callable[[str], Any]] = []
    refusal = ""
    while True:
        head = stream.read(5)
        if len(head) < 5:
            raise ServerSaidNo(refusal or "the connection was closed")
        kind, length = struct.unpack("!ci", head)
        body = stream.read(length - 4)
        if kind == b"T":
            kinds = _kinds(body)
            rows = []
        elif kind == b"D":
            rows.append(tuple(None if value is None else convert(value) for value, convert in _values(body, kinds)))
        elif kind == b"E":
            fields = {field[:1].decode(): field[1:].decode() for field in body.split(b"\0") if field}
            refusal = f"{fields['M']} ({fields['C']})"
        elif kind == b"Z":
            if refusal:
                raise ServerSaidNo(refusal)
            return rows


def _kinds(body: bytes) -> list[Callable[[str], Any]]:
    """Return how to read each column."""
    (count,), place = struct.unpack_from("!h", body), 2
    kinds = []
    for _ in range(count):
        place = body.index(b"\0", place) + 1
        kinds.append(KINDS.get(struct.unpack_from("!ihi", body, place)[2], str))
        place += 18
    return kinds


def _values(body: bytes, kinds: list[Callable[[str], Any]]) -> Any:
    """Yield the values of a row, each with how to read it."""
    place = 2
    for kind in kinds:
        (length,) = struct.unpack_from("!i", body, place)
        place += 4
        yield (None if length < 0 else body[place : place + length].decode()), kind
        place += max(length, 0)
