"""A clock that stands still until it is moved."""

from __future__ import annotations

import asyncio
from typing import Any

from ..._ground.checks import checked_instant


class VirtualClock:
    """The time of a virtual loop, in seconds since its start.

    It stands still while anything can run, and jumps to the next timer when everything is blocked.

    Attributes:
        now: the time; assign to it only from outside a running loop.
    """

    def __init__(self, start: float = 0.0) -> None:
        self.now: float = checked_instant(start, "start")

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self.now

    async def advance(self, seconds: float) -> None:
        """Let virtual time pass and everything run that is due in it, the last instant included.

        Cancellation: raised at once; the time that has passed stays passed.

        Args:
            seconds: how far, 0.0 or more.

        Raises:
            TypeError, ValueError: it is no number, negative, or not finite.
        """
        if checked_instant(seconds, "seconds") < 0:
            raise ValueError(f"a clock cannot go back: advance({seconds})")
        await asyncio.sleep(seconds)
        loop = asyncio.get_running_loop()
        wait_all_blocked = getattr(loop, "wait_all_blocked", None)
        if wait_all_blocked is not None:
            await wait_all_blocked()


def is_virtual(loop: Any) -> bool:
    """Whether a loop lives by a virtual clock of its own."""
    return isinstance(getattr(loop, "clock", None), VirtualClock)
