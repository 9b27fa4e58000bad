"""Line: those who wait for the next connection, in order of arrival."""

from __future__ import annotations

from asyncio import Future
from typing import Generic, NamedTuple, TypeVar

from .._ground import kernel
from .connection import Connection

T = TypeVar("T")


class Arrival(NamedTuple, Generic[T]):
    """A connection that came up, and its value, which the connection itself has let go of once it is released."""

    connection: Connection[T]
    value: T


class Line(Generic[T]):
    """Waiters, each woken with the connection that came up, or with None if none will ever come.

    They get what they were woken for, also where it is lost, and even released, before their next step: who would look
    only then could miss every connection of a peer that hangs up soon.
    """

    __slots__ = ("_waiters",)

    def __init__(self) -> None:
        self._waiters: dict[Future[Arrival[T] | None], None] = {}

    def __len__(self) -> int:
        return len(self._waiters)

    async def wait(self, seconds: float) -> tuple[bool, Arrival[T] | None]:
        """Wait in line; return whether somebody has woken the caller in time, and with what.

        Cancellation: leaves the line; nothing is lost, because all get the same.
        """
        waiter: Future[Arrival[T] | None] = kernel.running_loop().create_future()
        self._waiters[waiter] = None
        try:
            arrived = await kernel.wait(waiter, seconds)
        finally:
            self._waiters.pop(waiter, None)
        return arrived, waiter.result() if arrived else None

    def wake(self, arrival: Arrival[T] | None) -> None:
        """Wake all who wait."""
        waiters, self._waiters = self._waiters, {}
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(arrival)
