"""Two signals of a service that do not end it: SIGHUP has its flows read again, SIGUSR1 has its state logged."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Awaitable, Callable
from types import FrameType, TracebackType
from typing import Any, Final, Self

from ..scheduler._ground.bridge import Bell, Bridge
from ._state import owners_and_tasks, threads

logger = logging.getLogger("lifecycle.scheduler")

PATIENCE: Final = 2.0
"""Seconds after which the loop counts as blocked, so that the state is told without what only the loop can tell."""


class ServiceSignals:
    """Takes both signals while its block runs, also before there is a loop, and when there is none any more.

    The handlers are the interpreter's rather than the loop's: those run while the loop is blocked, which is when
    somebody asks for the state.
    """

    def __init__(self) -> None:
        self._bridge: Bridge | None = None
        self._bell: Bell | None = None
        self._asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for name, handler in (("SIGHUP", self._hang_up), ("SIGUSR1", self._tell)):
                if hasattr(signal, name):
                    number = getattr(signal, name)
                    self._before[number] = signal.signal(number, handler)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    async def on_hang_up(self, again: Callable[[], Awaitable[None]]) -> None:
        """Call *again* after each SIGHUP, those that came before included; several at once count as one.

        Cancellation: ends it; *again* may be in the middle.
        """
        self._bridge, self._bell = Bridge(), Bell()
        if self._asked:
            self._bell.ring()
        while True:
            await self._bell.wait()
            self._asked = False
            await again()

    def _hang_up(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
        if self._bridge is not None and self._bell is not None:
            self._bridge.call(self._bell.ring)

    def _tell(self, number: int, frame: FrameType | None) -> None:
        # In a thread: the main one may hold the very lock of the log, or of a stream, in whose middle this runs.
        threading.Thread(target=self._report, name="state of the process", daemon=True).start()

    def _report(self) -> None:
        told: list[str] = []
        ready = threading.Event()

        def look() -> None:
            try:
                told.append(owners_and_tasks())
            finally:
                ready.set()

        if self._bridge is not None:
            self._bridge.call(look)
            ready.wait(PATIENCE)
        blocked = "the event loop does not turn: owners and tasks cannot be told"
        state = "\n".join([*(told or [blocked]), threads()])
        logger.log(max(logging.INFO, logger.getEffectiveLevel()), "state of the process", extra={"state": state})
