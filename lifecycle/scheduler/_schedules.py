"""Schedules as their maker sees them: what was asked for, checked, and a handle on what the store keeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ._handlers import registered_handlers
from ._job import Job
from ._submission import call_settings, find_handler, new_job
from ._text import one_line, shorten
from .flow._table import seconds_problem
from .store._records import NewSchedule, ScheduleRecord
from .store._rules import check

if TYPE_CHECKING:
    from ._engine import Engine

MISSED = ("coalesce", "skip", "burst")

Opened = Callable[[], "Engine"]


class Schedule:
    """A schedule in a store, by its name.

    Every method asks the store anew, so that a handle is good for as long as there is a schedule of that name.

    Attributes:
        name: its name.
    """

    __slots__ = ("_opened", "name")

    def __init__(self, name: str, opened: Opened) -> None:
        self.name: str = name
        self._opened = opened

    async def record(self) -> ScheduleRecord:
        """Return what the store knows of it: when it is due, how often it was run.

        Cancellation: nothing has happened.

        Raises:
            LookupError: there is no such schedule any more.
        """
        record = await self._opened().store.schedule(self.name)
        self._check(record is not None)
        assert record is not None
        return record

    async def pause(self) -> None:
        """Have it not be due until `resume`; what has been put in goes on. Idempotent.

        Cancellation: it may be paused or not.

        Raises:
            LookupError: there is no such schedule any more.
        """
        self._check(await self._opened().store.pause_schedule(self.name))

    async def resume(self) -> None:
        """End a pause; what was due meanwhile is not made up for. Idempotent.

        Cancellation: it may be resumed or not.

        Raises:
            LookupError: there is no such schedule any more.
        """
        self._check(await self._opened().store.resume_schedule(self.name))

    async def trigger(self) -> Job:
        """Put in a run now, besides those that are due, also during a pause; return its job.

        Cancellation: the run may or may not have been put in.

        Raises:
            LookupError: there is no such schedule any more.
        """
        engine = self._opened()
        number = await engine.store.trigger_schedule(self.name)
        self._check(number is not None)
        assert number is not None
        job = engine.jobs[number] = Job(number, self.name, engine.cancel_job)
        engine.care()
        return job

    async def remove(self) -> None:
        """Take it out of the store; what has been put in goes on.

        Cancellation: it may be there still.

        Raises:
            LookupError: there is no such schedule any more.
        """
        self._check(await self._opened().store.remove_schedule(self.name))

    def _check(self, found: bool) -> None:
        if not found:
            raise LookupError(f"there is no schedule {self.name!r} in the store any more; make it again")

    def __repr__(self) -> str:
        return f"<Schedule {self.name!r}>"


def new_schedule(
    name: str,
    work: Callable[..., Any] | str,
    args: tuple[Any, ...],
    *,
    durable: bool,
    cron: str | None,
    timezone: str,
    fixed_rate: float | None,
    fixed_delay: float | None,
    missed: str,
    misfire_grace: float | None,
    settings: Mapping[str, Any],
) -> NewSchedule:
    """Return a schedule to be put into a store.

    Raises:
        ValueError, TypeError, LookupError: something of it is not right.
    """
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"a schedule's name is a string that is not empty, got {name!r}")
    if missed not in MISSED:
        raise ValueError(f"missed must be one of {', '.join(MISSED)}, got {missed!r}")
    if misfire_grace is not None and (problem := seconds_problem(misfire_grace)):
        raise ValueError(f"misfire_grace: {problem}")
    kind, rule = _timing(cron, fixed_rate, fixed_delay)
    handler = find_handler(work, registered_handlers(), durable=durable)
    job = new_job(handler, args, call_settings({"name": name, **settings}), durable=durable)
    label, zone = one_line(shorten(name, 200)), timezone if kind == "cron" else None
    new = NewSchedule(label, kind, rule, zone, missed, misfire_grace, job, handler.name)
    check(new)
    return new


def _timing(cron: str | None, fixed_rate: float | None, fixed_delay: float | None) -> tuple[str, str]:
    given = {"cron": cron, "fixed_rate": fixed_rate, "fixed_delay": fixed_delay}
    chosen = [(kind, rule) for kind, rule in given.items() if rule is not None]
    if len(chosen) != 1:
        raise TypeError(f"give one of cron, fixed_rate and fixed_delay, got {len(chosen)} of them")
    kind, rule = chosen[0]
    if kind != "cron":
        if problem := seconds_problem(rule, positive=True):
            raise ValueError(f"{kind}: {problem}")
        assert isinstance(rule, (int, float))
        if rule < SHORTEST:
            raise ValueError(f"{kind} must be at least {SHORTEST:g} seconds, got {rule!r}; a shorter one is a timer's")
        return kind, repr(float(rule))
    if not isinstance(rule, str):
        raise TypeError(f"cron: expected an expression such as '*/5 * * * *', got {rule!r}")
    return kind, rule


SHORTEST = 0.01
"""Seconds: shorter periods are for ``lifecycle.fixed_rate``, which writes nothing."""
