"""What `lifecycle.types` exports, for type checkers."""

from ._connect.attempt import ConnectAttempt as ConnectAttempt
from ._connect.state import AttemptState as AttemptState
from ._connect.statistics import ConnectStatistics as ConnectStatistics
from ._ground.closing import OwnerState as OwnerState
from ._group.completions import Completions as Completions
from ._group.statistics import TaskGroupStatistics as TaskGroupStatistics
from ._kept.kept import KeptConnection as KeptConnection
from ._kept.records import ConnectionDown as ConnectionDown
from ._kept.records import ConnectionUp as ConnectionUp
from ._kept.records import KeptStatistics as KeptStatistics
from ._kept.state import KeptState as KeptState
from ._lender import ReturnReport as ReturnReport
from ._limits.bounds import LimitBy as LimitBy
from ._limits.limiter import Hold as Hold
from ._limits.limiter import LimiterStatistics as LimiterStatistics
from ._limits.limiter import TryHold as TryHold
from ._mailbox.statistics import BroadcastStatistics as BroadcastStatistics
from ._mailbox.statistics import MailboxStatistics as MailboxStatistics
from ._mailbox.subscription import Subscription as Subscription
from ._manager.records import TaskManagerStatistics as TaskManagerStatistics
from ._pair.ends import LinkOutcome as LinkOutcome
from ._pair.ends import LoopEnd as LoopEnd
from ._pair.statistics import ReaderWorkerStatistics as ReaderWorkerStatistics
from ._pool.loans import Loan as Loan
from ._pool.loans import TryLoan as TryLoan
from ._pool.statistics import PoolStatistics as PoolStatistics
from ._registry.cached import CachedFunction as CachedFunction
from ._registry.cached import CachedMethod as CachedMethod
from ._registry.leases import Lease as Lease
from ._registry.leases import TryLease as TryLease
from ._registry.registrations import RegistrationLease as RegistrationLease
from ._registry.statistics import RegistryStatistics as RegistryStatistics
from ._retry.attempts import RetryAttempt as RetryAttempt
from ._retry.failure import RetryFailure as RetryFailure
from ._scope.resource import OwnedResource as OwnedResource
from ._scope.resource import ResourceFactory as ResourceFactory
from ._scope.statistics import ScopeStatistics as ScopeStatistics
from ._serve.connections import ServerStatistics as ServerStatistics
from ._serve.server import Server as Server
from ._snapshot import Growth as Growth
from ._snapshot import SnapshotDiff as SnapshotDiff
from ._snapshot import SnapshotNode as SnapshotNode
from ._timers.cron import CronRule as CronRule
from ._timers.records import TimerRun as TimerRun
from ._timers.records import TimerStatistics as TimerStatistics
from ._timers.schedule import RateRule as RateRule
from ._timers.timer import Timer as Timer

__all__ = [
    "AttemptState",
    "BroadcastStatistics",
    "CachedFunction",
    "CachedMethod",
    "Completions",
    "ConnectAttempt",
    "ConnectStatistics",
    "ConnectionDown",
    "ConnectionUp",
    "CronRule",
    "Growth",
    "Hold",
    "KeptConnection",
    "KeptState",
    "KeptStatistics",
    "Lease",
    "LimitBy",
    "LimiterStatistics",
    "LinkOutcome",
    "Loan",
    "LoopEnd",
    "MailboxStatistics",
    "OwnedResource",
    "OwnerState",
    "PoolStatistics",
    "RateRule",
    "ReaderWorkerStatistics",
    "RegistrationLease",
    "RegistryStatistics",
    "ResourceFactory",
    "RetryAttempt",
    "RetryFailure",
    "ReturnReport",
    "ScopeStatistics",
    "Server",
    "ServerStatistics",
    "SnapshotDiff",
    "SnapshotNode",
    "Subscription",
    "TaskGroupStatistics",
    "TaskManagerStatistics",
    "Timer",
    "TimerRun",
    "TimerStatistics",
    "TryHold",
    "TryLease",
    "TryLoan",
]
