"""TaskHandle: the life of one task, what may be asked of it, cancelling it, and what it keeps alive."""

import asyncio
import contextvars
import sys
import weakref
from collections.abc import Coroutine
from typing import Any

import anyio
import pytest

from lifecycle import TaskCancelled, TaskHandle, TaskManager, TaskNotFinished, TaskStatus
from lifecycle.testing import Bubble

from ..collection import without_collection
from ..loops import on_every_loop, run_on, virtual


class Failure(Exception):
    """What a task raises."""


class Thing:
    """Something that a task holds."""


def ignore_error(handle: TaskHandle[Any], error: BaseException) -> None:
    """Take note of nothing."""


async def give(value: Any) -> Any:
    """Return the value after a second."""
    await asyncio.sleep(1)
    return value


async def fail() -> None:
    """Raise after a second."""
    await asyncio.sleep(1)
    raise Failure("no")


def current_task() -> asyncio.Task[Any]:
    """Return the calling task."""
    task = asyncio.current_task()
    assert task is not None
    return task


# Its life


@virtual
async def test_a_task_that_returns(bubble: Bubble) -> None:
    """Pending, running, finished; the value is to be had in four ways."""
    async with TaskManager() as manager:
        handle = manager.start_soon(give, 7, name="seven")
        assert (handle.status, handle.done(), handle.started_at) == (TaskStatus.PENDING, False, None)
        assert repr(handle) == "<TaskHandle 'seven' pending>"
        await asyncio.sleep(0.5)
        assert (handle.status, handle.done(), handle.started_at) == (TaskStatus.RUNNING, False, 0.0)
        assert await handle == 7
        assert (handle.status, handle.done(), handle.started_at) == (TaskStatus.FINISHED, True, 0.0)
        assert handle.result() == handle.return_value == await handle == 7
        assert handle.exception() is None
        assert repr(handle) == "<TaskHandle 'seven' finished>"


@virtual
async def test_a_task_that_fails(bubble: Bubble) -> None:
    """Its own error, the same object, comes out in each way."""
    async with TaskManager(on_error=ignore_error) as manager:
        handle = manager.start_soon(fail)
        await handle.wait()
        assert handle.status is TaskStatus.FAILED
        error = handle.exception()
        assert type(error) is Failure
        with pytest.raises(Failure) as caught:
            handle.result()
        assert caught.value is error
        with pytest.raises(Failure) as caught:
            await handle
        assert caught.value is error


@virtual
async def test_a_task_that_is_cancelled(bubble: Bubble) -> None:
    """Whoever asks for the result gets TaskCancelled with the reason: it has not been cancelled itself."""
    async with TaskManager() as manager:
        handle = manager.start_soon(give, 1, name="one")
        assert (handle.cancelling(), handle.cancel_reason) == (False, None)
        await asyncio.sleep(0.5)
        assert handle.cancel("not needed")
        assert (handle.cancelling(), handle.cancel_reason) == (True, "not needed")
        with pytest.raises(TaskCancelled, match=r"^task 'one' was cancelled \(not needed\)$"):
            await handle
        assert (handle.status, handle.cancelling()) == (TaskStatus.CANCELLED, False)
        with pytest.raises(TaskCancelled):
            handle.exception()
        assert not handle.cancel("again")
        assert handle.cancel_reason == "not needed"
        silent = manager.start_soon(give, 1, name="two")
        silent.cancel()
        with pytest.raises(TaskCancelled, match=r"^task 'two' was cancelled$"):
            await silent


@virtual
async def test_a_result_that_is_not_there_yet_is_not_made_up(bubble: Bubble) -> None:
    """The error says in which state the task is, and is also asyncio's and anyio's."""
    async with TaskManager() as manager:
        handle = manager.start_soon(give, 1, name="one")
        for error_type in (TaskNotFinished, asyncio.InvalidStateError, anyio.TaskNotFinished):
            with pytest.raises(error_type, match="task 'one' is pending; await it"):
                handle.result()
            with pytest.raises(error_type):
                handle.exception()


@virtual
async def test_a_task_that_cancels_itself_by_raising(bubble: Bubble) -> None:
    """A CancelledError that nobody asked for is a cancellation as well."""

    async def give_up() -> None:
        raise asyncio.CancelledError

    async with TaskManager() as manager:
        handle = manager.start_soon(give_up)
        await handle.wait()
        assert handle.status is TaskStatus.CANCELLED
        assert manager.statistics().cancelled == 1


# Waiting for it


