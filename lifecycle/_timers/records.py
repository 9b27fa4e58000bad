"""What timers are set to, what they say about a run, and what they have done: frozen records and one protocol."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from .._ground.checks import check_choice, checked_count, checked_limit, checked_period, checked_seconds, checked_sync
from .._task.handle import TaskStatus
from .schedule import MissedPolicy

ErrorPolicy = Literal["log", "stop", "raise"]

_HOOK_METHODS = ("before", "after", "missed")


@dataclass(frozen=True, slots=True)
class TimerRun:
    """One run of a timer: ``before`` gets it when it begins, ``after`` with how it ended.

    Attributes:
        timer: the timer's name.
        number: from 1, counted over the timer's life.
        scheduled_at: when it was due: on the loop's clock, for cron in seconds since the epoch.
        started_at: when it began, on the same clock.
        missed: how many occasions before it were passed over.
        triggered: it was asked for with `Timer.trigger` and has no place on the grid.
        status: FINISHED, FAILED or CANCELLED; None before its end.
        error: what it raised, None when it returned or was cancelled; `TimeoutExpired` after ``run_timeout``.
        duration: seconds that it took; None before its end.
    """

    timer: str
    number: int
    scheduled_at: float
    started_at: float
    missed: int
    triggered: bool
    status: TaskStatus | None = None
    error: BaseException | None = None
    duration: float | None = None

    @property
    def lateness(self) -> float:
        """Seconds from when it was due to when it began; a jitter counts."""
        return max(0.0, self.started_at - self.scheduled_at)


# Each method returns: one without a statement would be an abstract one to type checkers, and have to be overridden.
class TimerHooks(Protocol):
    """What a hook of a timer looks like; leave out the methods that you do not need.

    A hook may derive from it, and need not. ``before`` and ``after`` may be synchronous or asynchronous and run in the
    run's own task.
    """

    def before(self, run: TimerRun) -> object:
        """Called before each run; an error that it raises fails the run."""
        return None

    def after(self, run: TimerRun) -> object:
        """Called after each run that ``before`` was called for; an error that it raises is logged."""
        return None

    def missed(self, timer: str, due: float, count: int) -> object:
        """Called, synchronously, when *count* occasions up to *due* were passed over or dropped as too late."""
        return None


@dataclass(frozen=True, slots=True)
class TimerStatistics:
    """What a timer has done over all its starts, and what it does at one moment.

    The account closes at every await: ``runs == running + finished + failed + cancelled``. Times are on the loop's
    clock, for cron in seconds since the epoch.

    Attributes:
        name: the timer's name.
        state: ``"idle"`` (not started, or ended), ``"waiting"``, ``"running"``, ``"paused"`` or ``"stopping"``.
        runs: how many runs have begun.
        running: how many of them have not ended.
        finished: runs that returned.
        failed: runs that raised, those included that took longer than ``run_timeout``.
        timed_out: runs that took longer than ``run_timeout``.
        cancelled: runs that were cancelled.
        missed: occasions passed over by the missed policy.
        misfired: occasions dropped because they were more than ``misfire_grace`` late.
        next_due: when the next run is due; None when it is not known before the current one ends.
        last_due: when the last run was due.
        last_lateness: how late the last run began, in seconds.
        last_duration: how long the last run that ended took, in seconds.
    """

    name: str
    state: str
    runs: int
    running: int
    finished: int
    failed: int
    timed_out: int
    cancelled: int
    missed: int
    misfired: int
    next_due: float | None
    last_due: float | None
    last_lateness: float | None
    last_duration: float | None


@dataclass(slots=True)
class Tally:
    """The counters behind a timer's statistics."""

    runs: int = 0
    finished: int = 0
    failed: int = 0
    timed_out: int = 0
    cancelled: int = 0
    missed: int = 0
    misfired: int = 0
    last_due: float | None = None
    last_lateness: float | None = None
    last_duration: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerSettings:
    """The options of a timer, checked.

    Raises:
        TypeError, ValueError: an option is out of its range.
    """

    initial_delay: float = 0.0
    missed: MissedPolicy = "skip"
    misfire_grace: float | None = None
    jitter: float = 0.0
    max_instances: int = 1
    run_timeout: float | None = None
    on_error: ErrorPolicy = "log"
    max_runs: int | None = None
    hooks: Sequence[object] = field(default=())

    def __post_init__(self) -> None:
        checked_seconds(self.initial_delay, "initial_delay")
        checked_seconds(self.jitter, "jitter")
        if self.misfire_grace is not None:
            checked_seconds(self.misfire_grace, "misfire_grace")
        if self.run_timeout is not None:
            checked_period(self.run_timeout, "run_timeout")
        checked_count(self.max_instances, "max_instances", least=1)
        checked_limit(self.max_runs, what="max_runs")
        check_choice(self.missed, MissedPolicy, "missed")
        check_choice(self.on_error, ErrorPolicy, "on_error")
        for hook in self.hooks:
            if not any(callable(getattr(hook, method, None)) for method in _HOOK_METHODS):
                raise TypeError(f"a timer's hook needs one of the methods {', '.join(_HOOK_METHODS)}; got {hook!r}")
            if hasattr(hook, "missed"):
                checked_sync(hook.missed, "the hook missed")
