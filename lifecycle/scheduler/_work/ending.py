"""How work ends: a cancellation that the scheduler has asked for passes, and anybody else's is a failure that says so.

Whoever holds a task of a job can cancel it: the handler itself, its watchdog, a thread, a child of its own task group.
Passed on, such a cancellation looks like one that was asked for, and that is no end which a job can have. So at every
border between the scheduler and what it runs, *asked* says whether the scheduler wants the work to end: it knows, and
does not guess by the type of an exception.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from .._ground.bridge import Cancelled, being_cancelled, in_a_task, take_back_cancellation
from .._ground.errors import HandlerError
from .._ground.forks import end_child, generation
from .._ground.interrupts import from_operator
from .._ground.text import shorten
from .error_text import attempt, kind_of

T = TypeVar("T")

Asked = Callable[[], bool]
"""Returns whether the scheduler has asked for the end of the work: a timeout, a cancellation, a failed sibling."""


async def in_one_way(asked: Asked, who: object, function: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> T:
    """Return what ``await function(*args, **kwargs)`` returns, or raise an ordinary error if it came to no good end.

    Called where no cancellation is under way yet, so that one that is requested afterwards was requested meanwhile.

    Args:
        asked: tells whether the scheduler wants this to end.
        who: whose end it is; its text is for messages.
        function: the work.
        args: for the function.
        kwargs: for the function.

    Cancellation: passes through if it was *asked* for; any other one is taken back, and becomes an error.

    Raises:
        HandlerError: it ended by a cancellation that nobody had asked for, or would have ended the process.
        Exception: whatever else it raised.
    """
    born = generation()
    try:
        result = await function(*args, **kwargs)
    except BaseException as error:
        if generation() != born:
            end_child(error)
        failure = await failure_of(error, asked, who)
        try:
            if failure is error:
                raise
            raise failure from error
        finally:
            del failure  # whose traceback keeps this frame: a cycle
    if generation() != born:
        end_child(None)
    if being_cancelled() and not asked():
        await take_back_cancellation()
        if not asked():
            raise HandlerError(f"{who} returned although its own task had been cancelled, by nobody of the scheduler")
    return result


async def failure_of(error: BaseException, asked: Asked, who: object) -> BaseException:
    """Return the failure that *error* stands for: itself where it is to go on."""
    if isinstance(error, GeneratorExit) and not in_a_task():
        return error  # nobody has raised it: the coroutine is being closed
    cancelled = being_cancelled()
    if cancelled and not asked():
        await take_back_cancellation()
    if isinstance(error, Cancelled):
        return error if asked() else HandlerError(_who_cancelled(who, cancelled))
    return error if isinstance(error, Exception) or from_operator(error) else not_an_exception(error, who)


def _who_cancelled(who: object, cancelled: bool) -> str:
    if cancelled:
        return f"{who} was cancelled from inside: its own task was cancelled, by nobody of the scheduler"
    # From a future or a task that was cancelled elsewhere.
    return f"{who} raised a cancellation, but was not cancelled"


def not_an_exception(error: BaseException, who: object) -> HandlerError:
    """Return an ordinary error for one that would end the process, or look like something else."""
    if isinstance(error, SystemExit):
        return HandlerError(f"{who} called sys.exit({_code_of(error)})")
    if isinstance(error, Cancelled):
        return HandlerError(_who_cancelled(who, cancelled=False))
    return HandlerError(f"{who} raised {kind_of(error)}, which is not an Exception")


def _code_of(error: SystemExit) -> str:
    return attempt(lambda: shorten(repr(error.code), 200), lambda _: "...")


async def in_this_process(function: Callable[[], Awaitable[T]]) -> T:
    """Return what ``await function()`` returns; a child that it has forked ends here, before the scopes around it do.

    Cancellation: passes through.
    """
    born = generation()
    try:
        result = await function()
    except BaseException as error:
        if generation() != born:
            end_child(error)
        raise
    if generation() != born:
        end_child(None)
    return result


def call_in_thread(function: Callable[[], T], who: object) -> T:
    """Return what *function* returns; raise an ordinary error for what a thread must not hand to the loop."""
    born = generation()
    try:
        result = function()
    except BaseException as error:
        if generation() != born:
            end_child(error)
        if isinstance(error, Exception):
            raise
        raise not_an_exception(error, who) from error
    if generation() != born:
        end_child(None)
    return result
