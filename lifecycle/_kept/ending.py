"""GivenUp: why nothing more is tried, as everybody is told who asks later."""

from __future__ import annotations

from dataclasses import dataclass

from .._ground.errors import ConnectError
from .._ground.foreign import in_words, without_our_frame


@dataclass(frozen=True, slots=True, eq=False)
class GivenUp:
    """Why a kept connection was given up.

    The errors are made anew for each who asks: one object would collect the frames of all of them, and keep them.
    """

    message: str
    stage: str | None
    attempts: int
    rollback_errors: tuple[BaseException, ...]
    cause: BaseException | None

    def error(self) -> ConnectError:
        """Return the error for one who asks."""
        error = ConnectError(
            self.message, stage=self.stage, attempts=self.attempts, rollback_errors=self.rollback_errors
        )
        error.__cause__ = self.cause
        return error


def given_up_attempt(name: str, error: BaseException, failures: int) -> GivenUp:
    """Return why *name* was given up after a failed attempt."""
    message = f"kept connection {name!r} was given up after {times(failures)}: {in_words(error)}"
    if isinstance(error, ConnectError):
        return GivenUp(message, error.stage, error.attempts, error.rollback_errors, error.__cause__)
    return GivenUp(message, None, failures, (), None)


def given_up_loss(name: str, error: BaseException | None, failures: int) -> GivenUp:
    """Return why *name* was given up after a connection was lost."""
    lost = "it was ended" if error is None else f"it was lost by {in_words(error)}"
    return GivenUp(f"kept connection {name!r} was given up after {times(failures)}: {lost}", None, failures, (), error)


def given_up_left(name: str, error: BaseException) -> GivenUp:
    """Return why *name* was given up although another attempt might succeed."""
    message = (
        f"kept connection {name!r} was given up: something of the connection before has ignored its end and "
        f"still runs, and no other begins beside it: {in_words(error)}"
    )
    return GivenUp(message, None, 0, (), error)


def given_up_undecided(name: str, what: str, met: BaseException, failures: int) -> GivenUp:
    """Return why *name* was given up where *what*, which is a user's, has met an error of its own."""
    message = f"kept connection {name!r} was given up after {times(failures)}: {what} has met {in_words(met)}"
    return GivenUp(message, None, failures, (), without_our_frame(met))


def times(failures: int) -> str:
    """Return how often it has failed, in words."""
    if not failures:
        return "a long life"
    return "one failure" if failures == 1 else f"{failures} failures in a row"
