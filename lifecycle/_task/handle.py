"""TaskHandle: the one record of one task, for every owner, and the one exit path of every task.

A handle's coroutine wraps yours and keeps the books inside the task: no done-callback, so that a task costs
less than the usual ``create_task`` + set + ``discard``. Success, failure, cancellation, discarding and a foreign
cancel before the first step all leave it through `TaskHandle._run` or `TaskHandle._sweep`, and the owner is told
exactly once.
"""

from __future__ import annotations

import enum
from asyncio import CancelledError, Future, Task
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

from typing_extensions import TypeVarTuple

from .._ground import callgraph, kernel
from .._ground.errors import TaskCancelled, TaskNotFinished
from .._ground.foreign import is_fatal, traceback_of, with_traceback, without_our_frame
from .._ground.starts import spawn_eagerly
from .._ground.waking import wake

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class TaskStatus(enum.Enum):
    """Where a task is in its life."""

    PENDING = "pending"  #: taken in, has not made its first step
    RUNNING = "running"  #: made its first step, has not ended
    FINISHED = "finished"  #: returned
    FAILED = "failed"  #: raised
    CANCELLED = "cancelled"  #: ended by a cancellation, or dropped before its first step


# Bound to names of this module because an attribute of an enum class costs a look-up on every task.
PENDING, RUNNING, FINISHED, FAILED, CANCELLED = TaskStatus


class TaskOwner(Protocol):
    """What a handle needs of its owner."""

    @property
    def _clock(self) -> Callable[[], float]:
        """The loop's clock."""

    def _task_finished(self, handle: TaskHandle[Any]) -> None:
        """Take a task that has returned out of the books, in the step in which it ends."""

    def _task_ended(self, handle: TaskHandle[Any]) -> None:
        """Take a task that failed or was cancelled out of the books; either of the two is called, exactly once."""

    def _drop_unstarted(self, handle: TaskHandle[Any]) -> None:
        """Take a task out of the queue; called for one that is cancelled while it has no native task."""


