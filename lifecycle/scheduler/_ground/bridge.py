"""From a thread into the event loop: the only file of the scheduler that touches the native loop."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import weakref
from collections.abc import Callable, Coroutine, Generator
from types import coroutine
from typing import Any, Generic, TypeVar

from .last_step import call_when_left

T = TypeVar("T")

#: What a cancelled task meets; also in threads, where anyio cannot be asked.
Cancelled = asyncio.CancelledError


_lived_in: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()
"""The loops that schedulers live in."""


class Bridge:
    """Calls functions in the loop it was made in, from any thread."""

    __slots__ = ("_loop", "_thread")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()

    def task_and_place(self) -> tuple[str, str]:
        """Return the name of the task that runs in the loop at this moment, and the line that it is at."""
        task = asyncio.current_task(self._loop)
        frame = sys._current_frames().get(self._thread)
        place = "an unknown place"
        if frame is not None:
            place = f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
        return (task.get_name() if task is not None else "a callback"), place

    @property
    def closed(self) -> bool:
        """Whether the loop is closed: who works for it in a thread has nobody to work for any more."""
        return self._loop.is_closed()

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Have ``function(*args)`` called in the loop soon; nothing happens when the loop is closed."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *args)


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the loop that runs in this thread, None when none does."""
    return asyncio._get_running_loop()


def loop_time() -> float:
    """Return the time of the running loop, also outside of tasks, in seconds."""
    return asyncio.get_running_loop().time()


def in_a_task() -> bool:
    """Return whether a task runs at this moment; none does when a coroutine is closed by the garbage collector."""
    return asyncio._get_running_loop() is not None and asyncio.current_task() is not None


def end_process(error: BaseException) -> None:
    """Raise *error*, which is to end the process, out of the loop, after the step that has met it."""

    def end() -> None:
        raise error

    asyncio.get_running_loop().call_soon(end)


def being_cancelled() -> bool:
    """Return whether a cancellation of the current task was requested that nobody has taken back, met or not."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def take_back_cancellation() -> None:
    """Take back what was requested of the current task, and let it meet what it has not met yet.

    Cancellation: swallowed; ask again who wants the task to end.
    """
    task = asyncio.current_task()
    assert task is not None
    _uncancel(task)
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(0)
    _uncancel(task)


def _uncancel(task: asyncio.Task[Any]) -> None:
    while task.cancelling():
        task.uncancel()


class OwnTask:
    """The task that makes this, as it is seen by others."""

    __slots__ = ("_task",)

    def __init__(self) -> None:
        self._task = asyncio.current_task()
        _lived_in.add(asyncio.get_running_loop())

    @property
    def cancelling(self) -> bool:
        """Whether a cancellation of it was requested."""
        return self._task is not None and self._task.cancelling() > 0


def cancel_again() -> None:
    """Deliver a cancellation of the current task that was held back, at its next suspension."""
    task = asyncio.current_task()
    assert task is not None
    task.uncancel()
    task.cancel()


class Bell:
    """Wakes the one task that waits; a ring before it waits is kept."""

    __slots__ = ("_rung", "_waiter")

    def __init__(self) -> None:
        self._rung = False
        self._waiter: asyncio.Future[None] | None = None

    def ring(self) -> None:
        """Wake the task that waits, or the next one that does."""
        self._rung = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self, timeout: float | None = None) -> None:
        """Return as soon as it has rung, or after *timeout* seconds; the ringing is used up.

        Cancellation: ends the waiting; a ringing is kept for the next one that waits.
        """
        if not self._rung:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            timer = None if timeout is None else loop.call_later(timeout, self.ring)
            try:
                await self._waiter
            finally:
                self._waiter = None
                if timer is not None:
                    timer.cancel()
        self._rung = False


class _Answer(asyncio.Future[Any]):
    """A future that a cancelled task does not take with it, where it is awaited by something `unbroken`.

    Waiting for it by another future would do as well, one turn of the loop later than those who wait for it directly.
    """

    may_end: Callable[[], bool] | None = None

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel it, if that may be; the task meets the cancellation when there is an answer otherwise."""
        return super().cancel(msg) if self.may_end is None or self.may_end() else False


