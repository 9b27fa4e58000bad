"""What keeps what alive: tasks their owner, owners nothing that is over, a parent no child that is empty."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any
from weakref import ref

import pytest

from lifecycle import Pool, ReaderWorker, Scope, TaskGroup, TaskManager, WrongLoop
from lifecycle.testing import Bubble

from .loops import on_every_loop, run_on, virtual


async def waits_for_nothing_that_others_know(log: list[str]) -> None:
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        log.append("ended")


def in_a_manager(log: list[str]) -> Any:
    return TaskManager().start_soon(waits_for_nothing_that_others_know, log)


def in_a_scope(log: list[str]) -> Any:
    return Scope().start_soon(waits_for_nothing_that_others_know, log)


def in_a_child(log: list[str]) -> Any:
    return Scope().child().start_soon(waits_for_nothing_that_others_know, log)


def handed_over(log: list[str]) -> Any:
    scope = Scope()
    handle = scope.start_soon(waits_for_nothing_that_others_know, log)
    scope.pop_all()
    return handle


@on_every_loop
@pytest.mark.parametrize("start", [in_a_manager, in_a_scope, in_a_child, handed_over])
def test_an_owner_that_was_dropped_lives_as_long_as_its_tasks(
    start: Callable[[list[str]], Any], new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """Although nothing refers to them that the program can reach; then both are gone."""

    async def main() -> None:
        log: list[str] = []
        handle = ref(start(log))
        for _ in range(3):
            await asyncio.sleep(0)
            gc.collect()
        kept = handle()
        assert kept is not None
        assert not log
        kept.cancel()
        await kept.wait()
        assert log == ["ended"]
        owner = ref(kept._owner)
        del kept
        await asyncio.sleep(0)
        gc.collect()
        assert owner() is None

    run_on(new_loop, main())


@virtual
async def test_a_group_lives_as_long_as_its_tasks(bubble: Bubble) -> None:
    """The block that it belongs to keeps it; so does what it keeps."""
    async with TaskGroup() as group:
        group.create_task(asyncio.sleep(1))
        group.start_soon(asyncio.sleep, 2)
        del group
        gc.collect()


@on_every_loop
def test_owners_without_tasks_are_gone_when_they_are_dropped(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """At once, and not only by the garbage collector."""

    async def ends() -> None: ...

    async def reader(send: object) -> None: ...

    async def worker(receive: object) -> None: ...

    async def main() -> None:
        manager, scope = TaskManager(), Scope()
        await manager.start_soon(ends)
        await scope.start_soon(ends)
        async with ReaderWorker(reader, worker) as pair:
            await pair.wait()
        await asyncio.sleep(0)
        gone = [ref(manager), ref(scope), ref(pair)]
        del manager, scope, pair
        assert [reference() for reference in gone] == [None] * 3

    run_on(new_loop, main())


async def refuse() -> None:
    raise ConnectionRefusedError("planned")


@virtual
async def test_a_child_that_was_left_empty_leaves_its_parent(bubble: Bubble) -> None:
    """Where its set-up failed, its user has nothing to close, and lets go of it."""
    async with Scope("server") as owner:
        for _ in range(10):
            session = owner.child()
            with pytest.raises(ConnectionRefusedError):
                await session.acquire(refuse, release=print)
        assert owner.statistics().children == 1
        del session
        assert owner.statistics().children == 0


@virtual
async def test_a_child_that_owns_something_is_kept(bubble: Bubble) -> None:
    """By its parent, whoever else lets go of it; again, when it owns something again."""
    log: list[str] = []
    async with Scope() as owner:
        child = owner.child()
        await child.start_soon(asyncio.sleep, 1)
        child.callback(log.append, "first")
        heir = child.pop_all()
        child.callback(log.append, "second")
        del child
        gc.collect()
        assert owner.statistics().children == 1
        await heir.aclose()
    assert log == ["first", "second"]


@virtual
async def test_an_empty_child_is_closed_with_its_parent(bubble: Bubble) -> None:
    """Who has it still cannot put anything into it."""
    async with Scope() as owner:
        child = owner.child()
        grandchild = child.child()
    assert child.closed
    assert grandchild.closed


async def drained_for_ever() -> None:
    manager = TaskManager(drain_timeout=None)
    manager.start_soon(waits_for_nothing_that_others_know, [])
    await manager.aclose()


async def closed_by_two() -> None:
    scope = Scope()
    scope.push_async_callback(waits_for_nothing_that_others_know, [])
    async with asyncio.TaskGroup() as group:
        group.create_task(scope.aclose())
        group.create_task(scope.aclose())


async def released_for_ever() -> None:
    scope = Scope()
    value = await scope.acquire(object, release=lambda _: waits_for_nothing_that_others_know([]))
    await scope.release(value)


async def borrowed_for_ever() -> None:
    pool = Pool[int](lambda: 1, lambda _: None, max_size=1, close_timeout=None)

    async def borrow() -> None:
        async with pool.acquire():
            await waits_for_nothing_that_others_know([])

    borrower = asyncio.create_task(borrow())
    await asyncio.sleep(0)
    await pool.aclose()
    await borrower


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a close that goes on finds it closed
@on_every_loop
@pytest.mark.parametrize("close", [drained_for_ever, closed_by_two, released_for_ever, borrowed_for_ever])
def test_a_loop_that_was_closed_in_the_middle_of_a_close_is_gone_when_it_is_dropped(
    close: Callable[[], Any], new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """Who waits for whom is known to the loop alone, and so nothing of what it has left unfinished is kept."""

    async def start() -> None:
        task = asyncio.get_running_loop().create_task(close())
        await asyncio.sleep(0.01)
        assert not task.done()
        for left in asyncio.all_tasks():
            left._log_destroy_pending = False  # type: ignore[attr-defined]  # which is what this is about
        unfinished.append(ref(task))

    unfinished: list[ref[Any]] = []
    loop = new_loop()
    loop.run_until_complete(start())
    loop.close()
    assert unfinished[0]() is not None
    del loop
    gc.collect()
    assert unfinished[0]() is None


@pytest.mark.parametrize("limit", [None, 1])
def test_a_manager_goes_on_in_a_second_loop(limit: int | None) -> None:
    """When the first one is closed and nothing was left in it: as the one of a module does, from test to test."""
    manager = TaskManager("of the module", limit=limit)

    async def use() -> int:
        await (await manager.spawn(asyncio.sleep, 0))
        return await manager.start_soon(asyncio.sleep, 0, 1)

    async def start() -> int:
        return await manager.start_soon(asyncio.sleep, 0, 2)

    assert asyncio.run(use()) == 1
    assert asyncio.run(start()) == 2
    assert asyncio.run(use()) == 1
    asyncio.run(manager.aclose())


def test_a_manager_whose_loop_was_closed_under_its_tasks_says_so() -> None:
    """They will never end; a new manager is needed."""
    manager = TaskManager("of the module")

    async def start() -> None:
        manager.start_soon(asyncio.sleep, 60)
        await asyncio.sleep(0)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(start())
    left = next(iter(manager._running))._task
    left._log_destroy_pending = False  # which is what this is about
    loop.close()

    async def again() -> None:
        manager.start_soon(asyncio.sleep, 0)

    with pytest.raises(WrongLoop, match=r"'of the module' belongs to an event loop that was closed with 1 tasks"):
        asyncio.run(again())
