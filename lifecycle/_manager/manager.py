"""TaskManager: background tasks, work whose caller does not wait for it; drained when the manager closes."""

from __future__ import annotations

import concurrent.futures
from asyncio import CancelledError, Future
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Sequence
from contextvars import Context
from functools import partial
from types import CoroutineType, FunctionType, TracebackType
from typing import Any, Self, TypeVar

from typing_extensions import TypeVarTuple, Unpack

from .._ground import kernel
from .._ground.calls import SUSPECTS, check_asynchronous, checked_coroutine, coroutine_from, coroutine_of, name_of
from .._ground.checks import checked_limit, checked_timeout
from .._ground.closing import OwnerState, stop_endless, tell_closed, wait_closed
from .._ground.errors import ManagerFull, OwnerClosed
from .._ground.foreign import with_traceback
from .._ground.kernel import NativeTask
from .._ground.ladder import patience
from .._limits.bounds import LimitBy, Rate
from .._limits.quotas import UNSAID
from .._task.handle import TaskHandle
from .._task.startup import Startup
from .._task.waiting import BringingAbout, Waiting, let_be_seen, until_seen
from .books import TaskBooks
from .ending import end_block
from .handover import hand_over
from .hooks import TaskHooks, logger
from .keyed import create_keyed, spawn_keyed, start_keyed
from .records import DrainReport, joined

