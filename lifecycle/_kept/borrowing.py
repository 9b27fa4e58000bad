"""Ways to use what is kept: a block over one connection, and an iterator over all of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Generic, TypeVar

from .._ground import kernel
from .._ground.errors import OwnerClosed
from .._retry.retry import Retry
from .connection import Connection
from .keeper import Keeper
from .line import Arrival

T = TypeVar("T")


class Use(Generic[T]):
    """A block over one connection; `KeptConnection.use` makes it."""

    __slots__ = ("_arrive", "_connection", "_retry")

    def __init__(self, arrive: Callable[[], Awaitable[Arrival[T]]], retry: Retry) -> None:
        self._arrive = arrive
        self._retry = retry
        self._connection: Connection[T] | None = None

    async def __aenter__(self) -> T:
        """Return the value of the present connection, or of the next one.

        Cancellation: ends the waiting, and changes nothing.

        Raises:
            TimeoutExpired, ConnectError, OwnerClosed, NotConnected: as `KeptConnection.get`.
        """
        self._connection, value = await self._arrive()
        return value

    async def __aexit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Report the loss, where the block was left by an error that a further attempt may mend; does not suspend."""
        connection, self._connection = self._connection, None
        if (
            isinstance(error, Exception)
            and connection is not None
            and not connection.lost
            and self._retry.covers(error)
        ):
            connection.report(error)


class Generations(Generic[T]):
    """An iterator over the connections, each once; ``async for`` over a `KeptConnection` makes it."""

    __slots__ = ("_arrive", "_keeper", "_seen")

    def __init__(self, arrive: Callable[[float, int], Awaitable[Arrival[T]]], keeper: Keeper[T]) -> None:
        self._arrive = arrive
        self._keeper = keeper
        self._seen = 0

    def __aiter__(self) -> Generations[T]:
        return self

    async def __anext__(self) -> T:
        """Return the value of a connection that was not returned before.

        Cancellation: ends the waiting, and loses none.

        Raises:
            ConnectError, NotConnected: as `KeptConnection.get`.
        """
        try:
            connection, value = await self._arrive(kernel.FOREVER, self._seen)
        except OwnerClosed:
            raise StopAsyncIteration from None
        self._seen = connection.number
        return value
