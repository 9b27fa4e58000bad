"""StallWatch: a thread that notices when the event loop does not turn, and names the job that blocks it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from .._ground.bridge import Bridge

logger = logging.getLogger("lifecycle.scheduler")

Report = Callable[[Mapping[str, Any]], None]


class _Watcher(threading.Thread):
    """Marked idle: the loop never waits for it, so that the virtual clock of the tests need not either."""

    idle = True


class StallWatch:
    """Watches the loop that it was made in.

    A heartbeat on the loop would stand still with it. So a thread asks the loop for a sign of life, and when none
    comes within the threshold, it looks at what the loop's thread is doing and logs that at once; the event follows
    when the loop turns again.

    Args:
        threshold: seconds without a turn before it is a stall.
        wanted: returns whether there is anything to watch; called in the thread.
        report: called in the loop after a stall, with ``task``, ``place`` and ``seconds``.
        owner: the scheduler's name, for logs.
    """

    def __init__(self, threshold: float, wanted: Callable[[], bool], report: Report, owner: str) -> None:
        self._threshold = threshold
        self._wanted = wanted
        self._report = report
        self._owner = owner
        self._bridge = Bridge()
        self._over = threading.Event()
        self._turned = threading.Event()
        self._turned.set()
        self._thread = _Watcher(target=self._watch, name="stall watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._over.set()
        self._turned.set()
        self._thread.join(1.0)

    def _watch(self) -> None:
        while not self._over.wait(self._threshold / 2) and not self._gone():
            if self._wanted():
                self._check_loop()

    def _check_loop(self) -> None:
        """Ask for a sign of life and wait for it, however long it takes."""
        self._turned.clear()
        asked = time.monotonic()
        self._bridge.call(self._turned.set)
        if self._turned.wait(self._threshold) or self._gone():
            return
        task, place = self._bridge.task_and_place()
        logger.warning(
            "event loop blocked",
            extra={"owner": self._owner, "task": task, "place": place, "advice": "run it in a thread"},
        )
        while not self._turned.wait(self._threshold) and not self._gone():
            pass
        if not self._gone():
            data = {"task": task, "place": place, "seconds": round(time.monotonic() - asked, 3)}
            self._bridge.call(self._report, data)

    def _gone(self) -> bool:
        """Return whether there is nothing to watch any more: a loop that is closed gives no sign of life."""
        return self._over.is_set() or self._bridge.closed
