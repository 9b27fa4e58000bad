"""What happens, as records of the log."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from ...scheduler._words import headline, sentence, spaced
from ._display import Display

if TYPE_CHECKING:
    from ...scheduler._engine.outcome import RunOutcome
    from ...scheduler._ground.events import Event
    from .._owned import Owned

logger = logging.getLogger("lifecycle.scheduler")


_LOGGED = frozenset({"loop_blocked", "store_waiting", "store_recovered"})
"""Events that the scheduler has logged by itself."""


class LogDisplay(Display):
    """Logs what happens, with the numbers of job, run and attempt as extra fields."""

    def event(self, event: Event) -> None:
        """Log the event, if it is worth a line."""
        level = _level_of(event)
        if not logger.isEnabledFor(level):
            return
        text = sentence(event)
        if event.kind == "run_finished":
            text = f"{event.data['flow']}: run {event.run_id} {spaced(event.data['status'])}"
        if text is not None and event.kind not in _LOGGED:
            logger.log(level, "%s", text, extra=_extra(event))

    def outcome(self, outcome: RunOutcome, seconds: float) -> None:
        """Log how a run ended."""
        logger.info("%s", headline(outcome, seconds))

    def owned(self, owned: Owned) -> None:
        """Log what is still owned."""
        logger.log(logging.ERROR if owned else logging.INFO, "still owned: %s", owned)

    def problems(self, lines: list[str]) -> None:
        """Log what is wrong."""
        for line in lines:
            logger.error("%s", line)


def _level_of(event: Event) -> int:
    status = event.data.get("status")
    if status in ("failed", "timed_out"):
        return logging.ERROR
    return logging.WARNING if status == "interrupted" or event.kind == "job_retrying" else logging.INFO


def _extra(event: Event) -> dict[str, Any]:
    more = {key: event.data.get(key) for key in ("status", "seconds", "error", "flow")}
    return {
        "event": event.kind,
        "job": event.job,
        "job_id": event.job_id,
        "run_id": event.run_id,
        "attempt": event.attempt,
        **more,
    }
