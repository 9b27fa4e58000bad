"""What `lifecycle` exports, for type checkers; `__init__.py` loads each from its home when it is first used."""

from ._connect.connect import connect as connect
from ._connect.dial import dial as dial
from ._connect.dial import dial_tcp as dial_tcp
from ._connect.dial import dial_tls as dial_tls
from ._connect.dial import dial_unix as dial_unix
from ._connect.stages import Stages as Stages
from ._ground.errors import ConnectError as ConnectError
from ._ground.errors import ConnectionLost as ConnectionLost
from ._ground.errors import ConnectTimeout as ConnectTimeout
from ._ground.errors import CreationTimeout as CreationTimeout
from ._ground.errors import KeyMissing as KeyMissing
from ._ground.errors import LifecycleError as LifecycleError
from ._ground.errors import LimiterFull as LimiterFull
from ._ground.errors import MailboxEmpty as MailboxEmpty
from ._ground.errors import MailboxFull as MailboxFull
from ._ground.errors import ManagerFull as ManagerFull
from ._ground.errors import NotConnected as NotConnected
from ._ground.errors import OwnerClosed as OwnerClosed
from ._ground.errors import PoolFull as PoolFull
from ._ground.errors import PoolTimeout as PoolTimeout
from ._ground.errors import RegistryFull as RegistryFull
from ._ground.errors import ReleaseTimeout as ReleaseTimeout
from ._ground.errors import ServerDraining as ServerDraining
from ._ground.errors import StillLent as StillLent
from ._ground.errors import SubscriberTooSlow as SubscriberTooSlow
from ._ground.errors import TaskCancelled as TaskCancelled
from ._ground.errors import TaskNotFinished as TaskNotFinished
from ._ground.errors import TimeoutExpired as TimeoutExpired
from ._ground.errors import WrongLoop as WrongLoop
from ._group.completions import as_completed as as_completed
from ._group.gather import amap as amap
from ._group.gather import gather as gather
from ._group.gather import race as race
from ._group.group import TaskGroup as TaskGroup
from ._kept.keep import keep_connected as keep_connected
from ._limits.bounds import Rate as Rate
from ._limits.bounds import limit_by as limit_by
from ._limits.limiter import Limiter as Limiter
from ._mailbox.broadcast import Broadcast as Broadcast
from ._mailbox.mailbox import Mailbox as Mailbox
from ._manager.manager import TaskManager as TaskManager
from ._manager.records import AbandonedTask as AbandonedTask
from ._manager.records import DrainReport as DrainReport
from ._pair.link import link as link
from ._pair.pair import ReaderWorker as ReaderWorker
from ._pool.pool import Pool as Pool
from ._registry.cached import cached as cached
from ._registry.lifetimes import Lifetime as Lifetime
from ._registry.registrations import Registration as Registration
from ._registry.registrations import RemovalCause as RemovalCause
from ._registry.registry import Registry as Registry
from ._retry.retry import Retry as Retry
from ._run.background import background as background
from ._run.background import create_background_task as create_background_task
from ._run.background import get_background_manager as get_background_manager
from ._run.run import run as run
from ._scope.resource import resource as resource
from ._scope.scope import Scope as Scope
from ._serve.serve import serve_tcp as serve_tcp
from ._serve.serve import serve_unix as serve_unix
from ._serve.stream import ServedStream as ServedStream
from ._snapshot import Snapshot as Snapshot
from ._snapshot import take_snapshot as take_snapshot
from ._task.handle import TaskHandle as TaskHandle
from ._task.handle import TaskStatus as TaskStatus
from ._timers.timers import cron as cron
from ._timers.timers import fixed_delay as fixed_delay
from ._timers.timers import fixed_rate as fixed_rate
from ._timers.timers import once as once

__version__: str
__all__ = [
    "AbandonedTask",
    "Broadcast",
    "ConnectError",
    "ConnectTimeout",
    "ConnectionLost",
    "CreationTimeout",
    "DrainReport",
    "KeyMissing",
    "LifecycleError",
    "Lifetime",
    "Limiter",
    "LimiterFull",
    "Mailbox",
    "MailboxEmpty",
    "MailboxFull",
    "ManagerFull",
    "NotConnected",
    "OwnerClosed",
    "Pool",
    "PoolFull",
    "PoolTimeout",
    "Rate",
    "ReaderWorker",
    "Registration",
    "Registry",
    "RegistryFull",
    "ReleaseTimeout",
    "RemovalCause",
    "Retry",
    "Scope",
    "ServedStream",
    "ServerDraining",
    "Snapshot",
    "Stages",
    "StillLent",
    "SubscriberTooSlow",
    "TaskCancelled",
    "TaskGroup",
    "TaskHandle",
    "TaskManager",
    "TaskNotFinished",
    "TaskStatus",
    "TimeoutExpired",
    "WrongLoop",
    "amap",
    "as_completed",
    "background",
    "cached",
    "connect",
    "create_background_task",
    "cron",
    "dial",
    "dial_tcp",
    "dial_tls",
    "dial_unix",
    "fixed_delay",
    "fixed_rate",
    "gather",
    "get_background_manager",
    "keep_connected",
    "limit_by",
    "link",
    "once",
    "race",
    "resource",
    "run",
    "serve_tcp",
    "serve_unix",
    "take_snapshot",
]
