"""What is kept, and how long: children by their parent, owners by their tasks, entries by a ledger, waits by a loop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from threading import Thread
from typing import TYPE_CHECKING, Any
from weakref import ref

from lifecycle import Scope, TaskGroup, TaskManager
from lifecycle._task.waiting import notes

from ._table import connect, disconnect, ignore_error, scenario, unreported, work

if TYPE_CHECKING:
    from collections.abc import Callable

    from lifecycle.testing import Bubble


def refuse() -> None:
    raise ConnectionRefusedError("planned")


@scenario
async def kept_children(bubble: Bubble) -> None:
    """One that was left empty is not, and one that owns something is, whoever has let go of it."""
    async with Scope("server") as owner:
        child = owner.child("never used")
        del child
        child = owner.child("left empty")
        with contextlib.suppress(ConnectionRefusedError):
            await child.acquire(refuse, release=print)
        del child
        child = owner.child("empty again")
        await child.release(await child.acquire(connect, bubble, "brief", release=disconnect))
        del child
        gc.collect()
        assert owner.statistics().children == 0, "a child that is empty is kept"
        child = owner.child("in use")
        await child.acquire(connect, bubble, "held", release=disconnect)
        del child
        gc.collect()
        assert owner.statistics().children == 1, "a child that owns something is not kept"
        await asyncio.sleep(0.01)


@scenario
@unreported  # what is reported must be closed, and these have no user any more who could
async def kept_by_their_tasks(bubble: Bubble) -> None:
    """Owners that nobody has any more; each of their tasks waits for what nobody else knows."""

    ended: list[str] = []

    async def waits(name: str) -> None:
        try:
            with bubble.ledger.acquire(name, kind="work"):
                await asyncio.get_running_loop().create_future()
        finally:
            ended.append(name)

    def start_and_drop(owner: Scope | TaskManager) -> ref[Any]:
        return ref(owner.start_soon(waits, owner.name))

    owners = [start_and_drop(Scope("scope")), start_and_drop(TaskManager("task manager", on_error=ignore_error))]
    try:
        await asyncio.sleep(0.01)
        gc.collect()
        assert len(ended) + sum(handle() is not None for handle in owners) >= 2, "a task went in the middle of its work"
    finally:
        left = [handle for reference in owners if (handle := reference()) is not None]
        for handle in left:
            handle.cancel()
        for handle in left:
            await handle.wait()


def in_a_loop_that_is_closed(call: Callable[[], object]) -> None:
    """Make a call in the loop of another thread, which has no tasks, for those would be the bubble's."""

    def run() -> None:
        loop = asyncio.new_event_loop()
        loop.call_soon(call)
        loop.call_soon(loop.stop)
        loop.run_forever()
        loop.close()

    thread = Thread(target=run)
    thread.start()
    thread.join()


@scenario
async def kept_for_the_next_loop(bubble: Bubble) -> None:
    """A manager of a module: with nothing left in its first loop, it goes on in the next, whichever way it is asked."""
    for way in ("start_soon", "spawn"):
        manager = TaskManager(f"of the module, by {way}", on_error=ignore_error)
        in_a_loop_that_is_closed(manager._bind)
        try:
            if way == "spawn":
                await manager.spawn(work, bubble, "job", 0.01)
            else:
                manager.start_soon(work, bubble, "job", 0.01)
            await manager.drain()
        finally:
            await manager.aclose()


@scenario
async def kept_until_released(bubble: Bubble) -> None:
    """Two ask for the same thing before its turn and get it once; a task that asks for itself stays owned."""
    async with Scope("early", close_timeout=5) as scope:
        bottom = await scope.acquire(connect, bubble, "bottom", release=disconnect)

        async def asks_for_itself() -> None:
            try:
                await scope.release(handle)
                await asyncio.sleep(5)
            finally:
                assert not bottom.releases, "a task has outlived what it stands on"

        handle = scope.start_soon(asks_for_itself)
        await asyncio.sleep(0.01)
        assert scope.statistics().tasks == (not handle.done()), "a task that lives is not owned any more"
        value = await scope.acquire(connect, bubble, "value", release=disconnect)

        async def asks() -> None:
            await scope.release(value)
            assert value.releases == 1, "released by each who asked, or by none yet"

        async with TaskGroup() as group:
            for _ in range(2):
                group.start_soon(asks)
        assert scope.statistics().resources == 1, "what was released is still owned"


@scenario
async def kept_among_many(bubble: Bubble) -> None:
    """In a large scope: what came in later is found, what came in twice is found twice, and what has gone is not."""
    shared, gone = object(), []
    async with Scope("large") as scope:
        for _ in range(40):
            scope.enter_context(contextlib.nullcontext())
        handle = scope.start_soon(asyncio.sleep, 60)
        for _ in range(2):
            await scope.release(handle)
        for turn in range(2):
            for _ in range(2):
                await scope.acquire(lambda: shared, release=gone.append)
            await scope.release(shared)
            value = await scope.acquire(connect, bubble, f"value {turn}", release=disconnect)
            await scope.release(value)
            assert value.releases == 1
            with contextlib.suppress(LookupError):
                await scope.release(value)
                raise AssertionError("what is gone was found")
            await scope.release(shared)
            assert len(gone) == 2 * (turn + 1), "what is owned twice was not found twice"


@scenario
async def kept_waits(bubble: Bubble) -> None:
    """A task that has waited for the end of one scope is stopped with its own, by whoever has ended both."""
    outer, inner = Scope("outer", close_timeout=5), Scope("inner", close_timeout=5)
    bottom = bubble.ledger.acquire("bottom", kind="resource")
    outer.callback(bottom.release)

    async def waits_and_goes_on() -> None:
        try:
            async with inner:
                await asyncio.sleep(0.005)
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            assert not bottom.releases, "a task was left alone that waited for nothing any more"

    try:
        inner.push_async_callback(asyncio.sleep, 0.02)
        handle = outer.start_soon(waits_and_goes_on)
        await asyncio.sleep(0.002)
        await inner.aclose()
    finally:
        await outer.aclose()
    assert handle.done()
    async with TaskGroup() as group:
        group.start_soon(inner.aclose)
    assert not notes().waits, "a wait that is over is still noted"
