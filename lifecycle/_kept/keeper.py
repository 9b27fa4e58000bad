"""Keeper: the one task that makes connections, one after the other, and what it decides in between.

Theory of operation
-------------------

One task does everything that takes time: it connects, waits for the loss, releases what is left, pauses. Everybody else
only notes something and rings its bell. So there is never more than one attempt, however many report the loss, and what
was connected before is gone before the next attempt begins.

A loss is noted in the step in which it is reported: from then on nobody gets the old value. What happens then is the
close of the connection's scope, newest first: ``on_up``, if it still runs; ``on_down``, as a release of that scope, and
so shielded and bounded; the tasks of the connection; what its stages have acquired.
"""

from __future__ import annotations

from asyncio import CancelledError
from typing import TypeVar

from .._connect.attempt import ConnectAttempt
from .._ground import kernel, trace
from .._ground.calls import call
from .._ground.errors import ReleaseTimeout
from .._ground.foreign import combine, holds, in_words, is_fatal
from .._retry.failure import RetryFailure
from .._scope.entries import Resource
from .connection import Connection
from .ending import given_up_attempt, given_up_left, given_up_loss, given_up_undecided
from .life import CLOSED_ON_PURPOSE, KeptLife, logger
from .line import Arrival
from .outage import cause_of
from .records import ConnectionUp
from .state import CONNECTING, ENDED, UP, WAITING

T = TypeVar("T")

#: So many connections in a row that end early are pointed out.
FLAPS = 3


