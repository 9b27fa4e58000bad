"""Connecting: attempts one after the other until one succeeds, and what became of them.

All of it is synchronous: a `Trial` reports when it begins to roll back and when it has ended, a timer when a pause is
over, and each of these decides what follows. Only the trial's task awaits anything.
"""

from __future__ import annotations

from asyncio import CancelledError, Future, Task, TimerHandle
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType
from typing import Any, Generic, TypeVar, cast

from anyio.streams.tls import TLSStream

from .._chores import Chore
from .._ground import kernel, trace
from .._ground.awaiters import Waiter
from .._ground.errors import TaskCancelled
from .._ground.foreign import add_context, is_fatal, split_cancellation, traceback_of
from .._ground.logs import OwnerLog
from .._ground.surely import run_surely
from .._retry.deciding import decide
from .._retry.failure import RetryFailure
from .._retry.history import History
from .._retry.retry import Retry
from .._scope.ending import CLOSED
from .._scope.entries import Resource
from .._scope.scope import Scope
from .._task.work import work_of
from .errors import connect_cancelled, connect_error, connect_timeout, connect_undecided
from .stages import Stages
from .state import CANCELLED, CONNECTED, CONNECTING, FAILED, NEW, ROLLING_BACK, SETTLED, WAITING, AttemptState, moved
from .telling import tell
from .trial import Trial

T = TypeVar("T")

logger = OwnerLog("lifecycle.connect")

#: How many errors of rollbacks are kept; a connect may be tried for years.
MOST_ERRORS = 100


