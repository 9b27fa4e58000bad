"""ConnectAttempt: a connect as its caller sees it: awaited, as a context manager, or step by step."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Generator
from types import TracebackType
from typing import Generic, TypeVar, cast

from .._ground import kernel
from .._ground.errors import OwnerClosed
from .._ground.foreign import combine, with_traceback
from .._ground.roots import Portrait, Thing, enroll
from .._retry.retry import Retry
from .._scope.ending import CLOSED, OPEN
from .._scope.scope import Scope
from .._task.waiting import Waiting, until_seen, waits_for
from .connecting import Connecting
from .stages import Stages
from .state import CONNECTED, NEW, SETTLED, AttemptState
from .statistics import ConnectStatistics

T = TypeVar("T")


class ConnectAttempt(Generic[T]):
    """A connect: await it, use it with ``async with``, or poll it; it starts with the first of these.

    The connector runs in a task of its own. If it fails, is cancelled or takes too long, everything that its stages
    made is undone in reverse before any caller gets the error, and before another attempt begins. If it succeeds,
    everything moves, in the step in which the connector returns, to a scope of the connection:

    * ``async with attempt as value`` closes that scope at the end of the block;
    * after ``await attempt``, or a poll that returned True, the caller has to close ``attempt.scope``, or the value, if
      the value is the only thing that was acquired. Closing the *attempt* then does nothing.

    A success that was not taken, by ``await``, a `poll` that returned True, `value` or `scope`, still belongs to the
    attempt: closing the attempt undoes it.

    All methods belong into the loop's thread.

    Attributes:
        name: for errors, logs and snapshots.
    """

    def __init__(
        self,
        call: Callable[[Stages], Awaitable[T]],
        name: str,
        *,
        timeout: float,
        retry: Retry | None,
        close_timeout: float,
    ) -> None:
        self.name: str = name
        self._connecting: Connecting[T] = Connecting(call, name, timeout, retry, close_timeout)
        self._taken = False  # a caller has the value
        self._scope_given = False
        enroll(self)

    # Properties

    @property
    def state(self) -> AttemptState:
        """Where the connect is in its life."""
        return self._connecting.state

    @property
    def stage(self) -> str | None:
        """The stage in progress, after a failure the one that failed; None before the first and after success."""
        return self._connecting.stage

    @property
    def attempts(self) -> int:
        """How many attempts have begun."""
        return self._connecting.attempts

    @property
    def deadline(self) -> float | None:
        """The loop time at which the present attempt is cut off, fixed when it began; None where there is no bound."""
        deadline = self._connecting.deadline
        return None if deadline == kernel.FOREVER else deadline

    @property
    def value(self) -> T:
        """What the connector returned; asking for it takes it.

        Raises:
            OwnerClosed: the connect is not over.
            ConnectError: it failed, or was cancelled.
        """
        self._check_settled("its value")
        return self._take()

    @property
    def scope(self) -> Scope:
        """The scope that owns everything that the stages acquired, from success on; asking for it takes it.

        Close it to undo the connect: ``await attempt.scope.aclose()``.

        Raises:
            OwnerClosed: the connect is not over.
            ConnectError: it failed, or was cancelled.
        """
        self._check_settled("its scope")
        self._take()
        self._scope_given = True
        return cast("Scope", self._connecting.connection)

    def statistics(self) -> ConnectStatistics:
        """Return how the connect stands at this moment; it takes nothing."""
        connecting = self._connecting
        return ConnectStatistics(
            name=self.name,
            state=connecting.state.value,
            stage=connecting.stage,
            attempts=connecting.attempts,
            rollback_errors=len(connecting.rollback_errors),
        )

    # Connecting

    def __await__(self) -> Generator[object, None, T]:
        """Connect, and return what the connector returned; a second time at once.

        Cancellation: the connect is cancelled and rolled back, for all who wait for it; the cancellation is
        held back until that is over, then raised, once. A value that arrived in the very step of the cancellation is
        undone as well. Should the rollback, or the connector that is ended, meet errors, a `ConnectError` with them is
        raised and the cancellation delivered at the caller's next suspension.

        Raises:
            ConnectTimeout: it took too long.
            ConnectError: it failed; the connector's error is the cause. Or it was cancelled or closed.
            BaseException: the connector raised something other than an ``Exception``.
        """
        return self._arrival().__await__()

    async def __aenter__(self) -> T:
        """Connect, and return what the connector returned.

        The block is the body of the connection's scope: a failing task of it interrupts the block.

        Cancellation: as for awaiting it.

        Raises:
            ConnectTimeout, ConnectError, BaseException: as for awaiting it.
            OwnerClosed: it has been entered before.
        """
        value = await self._arrival()
        scope = self.scope
        if scope._state is not OPEN and scope._body is None:
            await scope.aclose()  # a task of it has failed in between: raises its error
        await scope.__aenter__()
        return value

    async def __aexit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        """Undo everything that was acquired, in reverse, as a scope does.

        Cancellation: held back until everything is released, then raised, once.

        Raises:
            BaseException, BaseExceptionGroup: what the releases, and the tasks of the connection, raised.
        """
        return await self.scope.__aexit__(exc_type, error, traceback)

    def poll(self) -> bool:
        """Return whether the value is there; start the connect with the first call. Never blocks, never suspends.

        The connect goes on between the calls, when the loop runs. After True the value is the caller's, see `value`
        and `scope`; before that, `aclose` ends the connect.

        Raises:
            ConnectTimeout: it took too long.
            ConnectError: it failed, or was cancelled or closed. Everything has been rolled back.
            BaseException: the connector raised something other than an ``Exception``.
        """
        if self._connecting.state is NEW:
            self._connecting.begin()
        if self._connecting.state not in SETTLED:
            return False
        self._take()
        return True

    # Ending

    def cancel(self, reason: str | None = None) -> None:
        """Ask the connect to end; all who wait for it get a `ConnectError`. Nothing happens after success.

        Args:
            reason: why, for errors; it also becomes the message of the ``CancelledError`` in the connector.
        """
        self._end(reason or "it was cancelled")

    async def aclose(self) -> None:
        """End the connect in whatever state it is, and wait until everything has been undone. Idempotent.

        Nothing happens after success: what was acquired belongs to the caller who took the value. A success that was
        not taken is undone. A connector, or a release, that closes its own attempt does not wait for itself.

        Cancellation: held back until everything is undone, then raised, once. Should the rollback have met errors as
        well, they are raised here and the cancellation at the caller's next suspension.

        Raises:
            ConnectError: it had failed by itself, and no caller has got that error yet.
            BaseException, BaseExceptionGroup: what the rollback met, and what the connector raised when it was ended,
                unless a caller has got it already.
        """
        self._end("it was closed")
        held = await until_seen() if self._connecting.state not in SETTLED else None
        if not self._waits_for_me():
            held = kernel.foremost(held, await self._wait_through())
        errors = self._connecting.unreported()
        if errors:
            self._connecting.reported = True
        try:
            kernel.conclude(combine(f"errors while closing {self!r}", errors) if errors else None, held)
        finally:
            del self, errors, held  # which the traceback would refer to: a cycle

    def _end(self, reason: str) -> None:
        if not self._taken:
            self._connecting.stop(reason)

    # Waiting

    async def _arrival(self) -> T:
        connecting = self._connecting
        held = await until_seen() if connecting.task is not None else None
        if self._waits_for_me():
            never = f"{self!r} is awaited by its own connector, which would wait for ever"
            kernel.conclude(RuntimeError(never), held)
        if connecting.state is NEW:
            with Waiting(connecting):  # in which an eager connector runs already
                connecting.begin()
        try:
            if held is not None:
                raise held
            with Waiting(connecting):
                while connecting.state not in SETTLED:
                    await kernel.wait(connecting.ended)
        except GeneratorExit:
            self._end("the coroutine that awaited it was destroyed")
            raise
        except BaseException as error:
            held = await self._leave()
            failure: BaseException | None = error
            if isinstance(error, CancelledError):
                failure, held = None, kernel.foremost(error, held)
            try:
                if connecting.unreported():
                    if held is not None:
                        kernel.deliver_later(held)
                    self._take()
                kernel.conclude(failure, held, error)
                raise
            finally:
                del self, connecting, failure, held  # which the traceback would refer to: a cycle
        try:
            return self._take()
        finally:
            del self, connecting  # as above

    async def _leave(self) -> CancelledError | None:
        self._end("the task that awaited it was cancelled")
        return await self._wait_through()

    async def _wait_through(self) -> CancelledError | None:
        """Wait until nothing more happens by itself; return a cancellation that was held back meanwhile."""
        held = None
        with Waiting(self._connecting):
            while self._connecting.state not in SETTLED:
                held = kernel.foremost(held, await kernel.wait_through(self._connecting.ended))
        return held

    def _waits_for_me(self) -> bool:
        """Whether what the calling task is part of is what the connect itself waits for."""
        task = self._connecting.task
        return task is not None and waits_for(task, kernel.current_task())

    def _check_settled(self, what: str) -> None:
        if self._connecting.state not in SETTLED:
            raise OwnerClosed(
                f"connect {self.name!r} is {self._connecting.state.value}; await it, or poll it until it is there, "
                f"before you ask for {what}"
            )

    def _take(self) -> T:
        """Return the value, or raise what became of it."""
        error = self._connecting.error
        if error is None:
            self._taken = True
            return self._connecting.value
        self._connecting.reported = True
        try:
            # Every time with the frames of the connector alone, or they would pile up with every caller.
            raise with_traceback(error, self._connecting.traceback)
        finally:
            del self, error  # which the traceback would keep alive: a cycle

    def _hand_over_rest(self) -> Scope | None:
        """Give the value to its taker, and return what else has to be closed after it; None for nothing.

        For owners that take the awaitable itself, such as a pool; see `rest_of`.
        """
        if self._scope_given or self._connecting.let_go_of_value(part=True):
            return None
        self._scope_given = True
        return self._connecting.connection

    # Looking

    def _portrait(self) -> Portrait:
        connecting = self._connecting
        things = [Thing("task", task.get_name(), task=task)] if (task := connecting.task) is not None else []
        scope = connecting.connection
        if scope is not None and scope._state is not CLOSED:
            things.append(Thing("scope", scope.name, owner=scope))
        state = connecting.state.value
        if connecting.stage is not None:
            state = f"{state}, stage {connecting.stage!r}"
        if not things and (connecting.state in SETTLED or connecting.state is NEW):
            state = CLOSED.value
        return Portrait("attempt", self.name, state, connecting.since, things, {"attempts": connecting.attempts})

    def __repr__(self) -> str:
        stage = f", stage {self.stage!r}" if self.stage is not None else ""
        return f"<ConnectAttempt {self.name!r} {self.state.value}{stage}>"

    def __del__(self) -> None:
        connecting = getattr(self, "_connecting", None)
        if connecting is not None and self._taken and not self._scope_given:
            connecting.let_go_of_value()

    def _check_invariants(self) -> None:
        connecting = self._connecting
        connecting.check_invariants()
        assert not self._taken or connecting.state is CONNECTED
        assert not self._scope_given or self._taken
