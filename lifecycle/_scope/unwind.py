"""Unwinding: how a scope's ledger is emptied, newest entry first, whatever happens meanwhile.

Theory of operation
-------------------

*The host* is the task that closes the scope. It walks the ledger and begins every release; those that are done when
they return cost nothing more, and a stopped task is waited for right there. A release that suspends is handed to *the
closer*, one task per close, in which no cancellation of the host can reach it. The closer goes on down the ledger by
itself until it meets an entry that must be left in the host (a context manager entered inline). While the host waits,
it holds cancellations back; one is delivered when all is over. Where thousands of releases do not suspend, the host
gives the loop a turn now and then, in which it is as if one had been awaited.

*The watchdog* is one timer for the whole close, because most releases are over at once: to note a time costs less
than a tenth of a timer. Its rungs are those of `Ladder`. A release that takes longer than ``close_timeout`` is
interrupted, and once more a ``close_timeout`` later (a stopped task has been cancelled to begin with). What has not
ended a grace after that is abandoned: a suspended release keeps its closer for itself, and the host goes on with
another.

Errors are collected, never raised in between; see `Failures`.
"""

from __future__ import annotations

from asyncio import CancelledError, Future, Task, TimerHandle
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from contextvars import Context
from functools import partial
from typing import Any, Protocol

from .._ground import kernel, scopes
from .._ground.awaiters import Waiter
from .._ground.errors import ReleaseTimeout
from .._ground.foreign import split_cancellation, traceback_of, without_our_frame
from .._ground.ladder import patience
from .._ground.surely import spawn_surely
from .._task.handle import PENDING, RUNNING
from .._task.waiting import WaitingFor, anybody_awaits, asks_before_starter_waits
from .._task.work import work_of
from .books import ScopeBooks
from .entries import PLAIN, CallbackEntry, CallbackRun, InlineExit, OwnTask, is_awaited, report_late
from .failures import Failures

UNFINISHED = (PENDING, RUNNING)

#: After how many releases that did not suspend the loop is given a turn: no time, so that every run does the same.
BREATH_EVERY = 1000

NO_SHIELD = nullcontext()


class Closing(Protocol):
    """What an unwinding needs of the scope that it closes."""

    name: str
    close_timeout: float
    _books: ScopeBooks
    _errors: list[BaseException]
    _context: Context | None


