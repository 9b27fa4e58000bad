"""start(): the handshake by which a task says that it is ready."""

import asyncio
import weakref
from typing import Any

import anyio
import pytest
from anyio.abc import TaskStatus as AnyioTaskStatus

from lifecycle import OwnerClosed, Scope, TaskManager, TaskStatus
from lifecycle.testing import Bubble, explore_cancellation

from ..collection import without_collection
from ..loops import on_every_loop, run_on, virtual


class Failure(Exception):
    """What a task raises."""


async def serve(address: str, *, task_status: AnyioTaskStatus[str]) -> str:
    """Be ready after a second and end after another."""
    await asyncio.sleep(1)
    task_status.started(f"bound to {address}")
    await asyncio.sleep(1)
    return "served"


async def fail_early(*, task_status: AnyioTaskStatus[None]) -> None:
    """Fail before being ready."""
    await asyncio.sleep(1)
    raise Failure("early")


def errors_of(manager_options: dict[str, Any]) -> list[BaseException]:
    """Return a list that will hold the errors reported by a manager with these options."""
    errors: list[BaseException] = []
    manager_options["on_error"] = lambda handle, error: errors.append(error)
    return errors


@virtual
async def test_the_value_arrives_while_the_task_goes_on(bubble: Bubble) -> None:
    """start() returns what the task hands to started(); the task runs on, under its own name or a given one."""
    async with TaskManager() as manager:
        assert await manager.start(serve, "a:1") == "bound to a:1"
        assert bubble.clock.time() == 1.0
        assert [handle.name for handle in manager._running] == ["serve"]
        await manager.start(serve, "a:2", name="second")
        assert {handle.name for handle in manager._running} >= {"second"}
    assert bubble.clock.time() == 3.0
    assert manager.statistics().finished == 2


@on_every_loop
def test_start_works_on_every_loop(new_loop: Any) -> None:
    """Also where the task makes its first step at once, and is ready before anybody waits."""

    async def ready_at_once(*, task_status: AnyioTaskStatus[int]) -> None:
        task_status.started(5)

    async def main() -> Any:
        async with TaskManager() as manager, Scope() as scope:
            return await manager.start(ready_at_once), await scope.start(ready_at_once)

    assert run_on(new_loop, main()) == (5, 5)


@virtual
async def test_an_early_error_goes_to_the_caller_and_nowhere_else(bubble: Bubble) -> None:
    """It is raised by start(), as it is; nothing is reported or counted as a failure."""
    options: dict[str, Any] = {}
    errors = errors_of(options)
    async with TaskManager(**options) as manager:
        with pytest.raises(Failure, match="early"):
            await manager.start(fail_early)
        assert not errors
        assert manager.statistics().failed == 0
        assert len(manager) == 0


@virtual
async def test_a_late_error_is_reported(bubble: Bubble) -> None:
    """After started() it is an error like any other."""

    async def fail_late(*, task_status: AnyioTaskStatus[None]) -> None:
        task_status.started()
        raise Failure("late")

    options: dict[str, Any] = {}
    errors = errors_of(options)
    async with TaskManager(**options) as manager:
        assert await manager.start(fail_late) is None
    assert [str(error) for error in errors] == ["late"]


@virtual
async def test_a_task_that_forgets_to_say_so(bubble: Bubble) -> None:
    """Returning without started() is an error of the caller's; so is a function that takes no task_status."""

    async def forgets(*, task_status: Any) -> None:
        pass

    async def does_not_know() -> None:
        pass

    def is_not_async(*, task_status: Any) -> None:
        pass

    async with TaskManager() as manager:
        with pytest.raises(RuntimeError, match=r"forgets' returned without calling task_status.started\(\)"):
            await manager.start(forgets)
        with pytest.raises(TypeError, match="task_status"):
            await manager.start(does_not_know)
        with pytest.raises(TypeError, match="expected an async function"):
            await manager.start(is_not_async)  # type: ignore[arg-type]


@virtual
async def test_saying_it_twice(bubble: Bubble) -> None:
    """The second started() raises, in the task."""

    async def twice(*, task_status: AnyioTaskStatus[int]) -> None:
        task_status.started(1)
        task_status.started(2)

    options: dict[str, Any] = {}
    errors = errors_of(options)
    async with TaskManager(**options) as manager:
        assert await manager.start(twice) == 1
    assert "called task_status.started() twice" in str(errors[0])


