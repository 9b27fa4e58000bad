"""Chores: tasks of a registry or a pool, each with a deadline, so that no caller's cancellation reaches what they make.

A chore that is not over when its time is up is cancelled, and cancelled again a bound later. If it ignores both, it is
abandoned. Those who wait for it are told that it was late in either case, and what it may still produce goes to its
``late`` function.
"""

from __future__ import annotations

from asyncio import CancelledError, Task, TimerHandle, sleep
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextvars import Context
from typing import Any, Generic, Protocol, TypeVar

from ._ground import kernel
from ._ground.awaiters import Waiter
from ._ground.calls import coroutine_for
from ._ground.errors import CreationTimeout, TaskCancelled, failure_of
from ._ground.foreign import in_words, is_fatal, without_our_frame
from ._ground.ladder import Ladder
from ._ground.logs import OwnerLog
from ._task.work import work_of

T = TypeVar("T")

#: Makes the error of a chore that took too long: from its seconds, whether it was abandoned, and where it hung.
Overdue = Callable[[float, bool, tuple[str, ...]], BaseException]


def as_failure(error: BaseException, what: str) -> BaseException:
    """Return the error that those who wait for *what* are told: a cancellation of its task is not one of theirs."""
    if is_fatal(error):  # it ends the process, from where it was raised
        return TaskCancelled(f"{what} ended with {in_words(error)}")
    return failure_of(what, error)


class Rest(Protocol):
    """What else was made along with a value, and has to be closed after it."""

    async def aclose(self) -> None:
        """Close it."""


def rest_of(work: object) -> Rest | None:
    """Return what *work*, which has given its value, has made besides; None for nothing, as nearly always.

    A connect in stages leaves more than the value: what lies below it, and its tasks. Whoever keeps the value and
    nothing else takes the rest by this, and closes it when the value has been ended.
    """
    hand_over = getattr(type(work), "_hand_over_rest", None)
    return None if hand_over is None else hand_over(work)


def _nobody_waits(_: object) -> None:
    """Placeholder once the result has been reported."""


