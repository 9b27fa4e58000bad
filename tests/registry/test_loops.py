"""One registry and several loops in turn, none at all, or two at once; and the context that its own work runs in."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import warnings
import weakref
from typing import Any

import pytest

from lifecycle import Registry, WrongLoop
from lifecycle.testing import Bubble

from ..loops import LOOPS, some_turns, virtual

new_loops = pytest.mark.parametrize("new_loop", [LOOPS["asyncio"], LOOPS["uvloop"]], ids=["asyncio", "uvloop"])


def run(new_loop: Any, main: Any) -> Any:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(main)


class Bound:
    """A value that may be used and closed in the loop that made it."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()


@new_loops
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_no_loop_gets_what_another_has_made(new_loop: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The value of a closed loop is dropped by name when the next one comes, and never lent."""
    ended: list[Bound] = []
    registry = Registry[str, Bound]("global", ttl=100.0, finalizer=ended.append)

    async def ask() -> None:
        for _ in range(2):
            assert (await registry.get_or_create("k", Bound)).loop is asyncio.get_running_loop()
        async with registry.lease("k") as value:
            assert value.loop is asyncio.get_running_loop()

    for _ in range(3):
        run(new_loop, ask())
        registry._check_invariants()
    assert registry.statistics().loads == 3
    dropped = [record for record in caplog.records if record.msg == "values of a closed loop dropped"]
    assert [record.values for record in dropped] == [["'k'"]] * 2  # type: ignore[attr-defined]
    run(new_loop, registry.aclose())
    assert not ended
    statistics = registry.statistics()
    assert statistics.opened == statistics.closed == 3


@pytest.mark.parametrize("new_loop", LOOPS.values(), ids=LOOPS)
@pytest.mark.parametrize("finalizer", [None, id], ids=["without an end", "with one"])
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_nothing_of_a_loop_that_is_closed_by_hand_is_found(new_loop: Any, finalizer: Any) -> None:
    """Nor by those who find a value without a step of the loop's, the first who come into the next one."""
    registry = Registry[str, Bound](finalizer=finalizer)

    async def ask() -> None:
        for _ in range(2):
            assert (await registry.get_or_create("k", Bound)).loop is asyncio.get_running_loop()
        assert registry.get("k") is not None

    for _ in range(3):
        loop = new_loop()
        loop.run_until_complete(ask())
        loop.run_until_complete(ask())
        loop.close()
        assert registry.get("k") is None
        assert loop.is_closed()
    registry._check_invariants()
    asyncio.run(registry.aclose())


def test_a_loop_that_nobody_closes_ends_as_ever() -> None:
    """Collected, it is closed by asyncio, which says so; our word for its owners is in nobody's way."""
    registry = Registry[str, int]()

    async def put(registry: Registry[str, int]) -> None:
        registry.put("k", 1)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(put(registry))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        del loop, registry  # which refers to it
        gc.collect()
    assert any("unclosed event loop" in str(warning.message) for warning in seen)


def test_a_loop_that_runs_refuses_to_be_closed_as_ever() -> None:
    """And nothing of it is gone."""
    registry = Registry[str, int]()

    async def put() -> None:
        registry.put("k", 1)
        with pytest.raises(RuntimeError, match="running"):
            asyncio.get_running_loop().close()
        assert registry.get("k") == 1

    asyncio.run(put())


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_loop_that_is_closed_by_hand_is_noticed_by_the_next_creation() -> None:
    """Nobody is told of such an end; what was being made there blocks no key."""

    async def hang() -> Any:
        await asyncio.sleep(1000)

    async def begin() -> None:
        tasks.append(asyncio.ensure_future(registry.get_or_create("k", hang)))
        registry.put("other", 1)
        await some_turns()

    tasks: list[Any] = []
    registry = Registry[str, int](finalizer=id)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(begin())
    for task in asyncio.all_tasks(loop):
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()

    async def ask() -> None:
        assert await registry.get_or_create("k", lambda: 2) == 2
        assert registry.get("other") is None
        await registry.aclose()

    asyncio.run(ask())
    registry._check_invariants()


@new_loops
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_the_next_loop_sweeps(new_loop: Any) -> None:
    """What is put in there goes by itself when it is due."""
    ended: list[int] = []
    registry = Registry[int, int](ttl=0.05, finalizer=ended.append)

    async def put(number: int) -> None:
        gone = registry.put(number, number)
        if number:
            async with asyncio.timeout(10):
                await gone.closed()

    for number in range(3):
        run(new_loop, put(number))
    assert ended == [1, 2]
    run(new_loop, registry.aclose())


def test_what_needs_no_end_is_let_go_with_its_loop() -> None:
    """Nobody has to come for it."""

    class Value:
        pass

    registry = Registry[str, Value]()

    async def put() -> weakref.ref[Value]:
        registry.put("k", value := Value())
        return weakref.ref(value)

    value = asyncio.run(put())
    gc.collect()
    assert value() is None
    registry._check_invariants()


def test_two_loops_at_once_are_refused() -> None:
    """The error names both, and nothing has happened."""
    registry = Registry[str, int]("shared")

    async def put() -> None:
        registry.put("k", 1)

    async def create() -> int:
        return await registry.get_or_create("k2", lambda: 2)

    loops = [asyncio.new_event_loop() for _ in range(2)]
    try:
        loops[0].run_until_complete(put())
        with pytest.raises(WrongLoop, match="belongs to another event loop"):
            loops[1].run_until_complete(create())
        loops[0].run_until_complete(registry.aclose())
    finally:
        for loop in loops:
            loop.close()


def test_it_may_be_filled_before_there_is_a_loop() -> None:
    """What leaves meanwhile is finalized when there is one, and what is due then, too."""
    ended: list[int] = []
    clock = iter(range(1000))
    registry = Registry[str, int](finalizer=ended.append, max_size=2, ttl=1e9, clock=lambda: float(next(clock)))
    first = registry.put("a", 1)
    registry.put("a", 2)
    registry.put("b", 3)
    registry.put("c", 4)
    assert registry.discard("b")
    assert not ended

    async def main() -> None:
        async with registry:
            await first.closed()
            await some_turns()
            assert sorted(ended) == [1, 2, 3]

    asyncio.run(main())
    assert sorted(ended) == [1, 2, 3, 4]


REQUEST: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="nobody's")


