"""Firing a schedule, function by function: once for each due time, whoever looks, and only as it was seen."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from lifecycle.scheduler._store.pace import Pace
from lifecycle.scheduler._store.postgres.schedules import firing_said, firings_said, schedule_said, unreadable_said
from lifecycle.scheduler._store.records import NewJob
from lifecycle.scheduler._store.schedule_records import NewSchedule
from lifecycle.scheduler._store.unreadable import Unreadable

from ...postgres import Postgres
from .calls import Functions

SCHEDULERS = 4


def every(seconds: float, pace: Pace | None = None) -> NewSchedule:
    """Return a schedule."""
    job = NewJob("s", "call", payload={"handler": "h", "args": []})
    return NewSchedule("s", "fixed_rate", str(seconds), None, "coalesce", None, job, "h", pace or Pace())


def look(base: Functions, now: float, names: tuple[str, ...] = ("h",)) -> Any:
    return base.value("look_at_schedules($1, '[]', $2)", list(names), now)


def fire(base: Functions, said: dict[str, Any], now: float) -> Any:
    return base.value("fire($1, $2, $3, NULL, $4)", said["schedule"], said["was_due"], said["firing"], now)


def test_what_was_fired_by_another_is_not_fired_again(functions: Functions) -> None:
    """However often it was seen to be due; and not when it has been changed meanwhile."""
    # Each in a transaction of its own: what was seen of a row says which transaction has written it.
    with functions.alone():
        functions.value("put_schedule($1, 0)", schedule_said(every(10.0), 0.0))
    (row,) = look(functions, 15.0)["found"]
    said = firing_said(row, 15.0)
    with functions.alone():
        assert fire(functions, {**said, "was_due": 11.0}, 15.0) is None
    with functions.alone():
        functions.value("bound_schedule('s', 3, 'skip')")
    with functions.alone():
        assert fire(functions, said, 15.0) is None, "it has been changed"
    (row,) = look(functions, 15.0)["found"]
    said = firing_said(row, 15.0)
    with functions.alone():
        assert fire(functions, said, 15.0) == {"submitted": 1, "skipped": []}
    with functions.alone():
        assert fire(functions, said, 15.0) is None
    assert look(functions, 15.0) == {"found": [], "next_due": 20, "any_known": True}
    assert look(functions, 25.0, ("another",)) == {"found": [], "next_due": None, "any_known": False}
    with functions.alone():  # a clock that has been ahead shows it once more
        functions.execute("UPDATE schedules SET next_due = 10")
    (row,) = look(functions, 15.0)["found"]
    with functions.alone():
        assert fire(functions, firing_said(row, 15.0), 15.0) == {"submitted": 0, "skipped": []}
    assert functions.rows("SELECT schedule, scheduled FROM jobs") == [(row["id"], 10.0)]
    with functions.alone():
        functions.execute("DELETE FROM jobs")
        functions.value("remove_schedule('s')")


def test_of_many_that_fire_at_once_one_does(postgres: Postgres) -> None:
    """For each of many due times."""
    with postgres.database() as address, ThreadPoolExecutor(SCHEDULERS) as threads:
        bases = [Functions(address) for _ in range(SCHEDULERS)]
        with bases[0].alone():
            bases[0].value("put_schedule($1, 0)", schedule_said(every(10.0), 0.0))

        def run(base: Functions) -> int:
            fired = 0
            for now in range(15, 315, 10):
                for row in look(base, float(now))["found"]:
                    with base.alone():
                        fired += fire(base, firing_said(row, float(now)), float(now)) is not None
            return fired

        assert sum(threads.map(run, bases)) == 30
        scheduled = [due for (due,) in bases[0].rows("SELECT scheduled FROM jobs ORDER BY scheduled")]
        assert scheduled == [float(due) for due in range(10, 310, 10)]
        for base in bases:
            base.close()


def test_a_run_that_somebody_asks_for_does_not_wait_for_the_end_of_a_pause(functions: Functions) -> None:
    """What waits does."""
    with functions.undone():
        functions.value("put_schedule($1, 0)", schedule_said(every(10.0, Pace(2, "queue")), 0.0))
        for now in (11.0, 21.0, 31.0):
            (row,) = look(functions, now)["found"]
            assert fire(functions, firing_said(row, now), now) is not None
        assert functions.rows("SELECT waiting, skipped_runs FROM schedules") == [(30.0, 0)]
        assert functions.value("pause_schedule('s')")
        functions.execute("UPDATE jobs SET finished = 32, state = 'succeeded'")
        assert look(functions, 36.0)["found"] == []
        assert functions.value("request_run('s')")
        (row,) = look(functions, 36.0)["found"]
        assert fire(functions, firing_said(row, 36.0), 36.0) == {"submitted": 1, "skipped": []}
        assert functions.rows("SELECT waiting, triggered FROM schedules") == [(30.0, 0)]


def test_one_that_cannot_be_read_here_is_left_alone_until_it_is_changed(functions: Functions) -> None:
    """But runs that somebody asks for are run: they need no due time."""
    unreadable = Unreadable()
    with functions.undone():
        functions.value("put_schedule($1, 0)", schedule_said(every(10.0), 0.0))
        functions.execute("UPDATE schedules SET kind = 'cron', rule = '* * * * *', timezone = 'Europe/Newtown'")
        assert firings_said(look(functions, 15.0), 15.0, unreadable) == []
        assert look_without(functions, unreadable) == {"found": [], "next_due": None, "any_known": True}
        assert functions.value("request_run('s')")
        (said,) = firings_said(look_without(functions, unreadable), 15.0, unreadable)
        assert fire(functions, said, 15.0) == {"submitted": 1, "skipped": []}
        functions.execute("UPDATE schedules SET timezone = 'UTC'")
        (said,) = firings_said(look_without(functions, unreadable), 65.0, unreadable)
        assert said["was_due"] == 10.0


def look_without(base: Functions, unreadable: Unreadable) -> Any:
    return base.value("look_at_schedules('{h}', $1, 65)", unreadable_said(unreadable))
