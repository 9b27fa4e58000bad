"""What may wake a loop from outside: worker threads, child processes and file descriptors."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import asyncio

# With real descriptors registered, how long (real seconds) they must be silent before the clock jumps.
IO_SILENCE = 0.05


class WaitingLoop(Protocol):
    """What is asked of a loop that the outside may wake: parts of asyncio's own, private as they are."""

    _ready: Any
    _default_executor: Any

    def _process_events(self, event_list: Any) -> None: ...


class OutsideWorld:
    """Counts what may wake the loop from outside, and waits for it in real time.

    Args:
        loop: the loop.
        patience: real seconds to wait for a worker thread or a descriptor before they count as silent.
        selector: the loop's, if it has one; what is registered now is the loop's own.
    """

    def __init__(self, loop: WaitingLoop, patience: float, selector: Any = None) -> None:
        self.patience = patience
        self._loop = loop
        self._selector = selector
        self._own_descriptors = 0 if selector is None else len(selector.get_map())
        self._threads_at_start = set(threading.enumerate())
        self._woken: threading.Event | None = None
        self._expected = 0
        self._processes: list[Any] = []

    def expect(self, future: asyncio.Future[Any]) -> None:
        """Count a job given to an executor until it is done."""
        self._expected += 1
        future.add_done_callback(self._arrived)

    def expect_process(self, transport: Any) -> None:
        """Count a child process until it has ended."""
        self._processes.append(transport)

    def _arrived(self, future: asyncio.Future[Any]) -> None:
        self._expected -= 1

    def wake(self) -> None:
        """Called from any thread, after it has put something into the loop."""
        woken = self._woken
        if woken is not None:
            woken.set()

    def poll(self) -> None:
        """Take in what file descriptors have to say, without waiting."""
        if self._selector is not None:
            self._loop._process_events(self._selector.select(0))

    def wait(self, delay: float | None) -> bool:
        """Wait in real time while the outside may still answer; say whether something became ready.

        Args:
            delay: virtual seconds to the next timer, None without one.
        """
        limit = self.limit(delay)
        if limit <= 0.0:
            return bool(self._loop._ready)
        end = time.monotonic() + limit
        if self._selector is not None:
            while not self._loop._ready and (left := end - time.monotonic()) > 0:
                self._loop._process_events(self._selector.select(left))
        else:
            self._wait_for_threads(end)
        return bool(self._loop._ready)

    def _wait_for_threads(self, end: float) -> None:
        if self._woken is None:
            self._woken = threading.Event()
        while not self._loop._ready and (left := end - time.monotonic()) > 0:
            self._woken.wait(min(left, 0.05))
            self._woken.clear()

    def limit(self, delay: float | None) -> float:
        """Return for how many real seconds the outside may still answer, 0.0 when it is silent.

        While it is busy, time passes as in reality, so that a timeout over a thread that hangs still fires.

        Args:
            delay: virtual seconds to the next timer, None without one.
        """
        self._processes = [process for process in self._processes if process.get_returncode() is None]
        if self._expected or self._processes or self._busy_threads():
            return self.patience if delay is None else min(delay, self.patience)
        if self._selector is not None and len(self._selector.get_map()) > self._own_descriptors:
            return self.patience if delay is None else min(delay, IO_SILENCE)
        return 0.0

    def _busy_threads(self) -> bool:
        """Whether a thread that started after the loop may be working for it."""
        executor = self._loop._default_executor
        for thread in threading.enumerate():
            if thread in self._threads_at_start or (executor is not None and thread in executor._threads):
                continue
            if not _is_idle(thread):
                return True
        return False


def _is_idle(thread: threading.Thread) -> bool:
    """Whether a thread says that the loop gets nothing from it: a free worker of anyio, or one with a true ``idle``."""
    return getattr(thread, "idle", False) or thread in getattr(thread, "idle_workers", ())
