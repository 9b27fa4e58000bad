"""One piece of work elsewhere, for one attempt of a job: begun or taken up, followed, and left in exactly one way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Literal, TypeVar

import anyio

from lifecycle import TaskManager

from .._ground.checks import check_seconds
from .._ground.errors import RemoteFailed, RemoteLost
from .._ground.text import one_line, shorten
from .._work.error_text import kind_of, text_of
from ._end import RemoteEnd
from ._host import RemoteHost
from ._sweeping import sweeper_of
from ._ticket import Ticket, ticket_for

if TYPE_CHECKING:
    from lifecycle import Scope

    from .._work.beyond import Beyond
    from .._work.context import Context, JobContext

W = TypeVar("W")

START_PATIENCE = 10.0
"""Seconds that a start which is on its way still has when the job is stopped: its answer says what there is to stop."""

WAITING_PATIENCE = 1.0
"""Seconds that it has when it has said what it waits for: most of its time nothing is on its way."""

LOG_PATIENCE = 10.0
"""Seconds that the log still has when the work has ended."""


async def run_remote(
    host: RemoteHost[W],
    work: W,
    context: Context,
    *,
    key: object = None,
    on_drain: Literal["leave", "delete"] = "leave",
    stop_timeout: float = 60.0,
) -> RemoteEnd:
    """Return how a piece of work ended that a handler runs elsewhere.

    It is started once for all attempts of the job that are cut off: the next one takes it up, running or ended. Its log
    goes to the job's. What is left of it is cleared away when the end of the attempt is recorded, or by the sweep.

    Cancellation: the work is stopped, and what is left of it cleared away, before this returns. When the scheduler is
    closed and its store is durable, so that the job goes on later, the work is left running for the next attempt.

    Args:
        host: where it runs.
        work: what the host is given.
        context: the handler's.
        key: plain data that tells this work from others of the job; by default *work* itself.
        on_drain: ``"delete"`` stops it also when the job goes on later; then it begins anew.
        stop_timeout: seconds that stopping may take.

    Raises:
        RemoteFailed: it is refused, and was not started.
        RemoteLost: how it ended cannot be known, or it could not be stopped; the job is not tried again.
        OSError: the host cannot be reached.
    """
    check_seconds(stop_timeout, "stop_timeout", needed=True)
    if on_drain not in ("leave", "delete"):
        raise ValueError(f"on_drain must be 'leave' or 'delete', got {on_drain!r}")
    errand = Errand(host, work, context._job, key=key, path=context.block, leave=on_drain == "leave")
    return await errand.run(context.scope, stop_timeout)


class Errand(Generic[W]):
    """One piece of work of one attempt.

    Args:
        host: where it runs.
        work: what the host is given.
        job: the context of the attempt.
        key: plain data that says what the work is; None for the work itself.
        path: the block's.
        leave: whether it is left running when the job goes on later.

    Attributes:
        ticket: leads to the work.
    """

    def __init__(self, host: RemoteHost[W], work: W, job: JobContext, *, key: object, path: str, leave: bool) -> None:
        if job.beyond is None or job.shared is None:
            raise RuntimeError("work elsewhere belongs to a job of a scheduler")
        self.ticket: Ticket = ticket_for(job.beyond, path, work if key is None else key)
        self._beyond: Beyond = job.beyond
        self._shared = job.shared
        self._host = host
        self._work = work
        self._job = job
        self._leave = leave
        self._stop_timeout = 0.0
        self._begun = False  # whether there may be something
        self._end: RemoteEnd | None = None

    async def run(self, scope: Scope, stop_timeout: float) -> RemoteEnd:
        """Do all of it in a child of *scope*; see `run_remote`."""
        ticket, self._stop_timeout = self.ticket, stop_timeout
        sweeper = await sweeper_of(self._shared, self._beyond.store, self._beyond.ended)
        sweeper.add(self._host)
        async with scope.child(f"work {ticket.name}") as owner:
            owner.close_timeout = stop_timeout + 1.0  # that of `_stop` comes first, and says more
            owner.push_async_callback(self._part)
            # Above the parting in the ledger: a start that is on its way has ended before it is asked what there is.
            starts = TaskManager(f"start of {ticket.name}", drain_timeout=START_PATIENCE, on_error=_ignore)
            await owner.enter_async_context(starts)
            await starts.start_soon(self._begin, starts, name=f"start of {ticket.name}")
            log = owner.start_soon(self._log, name=f"log of {ticket.name}")
            self._end = await self._host.follow(ticket, self._work, self._job.log)
            with anyio.move_on_after(LOG_PATIENCE) as late:
                await log.wait()
            if late.cancelled_caught:
                self._job.log(f"the log may lack its end, which did not come within {LOG_PATIENCE:g} s")
        return self._end

    async def _begin(self, starts: TaskManager) -> None:
        """Take the work up, or start it; an attempt that follows another at once finds at most what that has left."""

        def say(line: str) -> None:
            starts.drain_timeout = WAITING_PATIENCE
            self._job.log(line)

        self._begun = True
        try:
            if self._beyond.attempt > self._beyond.first and await self._host.adopt(self.ticket, self._work):
                self._job.log(f"taken up: {self.ticket.name}")
                return
            await self._check_current()
            await self._host.start(self.ticket, self._work, say)
            try:
                await self._check_current()
            except RemoteLost:
                await self._stop()  # but for what a later attempt has taken over
                raise
        except RemoteFailed as refused:
            self._begun = isinstance(refused, RemoteLost)
            raise

    async def _check_current(self) -> None:
        """Make sure that nobody else has the job: he may have done it, and cleared away what would say so.

        Of a process that was paused past its lease, no host can know that: the name is free again.
        """
        if not await self._beyond.is_current():
            raise RemoteLost(f"{self.ticket.name} belongs to a later attempt, or is over", reason="taken over")

    async def _log(self) -> None:
        try:
            await self._host.log(self.ticket, self._work, self._job.log)
        except Exception as error:  # a log that cannot be had is no reason to fail
            self._job.log(f"no more log: {one_line(shorten(f'{kind_of(error)}: {text_of(error)}', 300))}")

    async def _part(self) -> None:
        """Leave the work, in the way that its state asks for; as a release of the scope, so it is shielded."""
        if not self._begun:
            return
        if self._end is not None and self._end.over:
            # Not before: whoever takes the job over, should this process die now, has to find it.
            self._beyond.afterwards(self._clear)
        elif self._end is None and self._leave and self._beyond.resumes():
            self._job.log(f"left running: {self.ticket.name}")
            self._beyond.afterwards(self._clear)  # should the handler have an end of its own: nobody takes it up then
        else:
            await self._stop()

    async def _stop(self) -> None:
        try:
            with anyio.fail_after(self._stop_timeout):
                await self._host.stop(self.ticket, self._work)
        except Exception as error:
            end = f"{self._end.message}; and " if self._end is not None else ""
            said = f"{end}{self.ticket.name} could not be stopped and may still run: {kind_of(error)}: {text_of(error)}"
            raise RemoteLost(one_line(shorten(said, 600)), reason="not stopped") from error

    async def _clear(self) -> None:
        await self._host.stop(self.ticket, self._work)


def _ignore(_handle: object, _error: BaseException) -> None:
    """The one who waits for the start is told of its error."""
