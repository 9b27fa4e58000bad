"""Failure: what ends a scheduler, and the task that raises it, by which the end of the whole loop is seen as well."""

from __future__ import annotations

from .._ground.bridge import Bell, OwnTask


class Failure:
    """What keeps the ends of jobs from being recorded; raised once, by one task, whoever has met it.

    Attributes:
        error: what it is, None while there is none.
    """

    def __init__(self) -> None:
        self.error: Exception | None = None
        self._bell = Bell()
        self._own: OwnTask | None = None

    def note(self, error: Exception) -> None:
        """Have *error* raised, unless there is one already."""
        if self.error is None:
            self.error = error
        self._bell.ring()

    async def watch(self) -> None:
        """Wait until there is one, and raise it.

        Cancellation: ends the waiting.

        Raises:
            Exception: it.
        """
        self._own = OwnTask()
        while self.error is None:
            await self._bell.wait()
        raise self.error

    def loop_ends(self) -> bool:
        """Return whether all tasks are being cancelled: whoever does that cancels our task too, which nobody has."""
        return self._own is not None and self._own.cancelling
