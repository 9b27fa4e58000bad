"""Guarantees 4, 5, 6, 7, 14 and 16: how things are released, whatever happens meanwhile."""

import asyncio
import os
import socket
import warnings
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from lifecycle import ReleaseTimeout, Scope, TaskManager
from lifecycle.testing import Bubble, run_virtual

from .things import Diary, Stubborn

RELEASED = ["release of it began", "it released"]


def current_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


@asynccontextmanager
async def worker_of_anyio() -> Any:
    """What can be left in one task only, the one that has entered it: it holds scopes of anyio."""
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep, 3600)
        yield
        group.cancel_scope.cancel()


# G4


def test_a_native_cancellation_waits_for_the_release() -> None:
    """G4: three native cancellations during a release neither cut it short nor get lost; the count stays exact."""
    diary = Diary()

    async def closes() -> int:
        async with Scope() as scope:
            scope.push_async_callback(diary.release, "it")
        raise AssertionError("the cancellation was lost")

    async def scenario(bubble: Bubble) -> None:
        task = asyncio.create_task(closes())
        for _ in range(3):
            await asyncio.sleep(0.2)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelling() == 3
        assert bubble.clock.time() == 1.0

    run_virtual(scenario)
    assert diary.events == RELEASED


def test_a_held_cancellation_is_delivered_once() -> None:
    """G4: whoever catches the cancellation afterwards is not cancelled a second time."""
    diary = Diary()

    async def closes() -> str:
        try:
            async with Scope() as scope:
                scope.push_async_callback(diary.release, "it")
        except asyncio.CancelledError:
            current_task().uncancel()
        await asyncio.sleep(1)
        return "went on"

    async def scenario(bubble: Bubble) -> str:
        task = asyncio.create_task(closes())
        await asyncio.sleep(0.2)
        task.cancel()
        return await task

    assert run_virtual(scenario) == "went on"


def test_a_timeout_waits_for_the_release_and_still_times_out() -> None:
    """G4: ``asyncio.timeout`` around a scope raises TimeoutError, after the release."""
    diary = Diary()

    async def scenario(bubble: Bubble) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                async with Scope() as scope:
                    scope.push_async_callback(diary.release, "it")
        assert current_task().cancelling() == 0
        await asyncio.sleep(1)

    run_virtual(scenario)
    assert diary.events == RELEASED


def test_a_timeout_inside_a_release_works() -> None:
    """G4: being shielded from outside does not take a release its own timeouts and scopes."""
    diary = Diary()

    async def release() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await asyncio.sleep(1)
        with anyio.move_on_after(0.1) as scope:
            await anyio.sleep(1)
        assert scope.cancelled_caught
        diary.write("released")

    async def scenario(bubble: Bubble) -> None:
        async with Scope() as scope:
            scope.push_async_callback(release)
            current_task().cancel()

    with pytest.raises(asyncio.CancelledError):
        run_virtual(scenario)
    assert diary.events == ["released"]


def test_an_anyio_scope_waits_for_the_release() -> None:
    """G4: a cancelled anyio scope around a scope does not reach the release, and is still cancelled afterwards."""
    diary = Diary()

    async def scenario(bubble: Bubble) -> None:
        with anyio.move_on_after(0.1) as outer:
            async with Scope() as scope:
                scope.push_async_callback(diary.release, "it")
            await anyio.sleep(1)
            diary.write("too far")
        assert outer.cancelled_caught

    run_virtual(scenario)
    assert diary.events == RELEASED


def test_a_context_manager_is_left_under_the_shield() -> None:
    """G4: the exit of an entered context manager is not cut short either."""
    diary = Diary()

    @asynccontextmanager
    async def manager() -> Any:
        async with worker_of_anyio():
            yield
        await diary.release("it")

    async def scenario(bubble: Bubble) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                async with Scope() as scope:
                    await scope.enter(manager())

    run_virtual(scenario)
    assert diary.events == RELEASED


# G5


