"""TaskManager: taking work in, what tasks start with, errors, threads, and the account that closes."""

import asyncio
import contextvars
import gc
import sys
import threading
import warnings
import weakref
from contextlib import suppress
from typing import Any

import anyio
import anyio.to_thread
import pytest

from lifecycle import ManagerFull, OwnerClosed, TaskHandle, TaskManager, TaskStatus
from lifecycle.testing import Bubble, explore_cancellation

from ..collection import without_collection
from ..loops import eager_loop, on_every_loop, run_on, virtual


class Failure(Exception):
    """What a task raises."""


async def give(value: Any = None) -> Any:
    """Return the value after a second."""
    await asyncio.sleep(1)
    return value


async def fail() -> None:
    """Raise at once."""
    raise Failure("no")


def foreign_cancel() -> None:
    """Cancel every other task of the loop, whoever owns it."""
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


async def see() -> str:
    """Return what the task sees, and change it."""
    seen = variable.get()
    variable.set("changed by a task")
    return seen


# Arguments


@pytest.mark.parametrize("name", ["drain_timeout", "cancel_timeout"])
def test_timeouts_are_checked(name: str) -> None:
    """Numbers from 0, or None for infinity; anything else is refused with its name."""
    for wrong in ("1", True, [1]):
        with pytest.raises(TypeError, match=f"{name} must be seconds or None"):
            TaskManager(**{name: wrong})
    for wrong in (-0.1, float("nan")):
        with pytest.raises(ValueError, match=f"{name} must be 0 or more"):
            TaskManager(**{name: wrong})
    assert getattr(TaskManager(**{name: None}), name) == float("inf")
    assert getattr(TaskManager(**{name: 0}), name) == 0.0


def test_a_manager_shows_its_name() -> None:
    """In repr, and so in every message."""
    assert repr(TaskManager("mail")) == "task manager 'mail'"
    assert TaskManager().name == "task manager"


# Names


@virtual
async def test_tasks_have_names(bubble: Bubble) -> None:
    """The function's qualified name or the given one, on the handle and on the native task."""

    async def own_name() -> str:
        task = asyncio.current_task()
        assert task is not None
        return task.get_name()

    async with TaskManager() as manager:
        default = "test_tasks_have_names.<locals>.own_name"
        for name, expected in ((None, default), ("given", "given")):
            for handle in (
                manager.start_soon(own_name, name=name),
                manager.create_task(own_name(), name=name),
                await manager.spawn(own_name, name=name),
            ):
                assert handle.name == await handle == expected


# What tasks start with


@on_every_loop
def test_a_task_sees_the_context_of_its_sender(new_loop: Any) -> None:
    """A copy: what it sets reaches nobody else."""

    async def main() -> list[str]:
        variable.set("the sender's")
        async with TaskManager() as manager:
            handles = [manager.start_soon(see), manager.create_task(see()), await manager.spawn(see)]
            values = [await handle for handle in handles]
        return [*values, variable.get()]

    assert run_on(new_loop, main()) == ["the sender's"] * 4


@on_every_loop
@pytest.mark.parametrize("limit", [None, 1])
def test_a_manager_may_have_a_context_of_its_own(new_loop: Any, limit: int | None) -> None:
    """Each task gets a copy of it, so that nothing of a request leaks in; a task may be given another."""
    base = contextvars.Context()
    base.run(variable.set, "the manager's")
    own = contextvars.Context()
    own.run(variable.set, "its own")

    async def main() -> list[str]:
        variable.set("the request's")
        async with TaskManager(context=base, limit=limit) as manager:
            handles = [
                manager.start_soon(see),
                manager.start_soon(see, context=own),
                manager.create_task(see(), context=own.copy()),
                await manager.spawn(see),
            ]
            return [await handle for handle in handles]

    seen = run_on(new_loop, main())
    assert [seen[0], seen[1], seen[3]] == ["the manager's", "its own", "the manager's"]
    assert seen[2] in ("its own", "changed by a task")  # an eager loop has run the task before the copy was made
    assert own[variable] == "changed by a task"
    assert base[variable] == "the manager's"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")
def test_eager_tasks() -> None:
    """They have made their first step when start_soon returns, in order, also with a limit and a context."""
    steps: list[int] = []

    async def work(n: int) -> None:
        steps.append(n)
        await asyncio.sleep(0)
        steps.append(n + 100)

    async def main() -> None:
        context = contextvars.copy_context()
        async with TaskManager(eager=True, limit=2, context=context) as manager:
            for n in range(3):
                manager.start_soon(work, n)
            assert steps == [0, 1]
            await manager.drain()
            assert sorted(steps) == [0, 1, 2, 100, 101, 102]
            handle = manager.start_soon(fail_quietly)
            assert handle.status is TaskStatus.FAILED
            manager._check_invariants()

    async def fail_quietly() -> None:
        raise Failure

    asyncio.run(main())


