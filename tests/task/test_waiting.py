"""Who waits for whom: what is read off asyncio and anyio, what is noted, and that it is taken back."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import anyio
import pytest

from lifecycle import Scope, TaskGroup, TaskManager
from lifecycle._ground.awaiters import awaiters_of
from lifecycle._task import waiting
from lifecycle._task.waiting import bound_tasks, closing_tasks, let_be_seen
from lifecycle.testing import Bubble

from ..loops import on_every_loop, run_on, some_turns, virtual

Inner = Callable[[], Awaitable[None]]


async def as_coroutine(inner: Inner) -> None:
    await inner()


async def awaited(inner: Inner) -> None:
    await asyncio.create_task(as_coroutine(inner))


async def gathered(inner: Inner) -> None:
    await asyncio.gather(inner(), asyncio.sleep(0))


async def waited_for(inner: Inner) -> None:
    await asyncio.wait_for(inner(), 60)


async def in_a_group_of_asyncio(inner: Inner) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(as_coroutine(inner))


async def in_a_group_of_anyio(inner: Inner) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(inner)


async def in_a_group_of_ours(inner: Inner) -> None:
    async with TaskGroup() as group:
        group.start_soon(inner)


async def as_a_native_member_of_ours(inner: Inner) -> None:
    async with TaskGroup() as group:
        group.create_task(as_coroutine(inner))


async def from_a_thread(inner: Inner) -> None:
    await anyio.to_thread.run_sync(anyio.from_thread.run, inner)


async def shielded(inner: Inner) -> None:
    await asyncio.shield(inner())


async def one_of_many(inner: Inner) -> None:
    await asyncio.wait({asyncio.create_task(as_coroutine(inner))})


async def as_it_completes(inner: Inner) -> None:
    for first in asyncio.as_completed([inner()]):
        await first


async def iterated_as_it_completes(inner: Inner) -> None:
    completed: Any = asyncio.as_completed([inner()])
    async for _ in completed:
        pass


async def through_the_future_of_a_thread(inner: Inner) -> None:
    loop = asyncio.get_running_loop()
    await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(as_coroutine(inner), loop))


BINDING = [
    awaited,
    gathered,
    waited_for,
    in_a_group_of_asyncio,
    in_a_group_of_anyio,
    in_a_group_of_ours,
    as_a_native_member_of_ours,
    from_a_thread,
]


LOOSE = [shielded, one_of_many, as_it_completes, through_the_future_of_a_thread]
if sys.version_info >= (3, 13):
    LOOSE.append(iterated_as_it_completes)


@on_every_loop
@pytest.mark.parametrize(("way", "bound"), [*((way, True) for way in BINDING), *((way, False) for way in LOOSE)])
def test_who_awaits_a_task_is_found(
    way: Callable[[Inner], Awaitable[None]], bound: bool, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """In whatever way, and whether a cancellation would make it stop waiting."""

    async def main() -> None:
        async def inner() -> None:
            await asyncio.sleep(0.001)
            assert host in closing_tasks()
            assert (host in bound_tasks(asyncio.current_task())) is bound

        host = asyncio.current_task()
        assert host is not None
        await way(inner)

    run_on(new_loop, main())


@on_every_loop
def test_who_is_being_cancelled_waits_all_the_same(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """A ``wait_for`` waits for what it has cancelled, and before Python 3.12 it does so only a turn later."""

    async def main() -> bool:
        found = False

        async def inner() -> None:
            nonlocal found
            await asyncio.sleep(0)
            host.cancel()
            found = host in bound_tasks(asyncio.current_task())

        host = asyncio.create_task(waited_for(inner))
        await asyncio.wait([host])
        return found

    assert run_on(new_loop, main())


Several = Callable[["asyncio.Future[None]", "asyncio.Future[None]"], Awaitable[None]]


async def each_as_it_completes(first: asyncio.Future[None], last: asyncio.Future[None]) -> None:
    for completed in asyncio.as_completed([first, last]):
        await completed


async def iterated_each_as_it_completes(first: asyncio.Future[None], last: asyncio.Future[None]) -> None:
    completed: Any = asyncio.as_completed([first, last])
    async for _ in completed:
        pass


async def whichever_is_first(first: asyncio.Future[None], last: asyncio.Future[None]) -> None:
    left = {first, last}
    while left:
        _, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)


async def gathered_and_then_alone(first: asyncio.Future[None], last: asyncio.Future[None]) -> None:
    first.add_done_callback(lambda future: failing.set_exception(OSError("planned")))
    failing = asyncio.get_running_loop().create_future()
    with suppress(OSError):
        await asyncio.gather(failing, last)
    await last


REPEATED: list[Several] = [each_as_it_completes, whichever_is_first, gathered_and_then_alone]
if sys.version_info >= (3, 13):
    REPEATED.append(iterated_each_as_it_completes)


@on_every_loop
@pytest.mark.parametrize("way", REPEATED)
@pytest.mark.parametrize("turns", range(8))
def test_who_is_between_two_waits_is_found(
    way: Several, turns: int, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """However many turns ago it was woken by another that it had waited for as well."""

    async def main() -> None:
        async def inner() -> None:
            await some_turns()
            other.set_result(None)
            for _ in range(turns):
                await asyncio.sleep(0)
            await let_be_seen()
            assert host in closing_tasks()

        host = asyncio.current_task()
        other = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(inner())
        await way(other, task)
        await task

    run_on(new_loop, main())


@on_every_loop
@pytest.mark.parametrize("turns", range(8))
def test_a_drain_does_not_wait_for_who_is_between_two_waits(
    turns: int, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """A task of its manager, for whom the task that asks for it is one of several."""

    async def main() -> None:
        async def inner() -> None:
            await some_turns()
            other.set_result(None)
            for _ in range(turns):
                await asyncio.sleep(0)
            await manager.drain()

        other = asyncio.get_running_loop().create_future()
        async with TaskManager() as manager:
            await manager.start_soon(each_as_it_completes, other, asyncio.create_task(inner())).wait()

    run_on(new_loop, asyncio.wait_for(main(), 5))


@virtual
async def test_who_awaits_a_handle_is_found(bubble: Bubble) -> None:
    """It waits, and a cancellation ends that."""

    async def inner() -> None:
        await asyncio.sleep(1)
        assert host in closing_tasks()
        assert host not in bound_tasks(asyncio.current_task())

    host = asyncio.current_task()
    async with Scope() as scope:
        await scope.start_soon(inner)


@virtual
async def test_nothing_is_noted_when_nobody_waits(bubble: Bubble) -> None:
    """Every close takes back what it has noted, whatever came of it."""

    async def fails() -> None:
        raise OSError("planned")

    async with Scope() as scope:
        manager = await scope.enter(TaskManager())
        manager.start_soon(asyncio.sleep, 1)
        scope.start_soon(asyncio.sleep, 60)
        scope.push_async_callback(asyncio.sleep, 0.1)
        with pytest.raises(OSError, match="planned"):
            await scope.acquire(fails, release=lambda _: None)
    await asyncio.sleep(0)
    assert not waiting.notes().waits
    assert not waiting.notes().ends


@virtual
async def test_a_task_that_a_release_has_left_behind_is_waited_for_by_nobody(bubble: Bubble) -> None:
    """Born in the close of one scope, it closes another, which stops the task that had closed the first."""
    go, ended = asyncio.Event(), []

    async def outlives() -> None:
        await go.wait()
        await owner.aclose()
        assert ended == [True]

    async def closes_and_stays() -> None:
        async with Scope("short") as short:
            short.callback(lambda: left.append(asyncio.create_task(outlives())))
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    left: list[asyncio.Task[None]] = []
    owner = Scope("owner")
    owner.start_soon(closes_and_stays)
    await asyncio.sleep(1)
    go.set()
    await left[0]


@virtual
async def test_a_held_group_whose_member_closes_the_scope_is_left(bubble: Bubble) -> None:
    """The close does not wait for it, but it does not stay entered either."""
    log = []

    class Session:
        async def __aenter__(self) -> None:
            self.group = anyio.create_task_group()
            await self.group.__aenter__()
            self.group.start_soon(closes)

        async def __aexit__(self, *details: object) -> None:
            log.append("left")
            await self.group.__aexit__(None, None, None)

    async def closes() -> None:
        await asyncio.sleep(1)
        await scope.aclose()
        log.append("closed")

    scope = Scope()
    await scope.enter(Session())
    await asyncio.sleep(2)
    assert sorted(log) == ["closed", "left"]


@virtual
async def test_a_value_that_the_close_has_taken_is_not_waited_for(bubble: Bubble) -> None:
    """It arrives, is released by the close, and its caller is stopped, all in one step."""

    async def make() -> int:
        await asyncio.sleep(1)
        closing.append(asyncio.create_task(scope.aclose()))
        return 1

    async def uses() -> None:
        await scope.acquire(make, release=lambda _: None)

    closing: list[asyncio.Task[None]] = []
    scope = Scope()
    scope.start_soon(uses)
    await asyncio.sleep(1)
    await asyncio.sleep(0)
    began = asyncio.get_running_loop().time()
    await closing[0]
    assert asyncio.get_running_loop().time() == began


def test_a_task_outside_of_everything_is_awaited_by_nobody() -> None:
    """Reading it costs no more than that."""

    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        assert closing_tasks() == {task}
        assert not [waiter for waiter, _ in awaiters_of(task)]

    asyncio.run(main())


@virtual
async def test_a_second_closer_in_an_anyio_scope_just_stops_waiting(bubble: Bubble) -> None:
    """When the owner of its task closes, which the first closer waits for: no shield of ours holds that up."""

    async def closes_too() -> None:
        with anyio.fail_after(60):
            await inner.aclose()

    inner, outer = Scope("inner"), Scope("outer")
    inner.push_async_callback(asyncio.sleep, 1)
    inner.push_async_callback(outer.aclose)
    closing = asyncio.create_task(inner.aclose())
    inner.push_async_callback(asyncio.sleep, 1)
    outer.start_soon(closes_too)
    await closing
    assert asyncio.get_running_loop().time() == 2
