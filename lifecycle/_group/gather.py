"""gather, amap and race: many awaitables, one result, and nothing left behind on any exit."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Iterator
from inspect import isawaitable, iscoroutine, isfunction
from itertools import islice
from typing import Any, Literal, TypeVar, overload

from .._ground import kernel
from .._ground.calls import coroutine_for, name_of
from .._ground.checks import checked_async, checked_limit
from .._ground.errors import TaskCancelled
from .._ground.foreign import combine, is_fatal
from .._limits.bounds import LimitBy, Rate
from .._task.handle import CANCELLED, FAILED, TaskHandle, TaskStatus
from .group import Policy, TaskGroup
from .member import Member, name_of_member, was_cancelled
from .source import BREATH_EVERY, END, Breath, Source

T = TypeVar("T")
R = TypeVar("R")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")
T5 = TypeVar("T5")
T6 = TypeVar("T6")

#: How many items wait for their keys at most, while more are taken for others.
LOOKAHEAD = 1000

Awaitables = Iterable[Awaitable[T]] | AsyncIterable[Awaitable[T]]


class ResultGroup(TaskGroup):
    """A group that produces a result: a single error is raised as it is, and a task that was cancelled is one.

    Args:
        keep_errors: leave the errors of tasks on their handles; only what a task raises after it has
            been cancelled, while it cleans up, is raised.
    """

    def __init__(
        self,
        name: str,
        *,
        limit: int | None = None,
        policy: Policy = "fail_fast",
        keep_errors: bool = False,
        limit_by: LimitBy | None = None,
        rate: Rate | None = None,
    ) -> None:
        super().__init__(limit=limit, policy=policy, name=name, limit_by=limit_by, rate=rate)
        self._keep_errors = keep_errors

    def _member_ended(self, member: Member, status: TaskStatus, outcome: object) -> None:
        if status is CANCELLED and self._ending is None and not self._keep_errors:
            outcome = TaskCancelled(f"{name_of_member(member)!r} of {self} was cancelled, but not by {self}")
            status = FAILED
        super()._member_ended(member, status, outcome)

    def _take_error(self, member: Member, error: BaseException) -> None:
        unseen = self._ending is not None and was_cancelled(member)
        if not self._keep_errors or is_fatal(error) or unseen:
            super()._take_error(member, error)

    def _raise(self, errors: list[BaseException], in_flight: BaseException | None) -> None:
        kernel.conclude(combine(f"errors in {self.name}", errors), None, in_flight)


# gather

# Up to six awaitables keep a type each. What checkers are told is a tuple is a list, as with asyncio's: they know no
# list of several types.


# fmt: off
@overload
async def gather(  # type: ignore[overload-overlap]
    aw1: Awaitable[T1], aw2: Awaitable[T2], /, *, limit: int | None = None, return_exceptions: Literal[False] = False
) -> tuple[T1, T2]: ...
@overload
async def gather(
    aw1: Awaitable[T1], aw2: Awaitable[T2], /, *, limit: int | None = None, return_exceptions: bool
) -> tuple[T1 | Exception, T2 | Exception]: ...
@overload
async def gather(  # type: ignore[overload-overlap]
    aw1: Awaitable[T1], aw2: Awaitable[T2], aw3: Awaitable[T3], /, *, limit: int | None = None,
    return_exceptions: Literal[False] = False
) -> tuple[T1, T2, T3]: ...
@overload
async def gather(
    aw1: Awaitable[T1], aw2: Awaitable[T2], aw3: Awaitable[T3], /, *, limit: int | None = None, return_exceptions: bool
) -> tuple[T1 | Exception, T2 | Exception, T3 | Exception]: ...
@overload
async def gather(  # type: ignore[overload-overlap]
    aw1: Awaitable[T1], aw2: Awaitable[T2], aw3: Awaitable[T3], aw4: Awaitable[T4], /, *, limit: int | None = None,
    return_exceptions: Literal[False] = False
) -> tuple[T1, T2, T3, T4]: ...
@overload
async def gather(
    aw1: Awaitable[T1], aw2: Awaitable[T2], aw3: Awaitable[T3], aw4: Awaitable[T4], /, *, limit: int | None = None,
    return_exceptions: bool
) -> tuple[T1 | Exception, T2 | Exception, T3 | Exception, T4 | Exception]: ...
@overload
async def gather(  # type: ignore[overload-overlap]
    aw1: Awaitable[T1], aw2: Awaitable[T2], aw3: Awaitable[T3], aw4: Awaitable[T4], aw5: Awaitable[T5], /, *,
    limit: int | None = None, return_exceptions: Literal[False] = False
) -> tuple[T1, T2, T3, T4, T5]: ...
@overload
async def gather(
    aw1: Awaitable[T1], aw2: Awaitable[T2], aw3: Awaitable[T3], aw4: Awaitable[T4], aw5: Awaitable[T5], /, *,
    limit: int | None = None, return_exceptions: bool
) -> tuple[T1 | Exception, T2 | Exception, T3 | Exception, T4 | Exception, T5 | Exception]: ...
@overload
async def gather(  # type: ignore[overload-overlap]
    aw1: Awaitable[T1], aw2: Awaitable[T2], aw3: Awaitable[T3], aw4: Awaitable[T4], aw5: Awaitable[T5],
    aw6: Awaitable[T6], /, *, limit: int | None = None, return_exceptions: Literal[False] = False
) -> tuple[T1, T2, T3, T4, T5, T6]: ...
@overload
async def gather(
    aw1: Awaitable[T1], aw2: Awaitable[T2], aw3: Awaitable[T3], aw4: Awaitable[T4], aw5: Awaitable[T5],
    aw6: Awaitable[T6], /, *, limit: int | None = None, return_exceptions: bool
) -> tuple[T1 | Exception, T2 | Exception, T3 | Exception, T4 | Exception, T5 | Exception, T6 | Exception]: ...
# fmt: on
@overload
async def gather(
    *aws: Awaitable[T], limit: int | None = None, return_exceptions: Literal[False] = False
) -> list[T]: ...
@overload
async def gather(*aws: Awaitable[T], limit: int | None = None, return_exceptions: bool) -> list[T | Exception]: ...
@overload
async def gather(
    aws: Awaitables[T], /, *, limit: int | None = None, return_exceptions: Literal[False] = False
) -> list[T]: ...
@overload
async def gather(
    aws: Awaitables[T], /, *, limit: int | None = None, return_exceptions: bool
) -> list[T | Exception]: ...
async def gather(  # type: ignore[misc]
    *aws: Any, limit: int | None = None, return_exceptions: bool = False
) -> list[Any]:
    """Await all of *aws* at once, each in a task of its own, and return their results in order.

    The first error cancels the rest and is raised as it is when all have ended; if others fail while they clean up,
    an ``ExceptionGroup`` holds them all. Nothing is left running, and no coroutine is left unawaited.

    Futures and tasks made elsewhere may be among *aws*: like the others they are cancelled when gather is.

    Do not use it where results are wanted as they come: `as_completed`. For one function over many items `amap` is
    much cheaper.

    Cancellation: cancels all of *aws*, waits until they have ended, and is raised then.

    Args:
        aws: awaitables; or one iterable of them, asynchronous or not, of which no more is taken than slots are free.
        limit: how many may run at once, at least 1; None for no bound.
        return_exceptions: put an error into the results instead of raising it; none of the others is cancelled for it.

    Raises:
        TypeError: something is not an awaitable.
        ValueError: *limit* is too small.
        TaskCancelled: one of *aws* ended by a foreign cancellation.
        BaseException: the single error of one of them.
        BaseExceptionGroup: several.
    """
    source = Source(aws[0] if len(aws) == 1 and not isawaitable(aws[0]) and not isfunction(aws[0]) else aws)
    return await collect("gather", source, itself, limit=limit, return_exceptions=return_exceptions)


async def collect(
    name: str,
    source: Source[T],
    make: Callable[[T], Awaitable[Any]],
    *,
    limit: int | None,
    return_exceptions: bool = False,
    limit_by: LimitBy | None = None,
    rate: Rate | None = None,
) -> list[Any]:
    """Await what *make* makes of every item of *source*, each in a task of its own; return the results in order.

    Cancellation: cancels all, waits until they have ended, and is raised then.
    """
    handles: list[TaskHandle[Any]] = []
    try:
        group = ResultGroup(name, limit=limit, keep_errors=return_exceptions, limit_by=limit_by, rate=rate)
        async with group:
            start = start_each if limit_by is None else start_each_by_key
            await start(group, source, make, handles.append)
        if return_exceptions:
            return [outcome_of(handle) for handle in handles]
        return [handle.result() for handle in handles]
    finally:
        source.discard_rest()
        handles.clear()  # an error refers to this frame, and its handle to the error


def itself(aw: Awaitable[T]) -> Awaitable[T]:
    """Return *aw*, which needs nothing to be made of it."""
    return aw


async def start_each(
    group: TaskGroup,
    source: Source[T],
    make: Callable[[T], Awaitable[Any]],
    note: Callable[[TaskHandle[Any]], None],
) -> None:
    """Start a task for what *make* makes of every item of *source*, taking no more than there are free slots.

    Cancellation: the source is closed.
    """
    members = group._members
    try:
        while True:
            await members.reserve_slot()
            item = await source.pull()
            if item is END:
                return
            coro = coroutine_for(make(item))
            if group._ending is not None:  # a task that was started eagerly has failed
                coro.close()
                return
            note(members.add_handle(coro, name_of(coro), reserved=True))
    finally:
        await source.aclose()


async def start_each_by_key(
    group: TaskGroup,
    source: Source[T],
    make: Callable[[T], Awaitable[Any]],
    note: Callable[[TaskHandle[Any]], None],
) -> None:
    """Do the same where the item is what a key is made of; items wait while their keys are full, `LOOKAHEAD` at most.

    Cancellation: the source is closed.
    """
    members = group._members
    quotas = members._quotas
    assert quotas is not None
    try:
        while (item := await source.pull()) is not END:
            share = quotas.share_for(group, (item,))
            reserved = members.queued >= LOOKAHEAD
            if reserved:
                await members.reserve_slot(share)
            share.claimed += 1
            try:
                coro = coroutine_for(make(item))
            finally:
                share.claimed -= 1
            if group._ending is not None:  # a task that was started eagerly has failed
                coro.close()
                return
            note(members.add_handle(coro, name_of(coro), reserved=reserved, share=share))
    finally:
        await source.aclose()


def outcome_of(handle: TaskHandle[Any]) -> Any:
    """Return what an ended task returned, or its error."""
    try:
        error = handle.exception()
    except TaskCancelled as cancelled:
        return cancelled
    # An error is not raised here first: its traceback would refer to this frame, and so to the handle that keeps it.
    return error if isinstance(error, Exception) else handle.result()


# amap


async def amap(
    fn: Callable[[T], Awaitable[R]],
    items: Iterable[T] | AsyncIterable[T],
    *,
    limit: int | None = None,
    limit_by: LimitBy | None = None,
    rate: Rate | None = None,
) -> list[R]:
    """Call ``await fn(item)`` for every item, at most *limit* at once, and return the results in order.

    Items are taken only as slots become free, so an iterable may be long or lazy. One that is endless needs a limit,
    and ends by an error of its own or of *fn*.

    The first error cancels the rest and is raised as it is when all have ended; if others fail while they clean up,
    an ``ExceptionGroup`` holds them all.

    Under a limit the calls share *limit* tasks, which makes this cheap: a context variable that a call sets is seen
    by later calls of the same task. Use `gather` where that matters, and `as_completed` for results as they come.

    Cancellation: cancels all calls, waits until they have ended, and is raised then.

    Args:
        fn: called with one item.
        items: iterable, asynchronous or not.
        limit: how many calls may run at once, at least 1; None for no bound.
        limit_by: bounds for each key, which is made of the item; see `lifecycle.limit_by`. Each call has a task of its
            own then. While the keys of some items are full, others are taken: up to a thousand items wait.
        rate: how many calls may begin in a time; as with *limit_by*, each in a task of its own.

    Raises:
        TypeError: *fn* is no async function, or *items* cannot be iterated.
        ValueError: *limit* is too small.
        TaskCancelled: a call ended by a foreign cancellation.
        BaseException: the single error of a call, or of *items*.
        BaseExceptionGroup: several.
    """
    checked_limit(limit)
    checked_async(fn, "amap() takes an async function and what to call it with")
    if limit_by is not None or rate is not None:
        return await collect("amap", Source(items), fn, limit=limit, limit_by=limit_by, rate=rate)
    if isinstance(items, AsyncIterable):
        return await collect("amap", Source(items), fn, limit=limit)
    results: dict[int, R] = {}
    feed = enumerate(items)
    label = name_of(fn)
    async with ResultGroup("amap") as group:
        for index, item in islice(feed, limit):
            if group._ending is not None:  # a task that was started eagerly has failed
                break
            group.start_soon(work, fn, index, item, feed, results, name=label)
    return [results[index] for index in range(len(results))]


async def work(
    fn: Callable[[T], Awaitable[R]], index: int, item: T, feed: Iterator[tuple[int, T]], results: dict[int, R]
) -> None:
    """Call *fn* with *item*, and then with what is left in *feed*, which other workers share."""
    results[index] = await fn(item)
    done = 1
    for index, item in feed:
        if done % BREATH_EVERY == 0:
            await Breath()
        results[index] = await fn(item)
        done += 1


# race

Runner = Callable[[], Awaitable[T]]


# fmt: off
@overload
async def race(fn1: Runner[T1], fn2: Runner[T2], /) -> T1 | T2: ...
@overload
async def race(fn1: Runner[T1], fn2: Runner[T2], fn3: Runner[T3], /) -> T1 | T2 | T3: ...
@overload
async def race(fn1: Runner[T1], fn2: Runner[T2], fn3: Runner[T3], fn4: Runner[T4], /) -> T1 | T2 | T3 | T4: ...
@overload
async def race(
    fn1: Runner[T1], fn2: Runner[T2], fn3: Runner[T3], fn4: Runner[T4], fn5: Runner[T5], /
) -> T1 | T2 | T3 | T4 | T5: ...
@overload
async def race(
    fn1: Runner[T1], fn2: Runner[T2], fn3: Runner[T3], fn4: Runner[T4], fn5: Runner[T5], fn6: Runner[T6], /
) -> T1 | T2 | T3 | T4 | T5 | T6: ...
# fmt: on
@overload
async def race(*fns: Runner[T]) -> T: ...
async def race(*fns: Runner[Any]) -> Any:
    """Run the functions at once, return the value of the first that returns, and cancel the others.

    An error loses the race, and is raised only if all have lost: a single one as it is, several as an
    ``ExceptionGroup``. What a loser raises after it has been cancelled, while it cleans up, is raised in any case.

    Cancellation: cancels all, waits until they have ended, and is raised then.

    Args:
        fns: async functions that need no argument; at least one.

    Raises:
        ValueError: there is no function.
        TypeError: one of *fns* is no async function, or needs arguments.
        TaskCancelled: none returned, none failed: all ended by foreign cancellations.
        BaseException: what a function raised when it was called, before there was anything to await.
    """
    if not fns:
        raise ValueError("race() needs at least one function")
    try:
        for fn in fns:
            checked_async(fn, "race() takes async functions")
    except TypeError:
        for coro in filter(iscoroutine, fns):
            coro.close()
        raise
    async with ResultGroup("race", policy="race") as group:
        for fn in fns:
            group.start_soon(fn)
    return group.winner