class Chore(Generic[T]):
    """One task with a deadline, and what is called at its end.

    A chore that is cancelled before its first step makes it, so that what was handed to it reaches its body. Where
    the loop starts tasks eagerly, the first step waits until the step that began the chore has come to its end.

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
        "_impatient",
        "_ladder",
        "_late",
        "_overdue",
        "_owner",
        "_reason",
        "_reminder",
        "_settle",
        "_settled",
        "_spawned",
        "_stack",
        "_started",
        "_timed_out",
        "_timeout",
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
        patience: float,
        impatient: Callable[[], None] | None,
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
        self._reason = ""
        self._cancellation: kernel.Cancellation | str | None = None  # a reason alone before the first step
        run = self._run()
        try:
            self.task = kernel.spawn(run, name)
        except BaseException:  # of a task factory, or of a caller without a loop
            run.close()
            coro.close()
            raise
        self._spawned = True
        self.task.add_done_callback(self._native_task_done)
        self._ladder = Ladder(self._time_is_up, self._abandon, timeout)
        self._impatient = impatient
        self._reminder: TimerHandle | None = None
        if impatient is not None and patience < timeout:
            self._reminder = kernel.running_loop().call_later(patience, self._remind, timeout - patience)
        else:
            self._ladder.expect(timeout)

    @property
    def unreachable(self) -> bool:
        """Whether the chore has been cancelled but sits in a shielded section, so that it may take its time."""
        return isinstance(self._cancellation, kernel.Cancellation) and not self._cancellation.delivered

    def stop(self, reason: str, within: float) -> None:
        """Cancel the chore, again *within* seconds; it is abandoned if it has not ended a grace later."""
        if not self._settled and not self._timed_out:
            self._reason = reason
            self._drop_reminder()
            self._ladder.end()
            self._ladder = Ladder(self._cancel, self._abandon, min(within, self._timeout))
            self._ladder.climb()

    def _remind(self, left: float) -> None:
        """Tell whoever counts on this chore that it takes long; it has its whole time all the same."""
        self._reminder = None
        self._ladder.expect(left)
        if self._impatient is not None:
            self._impatient()

    def _drop_reminder(self) -> None:
        self._impatient = None
        if self._reminder is not None:
            self._reminder.cancel()
            self._reminder = None

    def _cancel(self) -> None:
        if not self._started:
            self._cancellation = self._reason
            return
        if isinstance(self._cancellation, kernel.Cancellation):
            self._cancellation.withdraw()
        self._cancellation = kernel.cancel(self.task, self._reason)

    @work_of("self._owner.employer")
    async def _run(self) -> None:
        if not self._spawned:  # an eager first step, inside the step that begins the chore
            await sleep(0)
        self._started = True
        if isinstance(self._cancellation, str):
            self._cancellation = kernel.cancel(self.task, self._cancellation)
        try:
            self.result = await self._coro
        except BaseException as error:
            if isinstance(error, GeneratorExit) and not self._runs():  # destroyed, with its loop or its owner
                self._ended = True
                self._owner._forget(self)
                raise
            self._end(error)
            if is_fatal(error):
                raise
        else:
            self._end(None)

    def _runs(self) -> bool:
        return kernel.has_loop() and kernel.current_task() is self.task

    def _native_task_done(self, task: Task[None]) -> None:
        """End a chore whose task was cancelled from outside before its first step."""
        kernel.retrieve(task)
        if not self._ended:
            self._coro.close()
            self._end(CancelledError("from outside"))

    def _end(self, error: BaseException | None) -> None:
        """Leave the books; called exactly once, in the step in which the work ends."""
        self._ended = True
        if error is not None:
            without_our_frame(error)
        self._drop_reminder()
        self._ladder.end()
        del self._ladder  # which refers to this chore: a cycle
        if isinstance(self._cancellation, kernel.Cancellation):
            self._cancellation.withdraw()
        self._owner._forget(self)
        if error is None and (self._settled or self._timed_out) and self._late is not None:
            self._late(self.result)  # before those who wait are told: an owner that closes must not be done without it
        if not self._settled:
            self._settle_with(self._verdict_on(error))
        elif error is not None and not isinstance(error, CancelledError):
            extra = {"owner": self._owner.name, "chore": self.name}
            self._owner.logger.error("abandoned chore failed", exc_info=error, extra=extra)
        if error is None:
            del self.result

    def disown(self) -> None:
        """Tell nobody of its end, which may come when its loop is gone."""
        self._settled = True
        self._settle, self._late, self._impatient = _nobody_waits, None, None

    def _settle_with(self, error: BaseException | None) -> None:
        """Tell those who wait, and keep neither the error nor them."""
        self._settled = True
        self.error = error
        settle, self._settle = self._settle, _nobody_waits
        try:
            settle(self)
        finally:
            self.error = None

    def _verdict_on(self, error: BaseException | None) -> BaseException | None:
        """Return the error that those who wait are told; time that is up is one, also where the work swallowed it."""
        if self._timed_out and (error is None or isinstance(error, (CancelledError, TimeoutError))):
            return self._overdue(self._timeout, False, self._stack)
        return None if error is None else as_failure(error, self.name)

    def _time_is_up(self) -> None:
        if not self._timed_out:
            self._timed_out = True
            self._stack = kernel.suspended_at(self.task)
            self._reason = f"it took longer than {self._timeout:g} s"
        self._cancel()

    def _abandon(self) -> None:
        """Wait no longer: it may end whenever it likes, and counts no more."""
        self._owner._abandon(self)
        self._settle_with(self._overdue(self._timeout, True, self._stack or kernel.suspended_at(self.task)))

    def __repr__(self) -> str:
        return f"<chore {self.name!r}>"


class Employer(Protocol):
    """What chores need of the owner, or of the part of it, that waits for all of them when it closes."""

    owner_name: str
    logger: OwnerLog

    def _hosts(self, task: Task[Any]) -> Iterable[Waiter]:
        """Yield who goes on when it has closed."""


class Chores:
    """The chores of one owner that have not ended.

    Attributes:
        live: those that are waited for, by their tasks.
        abandoned: those that are not.
        name: the owner's name, for logs.
        logger: where the error of one that was abandoned goes.
        employer: who waits for all of them.
    """

    def __init__(self, employer: Employer) -> None:
        self.name: str = employer.owner_name
        self.logger: OwnerLog = employer.logger
        self.employer = employer
        # Dicts rather than sets: they are walked in order of arrival, the same in every run.
        self.live: dict[Task[Any], Chore[Any]] = {}
        self.abandoned: dict[Chore[Any], None] = {}

    def begin(
        self,
        work: Awaitable[T],
        name: str,
        *,
        timeout: float,
        settle: Callable[[Chore[T]], None],
        late: Callable[[T], None] | None = None,
        overdue: Overdue | None = None,
        context: Context | None = None,
        patience: float = kernel.FOREVER,
        impatient: Callable[[], None] | None = None,
    ) -> Chore[T]:
        """Start a chore.

        If it cannot be started, nothing has happened, and *work* is closed where it is a coroutine.

        Args:
            work: what to await.
            name: for errors and logs.
            timeout: seconds it may take.
            settle: called exactly once, in the step in which the chore ends or is abandoned; never before this returns.
            late: called with the result of one whose time was up and that returned nevertheless.
            overdue: makes the error of one that took too long; by default a CreationTimeout.
            context: what it runs in a copy of, and its timers; by default the caller's.
            patience: seconds after which *impatient* is called, once, unless it has ended or was stopped.
            impatient: told that others had better not wait for it.

        Raises:
            BaseException: what kept it from starting: no loop runs, or its task factory refuses.
        """
        coro = coroutine_for(work)
        if context is None:
            chore = Chore(self, coro, name, timeout, settle, late, overdue, patience, impatient)
        else:
            chore = context.run(Chore, self, coro, name, timeout, settle, late, overdue, patience, impatient)
        self.live[chore.task] = chore
        return chore

    def names(self, exempt: frozenset[Task[Any]]) -> tuple[str, ...]:
        """Return the names of the live chores but those of *exempt* tasks."""
        return tuple(chore.name for task, chore in self.live.items() if task not in exempt)

    def idle(self, exempt: frozenset[Task[Any]]) -> bool:
        """Whether no chore is live but those of *exempt* tasks, which wait for the asker."""
        # Their number first: the first one stands behind all those that have ended before it.
        return len(self.live) <= len(exempt) and all(task in exempt for task in self.live)

    def disown_all(self) -> None:
        """Forget all of them: their loop is gone."""
        for chore in (*self.live.values(), *self.abandoned):
            chore.disown()
        self.live.clear()
        self.abandoned.clear()

    def _forget(self, chore: Chore[Any]) -> None:
        self.live.pop(chore.task, None)
        self.abandoned.pop(chore, None)

    def _abandon(self, chore: Chore[Any]) -> None:
        self.live.pop(chore.task, None)
        self.abandoned[chore] = None
