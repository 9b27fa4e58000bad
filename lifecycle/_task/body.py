"""Body: the block of an owner and the task that runs it; whose cancellation is whose."""

from __future__ import annotations

from asyncio import CancelledError, Task
from typing import Any, cast

from .._ground import kernel, scopes


class Body:
    """The body of one ``async with`` block, interrupted by its owner and cancelled by others.

    The owner interrupts it with a native cancellation, which must be taken back exactly once and must not be mistaken
    for a foreign one. ``Task.cancelling()`` tells them apart: with ours taken back, a count above that of the
    beginning is a foreign request. A shield around the block is no reason to hold the interruption back, because it
    ends with the block.

    Attributes:
        host: the task that runs it.
        held: the cancellation from outside that has to be delivered in the end, if any.
    """

    __slots__ = ("_around", "_asked_before", "_interruption", "_left", "held", "host")

    def __init__(self, host: Task[Any]) -> None:
        self.host = host
        self.held: CancelledError | None = None
        self._around = scopes.innermost_scope(host)
        self._asked_before = kernel.requests_met(host)
        self._interruption: kernel.Cancellation | None = None
        self._left = False

    def interrupt(self, reason: str) -> None:
        """Cancel the body, unless it has been interrupted already, or left."""
        if self._interruption is None and not self._left:
            self._interruption = kernel.interrupt(self.host, reason, self._around)

    def leave(self) -> bool:
        """Note that the body was left, and interrupt it no more; return whether there is something to `take_back`."""
        self._left = True
        self._around = None
        interruption = self._interruption
        return interruption is not None and interruption.withdraw()

    async def take_back(self, error: BaseException | None) -> BaseException | None:
        """Take the interruption back, and return what the body, left by *error*, has raised by itself.

        Cancellation: one from outside that has not been met yet is in ``held`` afterwards.
        """
        if self.host is not kernel.current_task():
            return error
        interruption = cast("kernel.Cancellation", self._interruption)
        self.host.uncancel()
        late = await kernel.absorb_cancellation(self.host, self._asked_before)
        if late is not None:
            self.hold(kernel.as_requested(late, self.host, interruption.reason))
        if not isinstance(error, CancelledError):
            return error
        return kernel.as_requested(error, self.host, interruption.reason) if self._cancelled_since_entry else None

    def hold(self, error: CancelledError | None) -> None:
        """Keep a cancellation from outside for the end."""
        self.held = kernel.foremost(self.held, error)

    @property
    def request(self) -> CancelledError | None:
        """The cancellation from outside that the end of the block owes the host, None for none; once it was left."""
        if self.held is None and self._cancelled_since_entry:
            return kernel.latest_request(self.host)
        return self.held

    @property
    def _cancelled_since_entry(self) -> bool:
        return self.host.cancelling() > self._asked_before