@virtual
async def test_a_cancelled_waiter_leaves_the_task_alone(bubble: Bubble) -> None:
    """One of three waiters is cancelled; the task goes on, and the others get its value."""
    async with TaskManager() as manager:
        handle = manager.start_soon(give, 7)

        async def ask() -> Any:
            return await handle

        waiters = [asyncio.ensure_future(ask()) for _ in range(3)]
        await asyncio.sleep(0.5)
        waiters[1].cancel()
        await asyncio.wait(waiters)
        assert waiters[1].cancelled()
        assert (waiters[0].result(), waiters[2].result()) == (7, 7)


@virtual
async def test_a_value_is_not_lost_with_its_waiter(bubble: Bubble) -> None:
    """The waiter is cancelled in the very step in which the task ends: the value is still in the handle."""
    async with TaskManager() as manager:
        handle = manager.start_soon(give, 7)
        waiter = asyncio.ensure_future(handle.wait())
        await asyncio.sleep(0.5)
        bubble.loop.call_at(1.0, lambda: bubble.loop.call_soon(waiter.cancel))
        await asyncio.sleep(1)
        assert waiter.done()
        assert handle.result() == 7


@virtual
async def test_a_waiter_that_is_cancelled_in_the_last_step_of_the_task(bubble: Bubble) -> None:
    """It is cancelled, although the task ends before it notices; the others are told."""

    async def cancel_one_and_end() -> int:
        await asyncio.sleep(1)
        waiters[0].cancel()
        return 7

    async with TaskManager() as manager:
        handle = manager.start_soon(cancel_one_and_end)
        waiters = [asyncio.ensure_future(handle.wait()) for _ in range(2)]
        await asyncio.wait(waiters)
        assert [waiter.cancelled() for waiter in waiters] == [True, False]


@virtual
async def test_wait_does_not_ask_how(bubble: Bubble) -> None:
    """wait() returns after every kind of end, at once when the task is done."""
    async with TaskManager(on_error=ignore_error) as manager:
        for handle in (manager.start_soon(give, 1), manager.start_soon(fail), manager.start_soon(give, 2)):
            waiter = asyncio.ensure_future(handle.wait())
            await asyncio.sleep(0.1)
            if handle.status is TaskStatus.RUNNING:
                handle.cancel()
            await waiter
            await handle.wait()
            assert handle.done()


@on_every_loop
def test_awaiting_from_another_task(new_loop: Any) -> None:
    """Handles are awaitable wherever futures are, on every loop."""

    async def main() -> list[Any]:
        async with TaskManager() as manager:
            handles = [manager.start_soon(asyncio.sleep, 0.001, n) for n in range(3)]
            return list(await asyncio.gather(*handles))

    assert run_on(new_loop, main()) == [0, 1, 2]


# Cancelling it


@virtual
async def test_a_pending_task_makes_its_first_step_before_it_is_cancelled(bubble: Bubble) -> None:
    """G15: what was handed to the task reaches its body, whose clean-up runs."""
    cleaned = []

    async def use(thing: str) -> None:
        try:
            await asyncio.sleep(1)
        finally:
            cleaned.append(thing)

    async with TaskManager() as manager:
        handle = manager.start_soon(use, "it")
        handle.cancel("at once")
        assert handle.status is TaskStatus.PENDING
        await handle.wait()
        assert handle.status is TaskStatus.CANCELLED
        assert cleaned == ["it"]


@virtual
async def test_a_task_that_never_suspends_cannot_be_cancelled(bubble: Bubble) -> None:
    """It returns, and so it has finished, whatever was asked."""

    async def quick() -> int:
        return 3

    async with TaskManager() as manager:
        handle = manager.start_soon(quick)
        handle.cancel()
        assert await handle == 3


@virtual
async def test_a_second_cancellation_reaches_a_task_that_swallowed_the_first(bubble: Bubble) -> None:
    """Each call of cancel() is delivered, with its own reason."""
    reasons = []

    async def stubborn() -> None:
        for _ in range(2):
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError as error:
                reasons.append(error.args[0])

    async with TaskManager() as manager:
        handle = manager.start_soon(stubborn)
        for reason in ("please", "now"):
            await asyncio.sleep(1)
            assert handle.cancel(reason)
        await handle
        assert reasons == ["please", "now"]


@on_every_loop
def test_a_shielded_section_is_not_pierced(new_loop: Any) -> None:
    """The cancellation waits for the end of the anyio shield, also of an outer one, and is delivered then."""
    steps: list[str] = []

    async def work() -> None:
        with anyio.CancelScope(shield=True), anyio.CancelScope():
            await asyncio.sleep(0.02)
            steps.append("shielded section ended")
        await asyncio.sleep(1)
        steps.append("not cancelled")

    async def main() -> None:
        async with TaskManager() as manager:
            handle = manager.start_soon(work)
            await asyncio.sleep(0.001)
            handle.cancel("now")
            handle.cancel("really")
            await handle.wait()
            assert handle.status is TaskStatus.CANCELLED

    run_on(new_loop, main())
    assert steps == ["shielded section ended"]


