"""The records that a scheduler and its store exchange; the same for every store.

A job is seen from several sides, each with a class of its own (a schedule: ``schedule_records``):

============================  ====================================================================================
of a job
============================  ====================================================================================
``JobSpec`` (_blocks)         as a flow describes it
`NewJob`                      as it is submitted
``KeptJob`` (_store)          as the store in memory keeps it; an SQLite file has a row
`Claimed`                     one attempt, as the store hands it to an engine
``Attempt`` (_engine)         the same attempt while it runs, with its Scope
`Ending`                      how the attempt ended, as it is recorded
`JobRecord` (public)          as the store knows it, to be shown
``Job`` (public, _engine)     the sender's handle
``JobOutcome`` (public)       what the sender gets
============================  ====================================================================================

Those that every job needs are named tuples: they cost a third of what a frozen dataclass costs to make.
"""

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from .limits import DEFAULT_QUEUE
from .pace import UNBOUNDED, Bound
from .terms import Terms


class JobStatus(enum.Enum):
    """Where a job is in its life."""

    PENDING = "pending"  #: waits: for its needs, its time, or a worker
    RUNNING = "running"  #: an attempt is on its way
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"  #: by a request, or because a job that it needs did not succeed
    TIMED_OUT = "timed_out"
    SKIPPED = "skipped"  #: a step for failures that was not needed: everything above it has succeeded
    INTERRUPTED = "interrupted"  #: its process ended; it goes on when the run is resumed, and no retry is used up

    @property
    def final(self) -> bool:
        """Whether the job will not run again by itself."""
        return self in FINAL


FINAL: Final = frozenset(JobStatus) - {JobStatus.PENDING, JobStatus.RUNNING, JobStatus.INTERRUPTED}


