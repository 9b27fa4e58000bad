"""Again by hand: which jobs may wait once more, what is said of the others, and what is noted of those that do."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple

from .._ground.text import one_line, shorten
from .records import JobStatus
from .skipping import skip_reason

NOTES: Final = 20
"""Lines that are kept of what was done to a job by hand, the newest; each of at most `NOTE_CHARACTERS`."""

NOTE_CHARACTERS: Final = 300


class Revived(NamedTuple):
    """What a request to try jobs again met.

    Attributes:
        jobs: the numbers of those asked for that wait again.
        skipped: how many others wait again because of them: what had been skipped, and steps that run anyway.
        missing: the numbers of which there is no job.
        refused: why not, by number.
        ours: the numbers of all that wait again for the scheduler which has asked; others wait for one that knows how.
    """

    jobs: tuple[int, ...] = ()
    skipped: int = 0
    missing: tuple[int, ...] = ()
    refused: Mapping[int, str] = {}
    ours: tuple[int, ...] = ()


def refusal(status: JobStatus, force: bool) -> str | None:
    """Return why a job in this state is not tried again, None when it is.

    What has not ended goes on by itself. What has succeeded is not undone by mistake.
    """
    if not status.final:
        return f"it has not ended: it is {status.value}"
    if status is JobStatus.SUCCEEDED and not force:
        return "it has succeeded, and is only repeated when that is forced"
    return None


def refused_for_needs(name: str, status: JobStatus) -> str:
    """Return why a job is not tried again that needs another which did not succeed."""
    return f"it {skip_reason(name, status)}; try that again too, or the whole run"


def refused_for_step(name: str) -> str:
    """Return why a job is not tried again below which a step runs however it ended."""
    return f"the step {name!r}, which runs when it has ended, is running; wait until that has ended"


DELETED: Final = "jobs of its run have been deleted, which it may need; begin a new run"


NEED_DELETED: Final = "a job that it needs did not succeed, and has been deleted; it is only tried when that is forced"


def refused_for_twin(job: int) -> str:
    """Return why a job is not tried again beside another one with its key."""
    return f"job {job}, which has the same key, has not ended"


def note(history: str | None, now: float, status: JobStatus, attempt: int, error: str | None) -> str:
    """Return the notes on a job with one more: that it waits again, and what it had come to."""
    verb = "was" if status in (JobStatus.CANCELLED, JobStatus.SKIPPED) else "had"
    had = f"{verb} {status.value.replace('_', ' ')} {f'in attempt {attempt}' if attempt else 'before it began'}"
    why = f": {error}" if error else ""
    at = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")
    line = one_line(shorten(f"{at} again by hand; it {had}{why}", NOTE_CHARACTERS))
    return "\n".join([*(history or "").split("\n")[-NOTES + 1 :], line]).lstrip("\n")


def whole_log(history: str | None, log: str | None) -> str | None:
    """Return the log of a job: what was done to it by hand, and what its last attempt has logged."""
    return "\n".join(filter(None, (history, log))) or None