def test_without_eager_nothing_runs_before_start_soon_returns() -> None:
    """Also on 3.11, where eager is not to be had and does no harm."""

    async def main() -> None:
        async with TaskManager(eager=sys.version_info < (3, 12)) as manager:
            handle = manager.start_soon(give)
            assert handle.status is TaskStatus.PENDING
            handle.cancel()

    asyncio.run(main())


# Errors


@virtual
async def test_a_failing_task_hurts_nobody(bubble: Bubble) -> None:
    """The others go on; the error goes to on_error with its handle."""
    reported: list[tuple[TaskHandle[Any], BaseException]] = []
    async with TaskManager(on_error=lambda handle, error: reported.append((handle, error))) as manager:
        well = manager.start_soon(give, 5)
        badly = manager.start_soon(fail)
        assert await well == 5
    assert reported == [(badly, badly.exception())]


@virtual
async def test_by_default_errors_are_logged(bubble: Bubble, caplog: pytest.LogCaptureFixture) -> None:
    """With the task's name, the manager's and the traceback."""
    async with TaskManager("mail") as manager:
        manager.start_soon(fail, name="mailer")
    (record,) = caplog.records
    assert (record.name, record.getMessage()) == ("lifecycle.manager", "background task failed")
    assert record.owner == "mail"  # type: ignore[attr-defined]
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], Failure)
    assert record.task == "mailer"  # type: ignore[attr-defined]


@virtual
async def test_on_error_may_fail_itself(bubble: Bubble, caplog: pytest.LogCaptureFixture) -> None:
    """Both errors are logged, and the manager goes on."""

    def fails(handle: TaskHandle[Any], error: BaseException) -> None:
        raise LookupError("on_error is broken")

    async with TaskManager(limit=1, on_error=fails) as manager:
        manager.start_soon(fail)
        assert await manager.start_soon(give, 5) == 5
    assert [record.getMessage() for record in caplog.records] == ["on_error failed", "background task failed"]


