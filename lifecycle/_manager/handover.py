"""Handover: a task that another thread hands over to a loop, and the future by which that thread follows it."""

from __future__ import annotations

import weakref
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock
from typing import Any, Generic, TypeVar

from .._ground import kernel
from .._ground.closing import refuse
from .._ground.errors import OwnerClosed
from .._task.handle import TaskHandle

T = TypeVar("T")

#: Seconds after which no loop is in use any more.
CENTURY = 100 * 365.25 * 24 * 3600


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
        #: Weak, or a thread that waits would keep a loop that nobody runs or closes any more, and so its own wait.
        self._loop = weakref.ref(loop)
        self._name = name
        #: Whoever takes this first, the loop or `cancel`, decides whether the task begins; it is never given back.
        self._decision = Lock()
        #: Weak for the same reason.
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
        loop = self._loop()
        if loop is None:
            return False
        try:
            loop.call_soon_threadsafe(self._cancel_task)
        except RuntimeError:  # it is closed
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
            OwnerClosed: the owner has closed without taking it in, or its loop before it has ended.
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
        if loop is self._loop():
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

    Nothing refers to it but the loop: first as a call that is due, and then as a timer that never is. Both are dropped
    when the loop is closed, or collected, and with them this, which tells the future so: no thread waits for ever.

    Args:
        future: what the thread has.
        start: starts the task.
        owner: for the error of one that is dropped.
    """

    __slots__ = ("__weakref__", "_begun", "_future", "_handle", "_owner", "_start", "_timer")

    def __init__(self, future: ThreadFuture[T], start: Callable[[], TaskHandle[T]], owner: object) -> None:
        #: Until it has been told: its error leads, by way of the frames below, to asyncio's handle, which keeps this.
        self._future: ThreadFuture[T] | None = future
        self._start: Callable[[], TaskHandle[T]] | None = start
        self._owner = str(owner)  # itself, it would refer back, through its tasks
        self._begun = False
        self._handle: TaskHandle[T] | None = None
        self._timer: Callable[[], TimerHandle | None]

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
            self._follow(handle)
        finally:
            del self, start, future  # the error's traceback keeps this frame, and the future the error: a cycle

    def _follow(self, handle: TaskHandle[T]) -> None:
        """Have the end of the task told, or that of the loop."""
        self._handle = handle
        self._timer = loosely(kernel.running_loop().call_later(CENTURY, self._stay))
        this = weakref.ref(self)

        def tell(handle: TaskHandle[Any]) -> None:
            if (handover := this()) is not None:
                handover._tell(handle)

        handle.add_done_callback(tell)

    def _stay(self) -> None:
        """Do nothing: the timer refers to this, and that is all it is for."""

    def _tell(self, handle: TaskHandle[Any]) -> None:
        future, self._future = self._future, None
        assert future is not None
        if (timer := self._timer()) is not None:
            timer.cancel()
        future._settle(handle)

    def __del__(self) -> None:
        future, handle = self._future, self._handle
        if future is None or future.done():
            return
        if handle is not None and handle.done():  # in the last turn of the loop, which has told nobody
            future._settle(handle)
        elif self._begun or future._decide():
            future.set_exception(
                OwnerClosed(f"task {future._name!r} of {self._owner} has not ended: its event loop was closed")
            )


def hand_over(loop: AbstractEventLoop, name: str, start: Callable[[], TaskHandle[T]], owner: object) -> ThreadFuture[T]:
    """Have *loop* call *start*, from any thread, and return the future of the task of that *name*.

    Raises:
        OwnerClosed: the loop is closed.
    """
    future: ThreadFuture[T] = ThreadFuture(loop, name)
    try:
        loop.call_soon_threadsafe(Handover(future, start, owner))
    except RuntimeError:
        closed = True
    else:  # if its own thread has closed it in this moment, it may drop what it has taken in no more
        closed = loop.is_closed() and future._decide()
    if closed:
        refuse(owner, f"task {name!r}", "its event loop is closed")
    return future


def loosely(timer: TimerHandle) -> Callable[[], TimerHandle | None]:
    """Return a reference to *timer* that does not keep what it calls when its loop is closed."""
    try:
        return weakref.ref(timer)
    except TypeError:  # uvloop's, which lets go of its function by itself then
        return lambda: timer
