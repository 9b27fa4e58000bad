"""Afterwards: what jobs have asked to be done once their end is recorded, such as removing what they had elsewhere."""

from __future__ import annotations

import logging
from contextvars import Context
from typing import TYPE_CHECKING, Final

import anyio

from lifecycle import TaskManager

from .._ground.bridge import Cancelled
from .._ground.text import listing
from .._work.beyond import AFTERWARDS, After

if TYPE_CHECKING:
    from .._store.records import Claimed

logger = logging.getLogger("lifecycle.scheduler")

DRAIN: Final = 10.0
"""Seconds that closing the scheduler waits for what is still to be done."""


class Afterwards:
    """Does it, several things at once and each within a time, and logs what goes wrong.

    Args:
        name: the scheduler's, for logs.
        limit: how many things are done at once.

    Attributes:
        tasks: owns the tasks; drained when the scheduler closes.
    """

    def __init__(self, name: str, limit: int) -> None:
        self.tasks = TaskManager(f"after jobs of {name}", limit=limit, drain_timeout=DRAIN)
        self._name = name

    def start(self, claimed: Claimed, function: After, context: Context) -> None:
        """Do it soon; the end of this attempt is recorded."""
        about = {"owner": self._name, "job": claimed.name, "id": claimed.id, "attempt": claimed.attempt}
        try:
            self.tasks.start_soon(self._do, function, about, name=f"after job {claimed.name}", context=context)
        except Exception:  # the scheduler is closed, or there can be no task: the end is recorded all the same
            logger.warning("what was to follow the end of a job was not done", exc_info=True, extra=about)

    async def _do(self, function: After, about: dict[str, object]) -> None:
        try:
            with anyio.fail_after(AFTERWARDS):
                await function()
        except Exception:
            logger.warning("what was to follow the end of a job has failed", exc_info=True, extra=about)
        except Cancelled:
            logger.warning("what was to follow the end of a job was stopped", extra=about)
            raise

    async def drain(self) -> None:
        """Wait for what is still to be done; the jobs have ended. What takes longer is stopped.

        Cancellation: stops what is still to be done.
        """
        report = await self.tasks.aclose()
        if report.discarded:
            extra = {"owner": self._name, "jobs": listing(report.discarded)}
            logger.warning("what was to follow the ends of jobs was not begun", extra=extra)

    def hurry(self) -> None:
        """Wait for nothing that is still to be done: whoever closes the scheduler was cancelled."""
        self.tasks.drain_timeout = 0.0
