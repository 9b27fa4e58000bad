"""Handover: a task that another thread hands over to a loop, and the future by which that thread follows it."""

from __future__ import annotations

import weakref
from asyncio import AbstractEventLoop
from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock
from typing import Any, Generic, TypeVar

from .._ground import kernel
from .._ground.errors import OwnerClosed
from .._task.handle import TaskHandle

T = TypeVar("T")


class ThreadFuture(Future[T]):
    """The task as the thread sees it that has handed it over; every thread may use it.

    It is done when the task has ended, and not before: after `cancel` as well, so that nothing of the task runs any
    more when `result` returns or raises.

    Args:
        loop: where the task will run.
        name: the task's name.
    """

    def __init__(self, loop: AbstractEventLoop, name: str) -> None:
        super().__init__()
        self._loop = loop
        self._name = name
        #: Whoever takes this first, the loop or `cancel`, decides whether the task begins; it is never given back.
        self._decision = Lock()
        #: Weak, or the future would keep alive what is to tell it that it has been dropped.
        self._handle: weakref.ref[TaskHandle[T]] | None = None

    def cancel(self) -> bool:
        """Ask the task to end; return False when it has ended otherwise, or its loop has.

        A task that the loop has not taken in yet never begins.
        """
        if self._decide():
            self._note_cancelled()
            return True
        if self.done():
            return self.cancelled()
        try:
            self._loop.call_soon_threadsafe(self._cancel_task)
        except RuntimeError:  # the loop is closed
            return False
        return True

    def running(self) -> bool:
        """Return whether the loop has taken the task in, and it has not ended."""
        return self._decision.locked() and not self.done()

    def result(self, timeout: float | None = None) -> T:
        """Wait until the task has ended, and return what it returned, or raise what it raised.

        Raises:
            TimeoutError: it has not ended within *timeout* seconds; it goes on.
            concurrent.futures.CancelledError: it was cancelled.
            OwnerClosed: the owner, or its loop, has closed without taking it in.
            RuntimeError: the caller is in the loop's thread, where waiting would stop what it waits for.
        """
        self._check_wait(timeout)
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait until the task has ended, and return what it raised, None when it returned; see `result`."""
        self._check_wait(timeout)
        return super().exception(timeout)

    def _check_wait(self, timeout: float | None) -> None:
        if timeout == 0 or self.done():
            return
        try:
            loop = kernel.running_loop()
        except RuntimeError:
            return
        if loop is self._loop:
            raise RuntimeError(
                f"task {self._name!r} cannot be waited for in the thread of its own loop, which would stand still; "
                "await the handle that start_soon() returns, or asyncio.wrap_future(future)"
            )

    def _decide(self) -> bool:
        return self._decision.acquire(blocking=False)

    # In the loop

    def _cancel_task(self) -> None:
        handle = self._handle() if self._handle is not None else None
        if handle is not None:
            handle.cancel("cancelled by another thread")

    def _settle(self, handle: TaskHandle[T]) -> None:
        """Take over how the task has ended."""
        if handle.cancelled():
            self._note_cancelled()
        elif (error := handle.exception()) is not None:
            self.set_exception(error)
        else:
            self.set_result(handle.result())

    def _note_cancelled(self) -> None:
        super().cancel()
        self.set_running_or_notify_cancel()


class Handover(Generic[T]):
    """The loop's side: called there, it starts the task, and it tells the future how that ended.

    If it is dropped before, because its loop was closed, the future is told so: no thread waits for ever.

    Args:
        future: what the thread has.
        start: starts the task.
        owner: for the error of one that is dropped.
    """

    __slots__ = ("_begun", "_future", "_owner", "_start")

    def __init__(self, future: ThreadFuture[T], start: Callable[[], TaskHandle[T]], owner: object) -> None:
        #: Until it has been told: its error leads, by way of the frames below, to asyncio's handle, which keeps this.
        self._future: ThreadFuture[T] | None = future
        self._start: Callable[[], TaskHandle[T]] | None = start
        self._owner = str(owner)  # itself, it would refer back, through its tasks
        self._begun = False

    def __call__(self) -> None:
        """Start the task, unless the thread has cancelled it."""
        start, self._start = self._start, None
        future = self._future
        if start is None or future is None or not future._decide():
            return
        self._begun = True
        try:
            handle = start()
        except BaseException as error:
            self._future = None
            future.set_exception(error)
            if not isinstance(error, Exception):
                raise
        else:
            future._handle = weakref.ref(handle)
            handle.add_done_callback(self._tell)
        finally:
            del self, start, future  # the error's traceback keeps this frame, and the future the error: a cycle

    def _tell(self, handle: TaskHandle[Any]) -> None:
        future, self._future = self._future, None
        assert future is not None
        future._settle(handle)

    def __del__(self) -> None:
        future = self._future
        if future is not None and not future.done() and (self._begun or future._decide()):
            future.set_exception(
                OwnerClosed(f"task {future._name!r} of {self._owner} has not ended: its event loop was closed")
            )
