"""Connection: one generation of a kept connection, from the beginning of its attempt until nothing of it is left.

What it is lost by comes from three sides: from its scope, if something of it fails; from the end of a task of it, which
need not be a failure; and from whoever uses it. The first counts, and the others are late reports of what is known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from .._connect.stages import Stages
from .._ground.calls import call
from .._ground.errors import ConnectionLost
from .._ground.foreign import combine, in_words
from .._scope.ending import EndingScope
from .._scope.scope import Scope
from .._task.handle import CANCELLED, FAILED, TaskHandle
from .plan import Plan

T = TypeVar("T")


class Connection(Generic[T]):
    """One connection.

    Attributes:
        value: what the connector returned, from the replay on.
        has_value: whether it has.
        scope: what owns all that it is made of, from success on.
        number: which generation it is, from 1; 0 before it was up.
        up_since: the loop time at which it came up.
        uptime: the seconds that it lived, once it is lost.
        lost: whether it is not to be used any more.
        error: by what it was lost; None where it was ended on purpose.
        reason: the same in words.
        told: whether ``on_up`` has been called with it.
    """

    value: T
    scope: Scope

    def __init__(self, plan: Plan[T], on_loss: Callable[[Connection[T]], None]) -> None:
        self.has_value = False
        self.number = 0
        self.up_since = 0.0
        self.uptime = 0.0
        self.lost = False
        self.error: BaseException | None = None
        self.reason = ""
        self.told = False
        self._plan = plan
        self._on_loss: Callable[[Connection[T]], None] | None = on_loss
        self._attempting: Scope | None = None  # what the connector is a body of, while it runs

    async def make(self, stages: Stages) -> T:
        """Connect, and bring back what was there before; what the attempt runs."""
        self._attempting = scope = stages._scope
        scope._on_failure = self._scope_failed  # which goes to the scope of the connection in the step of success
        stages._on_task = self._watch
        try:
            self.value = value = await self._plan.connect(stages)
            self.has_value = True
            if self._plan.replay is not None:
                with stages._stage("replay"):
                    await call(self._plan.replay, value)
            if self.error is not None:
                raise self.error  # before which the connector was interrupted, and has gone on
            return value
        except BaseException:
            self.let_go()
            raise
        finally:
            self._attempting = stages._on_task = None

    def lose(self, error: BaseException | None, reason: str) -> None:
        """Note that it is lost; the first time counts."""
        if self.lost:
            return
        self.lost = True
        self.error = error
        self.reason = reason
        if self._attempting is not None:
            assert error is not None  # nobody else has it yet to end it on purpose
            self._attempting._fail(error, reason)  # interrupts the connector, which may wait for a dead peer
        elif self._on_loss is not None:
            self._on_loss(self)

    def report(self, error: BaseException | None) -> None:
        """Note that a user has seen that it is lost."""
        reason = "it was reported as lost" if error is None else in_words(error)
        self.lose(ConnectionLost(f"{self._plan.name!r} is lost: {reason}") if error is None else error, reason)

    def let_go(self) -> None:
        """Forget the value, the error, and who has to be told: it is gone."""
        if self.has_value:
            self.has_value = False
            del self.value
        self._on_loss = self.error = None

    def _watch(self, handle: TaskHandle[Any]) -> None:
        handle.add_done_callback(self._task_ended)

    def _task_ended(self, handle: TaskHandle[Any]) -> None:
        """Take the end of a task for that of the connection, whatever it has ended by; its scope tells of a failure."""
        if not self.lost and handle.status is not FAILED:
            how = "was cancelled" if handle.status is CANCELLED else "has returned"
            reason = f"its task {handle.name!r} {how}"
            self.lose(ConnectionLost(f"{self._plan.name!r} is lost: {reason}"), reason)

    def _scope_failed(self, scope: EndingScope) -> None:
        error = combine(f"errors of {self._plan.name!r}", scope._errors)
        self.lose(error, in_words(error))
