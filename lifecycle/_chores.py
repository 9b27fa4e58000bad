"""Chores: tasks of a registry or a pool, each with a deadline, so that nobody's cancellation reaches what they make.

A chore that is not over when its time is up is cancelled. If it ignores that, it is given up: whoever waits for it is
told, and what it may still produce goes to its ``late`` function.
"""

from __future__ import annotations

import logging
from asyncio import CancelledError, Task, TimerHandle, sleep
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

from ._ground import kernel
from ._ground.calls import coroutine_for
from ._ground.errors import CreationTimeout, TaskCancelled, is_fatal

T = TypeVar("T")

logger = logging.getLogger("lifecycle.registry")

#: Makes the error of a chore that took too long: from its seconds, whether it was given up, and where it hung.
Overdue = Callable[[float, bool, tuple[str, ...]], BaseException]

#: Seconds that a cancelled chore has to end before it is given up, at most; less where its timeout is shorter.
GRACE = 1.0


def as_failure(error: BaseException, what: str) -> BaseException:
    """Return the error that those who wait for *what* are told: a cancellation of its task is none of theirs."""
    if is_fatal(error):  # it ends the process, from where it was raised
        return TaskCancelled(f"{what} ended with {error!r}")
    if isinstance(error, CancelledError):
        return TaskCancelled(f"{what} was cancelled: {' '.join(map(str, error.args)) or 'from outside'}")
    return error


def end_process(error: BaseException) -> None:
    """Raise a fatal *error* out of the loop, after the step that met it; that step comes to its end."""

    def end() -> None:
        raise error

    kernel.running_loop().call_soon(end)


def _forget_it(_: object) -> None:
    """Stand in for whoever has been told already."""


