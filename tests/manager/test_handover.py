"""start_soon_threadsafe: the thread can wait for its task and cancel it, whatever becomes of manager and loop."""

import asyncio
import concurrent.futures
import contextvars
import gc
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import anyio
import pytest

from lifecycle import ManagerFull, OwnerClosed, TaskManager

from ..collection import without_collection
from ..loops import on_every_loop, run_on, some_turns

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")


class Failure(Exception):
    """What a task raises."""


async def give(value: Any) -> Any:
    """Return the value in a moment."""
    await asyncio.sleep(0.001)
    return value


async def fail() -> None:
    """Raise in a moment."""
    await asyncio.sleep(0.001)
    raise Failure("no")


async def fine() -> None:
    """Return at once."""


async def forever() -> None:
    """Run until cancelled."""
    await asyncio.Event().wait()


def ignore(*_: object) -> None:
    """Take note of nothing."""


@pytest.fixture
def other_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that runs in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    if not loop.is_closed():
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def bound_manager(loop: asyncio.AbstractEventLoop, **options: Any) -> TaskManager:
    """Return a manager that belongs to a loop in another thread."""

    async def enter() -> TaskManager:
        return await TaskManager(**options).__aenter__()

    return asyncio.run_coroutine_threadsafe(enter(), loop).result(5)


def close(manager: TaskManager, loop: asyncio.AbstractEventLoop) -> None:
    """Close a manager that belongs to a loop in another thread."""
    asyncio.run_coroutine_threadsafe(manager.aclose(), loop).result(5)


# Waiting


@on_every_loop
def test_a_thread_gets_what_its_task_returned_or_raised(new_loop: Any) -> None:
    """Value and error, the same object; done callbacks are called."""
    called: list[Future[Any]] = []

    def use(manager: TaskManager) -> None:
        future = manager.start_soon_threadsafe(give, 7)
        future.add_done_callback(called.append)
        assert future.result(5) == 7
        assert (future.done(), future.cancelled(), future.running()) == (True, False, False)
        assert future.exception() is None
        future = manager.start_soon_threadsafe(fail)
        error = future.exception(5)
        assert isinstance(error, Failure)
        with pytest.raises(Failure) as caught:
            future.result()
        assert caught.value is error

    async def main() -> None:
        async with TaskManager(on_error=ignore) as manager:
            await anyio.to_thread.run_sync(use, manager)

    run_on(new_loop, main())
    assert len(called) == 1


@on_every_loop
def test_it_is_a_future_like_those_of_an_executor(new_loop: Any) -> None:
    """`concurrent.futures.wait` and `as_completed` take it; `asyncio.wrap_future` brings it into a loop."""

    def use(manager: TaskManager) -> None:
        futures = [manager.start_soon_threadsafe(give, n) for n in range(3)]
        futures.append(manager.start_soon_threadsafe(forever))
        done, left = concurrent.futures.wait(futures[:3], timeout=60)
        assert (len(done), len(left)) == (3, 0)
        futures[3].cancel()
        assert len(list(concurrent.futures.as_completed(futures, timeout=60))) == 4

    async def main() -> None:
        async with TaskManager() as manager:
            await anyio.to_thread.run_sync(use, manager)
            assert await asyncio.wrap_future(manager.start_soon_threadsafe(give, 7)) == 7
            wrapped = asyncio.wrap_future(manager.start_soon_threadsafe(forever))
            await asyncio.sleep(0.001)
            wrapped.cancel()
            await manager.drain()

    run_on(new_loop, main())


def test_a_thread_may_stop_waiting(other_loop: asyncio.AbstractEventLoop) -> None:
    """The task goes on."""
    manager = bound_manager(other_loop)
    future = manager.start_soon_threadsafe(forever)
    with pytest.raises(TimeoutError):
        future.result(0.01)
    assert future.running()
    future.cancel()
    with pytest.raises(concurrent.futures.CancelledError):
        future.result(5)
    close(manager, other_loop)


def test_the_loop_does_not_wait_for_itself() -> None:
    """In the loop's own thread a wait would be one for ever; a look is none."""

    async def main() -> None:
        async with TaskManager() as manager:
            future = manager.start_soon_threadsafe(give, 7)
            for ask in (future.result, future.exception):
                with pytest.raises(RuntimeError, match="cannot be waited for in the thread of its own loop"):
                    ask(5)
                with pytest.raises(TimeoutError):
                    ask(0)
            assert await asyncio.wrap_future(future) == 7
            assert future.result(5) == 7

    asyncio.run(main())


# Cancelling


def test_a_cancelled_task_is_over_when_its_future_is(other_loop: asyncio.AbstractEventLoop) -> None:
    """The future is not done while the task cleans up: what `result` waits for is the end of it."""
    cleaning, may_end, ended = threading.Event(), threading.Event(), []

    async def clean_up() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            cleaning.set()
            while not may_end.is_set():
                await asyncio.sleep(0.001)
            ended.append("cleaned")

    manager = bound_manager(other_loop)
    future = manager.start_soon_threadsafe(clean_up)
    while not future.running():
        pass
    assert future.cancel()
    assert cleaning.wait(5)
    assert not future.done()
    may_end.set()
    with pytest.raises(concurrent.futures.CancelledError):
        future.result(5)
    assert (ended, future.cancelled(), future.cancel()) == (["cleaned"], True, True)
    close(manager, other_loop)


