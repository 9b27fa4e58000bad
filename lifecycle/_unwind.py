"""Unwinding: how a scope's ledger is emptied, newest entry first, whatever happens meanwhile.

Theory of operation
-------------------

*The host* is the task that closes the scope. It walks the ledger and calls every release; those that are done when
they return cost nothing more. What suspends is handed to *the closer*, one task per close, in which no cancellation
of the host can reach it: the host waits, holds cancellations back, and delivers one when all is over. The closer goes
on down the ledger by itself until it meets an entry that must be left in the host (a context manager entered inline).

*The watchdog* is one timer for the whole close. A release that takes longer than ``close_timeout`` is interrupted; if
it has not ended a grace later it is abandoned: it keeps its closer for itself, and the host starts another closer for
the rest.

Errors are collected, never raised in between. A cancellation is kept apart from the errors: it is no failure of
anything, and it must reach its task exactly once.
"""

from __future__ import annotations

from asyncio import CancelledError, Future, Task, TimerHandle
from collections.abc import Awaitable
from inspect import iscoroutine
from typing import Any, Protocol

from . import _kernel as kernel
from ._closing import adopt_closers, closing_tasks
from ._entries import Callback, InlineExit, logger
from ._errors import ReleaseTimeout, combine

#: Seconds that an interrupted release has to end before it is abandoned, at most; less where the timeout is shorter.
GRACE = 1.0


class Closing(Protocol):
    """What an unwinding needs of the scope that it closes."""

    close_timeout: float
    _ledger: dict[Any, None]
    _errors: list[BaseException]
    _released: int
    _releasing: Any


