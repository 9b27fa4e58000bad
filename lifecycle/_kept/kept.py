"""KeptConnection: a connection that is made again whenever it is lost, as those see it who use it."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from contextvars import Context, copy_context
from types import TracebackType
from typing import Generic, Self, TypeVar

from .._ground import kernel
from .._ground.checks import checked_count, checked_name, checked_timeout
from .._ground.errors import NotConnected, TimeoutExpired, WrongLoop
from .._ground.foreign import in_words
from .._ground.roots import Portrait, Thing, enroll
from .._scope.scope import Scope
from .._task.waiting import waits_for
from .borrowing import Generations, Use
from .keeper import Keeper
from .line import Arrival
from .plan import Plan
from .records import KeptStatistics
from .state import ENDED, UP, KeptState

T = TypeVar("T")


class KeptConnection(Generic[T]):
    """A connection that is made again whenever it is lost; one at a time, and nothing is left of the one before.

    `keep_connected` makes it. It begins with ``async with``, with the first `get`, or with the first step of an
    ``async for``; from then on a task of its own connects, and connects again. The block ends it, or `aclose` from any
    task. Where it is given up, the block's body is interrupted as by a failing task of a `Scope`, and the error raised
    at its end; without a block it is logged, and raised by `aclose`; whoever waits for a connection gets it too.

    All methods belong into the loop's thread; it serves one event loop.

    Do not use it for one connection that may fail: that is `connect`. Nor for several at once: that is a `Pool`.

    Attributes:
        name: for errors, logs and snapshots.
    """

    def __init__(self, plan: Plan[T]) -> None:
        self.name: str = plan.name
        self._keeper: Keeper[T] = Keeper(plan)
        timeout = None if plan.close_timeout == kernel.FOREVER else plan.close_timeout
        self._scope = Scope(plan.name, close_timeout=timeout)
        self._context: Context = copy_context()
        self._loop: AbstractEventLoop | None = None
        enroll(self)

    # Properties

    @property
    def state(self) -> KeptState:
        """Where it is in its life."""
        return self._keeper.state

    @property
    def generation(self) -> int:
        """The number of the present connection, or of the last one; 0 before the first."""
        return self._keeper.ups

    @property
    def current(self) -> T | None:
        """What the connector returned for the connection that is up; None where none is."""
        keeper = self._keeper
        return keeper.connection.value if keeper.state is UP and keeper.connection is not None else None

    @property
    def closed(self) -> bool:
        """Whether everything is released, for good: after a close, or after it was given up."""
        return self._scope.closed

    def statistics(self) -> KeptStatistics:
        """Return how it stands at this moment, and what has happened so far."""
        return self._keeper.statistics()

    # Using the connection

    async def get(self, timeout: float | None = None) -> T:
        """Return the value of the present connection, or wait for the next one and return its value.

        The connection may be lost again at any moment, also before the caller has made its next step: let its use fail,
        and ask again. In ``replay`` it returns the value that is being prepared.

        Cancellation: ends the waiting, and changes nothing.

        Args:
            timeout: seconds to wait at most; None for as long as it takes.

        Raises:
            TimeoutExpired: *timeout* has passed; it is a ``TimeoutError``.
            ConnectError: it was given up.
            OwnerClosed: it is closed, or was closed meanwhile.
            WrongLoop: it was begun in another event loop.
            NotConnected: the next connection waits for the caller, which is part of the connector or of ``on_down``.
        """
        return (await self._arrival(checked_timeout(timeout, "timeout"))).value

    def get_nowait(self) -> T:
        """Return the value of the present connection, at once.

        Raises:
            NotConnected: there is none; it is a ``ConnectionError``.
            ConnectError: it was given up, and there will be none.
            OwnerClosed: it is closed.
        """
        keeper = self._keeper
        if keeper.state is UP and keeper.connection is not None:
            return keeper.connection.value
        if keeper.state in ENDED:
            keeper.refuse()
        raise NotConnected(f"{self} has no connection at this moment; `get` waits for one")

    def use(self, timeout: float | None = None) -> AbstractAsyncContextManager[T, None]:
        """Return a block over one connection: ``async with kept.use() as value``.

        It waits as `get` does. An error that leaves the block, and that ``retry_on`` covers, is taken for the loss of
        the connection, and goes on. So keep other connections out of the block: their errors would count as well. The
        block is not interrupted when the connection is lost: its next use of the value fails.

        Args:
            timeout: seconds to wait at most; None for as long as it takes.

        Raises:
            TypeError, ValueError: *timeout* is not a number of seconds.
        """
        seconds = checked_timeout(timeout, "timeout")
        return Use(lambda: self._arrival(seconds), self._keeper.plan.retry)

    def report_lost(self, value: T, error: BaseException | None = None, *, generation: int | None = None) -> bool:
        """Note that the connection with this value is lost, which somebody has seen; return whether that was news.

        From this step on nobody gets the value. A late report, of a connection that is lost already, does nothing.

        Args:
            value: the very object that `get` gave.
            error: what has shown it; one that ``retry_on`` does not cover ends all attempts. None: a `ConnectionLost`.
            generation: the number of that connection, for connectors that return the same object again.

        Raises:
            TypeError, ValueError: *error* is not an exception, or *generation* not a whole number from 0.
        """
        if error is not None and not isinstance(error, BaseException):
            raise TypeError(f"error must be an exception or None, got {in_words(error)}")
        if generation is not None:
            checked_count(generation, "generation")
        keeper = self._keeper
        connection = keeper.connection
        if keeper.state is not UP or connection is None or connection.value is not value:
            return False
        if generation is not None and generation != connection.number:
            return False
        connection.report(error)
        return True

    def reconnect(self, reason: str | None = None) -> None:
        """Drop the connection that is up, or let no pause come before the next attempt; does not wait.

        After a drop the next attempt follows at once, if the connection has lived for ``minimum_uptime``; else after
        the pause of a failure, so that this cannot be made a storm. An attempt in progress is left alone.

        Args:
            reason: why, for ``on_down`` and the log.

        Raises:
            ConnectError: it was given up.
            OwnerClosed: it is closed.
            TypeError: *reason* is not a string.
        """
        why = checked_name(reason, "a reconnect was asked for", what="reason")
        if self._keeper.state in ENDED:
            self._keeper.refuse()
        self._keeper.reconnect(why)

    def __aiter__(self) -> AsyncIterator[T]:
        """Return an iterator over the connections: the present one, then each that follows, none of them twice.

        It ends when this is closed. A connection that came and went while the caller was busy is not given.

        Raises:
            ConnectError: it was given up; raised by the iterator.
        """
        return Generations(self._arrival, self._keeper)

    # Ending

    async def __aenter__(self) -> Self:
        """Begin to connect, and make the calling task the body; does not suspend: it is `get` that waits.

        Raises:
            ConnectError: it was given up.
            OwnerClosed: it is closed, or has been entered before.
            WrongLoop: it was begun in another event loop.
        """
        if self._keeper.state in ENDED:
            self._keeper.refuse()
        self._check_loop()
        await self._scope.__aenter__()  # first, so that the body gets the error of a task that fails in its first step
        self._begin()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        """End it, as `aclose` does; errors of the body and of the end are raised together.

        Cancellation: held back until everything is released, then raised, once.

        Raises:
            ConnectError: it was given up.
            BaseException, BaseExceptionGroup: what the releases and the tasks that were stopped have met.
        """
        self._keeper.close()
        try:
            return await self._scope.__aexit__(exc_type, error, traceback)
        finally:
            self._settle()

    async def aclose(self) -> None:
        """End it in whatever state it is: no attempt follows, and everything is released. From any task. Idempotent.

        ``on_down`` is called if a connection is up, and runs to its end. A second caller waits for the first. Who is
        part of the connection, or of a hook, does not wait for itself.

        Cancellation: held back until everything is released, then raised, once. A second caller just stops waiting.

        Raises:
            ConnectError: it was given up, and no block has raised that.
            BaseException, BaseExceptionGroup: what the releases and the tasks that were stopped have met.
        """
        self._keeper.close()
        try:
            await self._scope.aclose()
        finally:
            self._settle()

    async def wait(self) -> None:
        """Wait until it is closed or given up, and everything is released.

        Cancellation: ends the waiting, and changes nothing.
        """
        await self._scope.wait()

    # How it is done

    def _check_loop(self) -> None:
        if self._loop is not None and self._loop is not kernel.running_loop():
            raise WrongLoop(f"{self} was begun in another event loop; make one for each loop")

    def _begin(self) -> None:
        """Start the task that keeps it, unless that has been done."""
        self._check_loop()
        if self._loop is not None:
            return
        self._loop = kernel.running_loop()
        self._keeper.begin()
        self._scope.create_task(self._keeper.keep(), name=f"keeper of {self.name!r}", context=self._context)

    async def _arrival(self, seconds: float, seen: int = 0) -> Arrival[T]:
        """Return the present connection or the next one, of those after number *seen*."""
        keeper = self._keeper
        if keeper.state not in ENDED:
            self._begin()
        connection = keeper.connection
        if keeper.state is UP and seen < keeper.ups:
            assert connection is not None
            return Arrival(connection, connection.value)
        if keeper.state in ENDED:
            keeper.refuse()
        if keeper.task is not None and waits_for(keeper.task, kernel.current_task()):
            if connection is not None and connection.has_value and keeper.attempt is not None:
                return Arrival(connection, connection.value)  # which is being prepared
            raise NotConnected(f"{self} waits for the caller before it connects again; it cannot wait for that")
        arrived, arrival = await keeper.line.wait(seconds)
        if not arrived:
            raise TimeoutExpired(f"the next connection of {self}", seconds)
        if arrival is None:
            keeper.refuse()
        return arrival

    def _settle(self) -> None:
        if self._scope.closed:
            self._keeper.closed()

    # Looking

    def _portrait(self) -> Portrait:
        keeper, scope = self._keeper, self._scope
        things = [] if scope.closed else [Thing("scope", scope.name, owner=scope)]
        if keeper.attempt is not None:
            things.append(Thing("attempt", self.name, owner=keeper.attempt))
        elif keeper.connection is not None:
            things.append(Thing("scope", self.name, owner=keeper.connection.scope))
        state = "closed" if scope.closed else keeper.state.value
        return Portrait("kept connection", self.name, state, keeper.since, things, {"ups": keeper.ups})

    def __repr__(self) -> str:
        return f"<KeptConnection {self.name!r} {self.state.value}, generation {self.generation}>"

    def _check_invariants(self) -> None:
        self._keeper.check_invariants()
