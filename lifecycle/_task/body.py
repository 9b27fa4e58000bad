"""Body: the block of an owner and the task that runs it; whose cancellation is whose."""

from __future__ import annotations

from asyncio import CancelledError, Task
from typing import Any

from .._ground import kernel


class Body:
    """The body of one ``async with`` block, interrupted by its owner and cancelled by others.

    The owner interrupts it with a native cancellation, which must be taken back exactly once and must not be mistaken
    for a foreign one. ``Task.cancelling()`` tells them apart: with ours taken back, a count above that of the
    beginning is a foreign request.

    Attributes:
        held: the cancellation from outside that has to be delivered in the end, if any.
    """

    __slots__ = ("_cancelling_before", "_interrupted", "_interruption", "held", "host")

    def __init__(self, host: Task[Any]) -> None:
        self.host = host
        self.held: CancelledError | None = None
        self._cancelling_before = host.cancelling()
        self._interruption: kernel.Cancellation | None = None
        self._interrupted = False

    def interrupt(self, reason: str) -> None:
        """Cancel the body, unless it has been interrupted already."""
        if self._interruption is None:
            self._interruption = kernel.cancel(self.host, reason)

    def settle(self) -> None:
        """Take the interruption back: the body has been left."""
        if self._interruption is not None and self._interruption.withdraw():
            self._interrupted = True
            self.host.uncancel()
        self._interruption = None

    @property
    def interrupted(self) -> bool:
        """Whether the owner has interrupted it, and has not taken that back."""
        return self._interruption is not None

    async def settled(self, error: BaseException | None) -> tuple[BaseException | None, CancelledError | None]:
        """Take the interruption back; return what the body itself raised, and a cancellation that came meanwhile."""
        if self.host is not kernel.current_task():
            self.settle_elsewhere()
            return error, None
        self.settle()
        if isinstance(error, CancelledError) and self._was_ours and not kernel.is_scope_cancellation(error):
            return None, None
        if not self._was_ours:
            return error, None  # it had not been delivered yet, or a foreign cancellation came as well
        return error, await kernel.absorb_cancellation(self.host, self._cancelling_before)

    def settle_elsewhere(self) -> None:
        """Stop trying to interrupt it, from a task that is not its own."""
        if self._interruption is not None:
            self._interruption.withdraw()
            self._interruption = None

    @property
    def asked_from_outside(self) -> bool:
        """Whether a foreign cancellation has hit the host; after `settle`."""
        return self.held is not None or self._cancelled_since_entry

    def hold(self, error: CancelledError | None) -> None:
        """Keep a cancellation for the end, unless it is the interruption met late."""
        if error is not None and not self._was_ours:
            self.held = kernel.foremost(self.held, error)

    async def absorb_interruption(self) -> None:
        """Take an interruption that the body has not met out of the host; only Python before 3.13 leaves it there.

        Cancellation: held.
        """
        if self._interrupted:
            self.hold(await kernel.absorb_cancellation(self.host, self._cancelling_before))

    @property
    def _cancelled_since_entry(self) -> bool:
        return self.host.cancelling() > self._cancelling_before

    @property
    def _was_ours(self) -> bool:
        """Whether a cancellation that arrives now is our own interruption."""
        return self._interrupted and not self._cancelled_since_entry
