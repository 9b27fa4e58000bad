"""The reference scheduler: jobs and flows with priorities, retries and a durable store, on lifecycle's primitives."""

from ._blocks.flow import Flow
from ._engine.job import FlowRun, Job
from ._engine.outcome import Outcome, RunOutcome
from ._engine.scheduler import Scheduler
from ._engine.schedules import Schedule
from ._engine.statistics import SchedulerStatistics
from ._flows.load import load_flow, read_flow
from ._ground.errors import (
    BlockTimeout,
    ExpressionError,
    FlowError,
    HandlerError,
    HttpFailed,
    JobFailed,
    JobStopped,
    OutputTooLarge,
    PathNotAllowed,
    RunConflict,
    SecretHidden,
    ShellFailed,
    StoreError,
    WaitedInVain,
)
from ._ground.events import Event
from ._store.records import JobRecord, JobStatus, ScheduleRecord
from ._work.context import Context
from ._work.handlers import handler

__all__ = [
    "BlockTimeout",
    "Context",
    "Event",
    "ExpressionError",
    "Flow",
    "FlowError",
    "FlowRun",
    "HandlerError",
    "HttpFailed",
    "Job",
    "JobFailed",
    "JobRecord",
    "JobStatus",
    "JobStopped",
    "Outcome",
    "OutputTooLarge",
    "PathNotAllowed",
    "RunConflict",
    "RunOutcome",
    "Schedule",
    "ScheduleRecord",
    "Scheduler",
    "SchedulerStatistics",
    "SecretHidden",
    "ShellFailed",
    "StoreError",
    "WaitedInVain",
    "handler",
    "load_flow",
    "read_flow",
]
