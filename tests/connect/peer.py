"""What the tests of `connect` connect to: a peer that takes its time, refuses, and knows what it was left with."""

from __future__ import annotations

import asyncio
from typing import Any

from lifecycle import Retry, Stages
from lifecycle.types import AttemptState, ConnectAttempt

#: One retry, almost at once.
QUICK = Retry(attempts=2, backoff=(0.01, 0.01), jitter=0.0)


class Peer:
    """Makes and releases things by name, and writes both down.

    Args:
        seconds: how long making, releasing and the handshake take, each.
        failures: how many of the first attempts the handshake refuses.
        bad_releases: the names of those whose release fails.
    """

    def __init__(self, *, seconds: float = 0.01, failures: int = 0, bad_releases: str = "") -> None:
        self.seconds = seconds
        self.failures = failures
        self.bad_releases = bad_releases
        self.events: list[str] = []
        self.live: list[str] = []

    async def make(self, name: str) -> str:
        """Make something."""
        await asyncio.sleep(self.seconds)
        self.events.append(f"made {name}")
        self.live.append(name)
        return name

    async def release(self, name: str) -> None:
        """Release something that was made."""
        await asyncio.sleep(self.seconds)
        self.live.remove(name)
        self.events.append(f"released {name}")
        if name in self.bad_releases:
            raise ValueError(f"{name} is stuck")

    async def connector(self, stages: Stages, names: str) -> str:
        """Acquire each name, and shake hands."""
        for name in names:
            await stages.acquire(self.make, name, release=self.release, name=name)
        await stages.step(asyncio.sleep(self.seconds), name="hello")
        if stages.attempt <= self.failures:
            raise ConnectionRefusedError("refused")
        return f"connected to {names}"


async def until(attempt: ConnectAttempt[Any], state: AttemptState) -> None:
    """Poll until the attempt is in a state."""
    while attempt.state is not state:
        if attempt.state is AttemptState.NEW:
            attempt.poll()
        await asyncio.sleep(0.01)