def test_a_release_past_its_deadline_is_cancelled_and_named() -> None:
    """G5: the error says which one, the others are released, and it is over when the time is."""
    diary = Diary()

    async def hangs() -> None:
        await asyncio.Event().wait()

    async def scenario(bubble: Bubble) -> None:
        with pytest.raises(ReleaseTimeout, match=r"hangs took longer than 3 s and was cancelled") as caught:
            async with Scope(close_timeout=3) as scope:
                scope.push_async_callback(diary.release, "it")
                scope.push_async_callback(hangs)
        assert "hangs" in caught.value.resource
        assert not caught.value.abandoned
        assert bubble.clock.time() == 4.0

    run_virtual(scenario)
    assert diary.events == RELEASED


def test_a_release_that_ignores_its_cancellation_is_abandoned() -> None:
    """G5: then too the others are released, within a bound, and the error says where it hangs."""
    diary = Diary()
    stubborn = Stubborn()

    async def scenario(bubble: Bubble) -> None:
        with pytest.raises(ReleaseTimeout) as caught:
            async with Scope(close_timeout=3) as scope:
                scope.push_async_callback(diary.release, "it")
                scope.push_async_callback(stubborn.run)
        assert caught.value.abandoned
        assert "Stubborn.run" in caught.value.stack[0]
        assert bubble.clock.time() == 3 + 3 + 1 + 1  # cancelled, cancelled again, and a grace; the callback takes 1
        assert stubborn.cancellations > 0
        await stubborn.let_go()

    run_virtual(scenario)
    assert diary.events == RELEASED


def test_a_task_that_will_not_stop_is_named() -> None:
    """G5: a stopped task has the same deadline as a release."""
    stubborn = Stubborn()

    async def scenario(bubble: Bubble) -> None:
        with pytest.raises(ReleaseTimeout, match="stubborn"):
            async with Scope(close_timeout=3) as scope:
                scope.start_soon(stubborn.run, name="stubborn")
                await asyncio.sleep(0)
        assert bubble.clock.time() <= 3 + 1
        await stubborn.let_go()

    run_virtual(scenario)


def test_a_manager_closes_within_its_two_timeouts() -> None:
    """G5: drained, cancelled, cancelled again: each for its time, and the report names what was abandoned."""
    stubborn = Stubborn()

    async def scenario(bubble: Bubble) -> None:
        manager = TaskManager(drain_timeout=2, cancel_timeout=1)
        manager.start_soon(asyncio.sleep, 1, name="short")
        manager.start_soon(asyncio.sleep, 3600, name="long")
        manager.start_soon(stubborn.run, name="stubborn")
        report = await manager.aclose()
        assert bubble.clock.time() == 2 + 1 + 1
        assert report.finished == 1
        assert set(report.cancelled) == {"long", "stubborn"}
        assert [left.name for left in report.abandoned] == ["stubborn"]
        await stubborn.let_go()

    run_virtual(scenario, check=False)  # the ledger rightly complains of the one that was abandoned


# G6


def failing(error: BaseException) -> Callable[[], None]:
    """Return a release that fails with *error*."""

    def fail() -> None:
        raise error

    return fail


def test_a_single_failure_is_raised_as_it_is() -> None:
    """G6: not in a group, and the very same object, be it of the body, of a task or of a release."""
    error = OSError("alone")

    async def fails() -> None:
        raise error

    async def in_the_body(scope: Scope) -> None:
        raise error

    async def in_a_task(scope: Scope) -> None:
        scope.start_soon(fails)
        await asyncio.sleep(1)

    async def in_a_release(scope: Scope) -> None:
        scope.callback(failing(error))

    for body in (in_the_body, in_a_task, in_a_release):

        async def scenario(bubble: Bubble, body: Any = body) -> None:
            with pytest.raises(OSError, match="alone") as caught:
                async with Scope() as scope:
                    await body(scope)
            assert caught.value is error

        run_virtual(scenario)