class Keeper(KeptLife[T]):
    """The life of one kept connection, with the task that makes it."""

    async def keep(self) -> None:
        """Keep a connection until it is given up.

        Cancellation: releases what there is, with ``on_down``, and is raised then.

        Raises:
            ConnectError: it was given up.
            BaseException: what a connector, or a judge of the `Retry`, has raised beside that.
        """
        self.task = kernel.current_task()
        token = trace.opened("kept connection", self.plan.name) if trace.sink is not None else None
        try:
            while self.state is CONNECTING:
                await self._pause(await self._live())
        except BaseException as error:
            if self.state in ENDED:
                raise
            self._end_with(error)
            if not isinstance(error, CancelledError):
                raise
            assert self.given_up is not None
            raise self.given_up.error() from None  # so that the body learns of it: no owner has cancelled this
        finally:
            self.task = None
            if token is not None:
                trace.closed(token)

    async def _live(self) -> float:
        """Make a connection, and stay until it is lost; return the seconds until the next attempt."""
        self.connection = connection = Connection(self.plan, self._lost)
        try:
            pause = await self._connect(connection)
            return await self._stay(connection) if pause is None else pause
        finally:
            self.connection = None
            connection.let_go()

    async def _connect(self, connection: Connection[T]) -> float | None:
        """Make one attempt; return None when it has succeeded, and else the seconds until the next one."""
        plan, outage = self.plan, self._outage
        limit = min(plan.timeout, plan.retry.attempt_timeout or kernel.FOREVER, max(outage.left(self._now()), 0.0))
        self._attempts += 1
        self.attempt = attempt = ConnectAttempt(
            connection.make, plan.name, timeout=limit, retry=None, close_timeout=plan.close_timeout
        )
        attempt._connecting.attempts = outage.failures  # so that stages and errors tell which one in a row it is
        try:
            await attempt
            connection.scope = attempt.scope
        except Exception as error:
            self._failures += 1
            return await self._judge_failure(error, complete=attempt._connecting._complete)
        finally:
            self.attempt = None
            del attempt  # which has the error whose traceback has this frame: a cycle
        if self.state is not CONNECTING:
            connection.lose(None, CLOSED_ON_PURPOSE)
        elif not connection.lost:
            self._come_up(connection)
        return None

    def _come_up(self, connection: Connection[T]) -> None:
        """Let everybody have the connection, in one step."""
        now = self._now()
        since = self._outage.since
        gap = None if self.ups == 0 or since is None else now - since
        self._outage.interrupt(now)
        self.ups += 1
        connection.number = self.ups
        connection.up_since = now
        self._move(UP)
        self.line.wake(Arrival(connection, connection.value))
        scope, plan = connection.scope, self.plan
        if plan.on_down is not None:
            scope._own(Resource(f"on_down of {plan.name!r}", connection, self._tell_down))
        if plan.on_up is not None:
            event = ConnectionUp(connection.value, connection.number, gap)
            scope.start_soon(self._tell_up, connection, event, name=f"on_up of {plan.name!r}")
        logger.info("connection up", extra={"owner": plan.name, "generation": connection.number, "gap": gap})

    async def _stay(self, connection: Connection[T]) -> float:
        """Wait until the connection is lost, release all of it, and return the seconds until the next attempt."""
        scope = connection.scope
        cancellation: CancelledError | None = None
        try:
            while not connection.lost:
                await self._bell.sleep(kernel.FOREVER)
        except CancelledError as error:
            cancellation = error
            connection.lose(None, "its task was cancelled from outside")
        known = list(scope._errors)
        errors, held = await scope._close(None, cancellation, through=True)
        scope._on_failure = None  # which refers back: a cycle
        met = [error for error in errors if not holds(known, error)]
        try:
            self._take_release_errors(met, held)
            return self._judge_loss(connection)
        finally:
            del errors, known, met, held, cancellation  # frames in their tracebacks lead back to this one: a cycle

    def _take_release_errors(self, errors: list[BaseException], held: CancelledError | None) -> None:
        """Raise what the releases have met, where nothing follows; else log it."""
        self._release_errors += len(errors)
        failure = combine(f"errors while releasing {self.plan.name!r}", errors) if errors else None
        try:
            if held is not None or self.state in ENDED or (failure is not None and is_fatal(failure)):
                kernel.conclude(failure, held)
                return
            if any(isinstance(error, ReleaseTimeout) and error.abandoned for error in errors):
                assert failure is not None
                self._give_up(given_up_left(self.plan.name, failure))
            for error in errors:
                logger.error("release failed", exc_info=error, extra={"owner": self.plan.name})
        finally:
            del errors, failure, held  # as above

    async def _pause(self, seconds: float) -> None:
        """Wait until the next attempt, unless there is to be none."""
        if self.state in ENDED:
            return
        self._move(WAITING)
        self._next_attempt_at = until = self._now() + seconds
        try:
            while self.state is WAITING and not self._hurry and (left := until - self._now()) > 0.0:
                await self._bell.sleep(left)
        finally:
            self._hurry = False
            self._next_attempt_at = None
        if self.state is WAITING:
            self._move(CONNECTING)

    # What follows

    async def _judge_failure(self, error: BaseException, *, complete: bool) -> float:
        """Return the seconds until the next attempt after one that has failed, or raise why there is none.

        Cancellation: ends the hook of the retry, which is told here.
        """
        plan, outage = self.plan, self._outage
        self._last_error = in_words(error)
        if self.state in ENDED:
            return 0.0
        if not complete:
            self._give_up(given_up_left(plan.name, error))
        cause, what = cause_of(error), "deciding whether it is tried again"
        try:
            pause = outage.pause_after_failure(cause, self._now())
            what = "on_failure of its retry"
            await self._tell_failure(cause, pause)
        except Exception as met:
            self._give_up(given_up_undecided(plan.name, what, met, outage.failures))
        finally:
            del cause  # the frames in its traceback lead back here: a cycle
        if self.state in ENDED:
            return 0.0
        failures, left = outage.failures, outage.left(self._now())
        if pause is None or pause >= left:
            self._give_up(given_up_attempt(plan.name, error, failures))
        if failures & (failures - 1) == 0:  # rarely, in a long outage: after 1, 2, 4, 8, ... failures
            facts = {"owner": plan.name, "attempt": failures, "error": str(error), "pause": pause}
            tell = logger.error if outage.at_longest and failures > FLAPS else logger.warning
            tell("attempt failed, another one follows", extra=facts)
        return pause

    def _judge_loss(self, connection: Connection[T]) -> float:
        """Return the seconds until the next attempt after a connection was lost, or raise why there is none."""
        plan, outage, error = self.plan, self._outage, connection.error
        if error is not None:
            self._last_error = in_words(error)
        if self.state in ENDED:
            return 0.0
        try:
            if connection.number and outage.is_long(connection.uptime):
                self._flaps = 0
                pause = outage.pause_after_long_life(error)
            else:
                self._count_short_life(connection)
                pause = outage.pause_after_failure(error, self._now())
        except Exception as met:
            what = "deciding whether it is tried again"
            self._give_up(given_up_undecided(plan.name, what, met, outage.failures))
        if pause is None:
            self._give_up(given_up_loss(plan.name, error, outage.failures))
        facts = {"generation": connection.number, "error": connection.reason, "uptime": connection.uptime}
        logger.warning("connection lost, another one follows", extra={"owner": plan.name, **facts, "pause": pause})
        return pause

    async def _tell_failure(self, error: BaseException, pause: float | None) -> None:
        """Tell the hook of the retry of a failed attempt, as long as there is time for this outage."""
        hook, now = self.plan.retry.on_failure, self._now()
        if hook is not None:
            began = now if self._outage.since is None else self._outage.since
            failure = RetryFailure(self.plan.name, self._outage.failures, error, pause, now - began)
            async with kernel.time_limit(self._outage.left(now)):
                await call(hook, failure)

    def _count_short_life(self, connection: Connection[T]) -> None:
        if not connection.number:
            self._failures += 1
            return
        self._short_lives += 1
        self._flaps += 1
        if self._flaps == FLAPS:
            facts = {"owner": self.plan.name, "lives": FLAPS, "minimum_uptime": self.plan.minimum_uptime}
            logger.warning("connections end early, one after the other", extra=facts)
