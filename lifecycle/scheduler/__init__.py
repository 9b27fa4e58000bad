"""The reference scheduler: jobs and flows with priorities, retries and a durable store, on lifecycle's primitives."""

from ._context import Context
from ._errors import (
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
from ._events import Event
from ._handlers import handler
from ._job import FlowRun, Job
from ._outcome import Outcome, RunOutcome
from ._scheduler import Scheduler
from ._schedules import Schedule
from ._statistics import SchedulerStatistics
from .flow._load import load_flow, read_flow
from .flow._model import Flow
from .store._records import JobRecord, JobStatus, ScheduleRecord

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