class Connecting(Generic[T]):
    """The life of one connect, see `AttemptState`.

    Attributes:
        state: where it is.
        stage: the stage in progress, or that failed.
        attempts: how many have begun.
        deadline: the loop time at which the present attempt is cut off.
        ended: done when nothing more happens by itself; a new one after a success that is undone.
        value: what the connector returned.
        connection: the scope that owns what was acquired, after success.
        error: what became of it, otherwise; None while it goes on.
        rollback_errors: what rollbacks met, the latest.
        reported: whether a caller has got the error.
        since: the loop time at which it began.
    """

    value: T
    ended: Future[None]

    def __init__(
        self,
        call: Callable[[Stages], Awaitable[T]],
        name: str,
        timeout: float,
        retry: Retry | None,
        close_timeout: float,
    ) -> None:
        self.state: AttemptState = NEW
        self.attempts = 0
        self.deadline = kernel.FOREVER
        self.connection: Scope | None = None
        self.error: BaseException | None = None
        self.traceback: TracebackType | None = None
        self.rollback_errors: deque[BaseException] = deque(maxlen=MOST_ERRORS)
        self.reported = False
        self.since: float | None = None
        self._call: Callable[[Stages], Awaitable[T]] | None = call
        self.owner_name = name
        self.logger = logger
        own = None if retry is None else retry.attempt_timeout
        self._seconds = timeout if own is None else min(timeout, own)  # for an attempt
        self._retry = retry
        self._close_timeout = close_timeout
        self._last_deadline = kernel.FOREVER
        self._ending: str | None = None  # why it is to end
        self._stopped = False  # whether `stop`, not a failure, has ended the present attempt
        self._trial: Trial[T] | None = None
        self._late_failure: BaseException | None = None  # of a connector that had been asked to end
        self._stage: str | None = None
        self._complete = True
        self._pause: TimerHandle | None = None
        self._undoing: Task[None] | None = None
        self._telling: Chore[object] | None = None  # the hook of the retry is told of a failure
        self._history: History | None = None  # of the attempts before the present one
        self._token: trace.Mark | None = None

    @property
    def stage(self) -> str | None:
        """The stage in progress; after a failure the one that failed."""
        if self.state is CONNECTING and self._trial is not None:
            return self._trial.stages._current
        return self._stage

    @property
    def task(self) -> Task[None] | None:
        """The task that the connect waits for at present."""
        if self._trial is not None:
            return self._trial.task
        return self._telling.task if self._telling is not None else self._undoing

    def _hosts(self, _: Task[Any]) -> Iterable[Waiter]:
        return ()  # who waits for it notes that

    # What callers ask for

    def begin(self) -> None:
        """Begin the first attempt."""
        now = kernel.clock()()
        self.since = now
        self.ended = kernel.new_future()
        if self._retry is not None and self._retry.timeout is not None:
            self._last_deadline = now + self._retry.timeout
        if trace.sink is not None:
            self._token = trace.opened("attempt", self.owner_name)
        self._begin_trial()

    def stop(self, reason: str) -> None:
        """End it in whatever state it is; does nothing where everything is undone, or soon will be."""
        if self._ending is not None:
            return
        if self.state is NEW:
            self._ending = reason
            self._finish(CANCELLED, self._cancelled(reason))
        elif self.state is CONNECTED:
            self._ending = reason
            self._undo_success()
        elif self.state is WAITING:
            self._ending = reason
            assert self._pause is not None
            self._pause.cancel()
            self._pause = None
            self._finish(CANCELLED, self._cancelled(reason))
        elif self.state is not FAILED and self.state is not CANCELLED:
            self._ending = reason
            if self._trial is not None:
                self._stopped = self._trial.stop(reason)
            elif self._telling is not None:
                self._telling.stop(reason, self._close_timeout)

    def unreported(self) -> tuple[BaseException, ...]:
        """Return what the end of a connect without success has met, unless a caller has it.

        That is the error of one that failed by itself; of one that was asked to end, what the connector raised then,
        and what the rollbacks met.
        """
        if self.reported or self.state not in (FAILED, CANCELLED):
            return ()
        if self.state is FAILED:
            assert self.error is not None
            return (self.error,)  # which has those of the rollbacks
        late = (self._late_failure,) if self._late_failure is not None else ()
        return (*late, *self.rollback_errors)

    def __del__(self) -> None:
        """Log what nobody has asked for, and nobody can ask for any more; what ends the process is told by its end."""
        for error in self.unreported():
            if not is_fatal(error.__cause__ or error):
                logger.error("connect failed, and nobody has asked", exc_info=error, extra={"owner": self.owner_name})

    def let_go_of_value(self, *, part: bool = False) -> bool:
        """Leave a connection to the caller who has its value, where that is all there is to release.

        What the value's own close closes as well is the value's. Return whether nothing else is left.

        Args:
            part: let go of the value also where something is left, which the caller has to release then.
        """
        scope = self.connection
        if scope is None or scope._state is CLOSED:
            return True
        books = scope._books
        values: list[object] = [self.value]
        if type(self.value) is TLSStream:
            values.append(cast("TLSStream", self.value).transport_stream)
        own = [entry for entry in books if type(entry) is Resource and any(entry.value is value for value in values)]
        whole = len(own) == len(books)
        if whole or part:
            for entry in own:
                books.forget(entry)
        if whole:
            account, books.account = books.account, None
            if account is not None:
                account.end()
        return whole

    # What happens

    def _begin_trial(self) -> None:
        self._pause = None
        self.state = moved(self.state, CONNECTING)
        self.attempts += 1
        self._stage = None
        self.deadline = min(kernel.clock()() + self._seconds, self._last_deadline)
        assert self._call is not None
        self._trial = Trial(
            self._call,
            self.owner_name,
            number=self.attempts,
            deadline=self.deadline,
            close_timeout=self._close_timeout,
            on_rollback=self._rollback_began,
            on_end=self._trial_ended,
            employer=self,
        )
        self._trial.begin()

    def _rollback_began(self) -> None:
        assert self._trial is not None
        self._stage = self._trial.stage
        self.state = moved(self.state, ROLLING_BACK)

    def _trial_ended(self, trial: Trial[T]) -> None:
        """Decide what follows an attempt, in the step in which it has ended."""
        self._trial = None
        if trial.connection is not None:
            self.value, self.connection = trial.value, trial.connection
            self._finish(CONNECTED, None)
            return
        self.rollback_errors.extend(trial.rollback_errors)
        self._complete = trial.complete
        error = self._error_of(trial)
        judged = error if trial.timed_out else trial.error
        assert judged is not None
        pause = None
        if self._fails_by_itself(judged):
            try:
                pause = self._pause_after(judged, trial)
            except BaseException as met:
                if is_fatal(met):
                    kernel.end_process(met)
                error = self._undecided("deciding whether it is tried again", met, judged)
        if self._ending is not None and (self._stopped or pause is not None):
            if self._stopped and trial.error is not None:
                _, self._late_failure = split_cancellation(trial.error)
            self._end_cancelled(None if isinstance(trial.error, CancelledError) and self._stopped else error)
        elif self._ending is None and self._fails_by_itself(judged) and self._retry and self._retry.on_failure:
            self._tell(self._retry.on_failure, judged, error, pause)
        else:
            self._go_on(error, pause)

    def _fails_by_itself(self, error: BaseException) -> bool:
        """Whether *error* is a failure of an attempt, which there may be another one after."""
        return self._retry is not None and not isinstance(error, CancelledError) and not is_fatal(error)

    def _pause_after(self, error: BaseException, trial: Trial[T]) -> float | None:
        """Return how long to wait for another attempt, which must not begin beside one that has not ended."""
        assert self._retry is not None
        return decide(self._retry, self.attempts, error, self._left()) if trial.complete else None

    def _left(self) -> float:
        """Return the seconds until all attempts have to be over."""
        return self._last_deadline - kernel.clock()()

    def _tell(
        self, hook: Callable[[RetryFailure], object], judged: BaseException, error: BaseException, pause: float | None
    ) -> None:
        """Tell the hook of the retry; what follows is decided when it has ended, whatever it does."""
        what = "on_failure of its retry"

        def told(met: BaseException | None) -> None:
            self._telling = None
            if self._ending is not None:
                self._late_failure = None if isinstance(met, TaskCancelled) else met
                self._end_cancelled(error)
            elif met is None:
                self._go_on(error, pause if pause is None or pause < self._left() else None)
            else:
                self._go_on(self._undecided(what, met, judged), None)

        now = kernel.clock()()
        began = now if self.since is None else self.since
        failure = RetryFailure(self.owner_name, self.attempts, judged, pause, now - began)
        try:
            self._telling = tell(hook, failure, self, self._close_timeout if pause is None else self._left(), told)
        except BaseException as met:  # the task factory of the loop refuses
            told(met)

    def _go_on(self, error: BaseException, pause: float | None) -> None:
        """Fail with *error*, or try again after *pause*."""
        if pause is None:
            if self._history is not None:
                self._history.tell(error)
            self._finish(FAILED, error)
            return
        self.state = moved(self.state, WAITING)
        self._pause = kernel.running_loop().call_later(pause, self._begin_trial)
        self._history = self._history or History()
        self._history.add(self.attempts, error.__cause__ or error)
        if self._history.is_worth_a_line(self.attempts, kernel.clock()()):
            facts = {"owner": self.owner_name, "attempt": self.attempts, "error": str(error), "pause": pause}
            logger.warning("attempt failed, another one follows", extra=facts)

    def _end_cancelled(self, cause: BaseException | None) -> None:
        """End as one that was cancelled or closed, while it was about to fail with *cause* by itself."""
        assert self._ending is not None
        ended = self._cancelled(self._ending)
        ended.__cause__ = cause
        self._finish(CANCELLED, ended)

    def _undecided(self, what: str, met: BaseException, judged: BaseException) -> BaseException:
        """Return the error of a connect of which *what* has met an error of its own after an attempt."""
        if met is not judged:
            add_context(met, judged)
        return connect_undecided(self.owner_name, what, met, **self._facts())

    def _undo_success(self) -> None:
        """Undo a success that was not taken."""
        self.state = moved(self.state, ROLLING_BACK)
        self.ended = kernel.new_future()
        self.error = self._cancelled(self._ending or "")
        self._undoing = run_surely(self._close_connection, f"rollback of connect {self.owner_name!r}")

    @work_of("self")
    async def _close_connection(self) -> None:
        self._undoing = kernel.current_task()
        scope, self.connection = self.connection, None
        assert scope is not None
        del self.value
        errors, held = await scope._close(None, through=True)
        self._undoing = None
        self.rollback_errors.extend(errors)
        self._finish(CANCELLED, self._cancelled(self._ending or ""))
        if held is not None:
            raise held

    def _finish(self, state: AttemptState, error: BaseException | None) -> None:
        """Come to a state in which nothing more happens by itself."""
        self.state = moved(self.state, state)
        self.error = error
        if error is not None:
            self.traceback = traceback_of(error)
        self._call = None  # whose arguments are not needed any more
        if self._token is not None:
            trace.closed(self._token)
            self._token = None
        if self.since is not None and not self.ended.done():
            self.ended.set_result(None)

    # Errors

    def _error_of(self, trial: Trial[T]) -> BaseException:
        """Return the error of a connect that this attempt is the last of."""
        failure = trial.error
        assert failure is not None
        facts = self._facts()
        if trial.timed_out:
            retry = self._retry
            overall = retry is not None and self.deadline == self._last_deadline
            seconds = retry.timeout if overall and retry is not None else self._seconds
            limit = f"{seconds:g} s" + (" for all attempts" if overall else "")
            return connect_timeout(self.owner_name, limit, failure, **facts)
        if not isinstance(failure, (Exception, CancelledError)) and not is_fatal(failure):
            return failure
        return connect_error(self.owner_name, failure, **facts)

    def _cancelled(self, reason: str) -> BaseException:
        return connect_cancelled(self.owner_name, reason, **self._facts())

    def _facts(self) -> dict[str, Any]:
        return {
            "stage": self._stage,
            "attempts": self.attempts,
            "rollback_errors": tuple(self.rollback_errors),
            "complete": self._complete,
        }

    def check_invariants(self) -> None:
        """Check what must be true at every await."""
        state = self.state
        besides = self._undoing is not None or self._telling is not None
        assert (self._trial is not None) == (state is CONNECTING or (state is ROLLING_BACK and not besides))
        assert (self._pause is not None) == (state is WAITING)
        assert (self.connection is not None) >= (state is CONNECTED)
        assert (self.connection is not None) <= (state is CONNECTED or self._undoing is not None)
        assert (self.error is not None) >= (state in SETTLED and state is not CONNECTED)
        assert (self._call is None) == (state in SETTLED or self._undoing is not None)