def test_a_task_that_has_ended_is_not_cancelled(other_loop: asyncio.AbstractEventLoop) -> None:
    """The answer is no, and the value stays."""
    manager = bound_manager(other_loop)
    future = manager.start_soon_threadsafe(give, 7)
    assert future.result(5) == 7
    assert not future.cancel()
    assert future.result() == 7
    close(manager, other_loop)


def test_a_task_that_the_loop_has_not_taken_in_never_begins() -> None:
    """It is cancelled at once, and neither its function nor a hook is called."""
    called: list[str] = []

    async def work() -> None:
        called.append("work")

    async def main() -> None:
        async with TaskManager() as manager:
            future = manager.start_soon_threadsafe(work)
            assert not future.running()
            assert future.cancel()
            assert (future.cancelled(), future.cancel()) == (True, True)
            await asyncio.sleep(0.001)
            assert manager.statistics().accepted == 0

    asyncio.run(main())
    assert called == []


def test_many_threads_cancel_many_tasks(other_loop: asyncio.AbstractEventLoop) -> None:
    """Whenever it comes, each future ends once: cancelled, or with the value; a second end would be an error."""
    problems: list[object] = []
    other_loop.call_soon_threadsafe(other_loop.set_exception_handler, lambda _, context: problems.append(context))
    manager = bound_manager(other_loop, limit=5)

    def send_and_cancel(n: int) -> None:
        futures = [manager.start_soon_threadsafe(give, n) for _ in range(50)]
        for future in futures[::2]:
            future.cancel()
        done, left = concurrent.futures.wait(futures, timeout=10)
        assert not left
        assert all(future.cancelled() or future.result() == n for future in done)
        assert not any(future.cancelled() for future in futures[1::2])

    with concurrent.futures.ThreadPoolExecutor(4) as executor:
        list(executor.map(send_and_cancel, range(8)))
    close(manager, other_loop)
    assert not problems
    manager._check_invariants()


# A manager that refuses or is closed meanwhile


def refused_late(manager: TaskManager) -> None:
    """Close the manager before its loop takes anything in."""
    manager.close()


def refused_full(manager: TaskManager) -> None:
    """Fill it up."""
    manager.start_soon(forever)


