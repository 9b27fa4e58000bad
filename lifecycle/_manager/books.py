"""The books of a task manager: who runs and who waits, what became of the others, and what happens at an end."""

from __future__ import annotations

from asyncio import AbstractEventLoop, Task
from collections.abc import Callable, Iterator, Sequence
from contextvars import Context
from typing import Any, NoReturn

from .._ground import kernel, trace
from .._ground.awaiters import Waiter
from .._ground.checks import checked_limit, checked_name, checked_sync
from .._ground.closing import OwnerState, refuse
from .._ground.errors import ManagerFull, OwnerClosed, WrongLoop
from .._ground.lifeline import keep_tasks_of
from .._ground.roots import Portrait, Thing, enroll
from .._ground.watchers import tell_failure, tell_task_failure
from .._limits.bounds import LimitBy, Rate, checked_limit_by, checked_rate
from .._limits.quotas import Quotas, bounded_slots
from .._task.first_steps import FirstSteps, next_sweep, sweep
from .._task.handle import CANCELLED, TaskHandle
from .hooks import Hooks, logger
from .idleness import Idleness, describe
from .records import AbandonedTask, TaskManagerStatistics

OPEN, CLOSING, CLOSED = OwnerState


class TaskBooks:
    """The tasks of one manager, from the moment they are taken in until they have ended.

    Every change is one plain step. A handle reports its end through `_task_finished` or `_task_ended`; both lead to
    `_after_end` unless `_fast_end` says that nothing can follow from it.

    Args: see ``TaskManager``.
    """

    # An instance with more than thirty attributes loses the fast way to all of them, unless they are slots.
    __slots__ = (
        "__weakref__", "_abandoned", "_accepted", "_account", "_bounded", "_cancelled", "_clock", "_context",
        "_discarded", "_eager", "_failed", "_fast_end", "_fast_start", "_finished", "_first_steps", "_hooks", "_host",
        "_idleness", "_loop", "_on_error", "_pending_limit", "_plain", "_quotas", "_rejected", "_running", "_since",
        "_slots", "_state", "_sweep_at", "name",
    )  # fmt: skip

    _clock: Callable[[], float]  # from `_bind` on

    def __init__(
        self,
        name: str | None,
        limit: int | None,
        pending_limit: int | None,
        hooks: Sequence[object],
        on_error: Callable[[TaskHandle[Any], BaseException], None] | None,
        context: Context | None,
        eager: bool,
        limit_by: LimitBy | None = None,
        rate: Rate | None = None,
    ) -> None:
        self.name: str = checked_name(name, "task manager")
        self._pending_limit = checked_limit(pending_limit, what="pending_limit", least=0)
        self._running: dict[TaskHandle[Any], None] = {}  # in order, so that what happens to them is
        self._abandoned: dict[TaskHandle[Any], None] = {}
        self._slots = bounded_slots(
            self._running, checked_limit(limit, least=0), checked_limit_by(limit_by), checked_rate(rate)
        )
        #: The same, where newcomers are not alike: there are bounds by key, or in a time.
        self._quotas = self._slots if isinstance(self._slots, Quotas) else None
        self._bounded = limit is not None or self._quotas is not None
        self._first_steps = FirstSteps()
        self._idleness = Idleness(self._running, self._slots, self._first_steps)
        self._hooks = Hooks(tuple(hooks), self.name) if hooks else None
        if on_error is not None:
            checked_sync(on_error, "on_error", takes=2)
        self._on_error = on_error
        self._context = context
        self._eager = eager
        self._state = OPEN
        self._loop: AbstractEventLoop | None = None
        self._host: Task[Any] | None = None  # whose block it is
        self._account: trace.Account | None = None  # while tracing
        self._since: float | None = None  # when it came to its loop
        # Whether a task that ends has only to leave the books: there are no line, no hooks, no tracing, no abandoned.
        self._fast_end = not self._bounded and not hooks
        # Whether the loop has no task factory, and tasks need neither a context of the manager nor an eager step.
        self._plain = False
        # Whether a task may be started by the inlined path of `start_soon`; see `_review`.
        self._fast_start = False
        self._sweep_at = next_sweep(0)
        self._accepted = self._finished = self._failed = self._cancelled = self._rejected = self._discarded = 0
        enroll(self)

    # Taking work in

    def _bind(self) -> None:
        """Tie the manager to the running loop."""
        self._loop = kernel.running_loop()
        self._clock = self._loop.time
        self._since = self._clock()
        keep_tasks_of(self, self._running)
        self._plain = kernel.is_plain(self._loop) and not self._eager and self._context is None
        self._fast_end = self._fast_end and trace.sink is None
        if self._quotas is not None:
            self._quotas.turns.bind()
        self._review()

    def _is_unbound(self) -> bool:
        """Whether it has to be bound to the running loop first: it has none, or nothing is left in a closed one."""
        loop = self._loop
        return loop is None or (loop.is_closed() and not self._running and kernel.has_loop())

    def _come_in(self) -> None:
        """See that the manager is bound to the running loop, before a task is started there or put in line."""
        if self._is_unbound():
            self._bind()
        else:
            self._check_loop()

    def _has_lost_tasks(self) -> bool:
        """Whether tasks were left in a loop that is closed, where they never end."""
        return bool(self._running) and self._loop is not None and self._loop.is_closed() and kernel.has_loop()

    def _check_loop(self) -> None:
        """Say why no task can be started, or waited for, where tasks were left in a loop that is closed.

        Raises:
            WrongLoop: that is why.
        """
        if self._has_lost_tasks():
            raise WrongLoop(
                f"{self} belongs to an event loop that was closed with {len(self._running)} tasks of it unfinished; "
                "close a manager before its loop, and make another one for the next"
            )

    def _hosts(self, _: Task[Any]) -> Iterator[Waiter]:
        if self._host is not None:
            yield self._host, False

    def _review(self) -> None:
        """Find out again whether tasks can be started in the shortest way, which leaves their first steps unwatched."""
        self._fast_start = self._plain and self._fast_end and not self._idleness.awaited

    def _place(self, handle: TaskHandle[Any], context: Context | None) -> None:
        """Start a task that was taken in, or put it in line for a slot."""
        try:
            self._come_in()
        except RuntimeError:  # there is no loop, or tasks were left in another one
            self._accepted -= 1
            handle._coro.close()
            raise
        if self._bounded and not self._slots.free:
            self._slots.enqueue(handle, self._context_for(context))
            if self._hooks:
                self._hooks.call("queued", handle)
        else:
            self._launch(handle, context)

    def _context_for(self, context: Context | None) -> Context | None:
        """Return what a task runs in that was submitted with *context*, None for a copy of its submitter's."""
        return self._context.copy() if context is None and self._context is not None else context

    def _launch_queued(self, handle: TaskHandle[Any], context: Context | None) -> None:
        """Start a task that has got its slot; an error is logged, for its caller has long gone on."""
        try:
            self._launch(handle, context)
        except Exception:
            logger.exception("task could not be started", extra={"owner": self.name, "task": handle.name})

    def _launch(self, handle: TaskHandle[Any], context: Context | None) -> None:
        self._running[handle] = None
        if trace.sink is not None:
            self._report_opened(handle)
        if len(self._running) > self._sweep_at:
            self._sweep_grown()
        if self._hooks:
            self._hooks.call("before", handle)
        context = self._context_for(context)
        try:
            if self._plain:
                handle._start_plainly(self._loop, context)
            else:
                handle._start(context, eager=self._eager)
        except BaseException:
            handle._discard()
            self._check_loop()
            raise
        if not self._fast_start:
            self._first_steps.expect(handle)  # so that a foreign cancellation gives its slot back at once

    def _sweep_grown(self) -> None:
        sweep(self._running)
        self._sweep_at = next_sweep(len(self._running))

    # Refusing it

    def _check_open(self, what: str) -> None:
        if self._state is not OPEN:
            self._reject(what)

    def _check_admission(self, name: str) -> None:
        if self._state is not OPEN:
            self._reject(name)
        if self._pending_limit is not None and not self._slots.free and not self._slots.waiting < self._pending_limit:
            self._refuse_one_more(name)

    def _refuse_one_more(self, name: str) -> NoReturn:
        error = ManagerFull(
            f"{self} has {self._slots.waiting} tasks waiting, its pending_limit; task {name!r} was refused. "
            "Wait for a slot with `await manager.spawn(...)`, or raise the limit"
        )
        self._count_rejected(name, error)
        raise error

    def _reject(self, name: str) -> NoReturn:
        try:
            refuse(self, f"task {name!r}", f"it is {self._state.value}")
        except OwnerClosed as error:
            self._count_rejected(name, error)
            raise

    def _count_rejected(self, name: str, error: Exception) -> None:
        self._rejected += 1
        if self._hooks:
            self._hooks.call("rejected", name, error)

    # When it ends

    def _task_finished(self, handle: TaskHandle[Any]) -> None:
        self._running.pop(handle, None)
        self._finished += 1
        if not self._fast_end:
            self._after_end(handle)
        elif len(self._running) <= self._idleness.threshold:
            self._idleness.check()

    def _task_ended(self, handle: TaskHandle[Any]) -> None:
        self._running.pop(handle, None)
        if handle._status is CANCELLED:
            self._cancelled += 1
        else:
            self._failed += 1
            self._report_error(handle)
        if not self._fast_end:
            self._after_end(handle)
        elif len(self._running) <= self._idleness.threshold:
            self._idleness.check()

    def _drop_unstarted(self, handle: TaskHandle[Any]) -> None:
        if self._slots.leave(handle):
            self._discarded += 1
            self._cancelled -= 1  # which `_task_ended` adds: it never ran
            handle._discard()

    def _after_end(self, handle: TaskHandle[Any]) -> None:
        if self._abandoned:
            self._abandoned.pop(handle, None)
        if self._account is not None:
            self._account.leave(handle)
            self._report_closed()
        if self._hooks:
            self._hooks.call("after", handle)
        slots = self._slots
        if slots.line:
            slots.serve()
        elif self._quotas is not None:
            self._quotas.end(handle)
        if len(self._running) <= self._idleness.threshold:
            self._idleness.check()

    def _report_error(self, handle: TaskHandle[Any]) -> None:
        error = handle._outcome
        assert isinstance(error, BaseException)
        if self._on_error is not None:
            try:
                self._on_error(handle, error)
            except BaseException as failure:
                tell_failure(logger, "on_error failed", failure, owner=self.name, task=handle.name)
            else:
                return
        tell_task_failure(logger, "background task failed", error, owner=self.name, task=handle.name)

    def _discard_pending(self) -> tuple[str, ...]:
        handles = self._slots.queued_tasks()
        for handle in handles:
            self._drop_unstarted(handle)
        return tuple(handle.name for handle in handles)

    def _names(self) -> tuple[str, ...]:
        return tuple(handle.name for handle in self._idleness.awaitable_by_caller())

    def _abandon(self) -> tuple[AbandonedTask, ...]:
        """Stop waiting for the tasks that would not end, and return a record of each."""
        left = self._idleness.awaitable_by_caller()
        self._fast_end = self._fast_end and not left
        for handle in left:
            del self._running[handle]
            self._abandoned[handle] = None
        records = tuple(describe(handle, self._clock()) for handle in left)
        for record in records:
            facts = {"owner": self.name, "task": record.name, "age": record.age, "stack": record.stack}
            logger.error("task abandoned", extra=facts)
        return records

    # What it holds

    def statistics(self) -> TaskManagerStatistics:
        """Return what the manager has done and holds at this moment; costs a look at every running task."""
        sweep(self._running)
        pending = self._slots.queued
        return TaskManagerStatistics(
            name=self.name,
            state=self._state.value,
            limit=self._slots.limit,
            running=len(self._running),
            pending=pending,
            accepted=self._accepted,
            started=self._accepted - pending - self._discarded,
            finished=self._finished,
            failed=self._failed,
            cancelled=self._cancelled,
            rejected=self._rejected,
            discarded=self._discarded,
            abandoned=len(self._abandoned),
        )

    def _portrait(self) -> Portrait:
        sweep(self._running)
        things = [self._thing(handle) for handle in (*self._running, *self._slots.queued_tasks(), *self._abandoned)]
        counts = {"limit": self._slots.limit} if self._slots.limit is not None else {}
        if self._quotas is not None and self._quotas.by is not None:
            counts["keys"] = self._quotas.turns.keys
        return Portrait(
            "task manager", self.name, self._state.value, self._since, things, counts, trace.mark_in(self._account)
        )

    def _thing(self, handle: TaskHandle[Any]) -> Thing:
        state = "cancelling" if handle.cancelling() else handle.status.value
        state = "abandoned" if handle in self._abandoned else state
        mark = trace.mark_in(self._account, handle)
        return Thing("task", handle.name, state, handle.started_at, mark=mark, task=handle._task)

    @property
    def closed(self) -> bool:
        """Whether everything has ended, or was abandoned, for good."""
        return self._state is CLOSED

    def __len__(self) -> int:
        """How many tasks run or wait for a slot."""
        return len(self._running) + self._slots.queued

    def __bool__(self) -> bool:
        return True  # an owner without tasks is one, too

    def __repr__(self) -> str:
        return f"task manager {self.name!r}"

    @property
    def _ended(self) -> int:
        return self._finished + self._failed + self._cancelled + self._discarded

    def _report_opened(self, handle: TaskHandle[Any]) -> None:
        """Report a task, and with its first one the manager, while tracing."""
        self._fast_end = self._fast_start = False
        if self._account is None:
            self._account = trace.Account("task manager", self.name)
        self._account.enter(handle, "task", handle.name)

    def _report_closed(self) -> None:
        """Report the manager closed once nothing is left of it: a task that closed it ends after it."""
        if self._account is not None and self._state is CLOSED and self._account.is_empty:
            self._account.end()
            self._account = None

    def _check_invariants(self) -> None:
        statistics = self.statistics()
        ended = statistics.finished + statistics.failed + statistics.cancelled
        assert statistics.started == statistics.running + ended + statistics.abandoned, statistics
        assert not self._slots.queued or not self._slots.has_room, statistics
        assert self._state is not CLOSED or not self._slots.waiting, statistics