class Unwinding(Failures):
    """One close of one ledger; see `Failures` for what it has met."""

    # Defaults on the class, because most closes need few of them.
    _scope: Closing
    host: Task[Any]
    _waiting: WaitingFor | None = None  # for the host
    _seen = False  # whether all who wait for the host can be seen
    _entry: Any = None
    _pending: Awaitable[Any] | None = None
    _runner: Task[Any] | None = None  # the task that awaits the pending release
    _generation = 0
    _baton: Future[None] | None = None  # what the host waits for
    _timer: TimerHandle | None = None
    _due = 0.0  # when the pending release has had its time on this rung
    _rung = 0
    _now: Callable[[], float]
    _expired = False  # whether the watchdog has interrupted it
    _interruptions: tuple[kernel.Cancellation, ...] = ()
    _scopes_around: bool | None = None
    _context: Context | None = None  # of the task that closes the parent, None for the host's own
    _steps = 0  # releases begun since the loop was given a turn

    def __init__(self, scope: Closing, error: BaseException | None) -> None:
        self._scope = scope
        self._books = scope._books
        self.errors = scope._errors
        if scope._context is not None:
            self._context = scope._context
        if error is not None:
            self._take_body_error(error)

    async def run(self) -> None:
        """Empty the ledger, except for tasks that wait for this very close.

        Cancellation: held back in ``cancellation``.
        """
        self.host = kernel.current_task()
        try:
            while True:
                entry = self._entry if self._pending is not None else self.inside(self._call_releases)
                if entry is None:
                    if self._steps < BREATH_EVERY:
                        break
                    await self._breathe()
                elif entry.inline:
                    await self._exit_inline(entry)
                elif isinstance(entry, OwnTask):
                    await self._stop_task(entry)
                else:
                    await self._delegate()
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def awaits(self, task: Task[Any]) -> bool:
        """Whether *task* is what is waited for now."""
        return self._entry is not None and self._entry.runner is task

    def _hosts(self, closer: Task[Any]) -> Iterator[Waiter]:
        if closer is self._runner:  # and not one that was abandoned
            yield self.host, True

    def context(self) -> Context | None:
        """Return the context that synchronous releases run in, if others can enter it now: while the host waits."""
        return None if self._baton is None else self._context or kernel.context_of_task(self.host)

    def inside(self, call: Callable[[], Any]) -> Any:
        """Return what ``call()`` gives the host in the context that synchronous releases run in."""
        return call() if self._context is None else self._context.run(call)

    # The synchronous part

    def call_callbacks(self) -> bool:
        """Call the callbacks at the top of the ledger, the one kind of entry that there may be thousands of.

        Returns whether that was all. One that turns out to be asynchronous is left in ``_entry`` and ``_pending``.
        """
        ledger = self._books
        if not ledger:
            return True
        run = next(reversed(ledger))
        while type(run) is CallbackRun and self._steps < BREATH_EVERY:
            if len(run.calls) > BREATH_EVERY:
                run = ledger.cut(run, BREATH_EVERY)
            if not self._call_run(run, len(ledger)):
                return False
            if not ledger:
                return True
            run = ledger.top()
        return False

    def _call_run(self, run: CallbackRun, size: int) -> bool:
        """Call the callbacks of *run*, newest first; return False if one of them has to be awaited now."""
        ledger, calls = self._books, run.calls
        called = len(calls)
        while calls and len(ledger) == size:  # a callback may register another, which goes first
            fn, args, kwargs = calls.pop()
            try:
                pending = fn(*args, **kwargs)
            except BaseException as error:
                self._add_failure(CallbackEntry(fn, args, kwargs), without_our_frame(error))
                continue
            if type(pending) not in PLAIN and is_awaited(pending):
                self._pending = pending
                self._entry = self._books.releasing = CallbackEntry(fn, args, kwargs)
                break
        called -= len(calls)
        self._steps += called
        self._books.opened += called
        self._books.released += called - (self._pending is not None)
        if not calls:
            del ledger[run]
        return self._pending is None

    def _call_releases(self) -> Any:
        """Release entries, newest first, until one needs more than a call: return it.

        Returns None when none is left, and when the loop has to be given a turn. What has to be awaited is in
        ``_pending`` afterwards. An entry that is left inline is still in the ledger.
        """
        while True:
            self.call_callbacks()
            if self._pending is not None:
                return self._entry
            entry = self._books.newest(self._is_spared)
            if self._steps >= BREATH_EVERY:
                return None
            self._steps += 1
            if type(entry) is CallbackRun:  # below a task that waits for this close
                entry = self._take_newest_call(entry)
            if entry is None or entry.inline:
                return entry
            self._begin(entry)
            if self._pending is not None or entry.leaves:
                return entry

    def _is_spared(self, entry: Any) -> bool:
        """Whether the close goes on without what *entry* runs, because that waits for this very close."""
        runner = entry.runner
        if runner is None:
            return False
        if not self._seen and asks_before_starter_waits():
            self._steps = BREATH_EVERY  # so that the loop is given a turn, and this is asked again
        self._seen = True
        spared = runner is self.host or (anybody_awaits(self.host) and self._is_awaited_by(runner, entry))
        if spared:
            entry.spare()
        return spared

    def _is_awaited_by(self, runner: Task[Any], entry: Any) -> bool:
        waiting = self._waiting = self._waiting or WaitingFor(self.host)
        awaited = waiting.has(runner, bound=entry.stops_runner)
        if waiting.tells_more_later(self._books.released):
            self._steps = BREATH_EVERY  # as above
        return awaited

    def _take_newest_call(self, run: CallbackRun) -> CallbackEntry:
        callback = CallbackEntry(*run.calls.pop())
        if not run.calls:
            del self._books[run]
        self._books[callback] = None
        self._books.opened += 1
        return callback

    def _begin(self, entry: Any) -> None:
        """Begin the release of *entry*; what is left to be awaited is in ``_pending`` afterwards."""
        self._given = self._in_flight() if entry.exits else None
        if not entry.leaves:
            del self._books[entry]
            self._books.releasing = entry
        self._entry = entry
        try:
            self._pending = entry.release(self._given)
        except BaseException as error:
            self._take_error(entry, without_our_frame(error))
        if self._pending is None and not entry.leaves:
            self._settle(entry)

    def _settle(self, entry: Any) -> None:
        """Close the account of an entry whose release has ended, or was given up."""
        self._pending = None
        self._due = kernel.FOREVER  # for the next one, time begins when it does
        if entry.leaves:
            self._books.forget(entry)  # a task that would not end; its own end finds it gone
            return
        self._books.releasing = None
        self._books.released += 1
        if self._books.account is not None:
            self._books.account.leave(entry)

    def _take_outcome(self, entry: Any, error: BaseException | None, verdict: object) -> None:
        """Note how the pending release of *entry* has ended."""
        if self._expired:
            self._expired = False
            self.errors.append(ReleaseTimeout(entry.label, self._scope.close_timeout, abandoned=False))
            self._take_interruptions_back()
            if isinstance(error, CancelledError):
                return
        if error is not None:
            self._take_error(entry, error)
        elif entry.exits and verdict and self._given is not None:
            self._suppress()

    # In the host

    async def _breathe(self) -> None:
        """Give the loop a turn."""
        self._steps = 0
        with self._shield():
            self._baton = kernel.new_future()
            kernel.running_loop().call_soon(self._pass_baton)
            try:
                await self._baton
            except CancelledError as error:
                self.hold(error)
            self._baton = None

    async def _exit_inline(self, entry: InlineExit) -> None:
        del self._books[entry]
        self._books.releasing = self._entry = entry
        self._given = given = self._in_flight()
        details = (None, None, None) if given is None else (type(given), given, traceback_of(given))
        error, verdict = None, None
        met = kernel.requests_met(self.host)
        try:
            verdict = self.inside(partial(entry.exit, *details))
            if entry.is_async:
                self._watch(self.host)
                self._pending = verdict
                verdict = await verdict
        except BaseException as raised:
            error, verdict = without_our_frame(raised), None
        interruptions, failed = self._interruptions, error is not None
        self._take_interruptions_back()
        cancellation, rest = (None, None) if error is None else split_cancellation(error)
        if cancellation is not None and self.host.cancelling() > 0:
            # It is the host's: the one that is known already, whatever it was raised as, or one met in here.
            if self.cancellation is None or self.host.cancelling() > met:
                self.hold(kernel.as_requested(cancellation, self.host, *(each.reason for each in interruptions)))
            error = rest
        self._take_outcome(entry, error, verdict)
        del given, details, error, cancellation, rest  # frames in their tracebacks lead back to this one: a cycle
        if interruptions:
            self.hold(await kernel.absorb_cancellation(self.host, met))
        if failed:
            self.hold(await kernel.take_owed(self.host))
        self._settle(entry)
        self._scopes_around = None  # it may have been one

    async def _stop_task(self, task: OwnTask[Any]) -> None:
        """Wait for a task that has been cancelled."""
        self._watch(self.host)
        with self._shield():
            while task._status in UNFINISHED and self._entry is task:
                self._baton = baton = kernel.new_future()
                task._add_waiter(baton)
                try:
                    await baton
                except CancelledError as error:
                    self.hold(error)
                self._baton = None
        if self._expired:
            self._take_outcome(task, None, None)
        self._settle(task)

    async def _delegate(self) -> None:
        """Have the closer await the pending release and go on; return when it can go no further."""
        while self._pending is not None:
            generation = self._generation = self._generation + 1
            closer = spawn_surely(partial(self._close_in_turn, generation), f"closer of {self._scope}")
            # Also a closer that a foreign cancellation ends before its first step passes the baton on.
            closer.add_done_callback(self._pass_baton)
            with self._shield():
                while not closer.done() and self._generation == generation:
                    self._baton = baton = kernel.new_future()
                    try:
                        await baton
                    except CancelledError as error:
                        self.hold(error)
                    self._baton = None
            if closer.done() and not closer.cancelled():
                closer.result()

    def _shield(self) -> AbstractContextManager[object]:
        """Return a shield against the scopes that the host is in, if there are any."""
        if self._scopes_around is None:
            self._scopes_around = scopes.in_scope(self.host)
        return scopes.shield() if self._scopes_around else NO_SHIELD

    def _pass_baton(self, _: object = None) -> None:
        if self._baton is not None and not self._baton.done():
            self._baton.set_result(None)

    # In the closer

    @work_of("self", starter="self.host")
    async def _close_in_turn(self, generation: int) -> None:
        closer = kernel.current_task()
        while self._pending is not None:
            entry = self._entry
            self._watch(closer)
            error, verdict = None, None
            try:
                verdict = await self._pending
            except BaseException as raised:
                error = without_our_frame(raised)
            if generation != self._generation:
                report_late(self._scope.name, entry, error)
                del error
                break
            self._take_outcome(entry, error, verdict)
            del error  # frames in its traceback lead back to this one: a cycle
            self._settle(entry)
            self._call_releases_in_closer()

    def _call_releases_in_closer(self) -> None:
        """Go on until something has to be awaited, which is in ``_pending``, or the host has to go on.

        A token of a context variable is good in its own context only, which is the host's. Where that cannot be
        entered, as in the first step of an eager closer, the host goes on, unless nothing of a user's would run.
        """
        context = self.context()
        if context is None:
            if self._steps < BREATH_EVERY and self._books and self._books.top().makes_coroutine:
                self._steps += 1
                newest = self._books.top()
                self._begin(self._take_newest_call(newest) if type(newest) is CallbackRun else newest)
            return
        entry = context.run(self._call_releases)
        if isinstance(entry, OwnTask):
            self._pending = entry.wait()

    # The watchdog

    def _watch(self, runner: Task[Any]) -> None:
        """Give the pending release, which *runner* awaits, its time, from now."""
        self._runner = runner
        timeout = self._scope.close_timeout
        if timeout == kernel.FOREVER or not self._entry.bounded:
            self._due = kernel.FOREVER
            return
        self._rung = self._entry.rung
        if self._timer is None:
            loop = kernel.running_loop()
            self._now = loop.time
            self._timer = loop.call_at(self._now() + timeout, self._look)
        self._due = self._now() + timeout

    def _look(self) -> None:
        """Interrupt or abandon the pending release if it is due, and come back when it can be."""
        self._timer = None
        if self._due == kernel.FOREVER or self._runner is None:
            return
        loop = self._runner.get_loop()
        if loop.time() >= self._due:
            self._rung += 1
            if self._rung > 2:
                self._abandon(self._runner)
                return
            self._expired = True
            interruption = self._entry.interrupt(self._runner)
            if interruption is not None:
                self._interruptions += (interruption,)
            self._due += patience(self._rung, self._scope.close_timeout)
        self._timer = loop.call_at(self._due, self._look)

    def _take_interruptions_back(self) -> None:
        """Leave no trace of the interruptions in the calling task, which ran the release and goes on."""
        interruptions, self._interruptions = self._interruptions, ()
        for interruption in interruptions:
            if interruption.withdraw():
                kernel.current_task().uncancel()

    def _abandon(self, runner: Task[Any]) -> None:
        """Go on without the pending release: it stays with its closer, and the host starts another."""
        entry = self._entry
        if entry.inline:  # it runs in the host, where nothing can go on without it
            return
        stack = entry.suspended_at(runner)
        self.errors.append(ReleaseTimeout(entry.label, self._scope.close_timeout, abandoned=True, stack=stack))
        self._expired, self._interruptions = False, ()
        self._entry = self._runner = None
        self._due = kernel.FOREVER
        self._settle(entry)
        if runner is not self.host:
            self._generation += 1
            kernel.cancel(runner, f"{entry.label} was abandoned")
        self._pass_baton()
