"""Whose frame is it: what stacks and creation sites show, and what they leave out, wherever our own files lie."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

import lifecycle
from lifecycle import (
    Pool,
    ReaderWorker,
    Registry,
    ReleaseTimeout,
    Scope,
    ServedStream,
    Stages,
    TaskGroup,
    TaskManager,
    connect,
    serve_tcp,
)
from lifecycle._ground import kernel, trace
from lifecycle._ground.frames import Frames, coroutine_of, suspended_frames
from lifecycle.scheduler import Scheduler
from lifecycle.testing import Bubble

from ..loops import virtual

PACKAGE = Path(lifecycle.__file__).parent


def room_of(file: str) -> str | None:
    """Return where in the package a file lies: its folder, or the file itself at the top; None outside of it."""
    path = Path(file)
    return path.relative_to(PACKAGE).parts[0] if path.is_relative_to(PACKAGE) else None


def rooms(stack: tuple[str, ...]) -> list[str]:
    """Return the rooms of the package that lines of a stack name."""
    found = [room_of(line.rpartition(" in ")[0].rpartition(":")[0]) for line in stack]
    return [room for room in found if room is not None]


async def forever(*anything: object) -> None:
    await asyncio.sleep(1e6)


async def wait_for_nothing(stages: Stages) -> None: ...


async def wait_for_a_task() -> None:
    async with Scope() as scope:
        await scope.start_soon(forever).wait()


async def wait_for_a_release() -> None:
    async with Scope(close_timeout=None) as scope:
        scope.push_async_callback(forever)


async def wait_for_a_group() -> None:
    async with TaskGroup() as group:
        group.create_task(forever())


async def wait_for_a_manager() -> None:
    async with TaskManager(drain_timeout=None) as manager:
        manager.start_soon(forever)


async def wait_for_a_value() -> None:
    async with Registry[str, None]() as registry, registry.lease("key", forever):
        pass


async def wait_for_a_loan() -> None:
    async with Pool(forever, forever, max_size=1) as pool, pool.acquire():
        pass


async def wait_for_a_connection() -> None:
    async def connector(stages: Stages) -> None:
        await stages.step(forever(), name="first")

    async with connect(connector, timeout=None):
        pass


async def wait_for_a_pair() -> None:
    pair: ReaderWorker[None] = ReaderWorker(forever, forever)
    async with pair:
        await pair.wait()


async def wait_for_a_server() -> None:
    async def handler(stream: ServedStream) -> None: ...

    async with serve_tcp(handler, "host", 1) as server:
        await server.wait()


WAITS: dict[str, tuple[Callable[[], Awaitable[None]], str]] = {
    "a task": (wait_for_a_task, "_task"),
    "a release": (wait_for_a_release, "_scope"),
    "a group": (wait_for_a_group, "_group"),
    "a manager": (wait_for_a_manager, "_manager"),
    "a value": (wait_for_a_value, "_registry"),
    "a loan": (wait_for_a_loan, "_pool"),
    "a connection": (wait_for_a_connection, "_connect"),
    "a pair": (wait_for_a_pair, "_pair"),
    "a server": (wait_for_a_server, "_serve"),
}


@pytest.mark.parametrize("what", WAITS)
@virtual
async def test_a_stack_shows_no_frame_of_the_core(bubble: Bubble, what: str) -> None:
    """A task that waits inside of us is shown where its own code stands, and not where ours does."""
    wait, room = WAITS[what]
    task = asyncio.ensure_future(wait())
    await asyncio.sleep(1)
    raw = [room_of(frame.f_code.co_filename) for frame in suspended_frames(task.get_coro())]
    assert room in raw, "the wait is not inside of the room that it is meant for"
    stack = kernel.suspended_at(task)
    assert rooms(stack) == []
    assert stack[0].endswith(f"in {wait.__qualname__}")
    task.cancel()
    await asyncio.wait([task])


async def stay_until(over: asyncio.Event) -> None:
    """Wait inside of a group, whoever cancels."""
    while not over.is_set():
        with contextlib.suppress(asyncio.CancelledError):
            async with TaskGroup() as group:
                group.create_task(over.wait())


@virtual
async def test_what_is_abandoned_names_only_its_own_code(bubble: Bubble) -> None:
    """A release, and a task, that hang inside of us: their stacks go through the same hands."""
    over = asyncio.Event()
    with pytest.raises(ReleaseTimeout) as caught:
        async with Scope(close_timeout=1) as scope:
            scope.push_async_callback(stay_until, over)
    manager = TaskManager(drain_timeout=1, cancel_timeout=1)
    manager.start_soon(stay_until, over)
    (left,) = (await manager.aclose()).abandoned
    for stack in (caught.value.stack, left.stack):
        assert stack[0].endswith("in stay_until")
        assert rooms(stack) == []
    over.set()
    await bubble.wait_all_blocked()


@virtual
async def test_a_stack_shows_frames_of_the_scheduler_and_of_the_test_kit(bubble: Bubble) -> None:
    """They are users of the core like any other: a task that waits inside of them would else be nowhere."""
    async with Scheduler(workers=1) as scheduler:
        job = await scheduler.submit(forever)
        waiting = asyncio.ensure_future(job.wait())
        await asyncio.sleep(1)
        assert set(rooms(kernel.suspended_at(waiting))) == {"scheduler"}
        await job.cancel()
        await waiting
    task = asyncio.ensure_future(bubble.wait_all_blocked())
    await asyncio.sleep(0)
    assert set(rooms(kernel.suspended_at(task))) == {"testing"}
    await task


class Recorder(trace.SiteRecorder):
    """Remembers what it has handed out."""

    def __init__(self) -> None:
        self.sites: dict[str, Frames] = {}

    def opened(self, kind: str, name: str, owner: trace.Mark | str | None) -> trace.SiteMark:
        token = super().opened(kind, name, owner)
        self.sites[f"{kind} {name!r}"] = token.site
        return token


@virtual
async def test_a_creation_site_shows_no_frame_of_the_core(bubble: Bubble) -> None:
    """What LIFECYCLE_TRACE=1 shows of a thing is the code that asked for it, through however many of our files."""
    ledger = trace.sink
    trace.sink = recorder = Recorder()
    try:
        async with Scope() as scope:
            await scope.acquire(asyncio.sleep, 0, release=id)
            scope.start_soon(asyncio.sleep, 0)
            manager = await scope.enter(TaskManager())
            manager.start_soon(asyncio.sleep, 0)
            async with TaskGroup() as group:
                group.create_task(asyncio.sleep(0))
            registry = await scope.enter(Registry[str, int]())
            registry.put("key", 1)
            async with connect(wait_for_nothing):
                pass
    finally:
        trace.sink = ledger
    for thing, site in recorder.sites.items():
        assert {room_of(code.co_filename) for code, _ in site} <= {None, "testing"}, thing
    made_here = {
        thing.partition(" ")[0] for thing, site in recorder.sites.items() if site[0][0].co_filename == __file__
    }
    assert made_here >= {"scope", "resource", "task", "entry"}


def test_the_frames_of_an_eager_task_that_has_ended_at_once_are_none() -> None:
    """Python 3.12.1 and older end the process where one asks such a task for its coroutine."""
    if not hasattr(asyncio, "eager_task_factory"):
        pytest.skip("eager tasks came with 3.12")

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        task = asyncio.create_task(answer())
        assert task.done()
        assert coroutine_of(task) is None
        assert kernel.suspended_at(task) == ()

    async def answer() -> int:
        return 42

    asyncio.run(main())
