"""History: what attempts have failed with until now, in a few words, and which of them are worth a line in the log."""

from __future__ import annotations

from collections import deque

from .._ground.foreign import in_words

#: How many failures are told, the latest ones; and how many letters of each.
MOST, LETTERS = 5, 200

#: So many failures are logged one by one, the others at most once in so many seconds: nothing may fill a disk.
FIRST, SECONDS = 10, 1.0

#: The most notes that an error is given by us: it may be one object that is raised again and again.
MOST_NOTES = 8


class History:
    """The failures of one call, or of one connect. It keeps no error, whose frames would keep what was tried."""

    __slots__ = ("_failures", "_logged_at")

    def __init__(self) -> None:
        self._failures: deque[str] = deque(maxlen=MOST)
        self._logged_at = float("-inf")

    def add(self, attempt: int, error: BaseException) -> None:
        """Note what *attempt* has failed with."""
        words = in_words(error)
        self._failures.append(f"attempt {attempt}: {words if len(words) <= LETTERS else words[:LETTERS] + '...'}")

    @property
    def latest(self) -> str:
        """The latest of them."""
        return self._failures[-1]

    def tell(self, error: BaseException) -> None:
        """Note on *error*, the last one, what came before it, as far as it takes notes."""
        if not self._failures:
            return
        try:
            if len(getattr(error, "__notes__", ())) < MOST_NOTES:
                BaseException.add_note(error, "before that, " + "; ".join(self._failures))
        except Exception:  # of a class that takes no attributes
            return

    def is_worth_a_line(self, attempt: int, now: float) -> bool:
        """Return whether the failure of *attempt* is to be logged."""
        if attempt > FIRST and now - self._logged_at < SECONDS:
            return False
        self._logged_at = now
        return True
