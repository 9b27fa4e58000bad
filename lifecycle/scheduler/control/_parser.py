"""Parses commands (RESP or inline) however the bytes are split; every length is bounded."""

from __future__ import annotations

from ._http import is_binary, is_http
from ._inline import split_inline
from ._limits import Limits

HEADER = 32
"""Bytes that a line with a number may have."""

STAR, DOLLAR = b"*$"


class ProtocolError(Exception):
    """The bytes are not a command; the text is for the client."""


class HttpError(ProtocolError):
    """They are HTTP, most likely of a browser that somebody else's page drives: it gets no answer."""


Words = list[bytes]
"""A command as it came: its name and its arguments."""


class Parser:
    """Turns bytes into commands.

    It keeps what is incomplete: at most one command, within the limits. A command that comes in many pieces is not
    parsed from its beginning each time.

    Args:
        limits: the bounds.

    Attributes:
        limits: the bounds; they may be changed between two pieces.
        error: why parsing has ended; further bytes are dropped.
    """

    __slots__ = ("_arguments", "_buffer", "_missing", "_need", "_size", "error", "limits")

    def __init__(self, limits: Limits) -> None:
        self.error: ProtocolError | None = None
        self.limits: Limits = limits
        self._buffer = bytearray()
        self._need = 0  # with fewer bytes in the buffer no command can be complete
        self._arguments: Words = []
        self._missing = 0  # arguments of the command that is being read
        self._size = 0

    @property
    def kept(self) -> int:
        """Bytes of the incomplete command that it keeps."""
        return len(self._buffer) + self._size

    def feed(self, data: bytes) -> list[Words]:
        """Return the commands that are complete with *data*; look at `error` afterwards."""
        if self.error is not None:
            return []
        commands: list[Words] = []
        kept = self._buffer
        if kept:
            kept += data
            if len(kept) < self._need:
                return commands
            data = bytes(kept)
        try:
            position = self._parse(data, commands)
        except ProtocolError as error:
            self.error = error
            self._buffer.clear()
            self._arguments = []
            self._size = 0
            return commands
        self._buffer = bytearray(data[position:]) if position < len(data) else bytearray()
        return commands

    def _parse(self, data: bytes, commands: list[Words]) -> int:
        """Read as many commands as there are, and return how far that was."""
        position, end = 0, len(data)
        while position < end:
            self._need = 0
            if self._missing:
                after = self._read_argument(data, position, end)
                if after < 0:
                    break
                position = after
                self._missing -= 1
                if not self._missing:
                    commands.append(self._arguments)
                    self._arguments, self._size = [], 0
            elif data[position] == STAR:
                after = self._read_count(data, position)
                if after < 0:
                    break
                position = after
            else:
                after = self._read_inline(data, position, commands)
                if after < 0:
                    break
                position = after
        return position

    def _read_count(self, data: bytes, position: int) -> int:
        stop = data.find(b"\r\n", position, position + HEADER)
        if stop < 0:
            return self._incomplete_line(data, position, "invalid multibulk length")
        digits = data[position + 1 : stop]
        count = int(digits) if digits.isdigit() else 0 if digits[:1] == b"-" and digits[1:].isdigit() else -1
        if not 0 <= count <= self.limits.arguments:
            raise ProtocolError("invalid multibulk length")
        self._missing = count
        return stop + 2

    def _read_argument(self, data: bytes, position: int, end: int) -> int:
        if data[position] != DOLLAR:
            raise ProtocolError(f"expected '$', got {chr(data[position])!r}")
        stop = data.find(b"\r\n", position, position + HEADER)
        if stop < 0:
            return self._incomplete_line(data, position, "invalid bulk length")
        digits = data[position + 1 : stop]
        if not digits.isdigit() or (length := int(digits)) > self.limits.bulk:
            raise ProtocolError("invalid bulk length")
        start = stop + 2
        stop = start + length
        if self._size + length > self.limits.command:
            raise ProtocolError("too big a command")
        if end < stop + 2:
            self._need = stop + 2 - position  # from where the kept bytes begin
            return -1
        if data[stop : stop + 2] != b"\r\n":
            raise ProtocolError("expected a line end after an argument")
        self._size += length
        self._arguments.append(data[start:stop])
        return stop + 2

    def _read_inline(self, data: bytes, position: int, commands: list[Words]) -> int:
        limit = self.limits.inline
        stop = data.find(b"\n", position, position + limit + 1)
        if stop < 0:
            if len(data) - position > limit:
                raise ProtocolError("too big inline request")
            return -1
        line = data[position:stop]
        if is_http(line):
            raise HttpError("this is not a web server")
        if is_binary(line):
            raise ProtocolError("control characters in an inline request")
        words = split_inline(line)
        if words is None:
            raise ProtocolError("unbalanced quotes in request")
        if len(words) > self.limits.arguments:
            raise ProtocolError("too many arguments")
        if words:
            commands.append(words)
        return stop + 1

    def _incomplete_line(self, data: bytes, position: int, problem: str) -> int:
        if len(data) - position >= HEADER:
            raise ProtocolError(problem)
        return -1
