"""What a task manager says of itself: its statistics, what a drain reports, and what was abandoned."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TaskManagerStatistics:
    """What a task manager has done, and what it holds at one moment.

    The account closes at every await:
    ``started == running + finished + failed + cancelled + abandoned`` for the tasks that got a slot, and
    ``accepted == started + pending + discarded`` for all that were taken in.

    Attributes:
        name: the manager's name.
        state: ``"open"``, ``"closing"`` or ``"closed"``.
        limit: how many tasks may run at once, None for no bound.
        running: tasks that have a slot and have not ended.
        pending: tasks that wait for a slot.
        accepted: tasks ever taken in.
        started: tasks that were given a slot.
        finished: tasks that returned.
        failed: tasks that raised.
        cancelled: tasks that ended cancelled.
        rejected: offers refused, because the manager was closed or ``pending_limit`` was reached.
        discarded: tasks cancelled or dropped at closing while they still waited for a slot.
        abandoned: tasks that ignored their cancellations and were abandoned at closing.
    """

    name: str
    state: str
    limit: int | None
    running: int
    pending: int
    accepted: int
    started: int
    finished: int
    failed: int
    cancelled: int
    rejected: int
    discarded: int
    abandoned: int


@dataclass(frozen=True, slots=True)
class AbandonedTask:
    """A task that had not ended when its owner stopped waiting for it.

    Attributes:
        name: the task's name.
        age: seconds since its first step.
        stack: where it was suspended, outermost call first, as ``file:line in function``.
    """

    name: str
    age: float
    stack: tuple[str, ...]

    def __str__(self) -> str:
        where = "".join(f"\n    {line}" for line in self.stack)
        return f"{self.name} (running for {self.age:.1f} s){where}"


@dataclass(frozen=True, slots=True)
class DrainReport:
    """What became of the tasks that were in when a drain began, or joined it.

    Attributes:
        finished: how many ended in time, well or badly, or by a ``cancel`` that was not the close's.
        cancelled: names of the tasks that were cancelled because the time was up.
        discarded: names of the tasks that had not got a slot when the time was up.
        abandoned: the tasks that ignored their cancellation and still run.
        running: names of the tasks that were still running, untouched, when a drain's own time was up.
    """

    finished: int = 0
    cancelled: tuple[str, ...] = ()
    discarded: tuple[str, ...] = ()
    abandoned: tuple[AbandonedTask, ...] = ()
    running: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether everything ended in time."""
        return not (self.cancelled or self.discarded or self.abandoned or self.running)


def joined(first: DrainReport, later: DrainReport) -> DrainReport:
    """Return what became of the tasks in one drain and a later one."""
    return DrainReport(
        first.finished + later.finished,
        first.cancelled + later.cancelled,
        first.discarded + later.discarded,
        first.abandoned + later.abandoned,
        later.running,
    )
