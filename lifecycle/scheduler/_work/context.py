"""The context of one attempt: a resource of the job's Scope, bounded, and emptied on every exit."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from lifecycle import Scope

from .._ground.bridge import Bridge
from .._ground.checks import is_number
from .._ground.errors import JobStopped
from .._ground.limits import LOG_CHARACTERS, LOG_LINES
from .._ground.secrets import Secrets
from .._ground.text import one_line, shorten
from .shared import Shared, host_key

if TYPE_CHECKING:
    from .beyond import Beyond

PROGRESS_INTERVAL = 0.1
"""Seconds between two reports of one job's progress; the last one is always reported."""

Report = Callable[[str, Mapping[str, Any]], None]
Progress = tuple[float, float | None]


class JobContext:
    """What one attempt of a job holds: the names its expressions use, its last log lines, its progress.

    Logging and progress may come from worker threads. They are collected here and reported in the loop at most
    once for each of its turns, so that a thread that logs in a tight loop neither floods the loop nor the memory.

    Args:
        job: the job's name.
        attempt: the number of the attempt, from 1.
        names: the root names of expressions: ``params``, ``blocks``, ``run``.
        report: called in the loop as ``report(kind, data)``.
        bridge: leads into that loop; None for the loop that runs now.

    Attributes:
        metadata: what was submitted to travel with the job.
        beyond: what of the attempt reaches beyond it; None outside of an engine.
        shared: what all jobs of the scheduler share; None outside of an engine.
        lines: the last lines of its log.
        logged: how many lines it has logged, with those that are gone.
        latest: how far it is, and of how much, as it has said last.
    """

    def __init__(
        self, job: str, attempt: int, names: Mapping[str, Any], report: Report, bridge: Bridge | None = None
    ) -> None:
        self.job = job
        self.attempt = attempt
        self.metadata: Mapping[str, Any] = {}
        self.beyond: Beyond | None = None
        self.shared: Shared | None = None
        self.names: Mapping[str, Any] = names
        self.lines: deque[str] = deque(maxlen=LOG_LINES)
        self._report: Report | None = report
        self.secrets: Secrets = Secrets()
        self._bridge = bridge or Bridge()
        self._lock = threading.Lock()
        self._unreported: deque[str] = deque(maxlen=LOG_LINES)
        self._progress: tuple[float, float | None] | None = None
        self._progress_reported = 0.0
        self._done = 0
        self.logged: int = 0
        self.latest: Progress | None = None
        self._will_report = False

    def log(self, message: str) -> None:
        """Remember a line and report it; may be called from any thread."""
        # Hidden before it is shortened, or half of a secret would stay.
        line = one_line(shorten(self.secrets.hide(str(message)), LOG_CHARACTERS))
        with self._lock:
            self.lines.append(line)
            self.logged += 1
            self._unreported.append(line)
        self._report_soon()

    def progress(self, done: float, total: float | None) -> None:
        """Remember how far it is and report it; may be called from any thread.

        Raises:
            TypeError: one of them is not a number.
        """
        for number in (done, total):
            if number is not None and not is_number(number):
                raise TypeError(f"progress takes numbers, got {type(number).__name__}")
        with self._lock:
            self._progress = self.latest = (done, total)
        self._report_soon()

    def count_done(self, total: int) -> None:
        """Count one more part of *total* as done and report it."""
        self._done += 1
        self.progress(self._done, total)

    def tail(self) -> str:
        """Return the last log lines."""
        with self._lock:
            return "\n".join(self.lines)

    def clear(self) -> None:
        """Report what has not been reported yet and drop everything."""
        self._report_new(last=True)
        with self._lock:
            self._report = None
            self.names = {}
            self.lines.clear()
            self._unreported.clear()
        self.secrets.clear()

    def _report_soon(self) -> None:
        with self._lock:
            if self._will_report or self._report is None:
                return
            self._will_report = True
        self._bridge.call(self._report_new)

    def _report_new(self, *, last: bool = False) -> None:
        now = time.monotonic()
        with self._lock:
            report = self._report
            lines, progress = list(self._unreported), self._progress
            self._unreported.clear()
            self._will_report = False
            if not last and now - self._progress_reported < PROGRESS_INTERVAL:
                progress = None
            if progress is not None:
                self._progress, self._progress_reported = None, now
        if report is None:
            return
        for line in lines:
            report("job_log", {"message": line})
        if progress is not None:
            report("job_progress", {"done": progress[0], "total": progress[1]})


class Context:
    """What a handler with a parameter ``context`` is given.

    Attributes:
        job: the job's name.
        attempt: the number of the attempt, from 1.
        block: the path of the block that calls.
        scope: the scope of the block: what an async handler acquires there is released when the block ends. It
            belongs to the loop; a sync handler leaves it alone.
    """

    __slots__ = ("_job", "_stop", "block", "scope")

    def __init__(self, job: JobContext, block: str, scope: Scope, stop: threading.Event) -> None:
        self._job = job
        self._stop = stop
        self.block: str = block
        self.scope: Scope = scope

    @property
    def job(self) -> str:
        """The job's name."""
        return self._job.job

    @property
    def attempt(self) -> int:
        """The number of the attempt, from 1."""
        return self._job.attempt

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What travels with the job: what it was submitted with, and what its sender's scheduler carries along."""
        return self._job.metadata

    def host(self, name: str) -> Any:
        """Return the host of this name that the scheduler was given, for `run_remote`.

        Raises:
            LookupError: it was given none of this name.
        """
        host = self._job.shared.peek(host_key(name)) if self._job.shared is not None else None
        if host is None:
            raise LookupError(f"the scheduler has no host {name!r}; give it one: Scheduler(hosts={{{name!r}: ...}})")
        return host

    @property
    def stopping(self) -> bool:
        """Whether the block is being stopped; a sync handler should return soon then."""
        return self._stop.is_set()

    def check(self) -> None:
        """Raise `JobStopped` if the block is being stopped; call it in the loops of sync handlers.

        Raises:
            JobStopped: the block is being stopped.
        """
        if self.stopping:
            raise JobStopped(f"job {self.job!r} is being stopped")

    def log(self, message: str) -> None:
        """Add a line to the log; the last of them are kept with the job."""
        self._job.log(message)

    def progress(self, done: float, total: float | None = None) -> None:
        """Report how far the job is.

        Args:
            done: how much is done.
            total: how much there is, None when that is not known.

        Raises:
            TypeError: one of them is not a number.
        """
        self._job.progress(done, total)
