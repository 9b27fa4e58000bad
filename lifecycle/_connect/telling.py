"""Telling: the hook of a retry is told of a failed attempt in a task of its own, and cannot strand the connect."""

from __future__ import annotations

from collections.abc import Callable

from .._chores import Chore, Chores, Employer
from .._ground.calls import call
from .._ground.errors import ReleaseTimeout, TimeoutExpired
from .._retry.failure import RetryFailure


def tell(
    hook: Callable[[RetryFailure], object],
    failure: RetryFailure,
    employer: Employer,
    within: float,
    told: Callable[[BaseException | None], None],
) -> Chore[object]:
    """Call *hook* with *failure*, and *told* once, with what that met: when it has ended, or is given up.

    Args:
        hook: a function of either kind.
        failure: what it is told.
        employer: who waits for it.
        within: seconds that it may take.
        told: called with the error of the hook; None where there is none. Never before this returns.

    Raises:
        BaseException: the task factory of the loop refuses; *told* is not called.
    """
    what = f"on_failure of {employer.owner_name!r}"

    def overdue(seconds: float, abandoned: bool, stack: tuple[str, ...]) -> BaseException:
        if abandoned:
            return ReleaseTimeout(what, seconds, abandoned=True, stack=stack)
        return TimeoutExpired(what, seconds)

    work = call(hook, failure)
    try:
        return Chores(employer).begin(
            work, what, timeout=max(0.0, within), settle=lambda chore: told(chore.error), overdue=overdue
        )
    except BaseException:
        work.close()
        raise