class TaskHandle(Generic[T_co]):
    """One task, as its owner and its observers see it.

    Awaiting a handle gives the task's return value or raises its exception. Awaiting it neither owns nor
    cancels the task: a waiter that is cancelled leaves the task alone.

    It reads like an ``asyncio.Task``: what a task answers by a call, a handle answers by the same call. What it has
    beyond that are facts, and has no parentheses: `name`, `status`, `started_at`, `cancel_reason`.

    Do not keep a handle for its task's sake: the owner holds the task.

    Attributes:
        name: the task's name, by default its function's qualified name.
    """

    __slots__ = (
        "__weakref__",
        "_cancellation",
        "_coro",
        "_outcome",
        "_owner",
        "_started_at",
        "_status",
        "_task",
        "_traceback",
        "_waiters",
        "name",
    )

    # Set when they come to be, because every store at the start is paid by every task.
    if TYPE_CHECKING:
        _outcome: object
        _started_at: float
        _traceback: TracebackType | None

    def __init__(self, owner: TaskOwner, coro: Coroutine[Any, Any, T_co], name: str) -> None:
        self._owner = owner
        self._coro = coro
        self.name: str = name
        self._status = PENDING
        self._task: Task[None] | None = None
        self._waiters: dict[Future[None], Callable[..., object] | None] | None = None
        self._cancellation: kernel.Cancellation | None = None

    # What everybody may ask

    @property
    def status(self) -> TaskStatus:
        """Where the task is in its life."""
        return self._status

    @property
    def started_at(self) -> float | None:
        """The loop time of the task's first step in seconds, None before it."""
        return getattr(self, "_started_at", None)

    @property
    def cancel_reason(self) -> str | None:
        """What was given to the latest `cancel`, None where nothing was."""
        return None if self._cancellation is None else self._cancellation.reason

    def get_name(self) -> str:
        """Return the task's name."""
        return self.name

    def done(self) -> bool:
        """Return whether the task has ended, in whatever way."""
        return self._status is not RUNNING and self._status is not PENDING

    def cancelled(self) -> bool:
        """Return whether the task was ended by a cancellation, or dropped before its first step."""
        return self._status is CANCELLED

    def cancelling(self) -> bool:
        """Return whether `cancel` was called and the task has not ended yet."""
        return self._cancellation is not None and not self.done()

    def result(self) -> T_co:
        """Return what the task returned, or raise what it raised.

        Raises:
            TaskNotFinished: the task has not ended.
            TaskCancelled: the task was cancelled.
            BaseException: whatever the task raised, as it is.
        """
        error = self.exception()
        if error is None:
            return cast("T_co", self._outcome)
        try:
            # Every time with the frames of the task alone, or they would pile up with every caller.
            raise with_traceback(error, self._traceback)
        finally:
            del self, error  # which the traceback would keep alive: a cycle

    @property
    def return_value(self) -> T_co:
        """The same as `result()`, under the name and in the form that anyio gives it."""
        return self.result()

    def exception(self) -> BaseException | None:
        """Return what the task raised, None when it returned.

        Raises:
            TaskNotFinished: the task has not ended.
            TaskCancelled: the task was cancelled.
        """
        if not self.done():
            raise TaskNotFinished(f"task {self.name!r} is {self._status.value}; await it before you ask for its end")
        if self._status is CANCELLED:
            why = f" ({self.cancel_reason})" if self.cancel_reason else ""
            raise TaskCancelled(f"task {self.name!r} was cancelled{why}")
        return cast("BaseException", self._outcome) if self._status is FAILED else None

    def cancel(self, reason: str | None = None) -> bool:
        """Ask the task to end; return False when it had ended already.

        A task that has not made its first step makes it, so that what was handed to it reaches the body, and is
        cancelled at its first suspension. A task inside an anyio shield is cancelled when the shield ends. A task
        that still waits for a slot of its manager is dropped.

        Args:
            reason: why, for the log; it also becomes the message of the ``CancelledError``.
        """
        if self.done():
            return False
        if self._cancellation is not None:
            self._cancellation.withdraw()
        self._cancellation = kernel.Cancellation(reason)
        if self._waiters is None:
            self._waiters = {}  # so that `_wake_waiters` is called
        if self._status is RUNNING:
            assert self._task is not None
            self._cancellation.deliver_to(self._task)
        elif self._task is None:
            self._owner._drop_unstarted(self)
        return True

    async def wait(self) -> None:
        """Wait until the task has ended, without asking how.

        Cancellation: ends the waiting, not the task.
        """
        if self.done():
            return
        waiter = kernel.new_future()
        self._add_waiter(waiter)
        shown = self._task if callgraph.EXISTS else None
        if shown is not None:
            caller = kernel.current_task()
            callgraph.show_awaited(shown, caller)
        try:
            await waiter
        finally:
            if shown is not None:  # also where no loop runs any more
                callgraph.hide_awaited(shown, caller)
                del caller  # which keeps the error whose traceback keeps this frame: a cycle
            if self._waiters is not None:
                self._waiters.pop(waiter, None)

    def add_done_callback(self, fn: Callable[[TaskHandle[T_co]], object], *, context: Context | None = None) -> None:
        """Have ``fn(handle)`` called by the loop once the task has ended, soon where it has ended already.

        An error of *fn* goes to the loop's exception handler. To be called in the loop's thread.

        Args:
            fn: called once for every time it was added, with the handle.
            context: what *fn* is called in; a copy of the caller's unless given.
        """
        if self.done():
            kernel.running_loop().call_soon(fn, self, context=context)
            return
        ended = kernel.new_future()
        ended.add_done_callback(lambda _: fn(self), context=copy_context() if context is None else context)
        self._add_waiter(ended, fn)

    def remove_done_callback(self, fn: Callable[[TaskHandle[T_co]], object]) -> int:
        """Take back all that `add_done_callback` was told of *fn*, and return how many that were."""
        waiters = self._waiters or {}
        removed = [waiter for waiter, served in waiters.items() if served is not None and served == fn]
        for waiter in removed:
            del waiters[waiter]
        return len(removed)

    def __await__(self) -> Generator[Any, None, T_co]:
        """Wait for the task, and return what it returned or raise what it raised.

        Cancellation: ends the waiting, and leaves the task alone.
        """
        yield from self.wait().__await__()
        try:
            return self.result()
        finally:
            del self  # as in `result`

    def __repr__(self) -> str:
        return f"<TaskHandle {self.name!r} {self._status.value}>"

    # What the owner asks

    def _start(self, context: Any = None, *, eager: bool = False) -> None:
        """Give the task its native task; an eager one has made its first step when this returns."""
        wrapper = self._run()
        try:
            task = (spawn_eagerly if eager else kernel.spawn)(wrapper, self.name, context)
        except BaseException as error:
            wrapper.close()
            if not self.done():
                raise
            # Not refused: an eager first step has ended the process. The owner knows, and its caller is not to blame.
            kernel.end_process(error)
            return
        if not self.done():
            self._task = task
            if self._waiters is not None:
                self._watch_native_task()

    def _start_plainly(self, loop: Any, context: Any = None) -> None:
        """Do the same in a loop that is plain, before there is a waiter."""
        wrapper = self._run()
        try:
            self._task = kernel.NativeTask(wrapper, loop=loop, name=self.name, context=context)
        except BaseException:  # the loop is closed
            wrapper.close()
            raise

    def _add_waiter(self, waiter: Future[None], served: Callable[..., object] | None = None) -> None:
        """Have *waiter* completed when the task ends, which it has not yet; *served* is what it then calls."""
        if self._waiters is None:
            self._waiters = {}
        self._waiters[waiter] = served
        if self._status is PENDING and self._task is not None:
            self._watch_native_task()

    def _watch_native_task(self) -> None:
        """Learn at once of a foreign cancellation before the first step, which our wrapper does not see."""
        assert self._task is not None
        self._task.add_done_callback(self._native_task_done)

    def _sweep(self) -> None:
        """End a task that a foreign cancellation ended before its first step: its wrapper never ran."""
        if self._status is PENDING and self._task is not None and self._task.done():
            self._end(CANCELLED, None)

    def _discard(self) -> None:
        """End a task that never got a native task."""
        assert self._task is None
        self._end(CANCELLED, None)

    # The one exit path

    async def _run(self) -> None:
        # The owner is asked for at every use: it may change while the task runs, as by `Scope.pop_all`.
        self._status = RUNNING
        self._started_at = self._owner._clock()
        if self._cancellation is not None or self._task is None:
            self._catch_up()
        try:
            self._outcome = await self._coro
        except CancelledError:
            self._end(CANCELLED, None)
            del self  # the traceback keeps this frame, and the native task the traceback
            raise
        except BaseException as error:
            if was_closed(self._task, error):
                self._end(CANCELLED, None)  # closed, which a return satisfies: nobody would retrieve what is raised
                return
            if is_fatal(error):
                kernel.retrieve_soon()
            self._end(FAILED, without_our_frame(error))
            del self  # as above: the frames in the traceback lead back to this one
            if is_fatal(error):  # it has to end the loop; anything else is the owner's to report
                raise
        else:  # what `_end` does, without its calls: this is the path that has to be fast
            self._status = FINISHED
            self._task = None  # whose context a kept handle would keep
            if self._waiters is not None:
                self._wake_waiters()
            self._owner._task_finished(self)

    def _catch_up(self) -> None:
        """Make up, in the first step, for what came before it."""
        if self._task is None:  # an eager task runs before its creator has it
            self._task = cast("Task[None]", kernel.current_task())
        if self._cancellation is not None:
            self._cancellation.deliver_to(self._task)

    def _end(self, status: TaskStatus, outcome: object) -> None:
        self._status = status
        self._outcome = outcome
        if isinstance(outcome, BaseException):
            self._traceback = traceback_of(outcome)
        if self._cancellation is not None and self._task is not None:
            self._cancellation.note_end(self._task)
        self._task = None  # whose CancelledError keeps the frame that refers to this handle: a cycle
        self._coro.close()  # never awaited if the task never ran; otherwise over, and this does nothing
        del self._coro  # which before Python 3.13 keeps its arguments if it never ran
        if self._waiters is not None:
            self._wake_waiters()
        self._owner._task_ended(self)

    def _wake_waiters(self) -> None:
        """Wake the waiters, and stop trying to cancel a task that has ended inside its shield."""
        if self._cancellation is not None:
            self._cancellation.withdraw()
        waiters, self._waiters = self._waiters or {}, None
        for waiter in waiters:
            wake(waiter)

    def _native_task_done(self, _: Task[None]) -> None:
        self._sweep()


def was_closed(task: Task[Any] | None, error: BaseException) -> bool:
    """Return whether *task* has met *error* because its coroutine is being closed, and has not raised it by itself.

    It is closed by whatever drops it: in a step of another task, or in none.
    """
    if not isinstance(error, GeneratorExit):
        return False
    return task is None or not kernel.has_loop() or kernel.current_task() is not task