class Chore(Generic[T]):
    """One task with a deadline, and who is told of its end.

    A chore that is cancelled before its first step makes it, so that what was handed to it reaches its body. Where
    the loop starts tasks eagerly, the first step waits until whoever began the chore has come to the end of its own.

    Attributes:
        name: for errors and logs.
        task: the native task; None only while it is being made.
        result: what the work returned; meaningful where `error` is None, while it settles.
        error: what kept the chore from its result, never a bare cancellation; meaningful while it settles. Neither
            is kept, so that a value and the frames of an error live no longer than those who hold them.
    """

    __slots__ = (
        "_cancellation",
        "_coro",
        "_ended",
        "_late",
        "_overdue",
        "_owner",
        "_settle",
        "_settled",
        "_spawned",
        "_stack",
        "_started",
        "_timed_out",
        "_timeout",
        "_timer",
        "error",
        "name",
        "result",
        "task",
    )

    result: T
    task: Task[None]

    def __init__(
        self,
        owner: Chores,
        coro: Coroutine[Any, Any, T],
        name: str,
        timeout: float,
        settle: Callable[[Chore[T]], None],
        late: Callable[[T], None] | None,
        overdue: Overdue | None,
    ) -> None:
        self.name = name
        self.error: BaseException | None = None
        self._owner = owner
        self._coro = coro
        self._timeout = timeout
        self._settle = settle
        self._late = late
        self._overdue = overdue or (lambda timeout, _, stack: CreationTimeout(name, timeout, stack))
        self._spawned = self._started = self._ended = self._settled = self._timed_out = False
        self._stack: tuple[str, ...] = ()
        self._timer: TimerHandle | None = None
        self._cancellation: kernel.Cancellation | str | None = None  # a reason alone before the first step
        self.task = kernel.spawn(self._run(), name)
        self._spawned = True
        self.task.add_done_callback(self._native_task_done)
        self._set_timer(timeout, self._time_is_up)

    @property
    def unreachable(self) -> bool:
        """Whether the chore has been cancelled but sits in a shielded section, so that it may take its time."""
        return isinstance(self._cancellation, kernel.Cancellation) and not self._cancellation.delivered

    def stop(self, reason: str, within: float) -> None:
        """Cancel the chore; it is given up if it has not ended *within* so many seconds."""
        if not self._settled and not self._timed_out:
            self._cancel(reason)
            self._set_timer(min(within, self._timeout), self._give_up)

    def _cancel(self, reason: str) -> None:
        if not self._started:
            self._cancellation = reason
            return
        if isinstance(self._cancellation, kernel.Cancellation):
            self._cancellation.withdraw()
        self._cancellation = kernel.cancel(self.task, reason)

    async def _run(self) -> None:
        if not self._spawned:  # an eager first step, inside the step that begins the chore
            await sleep(0)
        self._started = True
        if isinstance(self._cancellation, str):
            self._cancellation = kernel.cancel(self.task, self._cancellation)
        try:
            self.result = await self._coro
        except BaseException as error:
            self._end(error)
            if is_fatal(error):
                raise
        else:
            self._end(None)

    def _native_task_done(self, _: Task[None]) -> None:
        """See to a task that somebody else cancelled before its first step."""
        if not self._ended:
            self._coro.close()
            self._end(CancelledError("from outside"))

    def _end(self, error: BaseException | None) -> None:
        """Leave the books; called exactly once, in the step in which the work ends."""
        self._ended = True
        if error is not None and error.__traceback__ is not None:
            error.__traceback__ = error.__traceback__.tb_next  # without the frame that refers to this chore: a cycle
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if isinstance(self._cancellation, kernel.Cancellation):
            self._cancellation.withdraw()
        self._owner._forget(self)
        if not self._settled:
            self._settle_with(None if error is None else self._named(error))
        elif error is not None:
            if not isinstance(error, CancelledError):
                logger.error("%s, which had been given up, failed", self.name, exc_info=error)
        elif self._late is not None:
            self._late(self.result)
        if error is None:
            del self.result

    def _settle_with(self, error: BaseException | None) -> None:
        """Tell whoever waits, and keep neither it nor them."""
        self._settled = True
        self.error = error
        settle, self._settle = self._settle, _forget_it
        try:
            settle(self)
        finally:
            self.error = None

    def _named(self, error: BaseException) -> BaseException:
        """Return the error that those who wait are told."""
        if self._timed_out and isinstance(error, (CancelledError, TimeoutError)):
            return self._overdue(self._timeout, False, self._stack)
        return as_failure(error, self.name)

    def _set_timer(self, seconds: float, then: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = kernel.running_loop().call_later(seconds, then) if seconds != kernel.FOREVER else None

    def _time_is_up(self) -> None:
        self._timed_out = True
        self._stack = kernel.suspended_at(self.task)
        self._cancel(f"it took longer than {self._timeout:g} s")
        self._set_timer(min(GRACE, self._timeout), self._give_up)

    def _give_up(self) -> None:
        """Wait no longer: it may end whenever it likes, and counts no more."""
        self._timer = None
        self._owner._give_up(self)
        self._settle_with(self._overdue(self._timeout, True, self._stack or kernel.suspended_at(self.task)))

    def __repr__(self) -> str:
        return f"<chore {self.name!r}>"


class Chores:
    """The chores of one owner that have not ended."""

    def __init__(self) -> None:
        # Dicts rather than sets: they are walked in order of arrival, the same in every run.
        self.live: dict[Chore[Any], None] = {}
        self.given_up: dict[Chore[Any], None] = {}

    def begin(
        self,
        work: Awaitable[T],
        name: str,
        *,
        timeout: float,
        settle: Callable[[Chore[T]], None],
        late: Callable[[T], None] | None = None,
        overdue: Overdue | None = None,
    ) -> Chore[T]:
        """Start a chore.

        Args:
            work: what to await.
            name: for errors and logs.
            timeout: seconds it may take.
            settle: called exactly once, in the step in which the chore ends or is given up; never before this returns.
            late: called with the result of one that was given up and returned nevertheless.
            overdue: makes the error of one that took too long; by default a CreationTimeout.
        """
        chore = Chore(self, coroutine_for(work), name, timeout, settle, late, overdue)
        self.live[chore] = None
        return chore

    def has(self, task: Task[Any]) -> bool:
        """Whether *task* is one of the chores."""
        return any(chore.task is task for chore in self.live)

    def idle(self, exempt: frozenset[Task[Any]]) -> bool:
        """Whether no chore is live but those of *exempt* tasks, which wait for the asker."""
        return all(chore.task in exempt for chore in self.live)

    def _forget(self, chore: Chore[Any]) -> None:
        self.live.pop(chore, None)
        self.given_up.pop(chore, None)

    def _give_up(self, chore: Chore[Any]) -> None:
        self.live.pop(chore, None)
        self.given_up[chore] = None
