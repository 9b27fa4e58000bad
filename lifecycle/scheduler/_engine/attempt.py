"""One attempt of one job: its Scope owns everything of it, and it ends in exactly one way."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import anyio

from lifecycle import Scope, TaskHandle

from .._ground.bridge import Bridge
from .._ground.errors import HandlerError
from .._store.messages import Report
from .._store.records import Claimed, Ending, JobStatus
from .._store.terms import expiry_reason
from .._work.beyond import Aftermath, Beyond
from .._work.context import JobContext, Progress
from .._work.current import CURRENT_JOB, CurrentJob
from .._work.ending import failure_of
from .._work.failures import abandoned_something, describe, is_final, trace
from .._work.shared import Shared

if TYPE_CHECKING:
    from .._store.protocol import Store
    from .afterwards import Afterwards

Tell = Callable[[Claimed, str, Mapping[str, Any]], None]
Work = Callable[["Attempt", Scope], Awaitable[Any]]


class Around(NamedTuple):
    """What is around the attempts of a scheduler.

    Attributes:
        tell: called as ``tell(claimed, kind, data)`` with what an attempt shows of itself.
        ended: tells whether everything in the loop is being ended, by whoever ends the loop.
        bridge: leads into that loop.
        store: where the jobs are.
        shared: what they share.
        afterwards: does what is to follow the ends of attempts.
    """

    tell: Tell
    ended: Callable[[], bool]
    bridge: Bridge
    store: Store
    shared: Shared
    afterwards: Afterwards


class Attempt:
    """One attempt of a job.

    Args:
        claimed: what is to be done.
        around: the scheduler, as far as attempts know it.

    Attributes:
        aftermath: what is to be done once its end is recorded; None when nobody could ask for that.
        claimed: what is to be done.
        exception: what the work raised, once it has, and until that is recorded.
        task: the task that it runs in, once that has been made.
    """

    __slots__ = (
        "__weakref__",
        "_around",
        "_began",
        "_context",
        "_here",
        "_limit",
        "_log",
        "_logged",
        "_lost",
        "_progress",
        "_reason",
        "_result",
        "_returned",
        "_scope",
        "aftermath",
        "claimed",
        "exception",
        "task",
    )

    def __init__(self, claimed: Claimed, around: Around) -> None:
        self.aftermath: Aftermath | None = None
        self.claimed = claimed
        self.exception: BaseException | None = None
        self.task: TaskHandle[None] | None = None
        self._around = around
        self._context: JobContext | None = None
        self._here: CurrentJob | None = None
        self._scope: Scope | None = None
        self._reason: str | None = None
        self._lost = False
        self._returned = False
        self._result: Any = None
        self._limit: anyio.CancelScope | None = None
        self._log = ""
        self._logged = 0
        self._progress: Progress | None = None
        self._began = 0.0

    @property
    def seconds(self) -> float:
        """How long it has taken."""
        return time.monotonic() - self._began if self._began else 0.0

    @property
    def begun(self) -> bool:
        """Whether its task has made its first step."""
        return self._began > 0.0

    @property
    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self._reason is not None

    def stopped(self) -> bool:
        """Return whether its task is stopped before it has come to an end, by the scheduler or with the whole loop."""
        return (self.task is not None and self.task.cancelling()) or self._around.ended()

    def asked(self) -> bool:
        """Return whether the scheduler wants it to end, for whatever reason."""
        return self._reason is not None or (self._limit is not None and self._limit.cancel_called) or self.stopped()

    def resumes(self) -> bool:
        """Return whether it is being ended, and its job goes on later, here or elsewhere."""
        if self._reason is not None:
            return self._lost
        return self.stopped() and not (self._limit is not None and self._limit.cancel_called)

    def cancel(self, reason: str, *, lost: bool = False) -> None:
        """Ask it to end; everything that it owns is released before `run` returns.

        Args:
            reason: why.
            lost: whether another attempt has its job already.
        """
        if self._reason is None:
            self._reason, self._lost = reason, lost
            if self._scope is not None:
                self._scope.cancel(reason)

    async def run(self, work: Work, *, close_timeout: float | None) -> Ending:
        """Do the work in a Scope of its own and return how it ended.

        Cancellation: passes through after everything is released; the attempt is then *interrupted*.

        Args:
            work: does it; not called when the attempt was cancelled before.
            close_timeout: seconds that each release may take; None for no bound.
        """
        self._began = time.monotonic()
        claimed = self.claimed
        if claimed.expires is not None and claimed.expires <= time.time():  # while it waited for a worker
            self.cancel(expiry_reason(claimed.attempt - 1))
        about = claimed.metadata or _NONE
        self._here = CurrentJob(claimed.id, claimed.name, claimed.run_id, claimed.attempt, about, self.context)
        CURRENT_JOB.set(self._here)
        try:
            if self._reason is None:
                async with Scope(f"job {self.claimed.name}", close_timeout=close_timeout) as scope:
                    self._scope = scope
                    await self._work(work, scope)
        except Exception as raised:
            self.exception = raised
        except BaseException as raised:
            failure = await failure_of(raised, self.stopped, f"job {self.claimed.name!r}")
            if failure is raised:
                del failure  # whose traceback keeps this frame: a cycle
                raise
            self.exception = failure
        finally:
            self._scope = None
            self._close_context()
        ending = self._ending()
        if self._logged or self._progress:
            return ending._replace(logged=self._logged, progress=self._progress)
        return ending

    async def _work(self, work: Work, scope: Scope) -> None:
        if self.claimed.timeout is None:
            self._result = await work(self, scope)
            self._returned = True
            return
        with anyio.move_on_after(self.claimed.timeout) as self._limit:
            self._result = await work(self, scope)
            self._returned = True

    def context(self) -> JobContext:
        """Return the context, for what logs, reports progress or uses expressions: made when it is first asked for."""
        if self._context is None:
            claimed, around = self.claimed, self._around
            tell = partial(around.tell, claimed)
            self._context = JobContext(claimed.name, claimed.attempt, {}, tell, around.bridge)
            self._context.metadata = claimed.metadata or {}
            self._context.shared = around.shared
            self.aftermath = Aftermath(claimed, around.afterwards.start)
            self._context.beyond = Beyond(claimed, around.store, self.resumes, self.aftermath)
            if self._here is not None:
                self._here._secrets = self._context.secrets
        return self._context

    def _close_context(self) -> None:
        if self._here is not None:
            self._here._end()
            self._here = None
        if self._context is not None:
            context, self._context = self._context, None
            self._log, self._logged, self._progress = context.tail(), context.logged, context.latest
            context.clear()

    def report(self) -> Report | None:
        """Return what it shows of itself now, None when it has shown nothing, or has ended."""
        if self._context is None:
            return None
        context, claimed = self._context, self.claimed
        return Report(claimed.id, claimed.attempt, context.tail(), context.logged, context.latest)

    def _ending(self) -> Ending:
        claimed, error, log, seconds = self.claimed, self.exception, self._log or None, self.seconds
        # Not cancelled_caught: a release that failed after the time was up raises through the limit.
        if self._limit is not None and self._limit.cancel_called and not self._returned and not self.cancelled:
            text = f"took longer than its timeout of {claimed.timeout:g} s"
            more = f"; and {describe(error)}" if error else ""
            return Ending(JobStatus.TIMED_OUT, None, text + more, _trace(error), log, seconds, failed=True)
        if self._reason is not None and not self._returned:
            more = f"; and {describe(error)}" if error else ""
            # What may still run was not cancelled, and nobody must take it for ended.
            failed = error is not None and abandoned_something(error)
            status = JobStatus.FAILED if failed else JobStatus.CANCELLED
            return Ending(status, None, self._reason + more, _trace(error), log, seconds, failed=failed)
        if error is None and not self._returned:
            return self.lost("its scope was closed")
        if error is not None:
            return Ending(JobStatus.FAILED, None, describe(error), trace(error), log, seconds, failed=True)
        return Ending(JobStatus.SUCCEEDED, self._result, None, None, log, seconds)

    def lost(self, why: str) -> Ending:
        """Return the end of an attempt that has come to none, which nobody has foreseen: a failure."""
        text = f"job {self.claimed.name!r} has neither a result nor an error: {why}"
        self.exception = HandlerError(text)
        return Ending(JobStatus.FAILED, None, text, None, self._log or None, self.seconds, failed=True)

    def may_retry(self, ending: Ending) -> bool:
        """Return whether the job is to be tried again: never after what is final."""
        if not ending.failed or self.cancelled or self.claimed.failures >= self.claimed.retries:
            return False
        return self.exception is None or not is_final(self.exception)


_NONE: Final[Mapping[str, Any]] = MappingProxyType({})


def _trace(error: BaseException | None) -> str | None:
    return trace(error) if error is not None else None
