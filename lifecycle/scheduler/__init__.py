"""The reference scheduler: jobs and flows with priorities, retries and a durable store, on lifecycle's primitives."""

from . import errors as errors
from ._blocks.flow import Flow
from ._engine.job import FlowRun, Job
from ._engine.limits import Limits
from ._engine.outcome import JobOutcome, RunOutcome
from ._engine.run_access import RunAccess
from ._engine.scheduler import Scheduler
from ._engine.schedules import Schedule
from ._engine.statistics import SchedulerStatistics
from ._engine.upkeep import Upkeep
from ._flows.load import flow_of_table, load_flow
from ._ground.errors import FlowError, JobConflict, JobFailed, JobStopped, RunConflict, StoreBusy, StoreError
from ._ground.events import Event
from ._ground.names import show_at
from ._store.limit_record import LimitRecord
from ._store.records import JobRecord, JobStatus
from ._store.run_records import RunRecord
from ._store.schedule_records import ScheduleRecord
from ._store.store_facts import StoreFacts, StoreOwner
from ._work.context import Context
from ._work.current import CurrentJob, current_job
from ._work.handlers import handler
from ._work.job_log import JobLogFilter

__all__ = [
    "Context",
    "CurrentJob",
    "Event",
    "Flow",
    "FlowError",
    "FlowRun",
    "Job",
    "JobConflict",
    "JobFailed",
    "JobLogFilter",
    "JobOutcome",
    "JobRecord",
    "JobStatus",
    "JobStopped",
    "LimitRecord",
    "Limits",
    "RunAccess",
    "RunConflict",
    "RunOutcome",
    "RunRecord",
    "Schedule",
    "ScheduleRecord",
    "Scheduler",
    "SchedulerStatistics",
    "StoreBusy",
    "StoreError",
    "StoreFacts",
    "StoreOwner",
    "Upkeep",
    "current_job",
    "flow_of_table",
    "handler",
    "load_flow",
]

show_at(globals(), __all__)


def __dir__() -> list[str]:
    return [*__all__, "errors"]
