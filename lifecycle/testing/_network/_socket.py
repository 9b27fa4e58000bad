"""What stands in for a socket where a client asks its transport for one."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Any

Address = Any


class MemorySocket:
    """Answers what clients ask a socket; its descriptor, made when asked for, is readable when data waits.

    httpcore polls the descriptor of an idle connection to see whether the server has gone.
    """

    family = socket.AF_INET
    type = socket.SOCK_STREAM
    proto = 0

    def __init__(self, name: Address, peer: Address) -> None:
        self._name = name
        self._peer = peer
        self._options: dict[tuple[int, int], Any] = {}
        self._descriptor = -1
        self._readable = False
        self._closed = False

    def fileno(self) -> int:
        """Return a real descriptor that can be polled; -1 once closed."""
        if self._descriptor < 0 and not self._closed:
            self._descriptor = os.eventfd(int(self._readable), os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        return self._descriptor

    def set_readable(self, readable: bool) -> None:
        """Say whether data, or the end of the stream, waits unread."""
        if readable is self._readable:
            return
        self._readable = readable
        if self._descriptor >= 0:
            if readable:
                os.eventfd_write(self._descriptor, 1)
            else:
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(self._descriptor)

    def close(self) -> None:
        self._closed = True
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def getsockname(self) -> Address:
        return self._name

    def getpeername(self) -> Address:
        return self._peer

    def setsockopt(self, level: int, option: int, value: Any) -> None:
        self._options[level, option] = value

    def getsockopt(self, level: int, option: int) -> Any:
        return self._options.get((level, option), 0)

    def __repr__(self) -> str:
        return f"<MemorySocket {self._name} to {self._peer}>"
