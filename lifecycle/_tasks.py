"""TaskManager: background tasks, work that nobody waits for; it drains them when it closes."""

from __future__ import annotations

from asyncio import AbstractEventLoop, CancelledError, Future
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context
from functools import partial
from types import CoroutineType, TracebackType
from typing import Any, NoReturn, Self, TypeVar

from typing_extensions import TypeVarTuple, Unpack

from . import _kernel as kernel
from . import _trace
from ._closing import OwnerState, checked_timeout, refuse, stop_endless
from ._errors import OwnerClosed, PendingLimitReached, ReleaseTimeout
from ._handle import CANCELLED, PENDING, TaskHandle, checked_coroutine, coroutine_of, name_of
from ._hooks import Hooks, TaskHooks, log_error, logger
from ._idleness import Idleness, describe, sweep, watch_unstarted
from ._kernel import NativeTask
from ._roots import Portrait, Thing, enroll
from ._slots import Slots, checked_limit
from ._startup import Startup
from ._statistics import DrainReport, LeftBehind, TaskManagerStatistics

__all__ = ["TaskHooks", "TaskManager"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

OPEN, CLOSING, CLOSED = OwnerState


class TaskManager:
    """Owns background tasks: work that outlives the function that starts it, and that nobody waits for.

    A failing task is reported and the others go on. Closing the manager refuses new work, waits for what is in
    (at most ``drain_timeout``), cancels the rest, waits again (at most ``cancel_timeout``) and reports what it met.

    A manager may be opened in one task and closed in another; every method but `start_soon_threadsafe` belongs into
    the loop's thread.

    Do not use it for work whose result you need: that is a ``TaskGroup``. Do not use it for a loop that lives as
    long as a resource: that is a ``Scope``.

    Example::

        async with TaskManager("mail", limit=20) as mail:
            mail.start_soon(send_welcome, user)

    Args:
        name: for logs, errors and statistics.
        limit: how many tasks may run at once, at least 1; None for no bound. It may be changed at any time.
        pending_limit: how many tasks may wait for a slot, from 0; None for no bound.
        drain_timeout: seconds that closing waits for running tasks before it cancels them; None for ever.
        cancel_timeout: seconds that closing waits for cancelled tasks before it leaves them behind; None for ever.
        hooks: objects with some of the methods of `TaskHooks`.
        on_error: called as ``on_error(handle, error)`` with every error of a task; by default it is logged.
        context: the context variables that tasks start with (each gets a copy); by default the caller's.
        eager: let tasks make their first step at once, on Python 3.12 and later.

    Raises:
        TypeError, ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        limit: int | None = None,
        pending_limit: int | None = None,
        drain_timeout: float | None = 10.0,
        cancel_timeout: float | None = 5.0,
        hooks: Sequence[object] = (),
        on_error: Callable[[TaskHandle[Any], BaseException], None] | None = None,
        context: Context | None = None,
        eager: bool = False,
    ) -> None:
        self.name: str = name or "tasks"
        self.drain_timeout: float = checked_timeout(drain_timeout, "drain_timeout")
        self.cancel_timeout: float = checked_timeout(cancel_timeout, "cancel_timeout")
        self._pending_limit = checked_limit(pending_limit, what="pending_limit", least=0)
        self._running: set[TaskHandle[Any]] = set()
        self._left_behind: set[TaskHandle[Any]] = set()
        self._slots = Slots(self._running, limit, self._launch_queued)
        self._bounded = limit is not None
        self._idleness = Idleness(self._running, self._slots)
        self._hooks = Hooks(tuple(hooks), self.name) if hooks else None
        self._on_error = on_error or log_error
        self._context = context
        self._eager = eager
        self._state = OPEN
        self._loop: AbstractEventLoop | None = None
        self._clock: Callable[[], float] = self._bind
        self._token: _trace.Token | None = None  # while somebody looks
        self._tokens: dict[TaskHandle[Any], _trace.Token | None] = {}
        self._since: float | None = None  # when it came to its loop
        self._closed: Future[None] | None = None
        self._report = DrainReport()
        self._fresh: list[TaskHandle[Any]] = []  # launched in this loop iteration
        # True when the end of a task means more than leaving the books: somebody waits, is in line, or looks on.
        self._watched = self._bounded or bool(hooks)
        # True when taking in a task means more than starting it, and until the loop is known.
        self._special = True
        self._sweep_at = 1000
        self._accepted = self._finished = self._failed = self._cancelled = self._rejected = self._discarded = 0
        enroll(self)

    # Taking work in

    def start_soon(
        self,
        fn: Callable[[Unpack[Ts]], Coroutine[Any, Any, T]],
        *args: Unpack[Ts],
        name: str | None = None,
        context: Context | None = None,
    ) -> TaskHandle[T]:
        """Start ``fn(*args)`` in the background and return its handle, without ever waiting.

        Over the ``limit`` the task waits for a slot, first come first served.

        Raises:
            OwnerClosed: the manager is closing or closed; *fn* was not called.
            PendingLimitReached: ``pending_limit`` tasks wait already; *fn* was not called. (An ``anyio.WouldBlock``.)
            TypeError: *fn* did not make a coroutine.
        """
        if self._state is not OPEN or self._bounded:
            self._check_admission(name or name_of(fn))
        coro = fn(*args)
        if type(coro) is CoroutineType:
            label = name or coro.__qualname__
        else:
            coro = checked_coroutine(coro)
            label = name or name_of(coro)
        handle = TaskHandle(self, coro, label)
        self._accepted += 1
        if self._special:
            self._place(handle, context)
        else:  # what `_launch` does in the plain case, without most calls: this is the path that has to be fast
            running = self._running
            running.add(handle)
            if len(running) > self._sweep_at:
                self._sweep_often_enough()
            wrapper = handle._run()
            try:
                handle._task = NativeTask(wrapper, loop=self._loop, name=handle.name, context=context)
            except BaseException:  # the loop that the manager belongs to is closed
                wrapper.close()
                handle._discard()
                raise
        return handle

    def create_task(
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: Context | None = None
    ) -> TaskHandle[T]:
        """Start *coro* in the background and return its handle; see `start_soon`.

        Raises:
            OwnerClosed, PendingLimitReached: the task was refused, and *coro* has been closed.
            TypeError: *coro* is no coroutine.
        """
        coro = checked_coroutine(coro)
        label = name or name_of(coro)
        try:
            return self.start_soon(lambda: coro, name=label, context=context)
        except BaseException:
            coro.close()
            raise

    async def spawn(
        self,
        fn: Callable[[Unpack[Ts]], Coroutine[Any, Any, T]],
        *args: Unpack[Ts],
        name: str | None = None,
        context: Context | None = None,
    ) -> TaskHandle[T]:
        """Wait for a free slot, start ``fn(*args)`` in it, and return its handle: backpressure for a producer.

        Callers are served in order, together with the tasks that `start_soon` has put in line.

        Cancellation: while it waits, nothing has been started and the place in line is given up.

        Raises:
            OwnerClosed: the manager is closed, or was closed while the caller waited; *fn* was not called.
            TypeError: *fn* did not make a coroutine.
        """
        label = name or name_of(fn)
        self._check_open(label)
        bounded = self._bounded
        # The slot is kept while fn makes its coroutine, because fn may start tasks itself.
        if bounded and not self._slots.keep():
            await self._slots.wait_for_slot()
        try:
            self._check_open(label)
            if self._loop is None:
                self._bind()
            handle = TaskHandle(self, coroutine_of(fn, args), label)
        except BaseException:
            if bounded:
                self._slots.give_back()
            raise
        if bounded:
            self._slots.take()
        self._accepted += 1
        self._launch(handle, context)
        return handle

    async def start(self, fn: Callable[..., Coroutine[Any, Any, Any]], *args: object, name: str | None = None) -> Any:
        """Start ``fn(*args, task_status=...)`` and return what it hands to ``task_status.started(value)``.

        An error before that call is raised here and reported nowhere else.

        Cancellation: the half-started task is cancelled; the manager sees it off.

        Raises:
            OwnerClosed, PendingLimitReached: as in `start_soon`.
            RuntimeError: the task returned without calling ``started``.
        """
        startup = Startup(fn, args)
        handle = self.start_soon(startup.run, name=name or startup.name)
        return await startup.wait(handle)

    def start_soon_threadsafe(
        self,
        fn: Callable[[Unpack[Ts]], Coroutine[Any, Any, object]],
        *args: Unpack[Ts],
        name: str | None = None,
    ) -> None:
        """Start ``fn(*args)`` in the background from any thread; it begins in the manager's loop.

        A task that is refused there, because the manager has been closed meanwhile, goes to ``on_error``'s log and
        the ``rejected`` hooks: there is no caller left to tell.

        Raises:
            OwnerClosed: the manager is closing or closed, or its loop is.
            RuntimeError: the manager has never been used in a loop, so that it has none.
        """
        label = name or name_of(fn)
        self._check_open(label)
        if self._loop is None:
            raise RuntimeError(f"{self} does not know its loop yet; enter it, or start its first task in the loop")
        try:
            self._loop.call_soon_threadsafe(partial(self._start_from_thread, fn, args, label))
        except RuntimeError:
            refuse(self, f"task {label!r}", "its event loop is closed")

    def _start_from_thread(self, fn: Any, args: Any, name: str) -> None:
        try:
            self.start_soon(fn, *args, name=name)
        except Exception as error:
            logger.exception("task refused", extra={"manager": self.name, "task": name})
            if not isinstance(error, (OwnerClosed, PendingLimitReached)):
                self._tell_rejected(name, error)

    @property
    def limit(self) -> int | None:
        """How many tasks may run at once; None for no bound. A higher limit starts waiting tasks at once."""
        return self._slots.limit

    @limit.setter
    def limit(self, limit: int | None) -> None:
        checked_limit(limit)
        self._bounded = self._bounded or limit is not None
        self._watched = self._watched or self._bounded
        self._special = self._special or self._bounded
        self._slots.limit = limit

    # Closing

    async def __aenter__(self) -> Self:
        self._check_open("the async with block")
        self._bind()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            report = await self.aclose()
        except CancelledError as held:
            if error is None or isinstance(error, CancelledError):
                raise
            kernel.deliver_later(held)  # not instead of the body's error
            return
        if report.abandoned and error is None:
            worst = report.abandoned[0]
            names = ", ".join(left.name for left in report.abandoned)
            raise ReleaseTimeout(
                f"{self} (left behind: {names})", self.cancel_timeout, abandoned=True, stack=worst.stack
            )

    def close(self) -> None:
        """Refuse new work from now on; what is in goes on. Idempotent."""
        if self._state is OPEN:
            self._state = CLOSING
            self._slots.dismiss()

    async def drain(self, timeout: float | None = None) -> DrainReport:
        """Wait until every task has ended, those included that are started meanwhile.

        A task that drains its own manager does not wait for itself.

        Cancellation: ends the waiting; no task is touched.

        Args:
            timeout: seconds to wait at most; None for as long as it takes. What still runs then is named in the
                report's ``running`` and goes on.
        """
        limit = checked_timeout(timeout, "timeout")
        before = self._ended
        in_time = await self._wait_idle(partial(kernel.wait, timeout=limit), draining=True)
        return DrainReport(finished=self._ended - before, running=self._names() if in_time is False else ())

    async def aclose(self) -> DrainReport:
        """Refuse new work, drain, cancel what is left, and return what became of it all. Idempotent.

        A second caller waits for the first and gets the same report. A task that closes its own manager is not waited
        for.

        Cancellation: a native cancellation while the tasks drain ends the draining: they are cancelled and seen off
        as if ``drain_timeout`` had passed, and the cancellation is raised afterwards. Shielded otherwise, for at most
        ``drain_timeout + cancel_timeout`` seconds. A second caller just stops waiting.
        """
        if self._state is CLOSED:
            return self._report
        with self._idleness.exempt_caller():
            if self._closed is not None:
                # Not through a cancellation: the first closer may be waiting for this very task.
                await kernel.wait_shielded(self._closed)
                return self._report
            self._closed = kernel.new_future()
            held = await self._shut_down()
            self._state = CLOSED
        self._report_closed()
        self._closed.set_result(None)
        if held is not None:
            raise held
        return self._report

    async def _shut_down(self) -> CancelledError | None:
        self.close()
        for handle in (*self._running, *self._slots.queued_tasks()):
            stop_endless(handle._coro)
        held = None
        ended = self._ended
        try:
            await self._wait_idle(partial(kernel.wait_shielded, timeout=self.drain_timeout))
        except CancelledError as error:
            held = error
        finished = self._ended - ended
        discarded = self._discard_pending()
        cancelled = self._names()
        held = await self._cancel_running() or held
        self._report = DrainReport(finished, cancelled, discarded, self._leave_behind())
        return held

    async def _cancel_running(self) -> CancelledError | None:
        """Cancel all tasks and see them off; one that swallows its first cancellation gets a second at half time."""
        held = None
        for _ in range(2):
            for handle in self._idleness.others():
                handle.cancel(f"{self} is closing")
            wait = partial(kernel.wait_through, timeout=self.cancel_timeout / 2)
            held = await self._wait_idle(wait) or held
        return held

    def _discard_pending(self) -> tuple[str, ...]:
        handles = self._slots.queued_tasks()
        for handle in handles:
            self._drop_unstarted(handle)
        return tuple(handle.name for handle in handles)

    def _leave_behind(self) -> tuple[LeftBehind, ...]:
        """Stop counting the tasks that would not end, and say who they are."""
        left = self._idleness.others()
        self._running.difference_update(left)
        self._left_behind.update(left)
        records = tuple(describe(handle, self._clock()) for handle in left)
        for record in records:
            logger.error("task left behind: %s", record, extra={"manager": self.name, "task": record.name})
        return records

    async def _wait_idle(
        self, wait: Callable[[Future[None]], Coroutine[Any, Any, T]], *, draining: bool = False
    ) -> T | None:
        """Wait in the given way until nothing is left but tasks that themselves wait for that."""
        self._watched = True
        return await self._idleness.wait(wait, draining=draining)

    def _names(self) -> tuple[str, ...]:
        return tuple(handle.name for handle in self._idleness.others())

    # The books

    def statistics(self) -> TaskManagerStatistics:
        """Return what the manager has done and holds at this moment; costs a look at every running task."""
        sweep(self._running)
        pending = self._slots.queued
        return TaskManagerStatistics(
            name=self.name,
            state=self._state.value,
            limit=self.limit,
            running=len(self._running),
            pending=pending,
            accepted=self._accepted,
            started=self._accepted - pending - self._discarded,
            finished=self._finished,
            failed=self._failed,
            cancelled=self._cancelled,
            rejected=self._rejected,
            discarded=self._discarded,
            abandoned=len(self._left_behind),
        )

    def _portrait(self) -> Portrait:
        sweep(self._running)
        things = [self._thing(handle) for handle in (*self._running, *self._slots.queued_tasks(), *self._left_behind)]
        counts = {"limit": self.limit} if self.limit is not None else {}
        return Portrait("task manager", self.name, self._state.value, self._since, things, counts, self._token)

    def _thing(self, handle: TaskHandle[Any]) -> Thing:
        state = "cancelling" if handle.cancelling else handle.status.value
        state = "left behind" if handle in self._left_behind else state
        token = self._tokens.get(handle)
        return Thing("task", handle.name, state, handle.started_at, token=token, task=handle._task)

    def __len__(self) -> int:
        return len(self._running) + self._slots.queued

    def __repr__(self) -> str:
        return f"task manager {self.name!r}"

    @property
    def _ended(self) -> int:
        return self._finished + self._failed + self._cancelled + self._discarded

    def _bind(self) -> float:
        """Tie the manager to the running loop; stands in for its clock until then."""
        self._loop = kernel.running_loop()
        self._clock = self._loop.time
        self._since = self._clock()
        plain = kernel.is_plain(self._loop) and not self._eager and self._context is None
        self._special = self._watched or not plain or _trace.sink is not None
        return self._clock()

    def _place(self, handle: TaskHandle[Any], context: Context | None) -> None:
        """Start a task that was taken in, or put it in line for a slot."""
        if self._loop is None:
            try:
                self._bind()
            except RuntimeError:  # there is no loop
                self._accepted -= 1
                handle._coro.close()
                raise
        if self._bounded and not self._slots.free:
            self._slots.enqueue(handle, context)
            if self._hooks:
                self._hooks.call("queued", handle)
        else:
            self._launch(handle, context)

    def _launch_queued(self, handle: TaskHandle[Any], context: Context | None) -> None:
        """Start a task that has got its slot; there is no caller to raise an error to, but a task that has ended."""
        try:
            self._launch(handle, context)
        except Exception:
            logger.exception("task could not be started", extra={"manager": self.name, "task": handle.name})

    def _launch(self, handle: TaskHandle[Any], context: Context | None) -> None:
        self._running.add(handle)
        if _trace.sink is not None:
            self._report_opened(handle)
        if len(self._running) > self._sweep_at:
            self._sweep_often_enough()
        if self._hooks:
            self._hooks.call("before", handle)
        if context is None and self._context is not None:
            context = self._context.copy()
        try:
            handle._start(context, eager=self._eager)
        except BaseException:
            handle._discard()
            raise
        if self._watched and handle._status is PENDING:
            if not self._fresh:
                kernel.running_loop().call_soon(self._look_at_fresh)
            self._fresh.append(handle)

    def _look_at_fresh(self) -> None:
        """See to it that a task that somebody else cancels before its first step gives its slot back at once."""
        # This comes after the first step of the first of them; those of the others follow in this loop iteration.
        handles, self._fresh = self._fresh, []
        unstarted = [handle for handle in handles if handle._status is PENDING]
        if unstarted:
            kernel.running_loop().call_soon(watch_unstarted, unstarted)

    def _sweep_often_enough(self) -> None:
        """Sweep whenever the number of tasks has grown fourfold, which costs each task a constant share."""
        sweep(self._running)
        self._sweep_at = 4 * len(self._running) + 1000

    def _report_opened(self, handle: TaskHandle[Any]) -> None:
        """Tell whoever looks of a task, and of this manager with its first."""
        self._watched = True
        if self._token is None:
            self._token = _trace.opened("task manager", self.name)
        self._tokens[handle] = _trace.opened("task", handle.name, self._token)

    def _report_closed(self) -> None:
        """Tell whoever looks that the manager is closed, and has nothing left: a task that closed it ends after it."""
        if self._token is not None and self._state is CLOSED and not self._tokens:
            _trace.closed(self._token)
            self._token = None

    def _task_finished(self, handle: TaskHandle[Any]) -> None:
        self._running.discard(handle)
        self._finished += 1
        if self._watched:
            self._after_end(handle)

    def _task_ended(self, handle: TaskHandle[Any]) -> None:
        self._running.discard(handle)
        if handle._status is CANCELLED:
            self._cancelled += 1
        else:
            self._failed += 1
            self._report_error(handle)
        if self._watched:
            self._after_end(handle)

    def _drop_unstarted(self, handle: TaskHandle[Any]) -> None:
        if self._slots.leave(handle):
            self._discarded += 1
            self._cancelled -= 1  # which `_task_ended` adds: it never ran
            handle._discard()

    def _after_end(self, handle: TaskHandle[Any]) -> None:
        self._left_behind.discard(handle)
        if self._tokens:
            _trace.closed(self._tokens.pop(handle, None))
            self._report_closed()
        if self._hooks:
            self._hooks.call("after", handle)
        if self._slots.line:
            self._slots.serve()
        if len(self._running) <= self._idleness.threshold:
            self._idleness.check()

    def _report_error(self, handle: TaskHandle[Any]) -> None:
        error = handle._outcome
        assert isinstance(error, BaseException)
        try:
            self._on_error(handle, error)
        except Exception:
            logger.exception("on_error failed", extra={"manager": self.name, "task": handle.name})
            log_error(handle, error)

    # Refusing

    def _check_open(self, what: str) -> None:
        if self._state is not OPEN:
            self._reject(what)

    def _check_admission(self, name: str) -> None:
        self._check_open(name)
        if self._pending_limit is None or self._slots.free or self._slots.waiting < self._pending_limit:
            return
        error = PendingLimitReached(
            f"{self} has {self._slots.waiting} tasks waiting, its pending_limit; task {name!r} was refused. "
            "Wait for a slot with `await manager.spawn(...)`, or raise the limit"
        )
        self._tell_rejected(name, error)
        raise error

    def _reject(self, name: str) -> NoReturn:
        try:
            refuse(self, f"task {name!r}", f"it is {self._state.value}")
        except OwnerClosed as error:
            self._tell_rejected(name, error)
            raise

    def _tell_rejected(self, name: str, error: Exception) -> None:
        self._rejected += 1
        if self._hooks:
            self._hooks.call("rejected", name, error)

    def _check_invariants(self) -> None:
        statistics = self.statistics()
        ended = statistics.finished + statistics.failed + statistics.cancelled
        assert statistics.started == statistics.running + ended + statistics.abandoned, statistics
        assert not self._slots.queued or not self._slots.has_room, statistics
        assert self._state is not CLOSED or not self._slots.waiting, statistics
