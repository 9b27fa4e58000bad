"""What a scheduler reports while it works: one small record for each thing that happened."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened.

    Attributes:
        kind: ``run_started``, ``job_started``, ``job_progress``, ``job_log``, ``job_retrying``, ``job_finished``,
            ``run_finished``, ``loop_blocked``, ``store_waiting``, ``store_recovered``, ``listening``, ``page`` or
            ``draining``.
        job_id: the job's number, None for an event of a run or of the scheduler.
        job: the job's name.
        run_id: the number of the run that it belongs to.
        attempt: the number of the attempt, from 1.
        data: what else there is to say; its keys depend on the kind (see the reference).
        at: wall-clock time in seconds since 1970.
    """

    kind: str
    job_id: int | None = None
    job: str | None = None
    run_id: int | None = None
    attempt: int | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    at: float = field(default_factory=time.time)

    def to_dict(self) -> dict[str, Any]:
        """Return the event as one flat table, without what it does not have."""
        known = {
            "event": self.kind,
            "at": round(self.at, 6),
            "run": self.run_id,
            "job_id": self.job_id,
            "job": self.job,
            "attempt": self.attempt,
        }
        return {**{key: value for key, value in known.items() if value is not None}, **self.data}
