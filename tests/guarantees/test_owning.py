"""Guarantees 1, 2, 3, 8, 9 and 15: who owns what, from which step on, and until when."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import anyio.to_thread
import pytest

from lifecycle import OwnerClosed, Scope, TaskManager, TaskStatus
from lifecycle.testing import Bubble, explore_cancellation, run_virtual

from .things import Account, Diary

Ending = Callable[[], Coroutine[Any, Any, None]]


async def by_itself() -> None:
    """Leave the block."""


async def by_an_error() -> None:
    """Fail in the block."""
    raise OSError("the body failed")


async def by_a_cancellation() -> None:
    """Have the block cancelled."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(1)


# G1


@pytest.mark.parametrize("ending", [by_itself, by_an_error, by_a_cancellation])
def test_a_task_has_ended_before_what_it_uses_is_released(ending: Ending) -> None:
    """G1: tasks and resources, taken in by turns, go in strict reverse order, one after the other."""
    diary = Diary()

    async def scenario(bubble: Bubble) -> None:
        async with Scope() as scope:
            for n in (1, 2):
                await scope.acquire(str, n, release=lambda value: diary.release(f"resource {value}"))
                scope.start_soon(diary.use, f"task {n}")
            await asyncio.sleep(0.1)
            await ending()

    try:
        run_virtual(scenario)
    except (OSError, asyncio.CancelledError):
        assert ending is not by_itself
    assert diary.events == [
        "task 2 ended",
        "release of resource 2 began",
        "resource 2 released",
        "task 1 ended",
        "release of resource 1 began",
        "resource 1 released",
    ]


def test_a_child_scope_is_closed_at_its_place() -> None:
    """G1: what a child owns goes after what came later in its parent, and before what came earlier."""
    diary = Diary()

    async def scenario(bubble: Bubble) -> None:
        async with Scope() as scope:
            scope.callback(diary.write, "older")
            child = scope.child()
            scope.callback(diary.write, "younger")
            child.callback(diary.write, "the child's")
            child.start_soon(diary.use, "the child's task")
            await asyncio.sleep(0)

    run_virtual(scenario)
    assert diary.events == ["younger", "the child's task ended", "the child's", "older"]


# G2


async def acquire_and_leave(bubble: Bubble) -> None:
    """Acquire three values, one of them by a context manager, and leave."""
    account = bubble.state.account = Account()
    async with Scope() as scope:
        for name in ("first", "second"):
            await scope.acquire(account.make, name, release=account.release)
            await asyncio.sleep(0.01)


def accounts_balance(bubble: Bubble) -> bool:
    """Whether nothing was made and not released."""
    return getattr(bubble.state, "account", Account()).balanced


def test_no_interruption_loses_a_value() -> None:
    """G2: cancelled or struck by an error at every point, in every way: each value that was made is released once."""
    report = explore_cancellation(acquire_and_leave, invariants=[accounts_balance])
    report.assert_clean()
    assert report.runs > 50


# G3


def test_a_value_from_a_thread_that_comes_too_late_is_released() -> None:
    """G3: the caller gave up, the thread could not be interrupted: its value is released, exactly once."""
    released: list[str] = []
    may_end = threading.Event()

    def make() -> str:
        may_end.wait(10)
        return "late"

    async def main() -> None:
        async with Scope() as scope:
            with pytest.raises(TimeoutError):
                await scope.acquire(anyio.to_thread.run_sync, make, release=released.append, timeout=0.01)
            assert released == []
            may_end.set()
            while not released:
                await asyncio.sleep(0.001)

    asyncio.run(asyncio.wait_for(main(), 10))
    assert released == ["late"]


@pytest.mark.parametrize("offset", [-0.001, 0.0, 0.001])
def test_a_value_at_the_moment_of_its_timeout_is_not_lost(offset: float) -> None:
    """G3: timeout and value arrive in the same step of the loop: either the caller has it, or it is released."""
    account = Account()

    async def scenario(bubble: Bubble) -> None:
        async with Scope() as scope:
            try:
                await scope.acquire(account.make, "value", release=account.release, timeout=0.01 + offset)
            except TimeoutError:
                await asyncio.sleep(1)
                assert account.balanced

    for seed in range(20):
        run_virtual(scenario, seed=seed)
        assert account.balanced


def test_a_value_that_swallowed_its_cancellation_is_released() -> None:
    """G3: a factory that goes on after it was cancelled has made something that nobody waits for."""
    account = Account()

    async def stubborn() -> str:
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            account.made["value"] += 1
        return "value"

    async def scenario(bubble: Bubble) -> None:
        async with Scope() as scope:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await scope.acquire(stubborn, release=account.release)

    run_virtual(scenario)
    assert account.released == {"value": 1}


# G8


