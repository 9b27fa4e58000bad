"""The call graph of asyncio: who waits for a task of ours is seen there, as long as it waits."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import lifecycle
from lifecycle import Scope, TaskGroup, TaskManager

from ..collection import without_collection
from ..loops import on_every_loop, run_on

if sys.version_info < (3, 14):
    pytest.skip("the call graph came with 3.14", allow_module_level=True)

Waiter = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


async def by_create_task(job: Callable[[], Any]) -> None:
    """Wait at the end of a group."""
    async with TaskGroup() as group:
        group.create_task(job())


async def by_start_soon(job: Callable[[], Any]) -> None:
    """Wait at the end of a group."""
    async with TaskGroup() as group:
        group.start_soon(job)


async def in_line(job: Callable[[], Any]) -> None:
    """Wait for one that began when another had left its slot."""
    async with TaskGroup(limit=1) as group:
        group.start_soon(asyncio.sleep, 0)
        group.start_soon(job)


async def in_the_body(job: Callable[[], Any]) -> None:
    """Wait for something else, in the block of the group."""
    async with TaskGroup() as group:
        group.start_soon(job)
        await asyncio.sleep(10)


async def by_completion(job: Callable[[], Any]) -> None:
    """Wait for whichever is first."""
    async for _ in lifecycle.as_completed([job()]):
        pass


async def by_handle_of_a_manager(job: Callable[[], Any]) -> None:
    """Wait for a handle."""
    async with TaskManager() as manager:
        await manager.start_soon(job)


async def by_handle_of_a_scope(job: Callable[[], Any]) -> None:
    """Wait for a handle."""
    async with Scope() as scope:
        await scope.start_soon(job).wait()


WAITERS: dict[str, Waiter] = {
    "create_task": by_create_task,
    "start_soon": by_start_soon,
    "in line": in_line,
    "in the body": in_the_body,
    "gather": lambda job: lifecycle.gather(job()),
    "race": lambda job: lifecycle.race(job),
    "as_completed": by_completion,
    "a manager's handle": by_handle_of_a_manager,
    "a scope's handle": by_handle_of_a_scope,
}


async def wait_until(fact: Callable[[], object]) -> None:
    """Wait until something is so."""
    while not fact():
        await asyncio.sleep(0)


def waiters_of(task: asyncio.Task[Any]) -> list[object]:
    """Return who waits for a task according to asyncio."""
    graph = asyncio.capture_call_graph(task)
    assert graph is not None
    return [waiting.future for waiting in graph.awaited_by]


@on_every_loop
@pytest.mark.parametrize("end", ["returns", "fails", "is cancelled", "waiter is cancelled"])
@pytest.mark.parametrize("wait", WAITERS.values(), ids=WAITERS)
def test_a_task_is_shown_with_its_waiter(new_loop: Any, wait: Waiter, end: str) -> None:
    """While it waits, and not any more when that is over, however it came."""

    async def main() -> None:
        running: list[asyncio.Task[Any]] = []
        go_on = asyncio.Event()

        async def job() -> None:
            task = asyncio.current_task()
            assert task is not None
            running.append(task)
            await go_on.wait()
            if end == "fails":
                raise ValueError("no")

        async def host() -> None:
            await wait(job)

        waiting = asyncio.create_task(host())
        await wait_until(lambda: running and waiters_of(running[0]))
        (task,) = running
        assert waiters_of(task) == [waiting]
        if end == "is cancelled":
            task.cancel()
        elif end == "waiter is cancelled":
            waiting.cancel()
        else:
            go_on.set()
        await wait_until(task.done)
        await asyncio.sleep(0)
        assert waiters_of(task) == []
        go_on.set()
        waiting.cancel()
        await asyncio.wait([waiting])
        if not waiting.cancelled():
            waiting.exception()

    run_on(new_loop, main())


def test_several_waiters_are_shown() -> None:
    """Each as long as it waits itself."""

    async def main() -> None:
        async with TaskManager() as manager:
            handle = manager.start_soon(asyncio.sleep, 0.01)
            first, second = (asyncio.create_task(handle.wait()) for _ in range(2))
            await asyncio.sleep(0)
            (task,) = asyncio.all_tasks() - {first, second, asyncio.current_task()}
            assert set(waiters_of(task)) == {first, second}
            first.cancel()
            await asyncio.wait([first])
            assert waiters_of(task) == [second]

    asyncio.run(main())


def test_who_has_stopped_waiting_is_not_shown() -> None:
    """A task that its group has abandoned, and that still runs, keeps nobody."""

    async def main() -> None:
        stubborn: list[asyncio.Task[Any]] = []
        enough = asyncio.Event()

        async def go_on() -> None:
            stubborn.append(asyncio.current_task())  # type: ignore[arg-type]
            for _ in range(3):  # those of the group are two
                with contextlib.suppress(asyncio.CancelledError):
                    await enough.wait()

        async def host() -> None:
            async with TaskGroup(close_timeout=0.001) as group:
                group.start_soon(go_on)
                await asyncio.sleep(0)
                group.cancel()

        waiting = asyncio.create_task(host())
        with pytest.raises(ExceptionGroup):
            await waiting
        assert waiters_of(stubborn[0]) == []
        gone = weakref.ref(waiting)
        del waiting
        await asyncio.sleep(0)  # this step was called with it
        gc.collect()
        assert gone() is None
        enough.set()
        await stubborn[0]

    asyncio.run(main())


def test_owners_that_close_from_inside_are_no_circle() -> None:
    """Each waits for the others; asyncio would go round for ever."""

    async def main() -> None:
        async with TaskManager() as manager:

            async def leave() -> None:
                await manager.drain()

            manager.start_soon(leave)
            manager.start_soon(leave)
            lasting = manager.start_soon(asyncio.sleep, 0.01)
            await asyncio.sleep(0.001)
            for task in asyncio.all_tasks():
                assert asyncio.format_call_graph(task)
            assert not lasting.done()

    asyncio.run(main())


def test_what_has_ended_keeps_nobody() -> None:
    """The handle or task that is kept does not keep who has waited for it."""

    async def main() -> None:
        kept: list[Any] = []

        async def host() -> None:
            async with TaskGroup() as group:
                kept.append(group)
                kept.append(group.create_task(asyncio.sleep(0)))
                kept.append(group.start_soon(asyncio.sleep, 0))

        waiting = asyncio.create_task(host())
        await waiting
        gone = weakref.ref(waiting)
        del waiting
        await asyncio.sleep(0)
        assert gone() is None

    with without_collection():
        asyncio.run(main())
