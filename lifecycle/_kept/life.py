"""KeptLife: the state of a kept connection and its accounts, and what others may ask for from anywhere in the loop.

All of it is synchronous, but for the hooks: each step notes something, and rings the bell of the task that keeps it.
"""

from __future__ import annotations

from asyncio import CancelledError, Task
from typing import Any, Generic, NoReturn, TypeVar

from .._connect.attempt import ConnectAttempt
from .._ground import kernel
from .._ground.bell import Bell
from .._ground.calls import call
from .._ground.errors import OwnerClosed, failure_of
from .._ground.foreign import in_words
from .._ground.logs import OwnerLog
from .._ground.watchers import tell_failure
from .connection import Connection
from .ending import GivenUp
from .line import Line
from .outage import Outage
from .plan import Plan
from .records import ConnectionDown, ConnectionUp, KeptStatistics
from .state import CLOSED, CLOSING, CONNECTING, DOWN, ENDED, GIVEN_UP, NEW, UP, WAITING, KeptState, moved

T = TypeVar("T")

logger = OwnerLog("lifecycle.kept")

#: Why a connection ended, where nobody has lost it.
CLOSED_ON_PURPOSE = "it was closed"


class KeptLife(Generic[T]):
    """The life of one kept connection, see `KeptState`.

    Attributes:
        plan: what was asked for.
        state: where it is.
        connection: the one that is being made, is up, or is being released; None in between.
        attempt: the connect in progress.
        task: the task that keeps it, while it runs.
        given_up: why, where it was.
        line: who waits for the next connection.
        ups: how many there were.
        since: the loop time at which it began.
    """

    def __init__(self, plan: Plan[T]) -> None:
        self.plan = plan
        self.state: KeptState = NEW
        self.connection: Connection[T] | None = None
        self.attempt: ConnectAttempt[T] | None = None
        self.task: Task[Any] | None = None
        self.given_up: GivenUp | None = None
        self.line: Line[T] = Line()
        self.ups = 0
        self.since: float | None = None
        self._outage = Outage(plan.retry, plan.minimum_uptime)
        self._attempts = self._failures = self._losses = self._short_lives = 0
        self._flaps = 0  # short lives in a row
        self._hook_errors = self._release_errors = 0
        self._next_attempt_at: float | None = None
        self._last_error: str | None = None
        self._hurry = False  # the pause was asked to end, or not to be

    def begin(self) -> None:
        """Note that a task will `keep` it from now on."""
        self._move(CONNECTING)
        self._bell = Bell()
        self._now = kernel.clock()
        self.since = self._now()
        self._outage.begin(self.since)

    def _give_up(self, why: GivenUp) -> NoReturn:
        """Try nothing more.

        Raises:
            ConnectError: always.
        """
        self._settle(why)
        raise why.error()

    def _end_with(self, error: BaseException) -> None:
        """Try nothing more: the task ends by *error*."""
        if self.state not in ENDED:
            failure = failure_of(f"the task of {self.plan.name!r}", error)
            message = f"kept connection {self.plan.name!r} was given up: {in_words(failure)}"
            self._settle(GivenUp(message, None, self._outage.failures, (), None))

    def _settle(self, why: GivenUp) -> None:
        if self.state not in ENDED:
            self.given_up = why
            self._move(GIVEN_UP)
            self.line.wake(None)

    # What others ask for, from anywhere in the loop

    def close(self) -> None:
        """Make no further connection, and give none to anybody; what there is will be released."""
        if self.state is NEW:
            self._move(CLOSED)
        elif self.state not in ENDED:
            self._move(CLOSING)
            self.line.wake(None)
            if self.connection is not None and self.connection.number:
                self.connection.lose(None, CLOSED_ON_PURPOSE)
            self._bell.ring()

    def closed(self) -> None:
        """Note that all is released."""
        if self.state is CLOSING:
            self._move(CLOSED)

    def reconnect(self, reason: str) -> None:
        """Drop the connection that is up, or let no pause come before the next attempt."""
        if self.state is UP:
            assert self.connection is not None
            self.connection.lose(None, reason)
        elif self.state in (DOWN, WAITING):
            self._hurry = True
            self._bell.ring()

    def _lost(self, connection: Connection[T]) -> None:
        """Take note of a loss, in the step in which it is reported."""
        if connection.number:
            now = self._now()
            connection.uptime = now - connection.up_since
            self._outage.begin(now)
            if self.state is UP:
                self._losses += 1
                self._move(DOWN)
        self._bell.ring()

    def refuse(self) -> NoReturn:
        """Tell why there will be no connection any more.

        Raises:
            ConnectError: it was given up.
            OwnerClosed: it was closed.
        """
        if self.given_up is not None:
            raise self.given_up.error()
        raise OwnerClosed(f"kept connection {self.plan.name!r} is {self.state.value}; ask before it closes")

    # Hooks

    async def _tell_up(self, connection: Connection[T], event: ConnectionUp[T]) -> None:
        plan = self.plan
        assert plan.on_up is not None
        connection.told = True
        try:
            await call(plan.on_up, event)
        except CancelledError:
            raise
        except BaseException as error:
            self._hook_failed("on_up", error)

    async def _tell_down(self, connection: Connection[T]) -> None:
        """Tell of the end, if the beginning was told: once for each, whatever it ends by."""
        plan = self.plan
        if plan.on_down is None or (plan.on_up is not None and not connection.told):
            return
        event = ConnectionDown(
            connection.value, connection.number, connection.error, connection.reason, connection.uptime
        )
        try:
            await call(plan.on_down, event)
        except CancelledError:
            raise
        except BaseException as error:
            self._hook_failed("on_down", error)

    def _hook_failed(self, hook: str, error: BaseException) -> None:
        self._hook_errors += 1
        tell_failure(logger, "hook failed", error, owner=self.plan.name, hook=hook)

    # Looking

    def statistics(self) -> KeptStatistics:
        """Return how it stands."""
        up = self.connection if self.state is UP else None
        return KeptStatistics(
            name=self.plan.name,
            state=self.state.value,
            attempts=self._attempts,
            failures=self._failures,
            failures_in_a_row=self._outage.failures,
            ups=self.ups,
            losses=self._losses,
            short_lives=self._short_lives,
            hook_errors=self._hook_errors,
            release_errors=self._release_errors,
            waiting=len(self.line),
            up_since=None if up is None else up.up_since,
            down_since=self._outage.since,
            next_attempt_at=self._next_attempt_at,
            last_error=self._last_error,
        )

    def check_invariants(self) -> None:
        """Check what must be true at every await."""
        state, connection = self.state, self.connection
        assert (self.given_up is not None) == (state is GIVEN_UP)
        assert (state is UP) <= (connection is not None and not connection.lost and connection.number == self.ups)
        assert (state is DOWN) <= (connection is not None and connection.lost)
        assert (state is WAITING) <= (connection is None and self.attempt is None)
        assert (self._next_attempt_at is not None) <= (state in (WAITING, *ENDED))
        assert not (state in ENDED and len(self.line)), "somebody waits for what never comes"
        assert self._attempts - self.ups - self._failures in (0, 1)
        assert self.ups - self._losses in (0, 1)
        assert self._short_lives <= self._losses

    def _move(self, to: KeptState) -> None:
        self.state = moved(self.state, to)