@pytest.mark.parametrize("owner_type", [Scope, TaskManager])
def test_a_closed_owner_refuses_and_closes_the_coroutine(owner_type: type[Scope] | type[TaskManager]) -> None:
    """G8: the error names the owner and the offer; the coroutine is not left "never awaited"."""

    async def scenario(bubble: Bubble) -> None:
        owner = owner_type("shop")
        await owner.aclose()
        coro = asyncio.sleep(1)
        with pytest.raises(OwnerClosed, match=r"'shop' does not take task 'late'.*closed"):
            owner.create_task(coro, name="late")
        with pytest.raises(RuntimeError, match="cannot reuse"):
            await coro
        with pytest.raises(OwnerClosed, match="late"):
            owner.start_soon(asyncio.sleep, 1, name="late")

    run_virtual(scenario)


def test_what_is_offered_to_a_closed_scope_is_released() -> None:
    """G8: callbacks and exits stand for something that exists already, so a closed scope releases it."""
    diary = Diary()

    async def scenario(bubble: Bubble) -> None:
        scope = Scope()
        await scope.aclose()
        with pytest.raises(OwnerClosed):
            scope.callback(diary.write, "callback")
        with pytest.raises(OwnerClosed):
            scope.push_async_callback(diary.release, "resource")
        await asyncio.sleep(2)

    run_virtual(scenario)
    assert sorted(diary.events) == ["callback", "release of resource began", "resource released"]


def test_a_value_that_arrives_at_a_closing_scope_is_released() -> None:
    """G8: the scope was closed while the factory ran: the caller is refused, the value released."""
    account = Account()

    async def scenario(bubble: Bubble) -> None:
        scope = Scope()

        async def acquire() -> None:
            with pytest.raises(OwnerClosed):
                await scope.acquire(account.make, "value", release=account.release, timeout=None)

        task = asyncio.create_task(acquire())
        await asyncio.sleep(0)
        await scope.aclose()
        await task

    run_virtual(scenario)
    assert account.balanced


# G9


def test_what_has_ended_leaves_its_owner() -> None:
    """G9: after ten thousand tasks, cancelled or not, and a thousand children an owner holds nothing of them."""

    async def scenario(bubble: Bubble) -> None:
        async with Scope() as scope, TaskManager() as manager:
            for _ in range(100):
                ended = [owner.start_soon(asyncio.sleep, 0) for owner in (scope, manager) for _ in range(50)]
                for handle in ended[::5]:
                    handle.cancel()
                for handle in ended:
                    await handle.wait()
            for _ in range(1000):
                await scope.child().aclose()
            assert len(scope._books) == len(manager) == 0  # before statistics() sweeps
            assert scope.statistics().live == 0
            assert manager.statistics().running == 0
            await asyncio.sleep(0)  # the loop's own callbacks for the last of them
            reference = weakref.ref(ended[0])
            del ended, handle
            gc.collect()
            assert reference() is None

    run_virtual(scenario, max_steps=1_000_000)


def test_the_account_closes_while_things_come_and_go() -> None:
    """G9: at every look what was opened is live or released."""

    async def scenario(bubble: Bubble) -> None:
        async with Scope() as scope:
            for n in range(100):
                scope.start_soon(asyncio.sleep, n % 7)
                scope.callback(int)
                await asyncio.sleep(n % 3)
                statistics = scope.statistics()
                assert statistics.opened == statistics.live + statistics.released
                assert statistics.tasks <= 8

    run_virtual(scenario)


# G15


@pytest.mark.parametrize("way", ["handle", "owner", "foreign"])
@pytest.mark.parametrize("owner_type", [Scope, TaskManager])
def test_no_task_is_cancelled_before_its_first_step(owner_type: type[Scope] | type[TaskManager], way: str) -> None:
    """G15: what was handed to a task reaches its body, however early the cancellation comes.

    A foreign ``Task.cancel()`` cannot be held up; then the coroutine is closed, so that it is not "never awaited".
    """
    began: list[str] = []

    async def body(what: str) -> None:
        began.append(what)
        await asyncio.sleep(3600)

    async def scenario(bubble: Bubble) -> None:
        owner = owner_type() if owner_type is Scope else TaskManager(drain_timeout=0)
        handle = owner.start_soon(body, "argument")
        if way == "handle":
            handle.cancel()
        elif way == "foreign":
            task = next(task for task in asyncio.all_tasks() if task.get_name() == handle.name)
            task.cancel()
        await owner.aclose()
        await handle.wait()
        assert handle.status is TaskStatus.CANCELLED
        assert owner.statistics().running == 0 if isinstance(owner, TaskManager) else owner.statistics().live == 0

    run_virtual(scenario)
    assert began == ([] if way == "foreign" else ["argument"])


def test_time_is_virtual_here() -> None:
    """The hours that these tests sleep cost nothing: otherwise they would not be run."""

    async def scenario(bubble: Bubble) -> float:
        await asyncio.sleep(3600)
        return bubble.clock.time()

    assert run_virtual(scenario) == 3600  # a real hour is more than a test may take