__all__ = ["TaskHooks", "TaskManager"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

OPEN, CLOSING, CLOSED = OwnerState


class TaskManager(TaskBooks):
    """Owns background tasks: work that outlives the function that starts it, which does not wait for it.

    A failing task is reported and the others go on. Closing the manager refuses new work, waits for what is in (at
    most ``drain_timeout``) and cancels the rest; what has not ended ``cancel_timeout`` later is cancelled again, and
    abandoned a grace after that, which is a second at most. The report says what became of each.

    A manager may be opened in one task and closed in another; every method but `start_soon_threadsafe` belongs into
    the loop's thread.

    Do not use it for work whose result you need: that is a ``TaskGroup``. Do not use it for a loop that lives as
    long as a resource: that is a ``Scope``.

    Example::

        async with TaskManager("mail", limit=20) as mail:
            mail.start_soon(send_welcome, user)

    Args:
        name: for logs, errors and statistics; "task manager" unless given.
        limit: how many tasks may run at once; None for no bound. It may be changed at any time; 0 is a pause.
        pending_limit: how many tasks may wait for a slot, from 0; None for no bound.
        drain_timeout: seconds that closing waits for running tasks before it cancels them; None for ever.
        cancel_timeout: seconds that closing waits for cancelled tasks before it cancels them again, and abandons them
            ``min(1, cancel_timeout)`` seconds later; None for ever.
        hooks: objects with some of the methods of `TaskHooks`.
        on_error: called as ``on_error(handle, error)`` with every error of a task; by default it is logged.
        context: the context variables that tasks start with (each gets a copy); by default the caller's.
        eager: let tasks make their first step at once, on Python 3.12 and later.
        limit_by: bounds for each key, see `lifecycle.limit_by`. A task whose key is full waits and lets others pass.
        rate: how many tasks may begin in a time.

    Raises:
        TypeError, ValueError: an argument is of the wrong type, or out of its range.
    """

    __slots__ = ("_closing", "_entered", "_over", "_report", "cancel_timeout", "drain_timeout")

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
        limit_by: LimitBy | None = None,
        rate: Rate | None = None,
    ) -> None:
        super().__init__(name, limit, pending_limit, hooks, on_error, context, eager, limit_by, rate)
        self.drain_timeout: float = checked_timeout(drain_timeout, "drain_timeout")
        self.cancel_timeout: float = checked_timeout(cancel_timeout, "cancel_timeout")
        self._entered = False
        self._closing: Future[None] | None = None  # done when the close that is under way is over
        self._over: Future[None] | None = None  # see `wait_closed`
        self._report = DrainReport()

    # Taking work in

    def start_soon(
        self,
        fn: Callable[[Unpack[Ts]], Awaitable[T]],
        *args: Unpack[Ts],
        name: str | None = None,
        context: Context | None = None,
    ) -> TaskHandle[T]:
        """Start ``fn(*args)`` in the background and return its handle, without ever waiting.

        Over the ``limit`` the task waits for a slot, in order. ``functools.partial`` gives *fn* keyword arguments.

        Raises:
            OwnerClosed: the manager is closing or closed; *fn* was not called.
            ManagerFull: ``pending_limit`` tasks wait already; *fn* was not called. (An ``anyio.WouldBlock``.)
            TypeError: *fn* is no async function. A built-in function or a class is not called to see that.
        """
        if self._state is not OPEN or self._bounded:
            if self._quotas is not None:
                return start_keyed(self, fn, args, name, context)
            self._check_admission(name or name_of(fn))
        if type(fn) is not FunctionType and type(fn) in SUSPECTS:
            check_asynchronous(fn)
        try:
            coro = fn(*args)
        except TypeError:
            check_asynchronous(fn)
            raise
        if type(coro) is CoroutineType:
            label = name or coro.__qualname__
        else:
            coro = coroutine_from(fn, coro)
            label = name or name_of(coro)
        handle = TaskHandle(self, coro, label)
        self._accepted += 1
        if not self._fast_start or (not self._running and self._is_unbound()):  # before a task is made in vain
            self._place(handle, context)
        else:  # inlined `_place` and `_launch`; tests/manager/test_fast_start.py holds the two equal
            running = self._running
            running[handle] = None
            if len(running) > self._sweep_at:
                self._sweep_grown()
            wrapper = handle._run()
            try:
                handle._task = NativeTask(wrapper, loop=self._loop, name=handle.name, context=context)
            except BaseException:  # its loop is closed
                wrapper.close()
                del running[handle]
                self._place(handle, context)  # in the loop that runs now, or it says why not
        return handle

    def create_task(
        self,
        coro: Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: Context | None = None,
        limit_key: Hashable = UNSAID,
    ) -> TaskHandle[T]:
        """Start *coro* in the background and return its handle; see `start_soon`.

        Args:
            coro: the coroutine of an async function.
            name, context: as of `start_soon`.
            limit_key: the key whose bounds count, where there are bounds by key; None for none.

        Raises:
            OwnerClosed, ManagerFull: the task was refused, and *coro* has been closed.
            TypeError: *coro* is no coroutine; a *limit_key* is missing, or means nothing.
        """
        coro = checked_coroutine(coro)
        label = name or name_of(coro)
        try:
            if self._quotas is not None or limit_key is not UNSAID:
                return create_keyed(self, coro, label, context, limit_key)
            return self.start_soon(lambda: coro, name=label, context=context)
        except BaseException:
            coro.close()
            raise

    async def spawn(
        self,
        fn: Callable[[Unpack[Ts]], Awaitable[T]],
        *args: Unpack[Ts],
        name: str | None = None,
        context: Context | None = None,
    ) -> TaskHandle[T]:
        """Wait for a free slot, start ``fn(*args)`` in it, and return its handle: backpressure for a producer.

        Callers are served in order, together with the tasks that `start_soon` has put in line.

        Cancellation: while it waits, nothing has been started and the place in line is given up.

        Raises:
            OwnerClosed: the manager is closed, or was closed while the caller waited; *fn* was not called.
            TypeError: *fn* is no async function. A built-in function or a class is not called to see that.
        """
        if self._quotas is not None:
            return await spawn_keyed(self, fn, args, name, context)
        label = name or name_of(fn)
        if self._state is not OPEN:
            self._reject(label)
        bounded = self._bounded
        # The slot is kept while fn makes its coroutine, because fn may start tasks itself.
        if bounded and not self._slots.keep():
            self._check_loop()
            await self._slots.wait_for_slot()
        try:
            if self._state is not OPEN:
                self._reject(label)
            self._come_in()
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

        Cancellation: the half-started task is cancelled; closing the manager waits for it.

        Raises:
            OwnerClosed, ManagerFull: as in `start_soon`.
            RuntimeError: the task returned without calling ``started``.
        """
        startup = Startup(fn, args)
        label = name or startup.name
        keyed = self._quotas is not None
        start = partial(start_keyed, self, args=(), context=None, key_args=args) if keyed else self.start_soon
        handle: TaskHandle[Any] = start(startup.run, name=label)
        return await startup.wait(handle)

    def start_soon_threadsafe(
        self,
        fn: Callable[[Unpack[Ts]], Awaitable[T]],
        *args: Unpack[Ts],
        name: str | None = None,
    ) -> concurrent.futures.Future[T]:
        """Start ``fn(*args)`` in the background from any thread; it begins in the manager's loop.

        The thread may wait for it with ``result(timeout)`` or ``exception(timeout)``, or ask it to end with
        ``cancel()``; the future is done once the task has ended. In the loop's own thread waiting is refused, because
        it would wait for ever. A task that ignores its cancellations keeps the future waiting, also when the manager
        has abandoned it.

        A task that is refused in the loop, because the manager has been closed meanwhile, is an error of the future;
        it is logged as well and goes to the ``rejected`` hooks, as its caller may have gone on long ago. That the loop
        is closed before the task has ended is an `OwnerClosed` of the future; one that is only stopped may go on.

        Raises:
            OwnerClosed: the manager is closing or closed, or its loop is.
            RuntimeError: the manager has never been used in a loop, so that it has none.
        """
        label = name or name_of(fn)
        check_asynchronous(fn)
        self._check_open(label)
        if self._loop is None:
            raise RuntimeError(f"{self} does not know its loop yet; enter it, or start its first task in the loop")
        return hand_over(self._loop, label, partial(self._start_from_thread, fn, args, label), self)

    def _start_from_thread(self, fn: Any, args: Any, name: str) -> TaskHandle[Any]:
        try:
            return self.start_soon(fn, *args, name=name)
        except Exception as error:
            logger.exception("task refused", extra={"owner": self.name, "task": name})
            if not isinstance(error, (OwnerClosed, ManagerFull)):
                self._count_rejected(name, error)
            raise

    @property
    def limit(self) -> int | None:
        """How many tasks may run at once; None for no bound. A higher limit starts waiting tasks at once."""
        return self._slots.limit

    @limit.setter
    def limit(self, limit: int | None) -> None:
        checked_limit(limit, least=0)
        self._bounded = self._bounded or limit is not None
        self._fast_end = self._fast_end and not self._bounded
        self._review()
        self._slots.limit = limit

    # Closing

    async def __aenter__(self) -> Self:
        """Open the block; does not suspend."""
        if self._state is not OPEN or self._entered:
            entered = "has already been entered, and " if self._entered else ""
            raise OwnerClosed(f"{self} {entered}is {self._state.value}; make a new manager for every block")
        self._entered = True
        self._host = kernel.current_task()
        self._bind()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the manager. Cancellation: as for `aclose`; one that has ended the block does not end the draining."""
        await end_block(self, self.aclose(), error, self.cancel_timeout)

    def close(self) -> None:
        """Refuse new work from now on; the tasks that are in go on. Idempotent."""
        if self._state is OPEN:
            self._state = CLOSING
            self._slots.dismiss()

    def cancel(self, reason: str | None = None) -> None:
        """Refuse new work, drop the tasks that wait for a slot, and cancel the others; from any task of the loop.

        It does not wait: `aclose` does, and so does the end of the block.

        Args:
            reason: why, for the log; it also becomes the message of the ``CancelledError`` of each task.
        """
        self.close()
        for handle in (*self._slots.queued_tasks(), *self._running):
            handle.cancel(reason or f"{self} was cancelled")

    async def wait(self) -> None:
        """Wait until the manager is closed, which somewhere else does.

        Cancellation: ends the waiting, and changes nothing.
        """
        await wait_closed(self)

    async def drain(self, timeout: float | None = None) -> DrainReport:
        """Wait until every task has ended, those included that are started meanwhile.

        A task that drains its own manager does not wait for itself.

        Cancellation: ends the waiting; no task is touched.

        Args:
            timeout: seconds to wait at most; None for as long as it takes. What still runs then is named in the
                report's ``running`` and goes on.

        Raises:
            WrongLoop: there are tasks in an event loop that is closed, which never end.
        """
        limit = checked_timeout(timeout, "timeout")
        self._check_loop()
        await let_be_seen(but_for=self)
        before = self._ended
        in_time = await self._wait_idle(partial(kernel.wait, timeout=limit), draining=True)
        return DrainReport(finished=self._ended - before, running=self._names() if in_time is False else ())

    async def aclose(self) -> DrainReport:
        """Refuse new work, drain, cancel what is left, and return what became of it all. Idempotent.

        A second caller waits for the first and gets the same report. A task that closes its own manager is not waited
        for; should it go on afterwards, a close from outside, such as the end of the block, ends it as well.

        Cancellation: a native cancellation while the tasks drain ends the draining: they are cancelled as if
        ``drain_timeout`` had passed, and the cancellation is raised when they have ended. Shielded otherwise, for at
        most ``drain_timeout + cancel_timeout + min(1, cancel_timeout)`` seconds. A second caller just stops waiting.

        Tasks that were left in an event loop that is closed are abandoned, and named as such.
        """
        if self._closing is None and not self._running and not self._slots.waiting:
            self._end_idle()
            return self._report
        held = await until_seen(but_for=self._closing)
        if held is not None and self._closing is not None:
            raise held
        while self._state is not CLOSED or self._idleness.has_stayed_closers():
            with self._idleness.exempt_caller(self._closing):
                if self._closing is None:
                    held = await self._close_once(held)
                else:  # not through a cancellation: the first closer may be waiting for this very task
                    with Waiting(self._closing, bound=False, until=self._closing):
                        await kernel.wait_shielded(self._closing)
        try:
            if held is not None:
                raise held
        finally:
            del held  # which its traceback would refer to: a cycle
        return self._report

    async def _close_once(self, held: CancelledError | None) -> CancelledError | None:
        closing = self._closing = kernel.new_future()
        with BringingAbout(closing):
            held = await self._shut_down(held)
        self._closing = None
        self._end_idle()
        closing.set_result(None)
        if self._idleness.has_joined_closers():  # let them come back from it, to see whether they stay
            held = kernel.foremost(held, await kernel.wait_through(kernel.next_turn()))
        return held

    def _end_idle(self) -> None:
        """Be closed: nothing is left that has to be waited for."""
        self._state = CLOSED
        self._host = None
        if self._quotas is not None:
            self._quotas.turns.end()
        self._report_closed()
        tell_closed(self)

    async def _shut_down(self, held: CancelledError | None) -> CancelledError | None:
        self.close()
        if self._has_lost_tasks():
            self._report = joined(self._report, DrainReport(0, (), self._discard_pending(), self._abandon()))
            return held
        stop_endless(handle._coro for handle in (*self._running, *self._slots.queued_tasks()))
        ended = self._ended
        try:
            if held is None:
                await self._wait_idle(partial(kernel.wait_shielded, timeout=self.drain_timeout))
        except CancelledError as error:
            held = with_traceback(error, None)  # whose frames lead back here: a cycle
        finished = self._ended - ended
        discarded = self._discard_pending()
        cancelled = self._names()
        held = kernel.foremost(held, await self._cancel_running())
        self._report = joined(self._report, DrainReport(finished, cancelled, discarded, self._abandon()))
        return held

    async def _cancel_running(self) -> CancelledError | None:
        """Cancel all tasks and wait for them, with the rungs of a `Ladder`: what swallows the first gets a second."""
        held = None
        for rung in (1, 2):
            for handle in self._idleness.awaitable_by_caller():
                handle.cancel(f"{self} is closing")
            wait = partial(kernel.wait_through, timeout=patience(rung, self.cancel_timeout))
            held = kernel.foremost(held, await self._wait_idle(wait, cancelled=True))
        return held

    async def _wait_idle(
        self, wait: Callable[[Future[None]], Coroutine[Any, Any, T]], *, draining: bool = False, cancelled: bool = False
    ) -> T | None:
        """Wait in the given way until nothing is left but tasks that themselves wait for that."""
        self._fast_start = False
        try:
            return await self._idleness.wait(self, wait, draining=draining, cancelled=cancelled)
        finally:
            self._review()