@virtual
async def test_a_task_that_ends_inside_its_shield_leaves_no_timer(bubble: Bubble) -> None:
    """G14: nobody goes on looking for the end of the shield; the bubble would find the timer."""

    async def work() -> int:
        with anyio.CancelScope(shield=True):
            await asyncio.sleep(1.01)
        return 5

    async with TaskManager() as manager:
        handle = manager.start_soon(work)
        await asyncio.sleep(1)
        handle.cancel()
        await asyncio.sleep(0.011)  # nobody waits for the handle: a waiter would have it cleaned up
    assert handle.result() == 5


@virtual
async def test_a_queued_task_that_somebody_waits_for_and_somebody_else_cancels(bubble: Bubble) -> None:
    """Whoever waits since it stood in line is told, also by an owner that watches nothing."""
    ended: list[TaskHandle[Any]] = []

    class Owner:
        """The least that a handle needs."""

        _clock = staticmethod(bubble.loop.time)
        _task_ended = staticmethod(ended.append)

    handle = TaskHandle(Owner(), give(1), "queued")  # type: ignore[arg-type]
    waiter = asyncio.ensure_future(handle.wait())
    await asyncio.sleep(0)
    handle._start()
    assert handle._task is not None
    handle._task.cancel()
    await waiter
    assert ended == [handle]


@virtual
async def test_a_foreign_cancellation_before_the_first_step_ends_the_handle(bubble: Bubble) -> None:
    """Whoever awaits the handle is told, the coroutine is closed, the record leaves: nothing is "never awaited"."""
    async with TaskManager() as manager:
        handle = manager.start_soon(give, 1)
        for task in asyncio.all_tasks() - {current_task()}:
            task.cancel()
        with pytest.raises(TaskCancelled):
            await handle
        assert len(manager) == 0
        assert manager.statistics().cancelled == 1


# What it keeps alive


async def use(thing: Thing) -> None:
    """Hold a thing for a moment."""
    await asyncio.sleep(0)


async def use_and_fail(thing: Thing) -> None:
    """Hold a thing for a moment, and fail without it."""
    await asyncio.sleep(0)
    del thing
    raise Failure("no")


async def keep_using(thing: Thing) -> None:
    """Hold a thing until cancelled."""
    await asyncio.sleep(3600)


@pytest.mark.parametrize("way", ["returns", "fails", "is cancelled", "is dropped", "is cancelled from outside"])
def test_a_kept_handle_does_not_keep_the_arguments(way: str) -> None:
    """When the task has ended, what was handed to it is gone at once, without the collector."""

    async def main() -> None:
        manager = TaskManager(limit=1 if way == "is dropped" else None, on_error=ignore_error)
        if way == "is dropped":
            blocker = manager.start_soon(keep_using, Thing())
        thing = Thing()
        gone = weakref.ref(thing)
        body = {"returns": use, "fails": use_and_fail}.get(way, keep_using)
        handle = manager.start_soon(body, thing)
        del thing
        if way == "is cancelled from outside":
            for task in asyncio.all_tasks() - {current_task()}:
                task.cancel()
        elif way.startswith("is"):
            await asyncio.sleep(0)
            handle.cancel()
        for _ in range(5):  # not handle.wait(): nobody needs to ask
            await asyncio.sleep(0.001)
        manager.statistics()
        assert handle.done()
        assert gone() is None
        if way == "is dropped":
            blocker.cancel()
        await manager.aclose()

    with without_collection():
        asyncio.run(main())


@pytest.mark.parametrize("body", [use, use_and_fail, keep_using])
def test_a_kept_handle_does_not_keep_the_context(body: Any) -> None:
    """A handle that outlives its task holds no context variables of it."""
    variable: contextvars.ContextVar[Thing] = contextvars.ContextVar("variable")

    async def main() -> None:
        async with TaskManager(on_error=ignore_error) as manager:
            thing = Thing()
            context = contextvars.Context()
            context.run(variable.set, thing)
            handle = manager.start_soon(body, Thing(), context=context)
            gone = weakref.ref(thing)
            del thing, context
            await asyncio.sleep(0)
            if body is keep_using:
                handle.cancel()
            await handle.wait()
            await asyncio.sleep(0.001)  # the loop lets go of the task
            assert gone() is None

    with without_collection():
        asyncio.run(main())