def test_several_failures_are_all_raised() -> None:
    """G6: the body's, a task's and those of two releases come out together, and every release was attempted."""
    errors = [ValueError("body"), OSError("first release"), KeyError("second release"), RuntimeError("task")]
    diary = Diary()

    async def fails_when_stopped() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            raise errors[3]

    async def scenario(bubble: Bubble) -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with Scope() as scope:
                scope.callback(diary.write, "the last release")
                scope.callback(failing(errors[1]))
                scope.start_soon(fails_when_stopped)
                scope.callback(failing(errors[2]))
                await asyncio.sleep(0.1)
                raise errors[0]
        assert set(caught.value.exceptions) == set(errors)
        assert all(repr(error) in repr(caught.value) for error in errors)

    run_virtual(scenario)
    assert diary.events == ["the last release"]


@pytest.mark.parametrize("fatal", [KeyboardInterrupt(), SystemExit(3)])
def test_what_ends_the_process_travels_bare(fatal: BaseException) -> None:
    """G6: in a group it would not end the process; the other errors hang on it, and all is released."""
    diary = Diary()

    def main() -> None:
        async def scenario() -> None:
            async with Scope() as scope:
                scope.callback(diary.write, "released")
                scope.callback(failing(OSError("lost?")))
                raise fatal

        asyncio.run(scenario())

    with pytest.raises(type(fatal)) as caught:
        main()
    assert caught.value is fatal
    assert diary.events == ["released"]
    assert "lost?" in str(caught.value.__context__)


# G7


def test_the_second_closer_waits_for_the_first() -> None:
    """G7: both come back when everything is released, from whatever task they come, and a third does nothing."""
    diary = Diary()

    async def scenario(bubble: Bubble) -> None:
        scope, manager = Scope(), TaskManager()
        scope.push_async_callback(diary.release, "it")
        manager.start_soon(asyncio.sleep, 1)

        async def close(owner: Scope | TaskManager) -> float:
            await owner.aclose()
            return bubble.clock.time()

        first = [asyncio.create_task(close(owner)) for owner in (scope, manager)]
        await asyncio.sleep(0.5)
        assert [await close(owner) for owner in (scope, manager)] == [1.0, 1.0]
        assert [await task for task in first] == [1.0, 1.0]
        await scope.aclose()
        assert await manager.aclose() is await manager.aclose()

    run_virtual(scenario)
    assert diary.events == RELEASED


def test_an_owner_is_opened_in_one_task_and_closed_in_another() -> None:
    """G7: also with a context manager in it that holds anyio scopes."""
    diary = Diary()

    @asynccontextmanager
    async def manager() -> Any:
        async with worker_of_anyio():
            yield
        diary.write("left")

    async def scenario(bubble: Bubble) -> None:
        scope = Scope()
        await scope.enter(manager())
        await asyncio.create_task(scope.aclose())

    run_virtual(scenario)
    assert diary.events == ["left"]


@pytest.mark.parametrize("owner_type", [Scope, TaskManager])
def test_a_task_that_closes_its_own_owner_does_not_wait_for_itself(owner_type: type[Scope] | type[TaskManager]) -> None:
    """G7: it comes back from the close, the other tasks are gone, and no virtual hour has passed."""
    diary = Diary()

    async def scenario(bubble: Bubble) -> None:
        owner = owner_type()

        async def closes() -> None:
            await owner.aclose()
            diary.write("closed by its own task")

        await owner.start_soon(closes)
        assert bubble.clock.time() == 0

    run_virtual(scenario, check=False)  # the closing task outlives its owner, which the ledger takes for a leak
    assert diary.events == ["closed by its own task"]


@pytest.mark.parametrize("outer_type", [Scope, TaskManager])
def test_a_task_may_close_the_owner_of_its_owner(outer_type: type[Scope] | type[TaskManager]) -> None:
    """G7: the task between them waits for the one that closes, so it is not waited for in a circle."""
    diary = Diary()

    async def scenario(bubble: Bubble) -> None:
        outer = outer_type()

        async def closes() -> None:
            await asyncio.sleep(1)
            await outer.aclose()
            diary.write("closed from below")

        async def between() -> None:
            async with TaskManager() as inner:
                inner.start_soon(closes)

        await outer.start_soon(between).wait()
        assert bubble.clock.time() == 1

    run_virtual(scenario, check=False)  # as above
    assert diary.events == ["closed from below"]