@virtual
async def test_finalizers_run_in_the_context_of_the_owner(bubble: Bubble) -> None:
    """Whoever put a value in, or made it leave; each in a copy, which the next one does not see."""
    seen: list[str] = []

    async def finalize(value: str) -> None:
        seen.append(REQUEST.get())
        REQUEST.set("a finalizer's")
        await asyncio.sleep(0.01)
        seen.append(REQUEST.get())

    REQUEST.set("the owner's")
    async with Registry[str, str](ttl=1.0, finalizer=finalize) as registry:

        async def serve(name: str) -> None:
            REQUEST.set(name)
            registry.put("k", name)

        for name in ("A", "B"):
            await asyncio.create_task(serve(name))
            await asyncio.sleep(0.5)
        await asyncio.sleep(5.0)
    assert seen == ["the owner's", "a finalizer's"] * 2


@virtual
async def test_a_factory_runs_in_the_context_of_its_first_caller(bubble: Bubble) -> None:
    """As it was when that asked."""
    async with Registry[str, str]() as registry:

        async def make() -> str:
            await asyncio.sleep(1)
            return REQUEST.get()

        async def serve(name: str) -> str:
            REQUEST.set(name)
            return await registry.get_or_create("k", make)

        assert await asyncio.gather(serve("A"), serve("B")) == ["A", "A"]


@virtual
async def test_nothing_keeps_the_request_that_put_a_value_in(bubble: Bubble) -> None:
    """Neither the timers nor the tasks of the registry."""

    class Request:
        pass

    kept: contextvars.ContextVar[Request] = contextvars.ContextVar("kept")

    async with Registry[int, int](ttl=100.0, finalizer=lambda _: asyncio.sleep(5)) as registry:

        async def serve() -> weakref.ref[Request]:
            request = Request()
            kept.set(request)
            registry.put(1, 1)
            registry.put(2, 2)
            registry.discard(2)
            return weakref.ref(request)

        request = await asyncio.create_task(serve())
        await asyncio.sleep(1)
        gc.collect()
        assert request() is None


@virtual
async def test_an_error_of_a_clock_is_no_end_of_a_creation(bubble: Bubble, caplog: pytest.LogCaptureFixture) -> None:
    """Its callers are told that the factory has failed, whatever becomes of the memory of it."""
    broken = False

    def clock() -> float:
        if broken:
            raise ZeroDivisionError
        return 0.0

    async def fail() -> int:
        nonlocal broken
        await asyncio.sleep(1)
        broken = True
        raise OSError

    caplog.set_level(logging.ERROR)
    registry = Registry[str, int](failure_ttl=5.0, clock=clock)
    with pytest.raises(OSError):
        await registry.get_or_create("k", fail)
    assert "failure not kept" in caplog.messages
    broken = False
    await registry.aclose()
