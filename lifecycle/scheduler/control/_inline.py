"""Inline commands: words on a line, with the quotes and escapes of Redis."""

from __future__ import annotations

import re

_WORD = re.compile(
    rb"""[ \t\r\f\v\x00]*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|([^\s"'\x00]+))(?=[ \t\r\f\v\x00]|$)"""
)
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|.)", re.DOTALL)
_BLANK = b" \t\r\f\v\x00"
_LETTERS = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"a": b"\a"}


def split_inline(line: bytes) -> list[bytes] | None:
    """Return the words of *line*, None where quotes are unbalanced."""
    if b'"' not in line and b"'" not in line:
        return line.replace(b"\x00", b" ").split()
    words: list[bytes] = []
    position, end = 0, len(line.rstrip(_BLANK))
    while position < end:
        match = _WORD.match(line, position)
        if match is None:
            return None
        double, single, plain = match.groups()
        if double is not None:
            words.append(_ESCAPE.sub(_unescaped, double))
        elif single is not None:
            words.append(single.replace(b"\\'", b"'"))
        else:
            words.append(plain)
        position = match.end()
    return words


def _unescaped(match: re.Match[bytes]) -> bytes:
    text = match.group(1)
    if len(text) == 3:
        return bytes([int(text[1:], 16)])
    return _LETTERS.get(text, text)