async def ask_result(handle: TaskHandle[Any]) -> BaseException:
    """Return the error that `result` raises."""
    await handle.wait()
    try:
        handle.result()
    except Failure as error:
        return error
    finally:
        del handle  # this frame is in the traceback
    raise AssertionError


async def ask_by_awaiting(handle: TaskHandle[Any]) -> BaseException:
    """Return the error that awaiting raises."""
    try:
        await handle
    except Failure as error:
        return error
    finally:
        del handle  # this frame is in the traceback
    raise AssertionError


async def ask_exception(handle: TaskHandle[Any]) -> BaseException:
    """Return the error without its being raised."""
    await handle.wait()
    error = handle.exception()
    assert error is not None
    return error


@pytest.mark.parametrize("ask", [ask_result, ask_by_awaiting, ask_exception])
def test_an_error_makes_no_reference_cycle(ask: Any) -> None:
    """Handle and error go with their last user, without the collector, however the error was got."""

    async def main() -> None:
        async with TaskManager(on_error=ignore_error) as manager:
            handle = manager.start_soon(use_and_fail, Thing())
            error = await ask(handle)
            await asyncio.sleep(0.001)  # the loop lets go of the task
            gone = weakref.ref(error), weakref.ref(handle)
            del error, handle
            assert [ref() for ref in gone] == [None, None]

    with without_collection():
        asyncio.run(main())


@virtual
async def test_an_error_does_not_grow_with_those_who_ask_for_it(bubble: Bubble) -> None:
    """The traceback shows the task's frames and the asker's, not those of everyone who asked before."""

    def length(error: BaseException) -> int:
        count, traceback = 0, error.__traceback__
        while traceback is not None:
            count, traceback = count + 1, traceback.tb_next
        return count

    async with TaskManager(on_error=ignore_error) as manager:
        handle = manager.start_soon(fail)
        assert length(await ask_by_awaiting(handle)) == length(await ask_by_awaiting(handle))
        names = []
        traceback = (await ask_by_awaiting(handle)).__traceback__
        while traceback is not None:
            names.append(traceback.tb_frame.f_code.co_name)
            traceback = traceback.tb_next
        assert names[0] == "ask_by_awaiting"
        assert names[-1] == "fail"
        assert "_run" not in names


# Coroutines of all kinds


class HandMade(Coroutine[Any, Any, int]):
    """A coroutine that no ``async def`` has made, and that has no name."""

    def __init__(self) -> None:
        self.closed = False

    def send(self, value: Any) -> Any:
        raise StopIteration(5)

    def throw(self, *error: Any) -> Any:
        raise error[0]

    def close(self) -> None:
        self.closed = True

    def __await__(self) -> Any:
        return 5
        yield


@virtual
async def test_a_coroutine_without_a_name_goes_by_its_type(bubble: Bubble) -> None:
    """Any Coroutine will do, from a function or as it is."""
    async with TaskManager() as manager:
        for handle in (manager.start_soon(HandMade), manager.create_task(HandMade())):
            assert handle.name == "HandMade"
            assert await handle == 5
        assert await (await manager.spawn(HandMade)) == 5


@virtual
async def test_what_is_no_coroutine_is_refused(bubble: Bubble) -> None:
    """A plain function and a value are refused with a word about what was meant; nothing is counted."""
    async with TaskManager() as manager:
        for offer in (lambda: 5, lambda: "a value"):
            with pytest.raises(TypeError, match="pass the function itself"):
                manager.start_soon(offer, name="named")  # type: ignore[arg-type,type-var,unused-ignore]
            with pytest.raises(TypeError, match="pass the function itself"):
                manager.start_soon(offer)  # type: ignore[arg-type,type-var,unused-ignore]
            with pytest.raises(TypeError, match="pass the function itself"):
                await manager.spawn(offer)  # type: ignore[arg-type,type-var,unused-ignore]
        with pytest.raises(TypeError, match="got <function"):
            manager.create_task(give, name="named")  # type: ignore[arg-type]
        assert manager.statistics().accepted == 0
        manager._check_invariants()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")
@virtual
async def test_an_eager_task_has_made_its_first_step(bubble: Bubble) -> None:
    """Its handle runs, or is done, when start_soon returns; a cancellation of its own arrives."""

    async def cancels_itself() -> None:
        await asyncio.sleep(0)
        handles[0].cancel("enough")
        await asyncio.sleep(1)

    handles: list[TaskHandle[Any]] = []
    async with TaskManager(eager=True) as manager:
        handles.append(manager.start_soon(cancels_itself))
        assert handles[0].status is TaskStatus.RUNNING
        assert manager.start_soon(HandMade).status is TaskStatus.FINISHED
        await handles[0].wait()
        assert handles[0].status is TaskStatus.CANCELLED
