"""One JSON object per line, for machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TextIO

from ._display import Display
from ._lines import say_json

if TYPE_CHECKING:
    from ...scheduler._engine.outcome import RunOutcome
    from ...scheduler._ground.events import Event
    from .._owned import Owned


class JsonDisplay(Display):
    """Prints every event, then one ``summary`` and one ``owned``; problems as ``error`` objects and on stderr."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream

    def event(self, event: Event) -> None:
        """Print the event."""
        self._write(event.to_dict())

    def outcome(self, outcome: RunOutcome, seconds: float) -> None:
        """Print the summary."""
        jobs = [
            {
                "job_id": job.id,
                "job": job.name,
                "status": job.status.value,
                "attempts": job.attempts,
                "seconds": None if job.seconds is None else round(job.seconds, 6),
                "error": None if job.status.value == "succeeded" else job.error,
            }
            for job in outcome.jobs
        ]
        self._write(
            {
                "event": "summary",
                "flow": outcome.flow,
                "run": outcome.run_id,
                "status": outcome.status.value,
                "seconds": round(seconds, 3),
                "counts": dict(outcome.counts()),
                "jobs": jobs,
            }
        )

    def owned(self, owned: Owned) -> None:
        """Print what is still owned."""
        self._write({"event": "owned", "nothing": not owned, **owned.to_dict()})

    def problems(self, lines: list[str]) -> None:
        """Print one ``error`` for each, and the same on standard error."""
        for line in lines:
            self._write({"event": "error", "message": line})
        super().problems(lines)

    def _write(self, table: dict[str, Any]) -> None:
        say_json(table, self._stream)
