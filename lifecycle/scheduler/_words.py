"""The words for people that the command line and the page share: durations, statuses, sentences."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ._ground.text import one_line, plural, shorten
from ._ground.times import local_time

if TYPE_CHECKING:
    from ._engine.outcome import RunOutcome
    from ._ground.events import Event
    from ._store.records import JobRecord
    from ._store.schedule_records import ScheduleRecord

ROWS = 40
"""Rows of a table of outcomes; of more jobs it shows those that went wrong and those that took longest."""

OVERDUE = 5.0
"""Seconds after its time that a schedule is overdue: no living scheduler has its handler, or serves its flow."""

ORDER = ("succeeded", "failed", "timed_out", "cancelled", "skipped", "interrupted", "running", "pending")


def duration(seconds: float | None) -> str:
    """Return seconds as people say them."""
    if seconds is None:
        return "-"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 99.95:
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def spaced(status: str) -> str:
    """Return a status as people write it."""
    return status.replace("_", " ")


def moment(at: float | None) -> str | None:
    """Return a wall-clock time in local time, with its offset: ISO 8601."""
    return None if at is None else local_time(at)


def rows_of(outcome: RunOutcome) -> tuple[Sequence[JobRecord], str]:
    """Return the jobs to show (all of a few, of many those that matter) and a line on those that are left out."""
    jobs = outcome.jobs
    if len(jobs) <= ROWS:
        return jobs, ""
    notable = [job for job in jobs if job.attempts > 1 or job.status.value not in ("succeeded", "pending")]
    slow = sorted(jobs, key=lambda job: -(job.seconds or 0.0))[:10]
    chosen = {job.id for job in [*notable[: ROWS - len(slow)], *slow]}
    others = [job for job in jobs if job.id not in chosen]
    return [job for job in jobs if job.id in chosen], f"... and {counts_of(others)} more"


def counts_of(jobs: Sequence[JobRecord]) -> str:
    """Return "12 succeeded, 1 failed"."""
    counts = Counter(job.status.value for job in jobs)
    return ", ".join(f"{counts[status]:,} {spaced(status)}" for status in ORDER if counts[status])


def headline(outcome: RunOutcome, seconds: float) -> str:
    """Return the run's end in one sentence."""
    status = spaced(outcome.status.value)
    text = f"{outcome.flow}: run {outcome.run_id} {status} in {duration(seconds)}"
    return f"{text} ({plural(len(outcome.jobs), 'job')}: {counts_of(outcome.jobs)})" if outcome.jobs else text


def cells_of(job: JobRecord) -> tuple[str, ...]:
    """Return the first cells of a job's row: its number, run, flow, name, state and attempts."""
    run = str(job.run_id or "-")
    return str(job.id), run, job.flow or "-", job.name, spaced(job.status.value), str(job.attempts)


def note_of(job: JobRecord) -> str:
    """Return what there is to say of a job beside its state."""
    waits = f"waits for {job.waits_for}" if job.waits_for else ""
    error = "" if job.status.value == "succeeded" or not job.error else one_line(shorten(job.error, 300))
    progress = progress_of(job.progress) if job.progress and job.status.value in ("running", "interrupted") else ""
    return "; ".join(filter(None, (progress, waits, error)))


def progress_of(progress: tuple[float, float | None]) -> str:
    """Return how far a job is, as people say it: "30 of 120 (25 %)"."""
    done, total = progress
    return f"{done:g} of {total:g} ({100 * done / total:.0f} %)" if total else f"{done:g} done"


def url_host(host: str) -> str:
    """Return a host as URLs have it."""
    return f"[{host}]" if ":" in host else host


def sentence(event: Event) -> str | None:
    """Return an event as a line for people, None when it is not worth one."""
    data = event.data
    if event.kind == "run_started":
        state = f"resumed, {data['unfinished']} of {data['jobs']} jobs left" if data["resumed"] else ""
        return f"{data['flow']}: run {event.run_id} {state or 'started with ' + plural(data['jobs'], 'job')}"
    if event.kind == "run_waiting":
        return f"{data['flow']}: run {event.run_id} waits until another run of the flow has ended"
    if event.kind == "job_started":
        return f"{event.job}: started" + (f" (attempt {event.attempt})" if (event.attempt or 1) > 1 else "")
    if event.kind == "job_log":
        return f"{event.job}: {data['message']}"
    if event.kind == "job_retrying":
        return f"{event.job}: attempt {event.attempt} failed, again in {duration(data['delay'])}: {data['error']}"
    if event.kind == "job_finished":
        why = f": {data['error']}" if data.get("error") else ""
        took = f" in {duration(data['seconds'])}" if data["seconds"] else ""
        return f"{event.job}: {spaced(data['status'])}{took}{why}"
    if event.kind == "listening":
        return f"control server: redis-cli -h {data['host']} -p {data['port']}"
    if event.kind == "working":
        return f"works on jobs of {plural(len(data['handlers']), 'handler')} and {plural(len(data['flows']), 'flow')}"
    if event.kind == "page":
        return f"web page: http://{url_host(data['host'])}:{data['port']}/"
    if event.kind == "loop_blocked":
        return f"{data['task']} blocked the event loop for {duration(data['seconds'])}, at {data['place']}"
    if event.kind == "store_waiting":
        return f"the store cannot be written, for {duration(data['seconds'])} now: {data['reason']}"
    if event.kind == "store_recovered":
        return f"the store can be written again, after {duration(data['seconds'])}"
    if event.kind == "draining":
        return f"draining: waiting for {plural(data['count'], 'job')} ({shorten(', '.join(data['running']), 100)})"
    return None


def what_of(schedule: ScheduleRecord) -> str:
    """Return what a schedule runs."""
    return f"flow {schedule.flow}" if schedule.flow else f"handler {schedule.handler}"


def when_of(schedule: ScheduleRecord) -> str:
    """Return when a schedule is due, in words."""
    if schedule.kind == "cron":
        return f"cron {schedule.rule} ({schedule.timezone})"
    seconds = f"{float(schedule.rule):g} s"
    return f"every {seconds}" if schedule.kind == "fixed_rate" else f"{seconds} after each run"


def overlap_of(schedule: ScheduleRecord) -> str:
    """Return what becomes of a run that is due while others have not ended, and how often that was."""
    if schedule.max_instances is None:
        return "-"
    skipped = f", {schedule.skipped_runs:,} skipped" if schedule.skipped_runs else ""
    waits = ", one waits" if schedule.waiting is not None else ""
    return f"{overlap_text(schedule.max_instances, schedule.overlap)}{skipped}{waits}"


def overlap_text(max_instances: int | None, overlap: str) -> str:
    """Return how many go on at once, and what becomes of one more, in words."""
    return "any number at once" if max_instances is None else f"{max_instances} at once, else {spaced(overlap)}"


def next_of(schedule: ScheduleRecord) -> str:
    """Return when a schedule is due next, or why that is not known."""
    if schedule.paused:
        return "paused"
    if schedule.next_due is None:
        return "after this run" if schedule.kind == "fixed_delay" else "never"
    overdue = schedule.next_due < time.time() - OVERDUE
    return f"{'overdue since ' if overdue else ''}{moment(schedule.next_due)}"