def test_a_scope_that_stops_a_task_waits_for_nobody_who_waits_for_it() -> None:
    """G7: the cancelled task closes the owner of the one that asked for it all."""
    diary = Diary()

    async def scenario(bubble: Bubble) -> None:
        scope = Scope()

        async def closes() -> None:
            await scope.aclose()
            diary.write("closed from below")

        async def between() -> None:
            async with TaskManager() as inner:
                await inner.start_soon(closes).wait()

        await scope.start_soon(between).wait()
        await bubble.wait_all_blocked()
        assert bubble.clock.time() == 0

    run_virtual(scenario, check=False)  # as above
    assert diary.events == ["closed from below"]


def test_a_release_that_closes_its_own_scope_does_not_wait_for_itself() -> None:
    """G7: the close that is under way is enough."""
    diary = Diary()

    async def scenario(bubble: Bubble) -> None:
        scope = Scope()
        scope.callback(diary.write, "older")

        async def closes() -> None:
            await asyncio.sleep(0)
            await scope.aclose()

        scope.push_async_callback(closes)
        await scope.aclose()
        assert bubble.clock.time() == 0

    run_virtual(scenario)
    assert diary.events == ["older"]


# G14


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one connection."""
    async with Scope() as scope:
        scope.callback(writer.close)
        while line := await reader.readline():
            writer.write(line)


async def open_and_use() -> None:
    """Own a server, connections, files and tasks, and lose interest in the middle."""
    async with TaskManager(drain_timeout=0) as manager, Scope() as scope:

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            manager.start_soon(echo, reader, writer)

        def stop(server: asyncio.Server) -> None:
            server.close()

        server = await scope.acquire(asyncio.start_server, accept, "127.0.0.1", 0, release=stop)
        address = server.sockets[0].getsockname()
        for _ in range(5):
            connection = await scope.acquire(asyncio.open_connection, *address, release=lambda it: it[1].close())
            connection[1].write(b"hello\n")
            assert await connection[0].readline() == b"hello\n"
            scope.start_soon(connection[0].readline)
        await scope.acquire(socket.socket)
        scope.enter_context(Path(os.devnull).open())  # noqa: SIM115
        manager.start_soon(asyncio.sleep, 3600)
        raise OSError("enough")


def test_nothing_is_left_of_an_owner() -> None:
    """G14: no task, no descriptor, no complaint of the loop or the interpreter, ten times over."""
    complaints: list[dict[str, Any]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        counts = []
        for _ in range(10):
            with pytest.raises(OSError, match="enough"):
                await open_and_use()
            await asyncio.sleep(0.05)  # transports close their sockets in the next turn of the loop
            assert asyncio.all_tasks() == {current_task()}
            counts.append(len(os.listdir("/proc/self/fd")))
        assert len(set(counts)) == 1, counts

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(main())
    assert not complaints


def test_a_scope_in_a_bubble_leaves_no_timer() -> None:
    """G14: the deadlines of releases and tasks are gone as well, or the virtual loop would find them."""

    async def scenario(bubble: Bubble) -> None:
        async with Scope(close_timeout=30) as scope, TaskManager() as manager:
            scope.push_async_callback(asyncio.sleep, 1)
            scope.start_soon(asyncio.sleep, 3600)
            manager.start_soon(asyncio.sleep, 1)
            await asyncio.sleep(0)

    run_virtual(scenario)


# G16


def test_a_release_under_a_cancelled_scope_lets_the_loop_sleep() -> None:
    """G16: anyio repeats its cancellation in every turn of the loop; behind the shield there are next to no turns."""
    turns = 0

    class Counting(asyncio.SelectorEventLoop):
        def _run_once(self) -> None:
            nonlocal turns
            turns += 1
            super()._run_once()  # type: ignore[misc]

    async def main() -> None:
        nonlocal turns
        with anyio.CancelScope() as outer:
            async with Scope() as scope:
                scope.push_async_callback(asyncio.sleep, 0.2)
                outer.cancel()
                turns = 0
        assert turns < 30

    with asyncio.Runner(loop_factory=Counting) as runner:
        runner.run(main())
