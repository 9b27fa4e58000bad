"""What only few jobs have: a time of day, an expiry, a key, needs of other jobs, metadata; the same for every store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

Twin = Literal["refuse", "return", "replace"]

TWINS: Final[tuple[Twin, ...]] = ("refuse", "return", "replace")
"""What may become of a job whose key another has that has not ended."""

EXPIRED: Final = "expired before it began"
EXPIRED_AGAIN: Final = "expired before it began again"
REPLACED: Final = "replaced by another job with the same key"


class Terms(NamedTuple):
    """On which terms a job is submitted.

    Attributes:
        at: the wall-clock time before which it does not start.
        expires: the wall-clock time from which on it is not begun any more.
        lifetime: the same as seconds after its submission, for what is submitted again and again.
        key: of the jobs that have not ended, one has it at most.
        on_twin: what becomes of it when there is one.
        needs: the numbers of jobs, of any run or of none, that must succeed first.
        ended: those among its needs that have ended, as their handles know: the number of each, and why it will not
            run because of that one, None if that has succeeded.
        metadata: plain data that travels with it.
    """

    at: float | None = None
    expires: float | None = None
    lifetime: float | None = None
    key: str | None = None
    on_twin: Twin = "refuse"
    needs: tuple[int, ...] = ()
    ended: tuple[tuple[int, str | None], ...] = ()
    metadata: Mapping[str, Any] | None = None

    @property
    def lost(self) -> str | None:
        """Why it will not run, when that is known before it is stored."""
        return next((why for _, why in self.ended if why is not None), None)

    def expiry(self, now: float) -> float | None:
        """Return the wall-clock time from which on a job that is submitted *now* is not begun any more."""
        return self.expires if self.lifetime is None else now + self.lifetime


NO_TERMS: Final = Terms()


def expiry_reason(attempts: int) -> str:
    """Return why a job that has expired does not begin, or not again."""
    return EXPIRED_AGAIN if attempts else EXPIRED
