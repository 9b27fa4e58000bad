"""The job that runs here: for code that is called by a handler and is not handed its context."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Final

from .._ground.secrets import Secrets
from .context import JobContext


class CurrentJob:
    """An attempt of a job, as the code sees it that runs in it.

    It may be kept: when the attempt has ended, its numbers stay, and what it is told then is dropped. May be used from
    any thread.

    Attributes:
        id: the job's number in the store.
        name: its name.
        run_id: the number of the run of a flow that it belongs to, None for a job by itself.
        attempt: the number of the attempt, from 1.
        metadata: what was submitted to travel with it.
    """

    __slots__ = ("_open", "_secrets", "attempt", "id", "metadata", "name", "run_id")

    def __init__(
        self,
        number: int,
        name: str,
        run_id: int | None,
        attempt: int,
        metadata: Mapping[str, Any],
        make_context: Callable[[], JobContext],
    ) -> None:
        self.id: int = number
        self.name: str = name
        self.run_id: int | None = run_id
        self.attempt: int = attempt
        self.metadata: Mapping[str, Any] = metadata
        self._open: Callable[[], JobContext] | None = make_context
        self._secrets: Secrets | None = None  # of its context, once that is made

    def log(self, message: str) -> None:
        """Add a line to the job's log; the last of them are kept with the job."""
        if context := self._context():
            context.log(message)

    def progress(self, done: float, total: float | None = None) -> None:
        """Report how far the job is.

        Args:
            done: how much is done.
            total: how much there is, None when that is not known.

        Raises:
            TypeError: one of them is not a number.
        """
        if context := self._context():
            context.progress(done, total)

    def _context(self) -> JobContext | None:
        with _opening:  # two threads may be the first ones
            return None if self._open is None else self._open()

    def _known_secrets(self) -> Secrets | None:
        return self._secrets

    def _end(self) -> None:
        with _opening:
            self._open = self._secrets = None

    def __repr__(self) -> str:
        return f"<CurrentJob {self.id} {self.name!r}, attempt {self.attempt}>"


_opening = threading.Lock()

CURRENT_JOB: Final[ContextVar[CurrentJob | None]] = ContextVar("lifecycle_scheduler_job", default=None)
"""What every task of a job inherits, and every worker thread that is started in its context."""


def current_job() -> CurrentJob | None:
    """Return the job that the caller runs in, None outside of jobs.

    It is inherited by every task that a job starts and by the threads of `asyncio.to_thread`, of anyio and of plain
    handlers; not by a `threading.Thread` of your own, unless you run it in a copy of the context.
    """
    return CURRENT_JOB.get()
