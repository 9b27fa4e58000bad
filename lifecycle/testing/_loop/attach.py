"""Let the loop of an ordinary async test live by a virtual clock, for as long as the test's body runs."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from .._errors import DeadlockError
from .._sites import dump_tasks
from .clock import VirtualClock, is_virtual
from .outside import OutsideWorld
from .turns import BUSY_TURNS

if TYPE_CHECKING:
    from collections.abc import Iterator


class JumpingSelector:
    """A selector that, instead of sleeping until the next timer, moves the clock there."""

    def __init__(self, selector: Any, loop: Any, clock: VirtualClock, outside: OutsideWorld) -> None:
        self._selector = selector
        self._loop = loop
        self._clock = clock
        self._outside = outside
        self._busy_turns = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._selector, name)

    def select(self, timeout: float | None = None) -> Any:
        """Take what is there; with nothing there, jump to the next timer or wait for the outside."""
        events = self._selector.select(0)
        if events or self._loop._ready:
            self._busy_turns += 1
            if self._busy_turns > BUSY_TURNS and self._loop._scheduled:
                self._jump(self._loop._scheduled[0]._when - self._loop.time())
            return events
        self._busy_turns = 0
        if timeout == 0:
            return events
        limit = self._outside.patience if timeout is None else self._outside.limit(timeout)
        events = self._selector.select(limit)
        if events or self._loop._ready:
            return events
        if timeout is None:
            message = f"every task is blocked and no timer is set, at {self._clock.now:g} s"
            raise DeadlockError(message, dump_tasks(list(asyncio.all_tasks(self._loop))))
        self._jump(timeout)
        return events

    def _jump(self, delay: float) -> None:
        self._clock.now += max(0.0, delay)
        self._busy_turns = 0


@contextlib.contextmanager
def attached(clock: VirtualClock, loop: Any, *, patience: float = 5.0) -> Iterator[VirtualClock]:
    """Drive a running loop by ``clock`` inside the block.

    Args:
        clock: the clock to move.
        loop: the running loop; one with a selector, or a virtual loop of our own.
        patience: real seconds to wait for threads and descriptors before they count as silent.

    Raises:
        TypeError: the loop keeps its own time (uvloop): its timers do not ask ``loop.time()``.
    """
    if is_virtual(loop):
        own, loop.clock = loop.clock, clock
        clock.now = own.now
        try:
            yield clock
        finally:
            own.now = clock.now
            loop.clock = own
        return
    if not hasattr(loop, "_selector"):
        raise TypeError(f"{type(loop).__name__} keeps its own time: use asyncio's selector loop for virtual time")
    base = loop.time() - clock.now
    selector, run_in_executor = loop._selector, loop.run_in_executor
    outside = OutsideWorld(loop, patience, selector)

    def expect_job(*how: Any) -> Any:
        future = run_in_executor(*how)
        outside.expect(future)
        return future

    loop.time = lambda: base + clock.now
    loop.run_in_executor = expect_job
    loop._selector = JumpingSelector(selector, loop, clock, outside)
    try:
        yield clock
    finally:
        loop._selector = selector
        del loop.time, loop.run_in_executor
