"""LinkOutcome and LoopEnd: who ended first and why, and what every loop met."""

from dataclasses import dataclass
from typing import Literal

from .._ground.foreign import in_words

How = Literal["returned", "raised", "cancelled", "stopped", "abandoned"]


@dataclass(frozen=True, slots=True)
class LoopEnd:
    """How one of several linked loops ended.

    Attributes:
        name: ``"reader"``, ``"worker"``, or the name of a loop given to `link`.
        how: ``"returned"``; ``"raised"``; ``"cancelled"``, from outside; ``"stopped"``, because the others ended or
            the whole was closed; ``"abandoned"``: it ignored its cancellation and still runs.
        error: what it raised, also while it was being stopped; a `ReleaseTimeout` for one that was abandoned.
        told: whether it had been asked to stop before it ended.
    """

    name: str
    how: How
    error: BaseException | None = None
    told: bool = False

    def __str__(self) -> str:
        return f"{self.name} {self.how}" + (f" {in_words(self.error)}" if self.error is not None else "")


@dataclass(frozen=True, slots=True)
class LinkOutcome:
    """What became of linked loops.

    Attributes:
        first: the end that ended all; None when they were stopped from outside before any of them had ended.
        reason: why the others were stopped, None when all ended by themselves.
        ends: how each loop ended, in the order in which they did.
        close_error: what closing the resource raised.
        undelivered: how many items the reader had sent that the worker did not take.
    """

    first: LoopEnd | None
    reason: str | None
    ends: tuple[LoopEnd, ...]
    close_error: BaseException | None = None
    undelivered: int = 0

    @property
    def reader_error(self) -> BaseException | None:
        """What the reader raised."""
        return self.error_of("reader")

    @property
    def worker_error(self) -> BaseException | None:
        """What the worker raised."""
        return self.error_of("worker")

    @property
    def errors(self) -> tuple[BaseException, ...]:
        """All that was raised, in order, the error of closing last."""
        errors = [end.error for end in self.ends if end.error is not None]
        return (*errors, self.close_error) if self.close_error is not None else tuple(errors)

    def error_of(self, name: str) -> BaseException | None:
        """Return what the loop called *name* raised, None when it raised nothing or does not exist."""
        return next((end.error for end in self.ends if end.name == name), None)
