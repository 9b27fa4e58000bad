"""TaskHandle: the one record of one task, whoever owns it, and the one exit path of every task.

A handle's coroutine wraps yours and keeps the books inside the task: no done-callback, so that a task costs
less than the usual ``create_task`` + set + ``discard``. Success, failure, cancellation, discarding and a foreign
cancel before the first step all end in `TaskHandle._end`, which tells the owner exactly once.
"""

from __future__ import annotations

import enum
from asyncio import CancelledError, Future, Task
from collections.abc import Callable, Coroutine, Generator
from inspect import iscoroutine
from types import CoroutineType
from typing import Any, Generic, Protocol, TypeVar, cast

from typing_extensions import TypeVarTuple, Unpack

from . import _kernel as kernel
from ._errors import TaskCancelled, TaskNotFinished

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
    """What a handle needs of whoever owns it."""

    _clock: Callable[[], float]

    def _task_ended(self, handle: TaskHandle[Any]) -> None:
        """Take *handle* out of the books; called exactly once, in the step in which the task ends."""

    def _drop_unstarted(self, handle: TaskHandle[Any]) -> None:
        """Take a task out of the queue; called for one that is cancelled while it has no native task."""


class TaskHandle(Generic[T_co]):
    """One task, as its owner and its observers see it.

    Awaiting a handle gives the task's return value or raises its exception. Awaiting it neither owns nor
    cancels the task: a waiter that is cancelled leaves the task alone.

    Do not keep a handle for its task's sake: the owner holds the task.

    Attributes:
        name: the task's name, by default its function's qualified name.
        started_at: the loop time of its first step in seconds, None before.
        cancel_reason: what was given to `cancel`, None otherwise.
    """

    __slots__ = (
        "__weakref__",
        "_cancellation",
        "_coro",
        "_done_future",
        "_outcome",
        "_owner",
        "_status",
        "_task",
        "cancel_reason",
        "name",
        "started_at",
    )

    def __init__(self, owner: TaskOwner, coro: Coroutine[Any, Any, T_co], name: str | None) -> None:
        self._owner = owner
        self._coro: Coroutine[Any, Any, T_co] | None = coro
        self.name: str = name if name is not None else getattr(coro, "__qualname__", type(coro).__name__)
        self._status = PENDING
        self._task: Task[None] | None = None
        self._outcome: object = None
        self._done_future: Future[None] | None = None
        self._cancellation: kernel.Cancellation | bool = False
        self.cancel_reason: str | None = None
        self.started_at: float | None = None

    # What everybody may ask

    @property
    def status(self) -> TaskStatus:
        """Where the task is in its life."""
        return self._status

    @property
    def done(self) -> bool:
        """Whether the task has ended, in whatever way."""
        return self._status is not RUNNING and self._status is not PENDING

    @property
    def cancelling(self) -> bool:
        """Whether `cancel` was called and the task has not ended yet."""
        return self._cancellation is not False and not self.done

    @property
    def result(self) -> T_co:
        """The task's return value.

        Raises:
            TaskNotFinished: the task has not ended.
            TaskCancelled: the task was cancelled.
            BaseException: whatever the task raised, as it is.
        """
        error = self.exception
        if error is not None:
            raise error
        return cast("T_co", self._outcome)

    @property
    def return_value(self) -> T_co:
        """The same as `result`, under the name that anyio gives it."""
        return self.result

    @property
    def exception(self) -> BaseException | None:
        """What the task raised, None when it returned.

        Raises:
            TaskNotFinished: the task has not ended.
            TaskCancelled: the task was cancelled.
        """
        if not self.done:
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
        if self.done:
            return False
        if self._cancellation is False:
            self.cancel_reason = reason
        if self._status is RUNNING:
            assert self._task is not None
            if self._cancellation:
                cast("kernel.Cancellation", self._cancellation).withdraw()
            self._cancellation = kernel.cancel(self._task, reason)
        elif self._task is None:
            self._owner._drop_unstarted(self)
        else:
            self._cancellation = True
        return True

    async def wait(self) -> None:
        """Wait until the task has ended, without asking how.

        Cancellation: ends the waiting, not the task.
        """
        if not self.done:
            await kernel.wait(self._watch_end())

    def __await__(self) -> Generator[Any, None, T_co]:
        if not self.done:
            yield from kernel.wait(self._watch_end()).__await__()
        return self.result

    def __repr__(self) -> str:
        return f"<TaskHandle {self.name!r} {self._status.value}>"

    # What the owner asks

    def _start(self, context: Any = None, *, eager: bool = False) -> None:
        """Give the task its native task; an eager one has made its first step when this returns."""
        wrapper = self._run()
        try:
            task = (kernel.spawn_eagerly if eager else kernel.spawn)(wrapper, self.name, context)
        except BaseException:
            wrapper.close()
            raise
        self._task = task
        if self._done_future is not None and not self.done:
            task.add_done_callback(self._native_task_done)

    def _watch_end(self) -> Future[None]:
        """Return a future that is done when the task has ended; made at the first call."""
        if self._done_future is None:
            self._done_future = kernel.new_future()
            if self._task is not None:
                self._task.add_done_callback(self._native_task_done)
        return self._done_future

    def _sweep(self) -> None:
        """End a task that somebody else cancelled before its first step: its wrapper never ran."""
        if self._status is PENDING and self._task is not None and self._task.done():
            self._end(CANCELLED, None)

    def _discard(self) -> None:
        """End a task that never got a native task."""
        assert self._task is None
        self._end(CANCELLED, None)

    # The one exit path

    async def _run(self) -> None:
        self._status = RUNNING
        self.started_at = self._owner._clock()
        if self._cancellation or self._task is None:
            self._catch_up()
        try:
            outcome = await self._coro  # type: ignore[misc]
        except (CancelledError, GeneratorExit):
            self._end(CANCELLED, None)
            raise
        except Exception as error:
            # Without this frame, which refers to the handle, which keeps the error: a cycle.
            error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
            self._end(FAILED, error)
        except BaseException as error:
            self._end(FAILED, error)
            raise
        else:
            self._end(FINISHED, outcome)

    def _catch_up(self) -> None:
        """Make up, in the first step, for what came before it."""
        if self._task is None:  # an eager task runs before its creator has it
            self._task = cast("Task[None]", kernel.current_task())
        if self._cancellation:
            self._cancellation = kernel.cancel(self._task, self.cancel_reason)

    def _end(self, status: TaskStatus, outcome: object) -> None:
        coro, self._coro = self._coro, None
        self._status = status
        self._outcome = outcome
        if status is CANCELLED:
            assert coro is not None
            coro.close()  # never awaited if the task never ran; otherwise over, and this does nothing
        if self._done_future is not None and not self._done_future.done():
            self._done_future.set_result(None)
        self._owner._task_ended(self)

    def _native_task_done(self, _: Task[None]) -> None:
        self._sweep()


def coroutine_of(fn: Callable[[Unpack[Ts]], Coroutine[Any, Any, T]], args: tuple[Unpack[Ts]]) -> Coroutine[Any, Any, T]:
    """Return the coroutine that ``fn(*args)`` makes.

    Raises:
        TypeError: *fn* made something else; nothing was started.
    """
    coro = fn(*args)
    if type(coro) is CoroutineType or iscoroutine(coro):
        return coro
    return checked_coroutine(coro)


def checked_coroutine(coro: object) -> Coroutine[Any, Any, Any]:
    """Return *coro* if it is a coroutine.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(coro, Coroutine):
        raise TypeError(
            f"expected an async function or a coroutine, got {coro!r}; pass the function itself, "
            "not the value that it returned"
        )
    return coro
