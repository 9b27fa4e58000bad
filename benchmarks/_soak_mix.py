"""The hostile mix of casebook C: what the jobs of the soak do, by their number."""

from __future__ import annotations

import asyncio
from typing import Any

CLUSTERS = ("north", "east", "south", "west", "centre")
OUTPUT = 1_024


class Client:
    """A client of a cluster: something with a buffer that has to be closed."""

    def __init__(self, cluster: str) -> None:
        self.cluster = cluster
        self.buffer = bytearray(2_048)
        self.closed = False

    async def aclose(self) -> None:
        """Close it."""
        self.closed = True
        self.buffer.clear()


class Swallowed(Exception):
    """Raised by a job instead of the cancellation that it met."""


class Mix:
    """What each job does; of 100 jobs 10 fail once, 2 for good, 1 is cancelled, 1 takes too long, 1 swallows that."""

    def is_flow(self, number: int) -> bool:
        """Return whether it is a flow of two hundred blocks."""
        return number % 2_000 == 8

    def is_cancelled(self, number: int) -> bool:
        """Return whether somebody cancels it."""
        return number % 100 == 2

    def timeout(self, number: int) -> float | None:
        """Return the seconds that it may take."""
        return 0.002 if number % 100 in (3, 4) else None

    def retries(self, number: int) -> int:
        """Return how often it is tried again."""
        return 1 if number % 10 == 0 else 0

    async def work(self, number: int, attempt: int, client: Client) -> Any:
        """Do what the job of this number does."""
        ballast = bytearray(20_000)  # in the frame of what fails
        if (number % 10 == 0 and attempt == 1) or number % 50 == 1:
            raise ValueError(f"job {number} fails with {len(ballast)} bytes in its frame")
        if number % 100 in (2, 3):
            await asyncio.sleep(60)
        if number % 100 == 4:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                raise Swallowed("it is not that easy") from None
        if number % 100 == 5:
            return "x" * 50 * OUTPUT
        await asyncio.sleep(0)
        assert not client.closed
        return "x" * OUTPUT