class Reply(Generic[T]):
    """One answer that a task waits for and a thread gives, through `Bridge.call`."""

    __slots__ = ("_future",)

    def __init__(self) -> None:
        self._future: asyncio.Future[T] = _Answer(loop=asyncio.get_running_loop())

    def give(self, value: T) -> None:
        """Give the answer; nothing happens when the waiting has ended."""
        if not self._future.done():
            self._future.set_result(value)

    def fail(self, error: BaseException) -> None:
        """Give an error as the answer; nothing happens when the waiting has ended, however it has."""
        if not self._future.done():
            self._future.set_exception(error)
            self._future.exception()  # seen: a coroutine that was closed cannot tell the future that it waits no more

    def __await__(self) -> Generator[Any, None, T]:
        """Return the answer.

        Cancellation: ends the waiting; what was asked for is done nevertheless.
        """
        return self._future.__await__()


def loop_running_here() -> asyncio.AbstractEventLoop | None:
    """Return the loop in whose step this is called, if a scheduler lives in it."""
    loop = asyncio._get_running_loop()
    return loop if loop in _lived_in else None


def scheduler_lives() -> bool:
    """Return whether there is a loop that a scheduler lives in, or has lived in."""
    return bool(_lived_in)


def end_loop_here(loop: asyncio.AbstractEventLoop, instead: Callable[[], object]) -> None:
    """Have *instead* called in a forked child, in place of the next step that the copied *loop* would make.

    A loop that does not show its line would make the steps that are in it before that: there, when this step ends.
    """
    line = getattr(loop, "_ready", None)
    handle = loop.call_soon(instead)
    if line is not None:
        line.remove(handle)
        line.appendleft(handle)
        return
    coroutines = [task.get_coro() for task in asyncio.all_tasks(loop)]
    call_when_left({getattr(coroutine, "cr_frame", None) for coroutine in coroutines}, instead)


def call_after_first_steps(function: Callable[[], object]) -> None:
    """Have *function* called when the tasks that exist now have made a step, in a loop that keeps their order."""
    asyncio.get_running_loop().call_soon(function)


@coroutine
def unbroken(work: Coroutine[Any, Any, T], may_end: Callable[[], bool]) -> Generator[Any, Any, T]:
    """Return what the coroutine *work* returns: awaited to its end, in the task that awaits this, whoever cancels it.

    Without a task of its own, which `asyncio.shield` needs: most that is awaited like this does not even suspend.

    Args:
        work: what is awaited.
        may_end: called when the task is cancelled: whether that is to reach the work nevertheless.

    Cancellation: reaches the work where *may_end* says so; elsewhere it is taken back, and forgotten.
    """
    error: BaseException | None = None
    try:
        while True:
            try:
                awaited = work.send(None) if error is None else work.throw(error)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            error = None
            try:
                yield from _until_done(awaited, may_end)
            except asyncio.CancelledError as passed:
                error = passed
    finally:
        work.close()
        del error  # its traceback keeps this frame: a cycle


def _until_done(awaited: Any, may_end: Callable[[], bool]) -> Generator[Any, None, None]:
    """Wait for what the work awaits, so that a cancellation of the task does not cancel that."""
    kept = isinstance(awaited, _Answer)
    if kept:
        awaited.may_end = may_end
    elif awaited is not None:
        awaited._asyncio_future_blocking = False  # as the task does with what it is given
    while awaited is None or not awaited.done():
        try:
            if awaited is None or kept:
                yield awaited
            else:
                yield from _waiter_of(awaited)
        except asyncio.CancelledError:
            if may_end():
                raise
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()
        except Exception:
            if not kept or not awaited.done():
                raise
            # The answer is an error, which the task throws in here: the work gets it when it goes on.
        if awaited is None:
            return
        if kept and not awaited.done():  # it met a cancellation from before
            awaited._asyncio_future_blocking = True


def _waiter_of(future: asyncio.Future[Any]) -> Generator[Any, None, None]:
    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wake(_: object) -> None:
        if not waiter.done():
            waiter.set_result(None)

    future.add_done_callback(wake)
    try:
        yield from waiter
    finally:
        future.remove_done_callback(wake)
