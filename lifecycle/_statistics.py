"""The frozen records that ``statistics()`` and ``drain()`` return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._registrations import RemovalCause


@dataclass(frozen=True, slots=True)
class ScopeStatistics:
    """What a scope owns at one moment.

    The account closes at every await: ``opened == live + released``, where ``live`` is
    ``tasks + resources + children``.

    Attributes:
        name: the scope's name.
        state: ``"open"``, ``"closing"`` or ``"closed"``.
        tasks: tasks that have not ended.
        resources: callbacks, context managers and values that have not been released.
        children: child scopes that have not closed.
        opened: how many things the scope has ever taken in.
        released: how many of them are gone.
    """

    name: str
    state: str
    tasks: int
    resources: int
    children: int
    opened: int
    released: int

    @property
    def live(self) -> int:
        """How many things the scope owns now."""
        return self.tasks + self.resources + self.children


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
        abandoned: tasks that ignored their cancellation and were left behind at closing.
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
class LeftBehind:
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
        finished: how many ended by themselves, well or badly.
        cancelled: names of the tasks that were cancelled because the time was up.
        discarded: names of the tasks that never got a slot.
        abandoned: the tasks that ignored their cancellation and still run.
        running: names of the tasks that were still running, untouched, when a drain's own time was up.
    """

    finished: int = 0
    cancelled: tuple[str, ...] = ()
    discarded: tuple[str, ...] = ()
    abandoned: tuple[LeftBehind, ...] = ()
    running: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether everything ended by itself."""
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


@dataclass(frozen=True, slots=True)
class RegistryStatistics:
    """What a registry has done, and what it holds at one moment.

    The account closes at every await: ``opened == live + retired + closed``.

    Attributes:
        name: the registry's name.
        state: ``"open"``, ``"closing"`` or ``"closed"``.
        hits: look-ups that found a live value.
        misses: look-ups that found none.
        loads: values that factories made.
        load_failures: factories that raised, or took too long.
        loading: creations in progress.
        removals: how many values have left, by cause; those that a mass removal is still working off come later.
        live: values that are found under their keys; some may be due and not yet swept.
        retired: values that have left and are not finalized yet, because they are leased or in line.
        leases: leases that are out.
        pending_close: retired values that no lease holds: in line for their finalizer, or in it.
        close_errors: finalizers that raised or took too long.
        weight: total weight of the live values; their number where there is no weigher.
        opened: values ever taken in.
        closed: values finalized or handed out.
        handed_out: values that ``pop`` has handed out, which were not finalized.
    """

    name: str
    state: str
    hits: int
    misses: int
    loads: int
    load_failures: int
    loading: int
    removals: Mapping[RemovalCause, int]
    live: int
    retired: int
    leases: int
    pending_close: int
    close_errors: int
    weight: int
    opened: int
    closed: int
    handed_out: int


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """What a pool has done, and what it holds at one moment.

    The account closes at every await: ``created == idle + checking + lent + resetting + destroying + destroyed``.

    Attributes:
        name: the pool's name.
        state: ``"open"``, ``"closing"`` or ``"closed"``.
        max_size: how many values it may have.
        size: how many it has, those included that are being made or ended.
        creating: values in the making.
        idle: values that are free.
        checking: values that are looked at before they are lent.
        lent: values in somebody's hands.
        resetting: values that came back and are made ready.
        destroying: values that are being ended.
        waiting: borrowers in line.
        created: values ever made.
        destroyed: values ended, or given up because ending them took too long.
        create_failures: creations that raised or took too long.
        check_failures: values that failed their check.
        destroy_errors: ends that raised or took too long.
        discarded: values that were not lent again: after an error, by ``discard()``, or because their reset failed.
        timeouts: borrowers that waited too long.
        refused: borrowers that were refused because too many waited.
    """

    name: str
    state: str
    max_size: int
    size: int
    creating: int
    idle: int
    checking: int
    lent: int
    resetting: int
    destroying: int
    waiting: int
    created: int
    destroyed: int
    create_failures: int
    check_failures: int
    destroy_errors: int
    discarded: int
    timeouts: int
    refused: int
