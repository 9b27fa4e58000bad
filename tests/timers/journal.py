"""What the tests of timers write down, and how long they run."""

import asyncio
from typing import Any

from lifecycle import Scope
from lifecycle.testing import Bubble
from lifecycle.types import Timer, TimerRun


class Journal:
    """A body that notes when it begins, and takes as long as it is told."""

    def __init__(self, bubble: Bubble, *durations: float) -> None:
        self._bubble = bubble
        self._durations = list(durations)
        self.began: list[float] = []
        self.ended: list[float] = []
        self.live = self.most = 0

    async def __call__(self) -> None:
        self.began.append(round(self._bubble.clock.now, 6))
        self.live += 1
        self.most = max(self.most, self.live)
        try:
            if self._durations:
                await asyncio.sleep(self._durations.pop(0))
            self.ended.append(round(self._bubble.clock.now, 6))
        finally:
            self.live -= 1


async def run_for(timer: Timer, seconds: float) -> None:
    """Run a timer in a scope for so long."""
    async with Scope("owner") as scope:
        scope.start_soon(timer)
        await asyncio.sleep(seconds)
    timer._check_invariants()
    assert timer.statistics().running == 0


async def nothing() -> None:
    pass


class Recorder:
    """A hook that notes everything; its methods may be told to fail."""

    def __init__(self, fail: str = "") -> None:
        self.seen: list[Any] = []
        self.fail = fail

    def before(self, run: TimerRun) -> None:
        self.seen.append(run)
        if self.fail == "before":
            raise OSError("before")

    async def after(self, run: TimerRun) -> None:
        await asyncio.sleep(0.1)
        self.seen.append(run)
        if self.fail == "after":
            raise OSError("after")


class WallClock:
    """The virtual clock's time as a wall clock that can be set."""

    def __init__(self, bubble: Bubble, start: float) -> None:
        self._bubble = bubble
        self.offset = start

    def __call__(self) -> float:
        return self.offset + self._bubble.clock.now


MIDNIGHT = 1_700_006_400.0  # 15 November 2023, 00:00 UTC


async def slow() -> None:
    await asyncio.sleep(0.3)
    await asyncio.sleep(0.3)
