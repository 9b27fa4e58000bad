"""Trial: one attempt of a connect, in a task of its own, and the undoing of what it had made.

The connector runs in the trial's task. What it makes goes into a scope of the trial. When it returns, one synchronous
step moves the whole ledger to the scope of the connection; on anything else the trial closes its own. A connector that
ignores its cancellation is abandoned: its stages are undone without waiting for it, and it will be refused new ones.
"""

from __future__ import annotations

from asyncio import CancelledError, Task, TimerHandle
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from .._ground import kernel
from .._ground.errors import ReleaseTimeout
from .._ground.foreign import combine, is_fatal, without_our_frame
from .._ground.ladder import Ladder
from .._ground.logs import OwnerLog
from .._ground.surely import run_surely
from .._scope.scope import Scope
from .._task.handle import was_closed
from .._task.work import Employer, work_of
from .stages import Stages

T = TypeVar("T")

logger = OwnerLog("lifecycle.connect")


class Trial(Generic[T]):
    """One attempt, from its start to its complete end; ``on_end`` is called exactly once, in the step of that end.

    Attributes:
        number: which attempt it is, from 1.
        stages: what the connector connects with.
        connection: the scope that owns everything, after a success.
        value: what the connector returned, after a success.
        error: what kept it from success, otherwise.
        stage: the stage in which it failed.
        rollback_errors: what the undoing met.
        task: what it waits for: the task of the connector, then that of the undoing.
        timed_out: whether its deadline passed.
        complete: whether nothing of it is left, which a retry requires.
    """

    value: T
    task: Task[Any]

    def __init__(
        self,
        call: Callable[[Stages], Awaitable[T]],
        name: str,
        *,
        number: int,
        deadline: float,
        close_timeout: float,
        on_rollback: Callable[[], None],
        on_end: Callable[[Trial[T]], None],
        employer: Employer,
    ) -> None:
        self.number = number
        self.connection: Scope | None = None
        self.error: BaseException | None = None
        self.stage: str | None = None
        self.rollback_errors: tuple[BaseException, ...] = ()
        self.timed_out = False
        self.complete = True
        self._call = call
        self._name = name
        self._on_rollback = on_rollback
        self._on_end = on_end
        self._employer = employer  # who is waited for where this is
        self._scope = Scope(name, close_timeout=None if close_timeout == kernel.FOREVER else close_timeout)
        self.stages = Stages(self._scope, number, deadline)
        self._began = self._over = self._abandoned = False  # the connector's run
        self._unwanted: str | None = None
        self._cancellation: kernel.Cancellation | None = None
        self._ladder: Ladder | None = None
        self._timer: TimerHandle | None = None
        self._deadline = deadline

    def begin(self) -> None:
        """Start it; on an eager loop the connector has made its first step, or all of them, when this returns."""
        if self._deadline != kernel.FOREVER:
            self._timer = kernel.running_loop().call_at(self._deadline, self._time_is_up)
        run = self._run()
        try:
            self.task = kernel.spawn_kept(run, f"connect {self._name!r}, attempt {self.number}")
        except BaseException as refusal:
            if self._began:  # an eager first step that has told its end, and ends the process
                raise
            run.close()
            self._end_connecting(without_our_frame(refusal))
            self._tell_end()
            if is_fatal(refusal):
                raise
            return
        self.task.add_done_callback(self._native_task_done)

    # Stopping

    def stop(self, reason: str) -> bool:
        """Have the connector cancelled, and all that it made undone; return False once that has begun anyway."""
        if self._unwanted is not None or self._over:
            return False
        self._unwanted = reason
        self._drop_timer()
        self._ladder = ladder = Ladder(self._cancel_connector, self._abandon, self._scope.close_timeout)
        ladder.climb()
        return True

    def _time_is_up(self) -> None:
        self.timed_out = True
        self.stop("the deadline of the connect has passed")

    def _cancel_connector(self) -> None:
        """Cancel it, a second time where it has swallowed the first; before its first step that step finds it."""
        if self._began:
            if self._cancellation is not None:
                self._cancellation.withdraw()
            self._cancellation = kernel.cancel(self.task, self._unwanted)

    def _abandon(self) -> None:
        """Undo everything without waiting for the connector, which goes on in its task."""
        self._abandoned = True
        label, limit = f"connector {self._name!r}", self._scope.close_timeout
        error = ReleaseTimeout(label, limit, abandoned=True, stack=kernel.suspended_at(self.task))
        self.complete = False
        self._end_connecting(error)
        run_surely(self._roll_back, f"rollback of connect {self._name!r}")

    def _drop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # Connecting

    @work_of("self._employer")
    async def _run(self) -> None:
        self._began = True
        self.task = kernel.current_task()
        if self._unwanted is None:
            failure = await self._connect()
        else:
            failure = CancelledError(self._unwanted)
        if self._abandoned:
            self._report_late(failure)
            return
        if self.connection is None:
            self._end_connecting(failure)
        endings = [failure, *await self._roll_back()]
        del self, failure  # the frames in their tracebacks lead back here: a cycle
        ending = next((error for error in endings if is_ending(error)), None)
        try:
            if ending is not None:
                raise ending  # a task that was cancelled ends so; what ends the process is for the loop
        finally:
            del ending, endings  # as above

    async def _connect(self) -> BaseException | None:
        """Run the connector; return what kept it from success, None after one."""
        scope, task = self._scope, self.task
        await scope.__aenter__()  # so that a failing task of the ledger interrupts the connector; does not suspend
        try:
            value = await self._call(self.stages)
        except BaseException as error:
            closed = was_closed(task, error)
            del task  # which keeps the error that it ends by: a cycle
            if closed:
                raise
            failure: BaseException | None = without_our_frame(error)
        else:
            if self._unwanted is None and not scope._errors:
                # The one step: between the value and its owner there is no suspension.
                self.value = value
                self.connection = scope.pop_all()
                self._end_connecting(None)
                return None
            failure = None
            del value  # the ledger has what it is made of
        try:
            return failure if self._abandoned else self._with_errors_of_tasks(failure)
        finally:
            del failure  # the frames in its traceback lead back to this one: a cycle

    def _with_errors_of_tasks(self, failure: BaseException | None) -> BaseException:
        """Return what really failed: a task of the ledger that fails interrupts the connector by a cancellation."""
        errors, self._scope._errors = self._scope._errors, []
        if failure is not None and not (errors and isinstance(failure, CancelledError)):
            errors.insert(0, failure)
        if errors:
            return combine(f"errors while connecting {self._name!r}", errors)
        return CancelledError(self._unwanted)

    def _end_connecting(self, failure: BaseException | None) -> None:
        """Note that the connector's part is over; exactly once."""
        self._over = True
        self._drop_timer()
        if self._ladder is not None:
            self._ladder.end()
            self._ladder = None  # which refers to this: a cycle
        if self._cancellation is not None:
            self._cancellation.withdraw()
            self._cancellation = None
        if self._scope._body is not None:
            self._scope._body.leave()
        self.stage = self.stages._stage_that_failed(failure)
        if self.connection is None:
            self.error = failure
            self._on_rollback()

    @work_of("self._employer")
    async def _roll_back(self) -> list[BaseException | None]:
        """Undo what is in the ledger, which after a success is nothing, and report the end; return what that met.

        Cancellation: held back, and returned, last.
        """
        self.task = kernel.current_task()  # another one than the connector's, if that was abandoned
        errors, held = await self._scope._close(None, through=True)
        self.rollback_errors = tuple(errors)
        if any(isinstance(error, ReleaseTimeout) and error.abandoned for error in errors):
            self.complete = False
        self._tell_end()
        try:
            return [*errors, held]
        finally:
            del errors, held  # the frames in their tracebacks lead back here: a cycle

    def _tell_end(self) -> None:
        """Report the end, and let go of the errors, and of those who keep them: their frames lead back here."""
        on_end = self._on_end
        del self._on_end, self._on_rollback, self._employer
        vars(self).pop("task", None)  # there is none where the task factory of the loop has refused it
        self._scope._body = None  # whose task keeps the cancellation that it ended by
        on_end(self)
        self.error, self.rollback_errors = None, ()

    # Strange ends

    def _native_task_done(self, task: Task[Any]) -> None:
        """Settle where the task was cancelled from outside before its first step: then `_run` never runs."""
        kernel.retrieve(task)
        if not self._began and not self._over:
            self._end_connecting(CancelledError("from outside"))
            self._tell_end()

    def _report_late(self, failure: BaseException | None) -> None:
        """Log how a connector ended that had been abandoned."""
        if failure is not None and not isinstance(failure, CancelledError):
            logger.error("abandoned connector failed", exc_info=failure, extra={"owner": self._name})


def is_ending(error: BaseException | None) -> bool:
    """Return whether *error* is what a task has to end with: a cancellation, or what ends the process."""
    return error is not None and (isinstance(error, CancelledError) or is_fatal(error))
