"""The least of virtual loops: asyncio's own, with a clock that jumps to the next timer when nothing is ready.

``lifecycle.testing.VirtualLoop`` numbers its tasks, watches every step and knows where all was made; here ten million
runs have to be cheap.
"""

from __future__ import annotations

import asyncio
import heapq
from typing import Any


class JumpingLoop(asyncio.BaseEventLoop):
    """An event loop without file descriptors, in which time passes only while everything sleeps.

    Attributes:
        now: its time, in seconds since its start.
    """

    _ready: Any
    _scheduled: list[Any]

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def time(self) -> float:
        """Return the virtual time."""
        return self.now

    def _run_once(self) -> None:
        ready, scheduled = self._ready, self._scheduled
        if not ready and scheduled and not self._stopping:  # type: ignore[attr-defined]
            self.now = max(self.now, scheduled[0]._when)
        while scheduled and scheduled[0]._when <= self.now:
            timer = heapq.heappop(scheduled)
            timer._scheduled = False
            if not timer._cancelled:
                ready.append(timer)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Leave it in the heap: it is skipped when its time comes."""

    def _process_events(self, event_list: object) -> None:
        """Nothing is ever selected."""

    def _write_to_self(self) -> None:
        """Nobody waits in a selector."""
