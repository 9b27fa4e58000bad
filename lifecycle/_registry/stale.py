"""Old values: those whose time is over, and that still serve, while new ones are made or where that has failed."""

from __future__ import annotations

from contextlib import suppress
from typing import Generic, TypeVar

from .._ground.foreign import in_words
from .._lender import Closing
from .flights import Flight
from .leases import Leases
from .registrations import Registration
from .shelf import Shelf

K = TypeVar("K")
V = TypeVar("V")


class OldValues(Generic[K, V]):
    """The old values of one registry, as far as callers get them.

    Attributes:
        hits: how often one was handed out at once, while a new one was made.
        on_error: how often one was handed out in place of an error.
    """

    __slots__ = ("_closing", "_leases", "_shelf", "hits", "on_error")

    def __init__(self, shelf: Shelf[K, V], leases: Leases[K, V], closing: Closing) -> None:
        self._shelf = shelf
        self._leases = leases
        self._closing = closing
        self.hits = self.on_error = 0

    def meanwhile(self, key: K) -> Registration[K, V] | None:
        """Return the old value that serves under *key* while a new one is made, if any."""
        return self._shelf._old(key, failed=False)

    def on_failure(self, key: K) -> Registration[K, V] | None:
        """Return the old value that serves under *key* where making a new one fails, if any."""
        return self._shelf._old(key, failed=True)

    def has_place(self, key: K) -> bool:
        """Whether an old value that nobody leases leaves its place to the new one."""
        shelf = self._shelf
        old = shelf._live.get(key)
        return old is not None and not old._leases and shelf._is_kept(old, shelf._clock())

    def lend(self, old: Registration[K, V]) -> Registration[K, V]:
        """Lease an old value to a caller; that is a use."""
        self._leases.claim(old)
        self._shelf._note_use(old)
        return old

    def in_place_of(self, error: BaseException, flight: Flight[K, V]) -> Registration[K, V] | None:
        """Return the old value that those who wait for a creation get, which has failed, if there is one.

        The error is logged where nobody gets it.
        """
        if flight.dying:
            return None
        old = meanwhile = None
        if isinstance(error, Exception) and not flight.detached:
            with suppress(Exception):  # of the key, or of the clock
                old, meanwhile = self.on_failure(flight.key), self.meanwhile(flight.key)
        if old is not None or (meanwhile is not None and not flight.waiters):
            self.tell(flight, error)
        elif flight.kept and not flight.waiters:
            self._closing.report_error("creation failed", error, key=in_words(flight.key))
        return old

    def tell(self, flight: Flight[K, V], error: BaseException) -> None:
        """Log an error that an old value hides; not that the end of the loop has stopped what nobody waits for."""
        if flight.waiters or flight.chore is None or not flight.chore.task.cancelling():
            about = {"owner": self._closing.owner_name, "key": in_words(flight.key)}
            self._closing.logger.warning("creation failed, the old value serves", exc_info=error, extra=about)

    def land(self, old: Registration[K, V], flight: Flight[K, V]) -> None:
        """Give an old value to those who wait for a new one that could not be made."""
        self.on_error += len(flight.waiters)
        self._shelf._note_use(old)
        flight.land(old, None)