class Unwinding:
    """One close of one ledger.

    Attributes:
        errors: what went wrong, in order; shared with the scope, whose tasks may still fail.
        cancellation: the cancellation to deliver in the end, if any.
    """

    __slots__ = (
        "_baton",
        "_closer",
        "_entry",
        "_exempt",
        "_expired",
        "_generation",
        "_given",
        "_interruption",
        "_pending",
        "_scope",
        "_since",
        "_timer",
        "cancellation",
        "errors",
    )

    def __init__(self, scope: Closing, error: BaseException | None) -> None:
        self._scope = scope
        self.errors = scope._errors
        self.cancellation: CancelledError | None = None
        if isinstance(error, CancelledError):
            self.cancellation = error
        elif error is not None:
            self.errors.insert(0, error)
        self._entry: Any = None
        self._pending: Awaitable[Any] | None = None
        self._given: BaseException | None = None
        self._closer: Task[None] | None = None
        self._generation = 0
        self._baton: Future[None] | None = None
        self._timer: TimerHandle | None = None
        self._since = 0.0
        self._expired = False
        self._interruption: kernel.Cancellation | None = None

    async def run(self) -> None:
        """Empty the ledger, except for tasks that wait for this very close.

        Cancellation: held back in ``cancellation``.
        """
        self._exempt = closing_tasks()
        try:
            while (entry := self._call_releases(in_host=True)) is not None:
                if entry.inline:
                    await self._exit_inline(entry)
                else:
                    await self._delegate()
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def error(self) -> BaseException | None:
        """Return the one error that carries all that went wrong, None when nothing did."""
        return combine(f"errors while closing {self._scope}", self.errors) if self.errors else None

    # The synchronous part

    def _call_releases(self, *, in_host: bool) -> Any:
        """Release entries, newest first, until one needs more than a call: return it, None when none is left.

        An entry that has to be awaited is left in ``_entry`` and ``_pending``. One that has to be left inline is
        still in the ledger.
        """
        ledger = self._scope._ledger
        while ledger:
            self._call_callbacks(ledger)
            if self._pending is not None:
                return self._entry
            entry = self._newest()
            if entry is None or entry.inline:
                return entry if in_host else None
            self._begin(entry)
            if self._pending is not None:
                return entry
        return None

    def _call_callbacks(self, ledger: dict[Any, None]) -> None:
        """Call the callbacks at the top of the ledger, the one kind of entry that there may be thousands of."""
        while ledger:
            entry, _ = ledger.popitem()
            if type(entry) is not Callback:
                ledger[entry] = None
                return
            self._scope._releasing = entry
            try:
                pending = entry.fn(*entry.args, **entry.kwargs)
            except BaseException as error:
                self.errors.append(error)
            else:
                if pending is not None and iscoroutine(pending):
                    self._entry, self._pending = entry, pending
                    return
            self._scope._releasing = None
            self._scope._released += 1

    def _begin(self, entry: Any) -> None:
        """Begin the release of *entry*; what is left to be awaited is in ``_pending`` afterwards."""
        self._given = self._in_flight() if entry.exits else None
        if not entry.leaves:
            del self._scope._ledger[entry]
            self._scope._releasing = entry
        try:
            self._pending = entry.release(self._given)
        except BaseException as error:
            self._take_error(entry, error)
        if self._pending is None:
            self._settle(entry)
        else:
            self._entry = entry

    def _newest(self) -> Any:
        for entry in reversed(self._scope._ledger):
            if not entry.leaves or getattr(entry, "_task", None) not in self._exempt:
                return entry
        return None

    def _settle(self, entry: Any) -> None:
        """Close the account of an entry whose release has ended, or was given up."""
        if not entry.leaves:
            self._scope._releasing = None
            self._scope._released += 1
        elif entry in self._scope._ledger:  # a task that would not end; its own end finds it gone
            del self._scope._ledger[entry]
            self._scope._released += 1

    # Errors

    def _in_flight(self) -> BaseException | None:
        """Return the error that a context manager sees when it is left now."""
        return self.error() if self.errors else self.cancellation

    def _take_error(self, entry: Any, error: BaseException) -> None:
        if not entry.exits:
            self.errors.append(error)
        elif error is self._given:
            pass
        elif isinstance(error, CancelledError) and entry.inline:
            self.cancellation = error
        elif self._given is not None and carries(error, self._given):
            self.errors[:] = [error]
        else:
            self.errors.append(error)

    def _take_verdict(self, entry: Any, verdict: object) -> None:
        if entry.exits and verdict and self._given is not None:
            self.errors.clear()
            if isinstance(self._given, CancelledError):
                self.cancellation = None

    # In the host

    async def _exit_inline(self, entry: InlineExit) -> None:
        del self._scope._ledger[entry]
        self._scope._releasing = entry
        self._given = error = self._in_flight()
        details = (
            type(error) if error is not None else None,
            error,
            error.__traceback__ if error is not None else None,
        )
        limit = kernel.time_limit(self._scope.close_timeout)
        try:
            if entry.is_async:
                async with limit:
                    verdict = await entry.exit(*details)
            else:
                verdict = entry.exit(*details)
        except BaseException as raised:
            if entry.is_async and limit.expired():
                self.errors.append(ReleaseTimeout(entry.label, self._scope.close_timeout, abandoned=False))
            else:
                self._take_error(entry, raised)
        else:
            self._take_verdict(entry, verdict)
        self._settle(entry)

    async def _delegate(self) -> None:
        """Have the closer await the pending release and go on; return when it can go no further."""
        while self._pending is not None:
            self._generation += 1
            self._baton = baton = kernel.new_future()
            self._watch()
            closer = kernel.spawn_eagerly(self._close_in_turn(self._generation), f"closer of {self._scope}")
            if not closer.done():
                self._closer = closer
                # The baton is passed on also by a closer that somebody cancels before its first step.
                closer.add_done_callback(lambda _, baton=baton: baton.done() or baton.set_result(None))  # type: ignore[misc]
                self.hold(await kernel.wait_through(baton))
                self._closer = None
            if closer.done() and not closer.cancelled():
                closer.result()

    def hold(self, cancellation: CancelledError | None) -> None:
        """Keep *cancellation* for the end; anyio repeats its own, so a native one goes first."""
        if cancellation is not None and (self.cancellation is None or kernel.is_scope_cancellation(self.cancellation)):
            self.cancellation = cancellation

    # In the closer

    async def _close_in_turn(self, generation: int) -> None:
        adopt_closers(self._exempt)
        while self._pending is not None:
            entry = self._entry
            error, verdict = None, None
            try:
                verdict = await self._pending
            except BaseException as raised:
                error = raised
            if generation != self._generation:
                report_late(entry, error)
                return
            self._pending = None
            self._take_outcome(entry, error, verdict)
            self._settle(entry)
            if self._call_releases(in_host=False) is not None:
                self._watch()

    def _take_outcome(self, entry: Any, error: BaseException | None, verdict: object) -> None:
        if self._expired:
            self._expired = False
            if self._interruption is not None:
                self._interruption.withdraw()
            self.errors.append(ReleaseTimeout(entry.label, self._scope.close_timeout, abandoned=False))
            kernel.current_task().uncancel()
            if isinstance(error, CancelledError):
                return
        if error is not None:
            self._take_error(entry, error)
        else:
            self._take_verdict(entry, verdict)

    # The watchdog

    def _watch(self) -> None:
        """Give the pending release its time, from now."""
        timeout = self._scope.close_timeout
        if timeout == kernel.FOREVER:
            return
        loop = kernel.running_loop()
        self._since = loop.time() if self._entry.bounded else kernel.FOREVER
        self._expired = False
        if self._timer is None and self._entry.bounded:
            self._timer = loop.call_at(self._since + timeout, self._look)

    def _look(self) -> None:
        """Interrupt or abandon the pending release if it is due, and come back when it can be."""
        self._timer = None
        if self._pending is None or self._closer is None or not self._entry.bounded:
            return
        loop = self._closer.get_loop()
        timeout = self._scope.close_timeout
        due = self._since + timeout + (min(GRACE, timeout) if self._expired else 0.0)
        if loop.time() >= due:
            if self._expired:
                self._abandon(self._closer)
                return
            self._expired = True
            self._interruption = self._entry.interrupt(self._closer)
            due += min(GRACE, timeout)
        self._timer = loop.call_at(due, self._look)

    def _abandon(self, closer: Task[None]) -> None:
        """Go on without the pending release: it stays with its closer, and the host starts another."""
        entry = self._entry
        stack = entry.suspended_at(closer)
        self.errors.append(ReleaseTimeout(entry.label, self._scope.close_timeout, abandoned=True, stack=stack))
        self._generation += 1
        self._pending = None
        self._expired = False
        self._settle(entry)
        kernel.cancel(closer, f"{entry.label} was abandoned")
        if self._baton is not None and not self._baton.done():
            self._baton.set_result(None)


def carries(error: BaseException, given: BaseException) -> bool:
    """Return whether *error* holds *given* by itself: raised from it, or as a group around it."""
    if error is given or error.__cause__ is given:
        return True
    if not isinstance(error, BaseExceptionGroup):
        return False
    leaves = given.exceptions if isinstance(given, BaseExceptionGroup) else (given,)
    return all(any(carries(inner, leaf) for inner in error.exceptions) for leaf in leaves)


def report_late(entry: Any, error: BaseException | None) -> None:
    """Log how a release ended that had been abandoned."""
    if error is not None and not isinstance(error, CancelledError):
        logger.error("abandoned release of %s failed", entry.label, exc_info=error)