class NewJob(NamedTuple):
    """A job to be stored.

    Attributes:
        name: its name; unique within its run.
        kind: ``call``, ``shell``, ...
        needs: names of jobs of the same run that must have ended first.
        priority: higher is first.
        delay: seconds to wait after it could start.
        retries: how often it is tried again after a failure.
        backoff: the first and the longest pause before a retry, in seconds.
        timeout: seconds for one attempt.
        payload: what to do when no flow says it: plain data for a durable store, else any object.
        queue: the queue that it waits in.
        when, tolerates: how its needs must have ended; those that may fail.
        terms: what only few jobs have; None for nothing of it.
    """

    name: str
    kind: str
    needs: tuple[str, ...] = ()
    priority: int = 0
    delay: float = 0.0
    retries: int = 0
    backoff: tuple[float, float] = (0.1, 10.0)
    timeout: float | None = None
    payload: Any = None
    queue: str = DEFAULT_QUEUE
    when: str = "success"
    tolerates: tuple[str, ...] = ()
    terms: Terms | None = None

    @property
    def handler(self) -> str | None:
        """The name of the handler that it calls, None when that is said elsewhere, or it calls none."""
        if isinstance(self.payload, dict):
            return self.payload.get("handler")
        return self.payload[0].name if self.payload is not None else None


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run of a flow to be stored, or to be found in the store.

    Attributes:
        flow: the flow's name; with the parameters it says which run is meant.
        source: the flow file's name, for messages.
        digest: changes with the flow's content.
        params: the parameters' values as JSON text, keys sorted.
        jobs: all its jobs.
        bound: how many runs of the flow go on at once; of the newest run, it is what counts for those that wait.
    """

    flow: str
    source: str
    digest: str
    params: str
    jobs: tuple[NewJob, ...]
    bound: Bound = UNBOUNDED


def flow_key(flow: str, digest: str) -> str:
    """Return what stands for one version of a flow among the names of handlers."""
    return f"flow:{flow}@{digest}"


@dataclass(frozen=True, slots=True)
class OpenedRun:
    """A run that this scheduler now works on.

    Attributes:
        run_id: its number.
        resumed: whether it had begun before.
        jobs: the number of its jobs.
        unfinished: how many of them have not ended.
        waits: whether it waits until other runs of its flow have ended.
    """

    run_id: int
    resumed: bool
    jobs: int
    unfinished: int
    waits: bool = False


class StoredRun(NamedTuple):
    """A run as the store has it, for a process that works on it and did not submit it.

    Attributes:
        flow: the flow's name.
        key: which version of which flow it is of, see `flow_key`.
        params: the parameters' values as JSON text.
        opened: its number, and how far it is.
        cancelled: whether the whole run was cancelled.
        status: how it ended; None before that.
    """

    flow: str
    key: str
    params: str
    opened: OpenedRun
    cancelled: bool = False
    status: JobStatus | None = None


class LeftRuns(NamedTuple):
    """The unfinished runs of a flow that no process worked on.

    Attributes:
        adopted: the numbers of those that are ours now.
        changed: the numbers of those that another version of the flow began; they are left alone.
    """

    adopted: tuple[int, ...] = ()
    changed: tuple[int, ...] = ()


class Claimed(NamedTuple):
    """One attempt that this scheduler is to make.

    Attributes:
        id: the job's number.
        run_id: its run, None for a job by itself.
        name: its name.
        kind: ``call``, ``shell``, ...
        attempt: the number of the attempt; an attempt with another number cannot end the job.
        failures: how many attempts have failed.
        retries: how many may.
        backoff: the first and the longest pause, in seconds.
        timeout: seconds for the attempt.
        payload: as it was submitted.
        expires: the wall-clock time from which on it is not begun any more; None for never.
        metadata: what travels with it.
        first: the number of the first attempt after the last one whose end was recorded: those between were cut off.
        created: the wall-clock time at which it was submitted, 0.0 where the store does not outlive its process. With
            its number it tells a job from one that had the number before, when an older copy of the store is put back.
    """

    id: int
    run_id: int | None
    name: str
    kind: str
    attempt: int
    failures: int
    retries: int
    backoff: tuple[float, float]
    timeout: float | None
    payload: Any
    expires: float | None = None
    metadata: Mapping[str, Any] | None = None
    first: int = 1
    created: float = 0.0


class Claims(NamedTuple):
    """What a look for work found.

    Attributes:
        jobs: the attempts to make, the most urgent first.
        next_due: wall-clock time at which a delayed job becomes ready, None when there is none.
    """

    jobs: tuple[Claimed, ...]
    next_due: float | None


class Ending(NamedTuple):
    """How an attempt ended, as the store keeps it.

    Attributes:
        status: a final status, or interrupted.
        result: the output; plain data for a durable store.
        error: one line that says what went wrong, or why it was cancelled.
        trace: the end of the traceback.
        log: the last log lines.
        seconds: how long the attempt took.
        failed: whether the attempt counts as a failure.
        logged, progress: how many lines it has logged; how far it came, and of how much.
    """

    status: JobStatus
    result: Any = None
    error: str | None = None
    trace: str | None = None
    log: str | None = None
    seconds: float = 0.0
    failed: bool = False
    logged: int = 0
    progress: tuple[float, float | None] | None = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """A job that has ended without an attempt: because of how those that it needs have ended, or with its run.

    Its *run_id* is None for one by itself.
    """

    id: int
    name: str
    reason: str
    status: JobStatus = JobStatus.CANCELLED
    run_id: int | None = None


class Settled(NamedTuple):
    """What followed from the end of a job.

    Attributes:
        accepted: false when the attempt had lost its job; then nothing was changed.
        run_id: the job's run.
        skipped: jobs that will not run because of it.
        run_finished: whether it was the last of its run.
    """

    accepted: bool
    run_id: int | None = None
    skipped: tuple[Skipped, ...] = ()
    run_finished: bool = False


ALONE: Final = Settled(accepted=True)  # nothing followed: the job belongs to no run


@dataclass(frozen=True, slots=True)
class Cancelling:
    """What a request to cancel a job met.

    Attributes:
        found: whether there is such a job.
        before: its status before.
        settled: what followed when it was cancelled at once; None when it runs and has to be stopped.
    """

    found: bool
    before: JobStatus | None = None
    settled: Settled | None = None


_DETAILS = frozenset({"result", "trace", "log", "needs"})


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job as the store has it, to be shown.

    Attributes:
        run_id, flow: its run and the name of its flow; None for a job that was submitted by itself.
        kind: of its block, such as ``call`` or ``shell``.
        attempts, failures: how often it was started, and how many of those count against ``retries``.
        seconds: how long its last attempt took.
        created, started, finished: wall-clock times, None for what has not happened.
        due: the wall-clock time before which it is not started; None for at once.
        error: why it did not succeed, in one line; ``trace`` is the traceback.
        log: the last lines of its log, as they were a second ago while it runs; ``logged`` is the number of all.
        progress: how far its last attempt is or came, and of how much, None where it has not said.
        needs, queue: names of the jobs that it waits for, and of the queue that it is in.
        waits_for: what a job that does not run yet waits for, in words; None for all others.
        crashes: how many of its attempts were on their way when their process died.
        may_fail: of one that has failed, whether its flow allows that.
        expires: the wall-clock time from which on it is not begun any more; None for never.
        key: of the jobs that have not ended, only it has this key; None for none.
        metadata: what was submitted to travel with it, and what its sender's scheduler carries along.
    """

    id: int
    run_id: int | None
    flow: str | None
    name: str
    kind: str
    status: JobStatus
    priority: int
    attempts: int
    failures: int
    retries: int
    seconds: float | None
    created: float
    started: float | None
    finished: float | None
    due: float | None
    error: str | None
    result: Any = None
    trace: str | None = None
    log: str | None = None
    needs: tuple[str, ...] = ()
    queue: str = DEFAULT_QUEUE
    waits_for: str | None = None
    crashes: int = 0
    may_fail: bool = False
    logged: int = 0
    progress: tuple[float, float | None] | None = None
    expires: float | None = None
    key: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self, *, details: bool = True) -> dict[str, Any]:
        """Return the record as a plain table; without *details* it has no result, traceback, log and needs."""
        table = {name: getattr(self, name) for name in self.__slots__ if details or name not in _DETAILS}
        table["status"] = self.status.value
        table["progress"] = None if self.progress is None else list(self.progress)
        table["metadata"] = dict(self.metadata)
        if details:
            table["needs"] = list(self.needs)
        return table


Outputs = Mapping[str, Any]


def canonical(params: object) -> str:
    """Return parameters as the text by which a run is found again."""
    return json.dumps(params, sort_keys=True, separators=(",", ":"))