@virtual
@pytest.mark.parametrize("way", ["natively", "by a scope", "by a timeout"])
async def test_a_cancelled_caller_takes_the_task_with_it(bubble: Bubble, way: str) -> None:
    """The half-started task is cancelled with a reason; the manager sees it off."""

    async def caller() -> None:
        with anyio.move_on_after(0.5 if way == "by a scope" else 99):
            async with asyncio.timeout(0.5 if way == "by a timeout" else 99):
                await manager.start(serve, "a:1")

    async with TaskManager() as manager:
        task = asyncio.create_task(caller())
        await asyncio.sleep(0.2)
        (handle,) = manager._running
        await asyncio.sleep(0.2)
        if way == "natively":
            task.cancel()
        await asyncio.wait([task])
        await handle.wait()
        assert handle.status is TaskStatus.CANCELLED
        assert handle.cancel_reason == "the start of 'serve' was cancelled"
        if way == "by a timeout":
            assert isinstance(task.exception(), TimeoutError)
    assert manager.statistics().cancelled == 1


@virtual
async def test_a_task_whose_caller_left_reports_its_error_itself(bubble: Bubble) -> None:
    """Nobody waits for the error of its clean-up any more: it must not be lost; a late started() is harmless."""

    async def cleans_up_badly(*, task_status: AnyioTaskStatus[None]) -> None:
        try:
            await asyncio.sleep(10)
        finally:
            task_status.started()
            raise Failure("in the clean-up")

    options: dict[str, Any] = {}
    errors = errors_of(options)
    async with TaskManager(**options) as manager:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await manager.start(cleans_up_badly)
    assert [str(error) for error in errors] == ["in the clean-up"]
    assert manager.statistics().failed == 1


@virtual
async def test_an_error_that_comes_when_nobody_waits_is_reported(bubble: Bubble) -> None:
    """The task never becomes ready, and fails after its caller has left."""

    async def fails_later(*, task_status: AnyioTaskStatus[None]) -> None:
        try:
            await asyncio.sleep(10)
        finally:
            raise Failure("in the clean-up")

    options: dict[str, Any] = {}
    errors = errors_of(options)
    async with TaskManager(**options) as manager:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await manager.start(fails_later)
    assert [str(error) for error in errors] == ["in the clean-up"]


@virtual
async def test_a_task_that_is_cancelled_before_it_is_ready(bubble: Bubble) -> None:
    """Its caller gets an error that says so; it has not been cancelled itself."""
    async with TaskManager() as manager:
        caller = asyncio.create_task(manager.start(serve, "a:1"))
        await asyncio.sleep(0.5)
        (handle,) = manager._running
        handle.cancel()
        with pytest.raises(RuntimeError, match=r"'serve' was cancelled before it called task_status.started\(\)"):
            await caller


@virtual
@pytest.mark.parametrize("way", ["dropped from the line", "discarded by a close", "cancelled from outside"])
async def test_a_task_that_never_began(bubble: Bubble, way: str) -> None:
    """Its caller does not wait for ever."""
    manager = TaskManager(limit=1 if way != "cancelled from outside" else None, drain_timeout=1)
    manager.start_soon(asyncio.sleep, 2)
    await asyncio.sleep(0.1)
    caller = asyncio.create_task(manager.start(serve, "a:1"))
    await bubble.wait_all_blocked() if way != "cancelled from outside" else await asyncio.sleep(0)
    if way == "dropped from the line":
        manager._slots.queued_tasks()[0].cancel()
    elif way == "cancelled from outside":
        (task,) = (handle._task for handle in manager._running if handle.name == "serve")
        assert task is not None
        task.cancel()
    else:
        await manager.aclose()
    with pytest.raises(RuntimeError, match="before it called"):
        await caller
    await manager.aclose()


@virtual
async def test_a_closed_owner_starts_nothing(bubble: Bubble) -> None:
    """The function is not called."""
    manager = TaskManager()
    await manager.aclose()
    with pytest.raises(OwnerClosed, match="does not take task 'serve': it is closed"):
        await manager.start(serve, "a:1")


def test_an_early_error_makes_no_reference_cycle() -> None:
    """It goes with its last user, and the arguments with it."""

    class Thing:
        """An argument."""

    async def fail_with(thing: Thing, *, task_status: Any) -> None:
        raise Failure

    async def main() -> None:
        async with TaskManager() as manager:
            thing = Thing()
            gone = [weakref.ref(thing)]
            try:
                await manager.start(fail_with, thing)
            except Failure as error:
                gone.append(weakref.ref(error))
            del thing
            await asyncio.sleep(0.001)
            assert [ref() for ref in gone] == [None, None]

    with without_collection():
        asyncio.run(main())


async def starts_and_stops(bubble: Bubble) -> None:
    """Start two tasks one after the other."""
    async with TaskManager(drain_timeout=0.5, on_error=lambda handle, error: None) as manager:
        await manager.start(serve, "a:1")
        await manager.start(serve, "a:2")


def test_no_interruption_leaves_a_half_started_task() -> None:
    """Caller and tasks, struck at each point in each way."""
    explore_cancellation(starts_and_stops).assert_clean()