@virtual
async def test_a_cancelled_task_is_no_error(bubble: Bubble, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is reported."""
    async with TaskManager() as manager:
        manager.start_soon(give).cancel()
    assert not caplog.records


@pytest.mark.parametrize("error_type", [SystemExit, KeyboardInterrupt])
def test_an_error_that_ends_the_process_ends_the_loop(error_type: type[BaseException]) -> None:
    """It is not kept in the background; the account closes nevertheless."""
    managers = []

    async def leave() -> None:
        raise error_type(3)

    async def main() -> None:
        manager = TaskManager(on_error=lambda handle, error: None)
        managers.append(manager)
        manager.start_soon(leave)
        await asyncio.sleep(1)

    with pytest.raises(error_type):
        asyncio.run(main())
    assert managers[0]._failed == 1
    assert not managers[0]._running


# Refusing


@virtual
async def test_a_closing_manager_refuses_everything(bubble: Bubble) -> None:
    """The error names the manager, the task and the state; coroutines are closed, functions not called."""
    manager = TaskManager("mail")
    running = manager.start_soon(give)
    manager.close()
    manager.close()
    message = r"^task manager 'mail' does not take task 'late': it is closing; offer it before"
    coro = give()
    with pytest.raises(OwnerClosed, match=message):
        manager.start_soon(give, name="late")
    with pytest.raises(OwnerClosed, match=message):
        manager.create_task(coro, name="late")
    with pytest.raises(anyio.ClosedResourceError, match=message):
        await manager.spawn(give, name="late")
    with pytest.raises(OwnerClosed, match=message):
        await manager.start(give, name="late")
    with pytest.raises(OwnerClosed, match=message):
        manager.start_soon_threadsafe(give, name="late")
    with pytest.raises(OwnerClosed):
        async with manager:
            raise AssertionError("entered")
    assert coro.cr_frame is None
    assert manager.statistics().rejected == 5
    assert running.status is TaskStatus.PENDING
    report = await manager.aclose()
    assert (report.finished, report.clean) == (1, True)
    with pytest.raises(OwnerClosed, match="it is closed"):
        manager.start_soon(give)
    manager._check_invariants()


def test_offers_outside_of_a_loop() -> None:
    """RuntimeError; nothing is counted, kept, or never awaited."""
    manager = TaskManager()
    coro = give()
    with pytest.raises(RuntimeError, match="no running event loop"):
        manager.create_task(coro)
    assert coro.cr_frame is None
    with pytest.raises(RuntimeError, match="no running event loop"):
        manager.start_soon(give)
    with pytest.raises(RuntimeError, match="does not know its loop yet"):
        manager.start_soon_threadsafe(give)
    gc.collect()
    assert len(manager) == manager._accepted == 0


def test_offers_to_a_manager_whose_loop_is_closed() -> None:
    """OwnerClosed from a thread; in the next loop it goes on, as nothing was left in the first; nothing is kept."""
    manager = TaskManager()

    async def use() -> None:
        assert await manager.start_soon(asyncio.sleep, 0, 5) == 5

    async def go_on() -> None:
        with pytest.raises(OwnerClosed, match="its event loop is closed"):
            manager.start_soon_threadsafe(give)
        await use()
        assert len(manager) == 0

    asyncio.run(use())
    asyncio.run(go_on())
    gc.collect()
    manager._check_invariants()


@pytest.mark.parametrize("limit", [None, 1])
def test_a_manager_that_nobody_closed_is_gone_with_its_last_reference(limit: int | None) -> None:
    """It is in no cycle, before its first task and after its last; a snapshot that follows does not show it."""

    async def scenario() -> list[weakref.ref[TaskManager]]:
        unused, used = TaskManager(limit=limit), TaskManager(limit=limit)
        handles = [used.start_soon(give) for _ in range(3)]
        await handles[-1]
        return [weakref.ref(unused), weakref.ref(used)]

    with without_collection():
        assert [reference() for reference in asyncio.run(scenario())] == [None, None]


@virtual
async def test_a_task_factory_that_refuses(bubble: Bubble) -> None:
    """Its error is raised, the coroutine closed, the account balanced."""

    def refuse(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Any:
        raise RuntimeError("no more tasks")

    factory = bubble.loop.get_task_factory()
    bubble.loop.set_task_factory(refuse)
    async with TaskManager() as manager:
        try:
            for _ in range(2):
                coro = give()
                with pytest.raises(RuntimeError, match="no more tasks"):
                    manager.create_task(coro)
                assert coro.cr_frame is None
                manager._check_invariants()
            with pytest.raises(RuntimeError, match="no more tasks"):
                await manager.spawn(give)
        finally:
            bubble.loop.set_task_factory(factory)
        assert manager.statistics().cancelled == 3
        assert len(manager) == 0


# Cancelled by somebody else


@on_every_loop
@pytest.mark.parametrize("limit", [None, 2])
def test_tasks_cancelled_from_outside_before_their_first_step(new_loop: Any, limit: int | None) -> None:
    """Records leave, coroutines are closed, nothing was "never awaited", what they were given is gone."""

    class Thing:
        """What a task is given."""

    async def use(thing: Thing) -> None:
        await asyncio.sleep(1)

    async def main() -> None:
        async with TaskManager(limit=limit) as manager:
            things = [Thing() for _ in range(4)]
            gone = [weakref.ref(thing) for thing in things]
            handles = [manager.start_soon(use, thing) for thing in things]
            del things
            foreign_cancel()
            for handle in handles:
                handle.cancel()
            await manager.drain()
            assert manager.statistics().running == 0
            assert all(handle.status is TaskStatus.CANCELLED for handle in handles)
            manager._check_invariants()
            await asyncio.sleep(0.001)
            gc.collect()
            assert [ref() for ref in gone] == [None] * 4

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run_on(new_loop, main())


@virtual
async def test_records_of_foreign_cancellations_do_not_pile_up(bubble: Bubble) -> None:
    """Nobody looks and nobody waits, but a manager sweeps as it grows."""
    async with TaskManager() as manager:
        for _ in range(5):
            for _ in range(1000):
                manager.start_soon(give)
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            await asyncio.sleep(0)
        assert len(manager._running) <= 2000


# Threads


def test_any_first_offer_ties_a_manager_to_its_loop() -> None:
    """A manager that was not entered, and is offered its first task by spawn(), takes work from threads."""

    async def main() -> None:
        manager = TaskManager()
        await manager.spawn(asyncio.sleep, 0)
        await anyio.to_thread.run_sync(manager.start_soon_threadsafe, asyncio.sleep, 0)
        await asyncio.sleep(0.001)
        assert manager.statistics().accepted == 2
        await manager.aclose()

    asyncio.run(main())


@on_every_loop
def test_work_from_threads(new_loop: Any) -> None:
    """Each of a hundred tasks from ten threads runs once, in the loop's thread."""
    seen: list[tuple[int, int]] = []

    async def work(n: int) -> None:
        seen.append((n, threading.get_ident()))

    async def main() -> None:
        async with TaskManager() as manager:

            def send(first: int) -> None:
                for n in range(first, first + 10):
                    manager.start_soon_threadsafe(work, n, name=f"task {n}")

            async with anyio.create_task_group() as group:
                for n in range(10):
                    group.start_soon(anyio.to_thread.run_sync, send, n * 10)
            await asyncio.sleep(0.001)
            report = await manager.drain()
            assert manager.statistics().accepted == 100, report

    run_on(new_loop, main())
    assert sorted(seen) == [(n, threading.get_ident()) for n in range(100)]


def test_work_from_a_thread_that_is_refused_in_the_loop(caplog: pytest.LogCaptureFixture) -> None:
    """Closed, full, or no coroutine function: it is logged, told to the hooks and counted, once each."""
    rejected: list[tuple[str, type[Exception]]] = []

    class Hook:
        """Takes note."""

        def rejected(self, name: str, error: Exception) -> None:
            rejected.append((name, type(error)))

    async def main() -> None:
        manager = TaskManager(limit=1, pending_limit=0, hooks=[Hook()])
        async with manager:
            manager.start_soon(asyncio.sleep, 0.01)
            manager.start_soon_threadsafe(give, name="too many")
            await asyncio.sleep(0.02)
            manager.start_soon_threadsafe(lambda: 5, name="no task")  # type: ignore[arg-type,return-value]
            await asyncio.sleep(0.001)
            manager.start_soon_threadsafe(give, name="too late")
        await asyncio.sleep(0.001)
        assert manager.statistics().rejected == 3
        with pytest.raises(OwnerClosed, match="it is closed"):
            await anyio.to_thread.run_sync(manager.start_soon_threadsafe, give)

    asyncio.run(main())
    assert rejected[:3] == [("too many", ManagerFull), ("no task", TypeError), ("too late", OwnerClosed)]
    assert [record.getMessage() for record in caplog.records] == ["task refused"] * 3


# The account


@virtual
async def test_the_account_closes(bubble: Bubble) -> None:
    """Every field, at a moment with something in each, and at the end."""
    manager = TaskManager("all kinds", limit=2, pending_limit=2, drain_timeout=0, on_error=lambda handle, error: None)

    async def stubborn() -> None:
        for _ in range(3):
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(20)

    await manager.start_soon(asyncio.sleep, 0)
    await manager.start_soon(fail).wait()
    cancelled = manager.start_soon(give)
    await asyncio.sleep(0)
    cancelled.cancel()
    await cancelled.wait()
    manager.start_soon(stubborn)
    manager.start_soon(give)
    manager.start_soon(give).cancel()
    manager.start_soon(give)
    manager.start_soon(give)
    with pytest.raises(ManagerFull):
        manager.start_soon(give)
    statistics = manager.statistics()
    assert (statistics.name, statistics.state, statistics.limit) == ("all kinds", "open", 2)
    assert (statistics.running, statistics.pending, len(manager)) == (2, 2, 4)
    assert (statistics.accepted, statistics.started, statistics.discarded) == (8, 5, 1)
    assert (statistics.finished, statistics.failed, statistics.cancelled) == (1, 1, 1)
    assert (statistics.rejected, statistics.abandoned) == (1, 0)
    manager._check_invariants()
    report = await manager.aclose()
    statistics = manager.statistics()
    assert (statistics.state, statistics.running, statistics.pending) == ("closed", 0, 0)
    assert (statistics.started, statistics.discarded, statistics.abandoned) == (5, 3, 1)
    assert statistics.cancelled == 2
    assert [left.name for left in report.abandoned] == ["test_the_account_closes.<locals>.stubborn"]
    manager._check_invariants()
    await asyncio.sleep(30)  # the third nap ends by itself
    statistics = manager.statistics()
    assert (statistics.finished, statistics.abandoned) == (2, 0)
    manager._check_invariants()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")
def test_a_manager_under_an_eager_task_factory() -> None:
    """Tasks may have ended before start_soon returns: nothing is left, everything is counted."""

    async def quick() -> int:
        return 5

    async def main() -> None:
        async with TaskManager() as manager:
            assert manager.start_soon(quick).result() == 5
            assert manager.create_task(quick()).result() == 5
            assert (await manager.spawn(quick)).result() == 5
            assert len(manager) == 0
            manager._check_invariants()

    run_on(eager_loop, main())


async def everything(bubble: Bubble) -> None:
    """Use each way of taking work in."""
    async with TaskManager("jobs", limit=2, drain_timeout=2, on_error=lambda handle, error: None) as manager:
        manager.start_soon(give)
        manager.start_soon(fail)
        manager.create_task(give())
        await manager.spawn(give)
        manager.start_soon_threadsafe(give)
        manager.start_soon(give).cancel()


def test_no_interruption_leaves_anything(part: dict[str, int]) -> None:
    """Each task, struck at each point in each way."""
    explore_cancellation(everything, schedules=2, **part).assert_clean()
