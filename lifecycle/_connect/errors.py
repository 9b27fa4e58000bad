"""How a connect that failed says so: what, in which stage, after how many attempts, and what the rollback met."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Sequence

from .._ground.errors import ConnectError, ConnectTimeout
from .._ground.foreign import in_words


def connect_error(
    name: str,
    failure: BaseException,
    *,
    stage: str | None,
    attempts: int,
    rollback_errors: Sequence[BaseException],
    complete: bool,
) -> ConnectError:
    """Return the error of a connect that *failure* has ended, with *failure* as its cause."""
    what = "its task was cancelled from outside" if isinstance(failure, CancelledError) else in_words(failure)
    message = f"connect {name!r} failed {_where(stage, attempts)}: {what}; {_undone(rollback_errors, complete)}"
    error = ConnectError(message, stage=stage, attempts=attempts, rollback_errors=rollback_errors)
    error.__cause__ = failure
    return error


def connect_timeout(
    name: str,
    seconds: str,
    failure: BaseException | None,
    *,
    stage: str | None,
    attempts: int,
    rollback_errors: Sequence[BaseException],
    complete: bool,
) -> ConnectTimeout:
    """Return the error of a connect whose time was up; what the connector made of its cancellation is the cause."""
    message = (
        f"connect {name!r} was not over within {seconds}: it was {_where(stage, attempts)}; "
        f"{_undone(rollback_errors, complete)}; allow more time, or find out what this stage waits for"
    )
    error = ConnectTimeout(message, stage=stage, attempts=attempts, rollback_errors=rollback_errors)
    error.__cause__ = None if isinstance(failure, CancelledError) else failure
    return error


def connect_cancelled(
    name: str,
    reason: str,
    *,
    stage: str | None,
    attempts: int,
    rollback_errors: Sequence[BaseException],
    complete: bool,
) -> ConnectError:
    """Return the error for those who ask for the value of a connect that was cancelled or closed."""
    where = f" {_where(stage, attempts)}" if attempts else " before its start"
    message = f"connect {name!r} was ended{where}: {reason}; {_undone(rollback_errors, complete)}"
    return ConnectError(message, stage=stage, attempts=attempts, rollback_errors=rollback_errors)


def connect_undecided(
    name: str,
    what: str,
    met: BaseException,
    *,
    stage: str | None,
    attempts: int,
    rollback_errors: Sequence[BaseException],
    complete: bool,
) -> ConnectError:
    """Return the error of a connect that has failed, and is not tried again because *what* has met an error."""
    message = (
        f"connect {name!r} failed {_where(stage, attempts)}, and {what} as well: {in_words(met)}; "
        f"{_undone(rollback_errors, complete)}"
    )
    error = ConnectError(message, stage=stage, attempts=attempts, rollback_errors=rollback_errors)
    error.__cause__ = met
    return error


def _where(stage: str | None, attempts: int) -> str:
    place = "before its first stage" if stage is None else f"in stage {stage!r}"
    return f"{place}, attempt {attempts}"


def _undone(errors: Sequence[BaseException], complete: bool) -> str:
    if not errors:
        return "everything has been rolled back" if complete else "the connector was abandoned"
    met = f"the rollback met {len(errors)} error{'s' if len(errors) > 1 else ''}, the first: {in_words(errors[0])}"
    return met if complete else f"{met}; something was abandoned"
