"""Errors that refuse, that two places report, that run in circles, and those that are met when the caller has gone."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

from lifecycle import Pool, Scope, TaskGroup, TaskManager, amap, gather
from lifecycle import connect as connect_in_stages

from ...hostile import Touchy
from ...leaves import leaves
from ._table import connect, disconnect, ignore_error, scenario, work

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator

    from lifecycle.testing import Bubble
    from lifecycle.testing.types import Token


def contexts(error: BaseException | None) -> Iterator[BaseException]:
    """Yield *error*, what was handled when it was raised, and so on: without end if they run in a circle."""
    while error is not None:
        yield error
        error = error.__context__


def is_raised_once(error: BaseException, caught: BaseException) -> bool:
    """Return whether *caught* is *error*, or holds it one time."""
    return sum(leaf is error for leaf in leaves(caught)) == 1


def check_all_raised(errors: Iterable[BaseException], caught: BaseException) -> None:
    assert all(is_raised_once(error, caught) for error in errors), "an error was lost, or doubled"


def check_not_grouped(error: BaseException, group: BaseException) -> None:
    assert error not in leaves(group), "an exit came in a group"


def raise_others(caught: BaseException, planned: Iterable[BaseException]) -> None:
    """Raise what a fault has put into a scenario, and nothing else."""
    own = {id(error) for error in planned}
    if any(id(leaf) not in own for leaf in leaves(caught)):
        raise caught


@scenario
async def errors_that_refuse(bubble: Bubble) -> None:
    """Of a release alone, and with one that suspends and a task: what stands below is released, and all are raised."""
    raised: list[BaseException] = []

    async def fail() -> None:
        await asyncio.sleep(0.01)
        fail_at_once()

    def fail_at_once() -> None:
        raised.append(Touchy())
        raise raised[-1]

    for alone in (True, False):
        raised.clear()
        try:
            async with Scope("touchy") as scope:
                await scope.acquire(connect, bubble, "below", release=disconnect)
                scope.callback(fail_at_once)
                if not alone:
                    scope.push_async_callback(fail)
                    scope.start_soon(fail)
                    await asyncio.sleep(5)
        except BaseException as caught:
            check_all_raised(raised, caught)
            raise_others(caught, raised)
        else:
            assert not raised, "all errors were lost"
        await asyncio.sleep(0)


@scenario
async def errors_of_tasks_that_refuse(bubble: Bubble) -> None:
    """Of a member of a group, of a native one, and of a task that leaves its slot to the next."""
    failed = 0

    async def fail() -> None:
        nonlocal failed
        await asyncio.sleep(0.01)
        failed += 1
        raise Touchy

    async with TaskManager("touchy", limit=1, on_error=ignore_error) as manager:
        manager.start_soon(fail)
        await manager.start_soon(work, bubble, "next", 0.01).wait()
    for native in (False, True):
        began = failed, bubble.clock.time()
        try:
            async with TaskGroup() as group:
                group.start_soon(work, bubble, "sibling", 5)
                if native:
                    group.create_task(fail())
                else:
                    group.start_soon(fail)
        except BaseException as caught:
            raise_others(caught, [leaf for leaf in leaves(caught) if type(leaf) is Touchy])
        await asyncio.sleep(0)
        assert failed == began[0] or bubble.clock.time() < began[1] + 1, "a group waited for siblings of what failed"


@scenario
async def errors_like_the_end_of_a_generator(bubble: Bubble) -> None:
    """A task that raises a GeneratorExit of its own has failed; it was not closed."""
    failed = False

    async def fail() -> None:
        nonlocal failed
        await work(bubble, "failing", 0.01)
        failed = True
        raise GeneratorExit

    try:
        async with Scope("failing") as scope:
            await scope.acquire(connect, bubble, "below", release=disconnect)
            scope.start_soon(fail)
            await asyncio.sleep(5)
    except GeneratorExit:
        failed = False
    assert not failed, "the error of a task was lost"
    await asyncio.sleep(0)


@scenario
async def errors_told_twice(bubble: Bubble) -> None:
    """A connection that broke under its reader breaks its close by the same object: it is raised once, and bare."""
    broken = ConnectionAbortedError("broken")

    async def close(token: Token) -> None:
        await disconnect(token)
        raise broken

    try:
        async with Scope("broken") as scope:
            await scope.acquire(connect, bubble, "connection", release=close)
            await asyncio.sleep(0.01)
            raise broken
    except BaseException as caught:
        if caught is not broken:
            raise_others(caught, [broken])
            raise AssertionError("the one error that there was came in a group") from None
    await asyncio.sleep(0)


@scenario
async def errors_beside_an_exit(bubble: Bubble) -> None:
    """What ends the process travels bare; what releases met meanwhile is its context, and does not lead back to it."""

    def fail() -> None:
        raise KeyError("planned")

    for failures in (1, 2):
        leaving = SystemExit(3)
        try:
            async with Scope("leaving") as scope:
                await scope.acquire(connect, bubble, "below", release=disconnect)
                for _ in range(failures):
                    scope.callback(fail)
                await asyncio.sleep(0.01)
                raise leaving
        except SystemExit as caught:
            told = list(itertools.islice(contexts(caught), 9))
            assert len(told) > 1, "what the releases met was lost"
            assert len(told) < 9, "the contexts run in a circle"
        except BaseExceptionGroup as caught:
            check_not_grouped(leaving, caught)
            raise_others(caught, (leaf for leaf in leaves(caught) if type(leaf) is KeyError))
        except KeyError:
            pass
        await asyncio.sleep(0)


class HalfOpen:
    """What is being made, or entered, for ever, and fails to clean up when that is stopped.

    Attributes:
        met: what it has raised then.
    """

    def __init__(self) -> None:
        self.met: list[BaseException] = []

    async def __call__(self, *_: object) -> None:
        try:
            await asyncio.sleep(5)
        finally:
            self.met.append(OSError("half open"))
            raise self.met[-1]

    __aenter__ = __aexit__ = __call__


@scenario
async def errors_of_those_who_left(bubble: Bubble) -> None:
    """Factories and context managers fail to clean up when their caller leaves: the close raises what they met."""
    half_open = HalfOpen()
    leavers: list[asyncio.Task[None]] = []
    told: list[BaseException] = []
    try:
        async with Scope("left") as scope:
            leavers += [
                asyncio.create_task(scope.acquire(half_open, release=print), name="acquires"),
                asyncio.create_task(scope.enter(half_open), name="enters"),
            ]
            try:
                await asyncio.sleep(0.01)
            finally:
                for leaver in leavers:
                    leaver.cancel()
                await asyncio.gather(*leavers, return_exceptions=True)
    except BaseException as caught:
        told.extend(leaves(caught))
        raise_others(caught, half_open.met)
    finally:
        told += [error for leaver in leavers if not leaver.cancelled() and (error := leaver.exception()) is not None]
        assert all(error in told for error in half_open.met), "an error was lost with its caller"
    await asyncio.sleep(0)


@scenario
async def errors_of_what_a_close_stops(bubble: Bubble) -> None:
    """A pool's creation for the borrower who left, and a connector: their closes raise what they met meanwhile."""
    half_open = HalfOpen()
    told: list[BaseException] = []
    pool: Pool[None] = Pool(half_open, print, max_size=1)
    attempt = connect_in_stages(half_open)
    try:
        borrower = asyncio.create_task(pool.acquire().__aenter__(), name="borrows")
        attempt.poll()
        try:
            await asyncio.sleep(0.01)
        finally:
            borrower.cancel()
            await asyncio.gather(borrower, return_exceptions=True)
            if not borrower.cancelled() and (error := borrower.exception()) is not None:
                told.append(error)
    finally:
        for owner in (attempt, pool):
            try:
                await owner.aclose()
            except Exception as caught:
                told.extend(leaves(caught))
        assert all(error in told for error in half_open.met), "an error was lost with what it had stopped"
    await asyncio.sleep(0)


@scenario
async def errors_that_end_iterations(bubble: Bubble) -> None:
    """A function, and a source, raise what would end a loop: to a map it is an error like any other."""

    async def stop(number: int) -> None:
        await work(bubble, f"item {number}", 0.01)
        if number == 1:
            raise StopAsyncIteration("planned")

    def source() -> Iterator[int]:
        yield 0
        raise StopAsyncIteration("planned")

    async def slowly() -> AsyncIterator[int]:
        yield 0
        raise StopAsyncIteration("planned")

    def calls() -> Iterator[Coroutine[Any, Any, str]]:
        yield work(bubble, "first", 0.01)
        raise StopAsyncIteration("planned")

    runs = [lambda: amap(stop, range(3), limit=2), lambda: amap(stop, source()), lambda: amap(stop, slowly())]
    for run in (*runs, lambda: gather(calls())):
        ended = False
        try:
            await run()
            ended = True
        except (StopAsyncIteration, RuntimeError):
            pass
        assert not ended, "an error was taken for the end"
    await asyncio.sleep(0)