@pytest.mark.parametrize(("prepare", "error"), [(refused_late, OwnerClosed), (refused_full, ManagerFull)])
def test_a_refusal_in_the_loop_is_an_error_of_the_future(
    prepare: Callable[[TaskManager], None], error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    """The thread that waits is told; it is logged as well, for the one that does not."""

    async def main() -> None:
        manager = TaskManager(limit=1, pending_limit=0)
        async with manager:
            future = manager.start_soon_threadsafe(give, 7)
            prepare(manager)
            with pytest.raises(error):
                await asyncio.wrap_future(future)
            manager.cancel()

    asyncio.run(main())
    assert [record.getMessage() for record in caplog.records] == ["task refused"]


@pytest.mark.parametrize("queued", [False, True])
def test_a_task_that_the_close_ends_is_cancelled(other_loop: asyncio.AbstractEventLoop, queued: bool) -> None:
    """One that runs, and one that waited for a slot and is dropped."""
    manager = bound_manager(other_loop, limit=1, drain_timeout=0)
    if queued:
        manager.start_soon_threadsafe(forever)
    future = manager.start_soon_threadsafe(forever)
    close(manager, other_loop)
    with pytest.raises(concurrent.futures.CancelledError):
        future.result(5)


def bind(loop: asyncio.AbstractEventLoop, **options: Any) -> TaskManager:
    """Return a manager that belongs to a loop of this thread, and lives as long as the test."""

    async def enter() -> TaskManager:
        return await TaskManager("mail", **options).__aenter__()

    return loop.run_until_complete(enter())


@pytest.fixture
def leftovers() -> Iterator[None]:
    """What a loop leaves behind is collected after the test, and that it had not ended is not complained about."""
    with without_collection():
        yield
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            gc.collect()


def close_bare(loop: asyncio.AbstractEventLoop) -> None:
    """Close the loop as it is; what it leaves behind is not complained about."""
    loop.set_exception_handler(ignore)
    loop.close()


@on_every_loop
@pytest.mark.usefixtures("leftovers")
@pytest.mark.parametrize("state", ["handed over", "running", "in line", "stopped"])
def test_a_loop_that_is_closed_tells_the_thread(new_loop: Any, state: str) -> None:
    """Nobody has cancelled anything, and manager, loop and future are referenced: a thread does not wait for ever."""
    loop = new_loop()
    manager = bind(loop, limit=1)
    told: list[Future[Any]] = []
    if state == "in line":
        manager.start_soon_threadsafe(forever)
    future = manager.start_soon_threadsafe(forever, name="welcome")
    future.add_done_callback(told.append)
    if state == "stopped":
        loop.call_soon(loop.stop)
        loop.run_forever()
    elif state != "handed over":
        loop.run_until_complete(some_turns())
    assert not future.done()
    close_bare(loop)
    with pytest.raises(OwnerClosed, match="task 'welcome' of task manager 'mail' has not ended: its event loop was cl"):
        future.result(5)
    assert told == [future]
    assert not future.cancel()
    assert not future.running()
    with pytest.raises(OwnerClosed, match="its event loop is closed"):
        manager.start_soon_threadsafe(give, 7)


@on_every_loop
@pytest.mark.usefixtures("leftovers")
def test_a_thread_that_waits_is_woken_when_the_loop_is_closed(new_loop: Any) -> None:
    """It waits without a timeout, in each of the ways that there are."""
    loop = new_loop()
    manager = bind(loop)
    futures = [manager.start_soon_threadsafe(forever) for _ in range(3)]
    loop.run_until_complete(some_turns())
    seen: list[object] = []
    waits = [
        lambda: seen.append(futures[0].exception()),
        lambda: seen.extend(concurrent.futures.wait(futures).done),
        lambda: seen.extend(concurrent.futures.as_completed(futures)),
    ]
    threads = [threading.Thread(target=wait, daemon=True) for wait in waits]
    for thread in threads:
        thread.start()
    close_bare(loop)
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert len(seen) == 7


@on_every_loop
@pytest.mark.usefixtures("leftovers")
def test_what_ended_in_the_last_turn_of_its_loop_has_ended(new_loop: Any) -> None:
    """The loop is closed before it tells the thread: of a task that has returned it is not said that it has not."""
    loop = new_loop()
    manager = bind(loop)

    async def last() -> int:
        loop.stop()
        return 7

    future = manager.start_soon_threadsafe(last)
    loop.run_forever()
    close_bare(loop)
    assert future.result(5) == 7


@pytest.mark.usefixtures("leftovers")
@pytest.mark.parametrize("state", ["handed over", "running"])
def test_a_loop_that_is_neither_run_nor_closed(state: str) -> None:
    """Once nobody has it any more, nothing of it can go on; the future alone does not keep it."""
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(ignore)
    manager = bind(loop)
    future = manager.start_soon_threadsafe(forever)
    if state == "running":
        loop.run_until_complete(some_turns())
    gc.collect()
    assert not future.done()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # that it was not closed
        del loop, manager
        gc.collect()
    with pytest.raises(OwnerClosed):
        future.result(5)
    assert not future.cancel()


@pytest.mark.usefixtures("leftovers")
def test_a_loop_that_is_closed_while_it_takes_a_task_in() -> None:
    """Closed by its own thread in that very moment, it keeps the call and drops it no more: refused."""

    class Closing(asyncio.SelectorEventLoop):
        def call_soon_threadsafe(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:
            self.close()
            self._ready.append(handle := asyncio.Handle(callback, args, self, context))  # type: ignore[attr-defined]
            return handle

    loop = Closing()
    manager = bind(loop)
    with pytest.raises(OwnerClosed, match="its event loop is closed"):
        manager.start_soon_threadsafe(give, 7)


def test_a_loop_that_is_closed_while_the_task_runs() -> None:
    """The task is cancelled by the end of `asyncio.run`, and the future with it."""
    kept: list[Future[Any]] = []

    async def main() -> None:
        manager = await TaskManager().__aenter__()
        kept.append(manager.start_soon_threadsafe(forever))
        await asyncio.sleep(0.001)

    asyncio.run(main())
    with pytest.raises(concurrent.futures.CancelledError):
        kept[0].result(5)


# What it holds


def test_the_task_runs_in_the_context_of_the_thread(other_loop: asyncio.AbstractEventLoop) -> None:
    """G21: the submitter's, taken at submission."""

    async def look() -> str:
        return variable.get()

    manager = bound_manager(other_loop)
    context = contextvars.copy_context()
    context.run(variable.set, "the thread's")
    future = context.run(manager.start_soon_threadsafe, look)
    context.run(variable.set, "later")
    assert future.result(5) == "the thread's"
    close(manager, other_loop)


@pytest.mark.parametrize("way", ["returned", "failed", "refused", "cancelled"])
def test_nothing_is_kept(way: str) -> None:
    """A future that is done is part of no cycle, however that came."""

    async def main() -> None:
        async with TaskManager(on_error=ignore) as manager:
            future = manager.start_soon_threadsafe(fail if way == "failed" else forever if way == "cancelled" else fine)
            if way == "refused":
                manager.close()
            await asyncio.sleep(0)
            if way == "cancelled":
                future.cancel()
            while not future.done():
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.001)
            gone = weakref.ref(future)
            del future
            assert gone() is None

    with without_collection():
        asyncio.run(main())
