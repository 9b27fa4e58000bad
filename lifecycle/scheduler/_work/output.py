"""The output of a command, bounded: its head and its tail are kept, what is between is counted."""

from __future__ import annotations

from collections.abc import Iterable

from .._ground.secrets import HiddenBytes


class HeadTail:
    """Keeps the first and the last bytes of a stream.

    Args:
        limit: how many bytes are kept, half of them from the beginning.
        hidden: what is to be replaced in it.
    """

    def __init__(self, limit: int, hidden: Iterable[str] = ()) -> None:
        self._hider = HiddenBytes(hidden)
        self._head_limit = limit // 2
        self._tail_limit = limit - self._head_limit
        self._head = bytearray()
        self._tail = bytearray()
        self.dropped = 0

    def add(self, chunk: bytes) -> None:
        """Add the next bytes."""
        self._keep(self._hider.feed(chunk))

    def finish(self) -> None:
        """Add what was held back because it could have been the beginning of a secret."""
        self._keep(self._hider.rest())

    def _keep(self, chunk: bytes) -> None:
        room = self._head_limit - len(self._head)
        self._head += chunk[:room] if room > 0 else b""
        self._tail += chunk[max(room, 0) :]
        excess = len(self._tail) - self._tail_limit
        if excess > 0:
            del self._tail[:excess]
            self.dropped += excess

    def text(self) -> str:
        """Return what is kept as text, with a line that says how much was dropped."""
        gap = f"\n[... {self.dropped:,} bytes dropped ...]\n".encode() if self.dropped else b""
        return (bytes(self._head) + gap + bytes(self._tail)).decode("utf-8", "replace")

    def tail(self, limit: int) -> str:
        """Return at most the last *limit* characters."""
        return bytes(self._tail or self._head).decode("utf-8", "replace")[-limit:]
