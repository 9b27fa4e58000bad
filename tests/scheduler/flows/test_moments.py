"""The start and the end of a schedule in a flow file: with an offset, or on the clock of its time zone."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lifecycle.scheduler import Flow, Scheduler, load_flow

from ..stores import Address
from ..tools import flow_of, problems_of

BERLIN = "cron = '0 6 * * *'\ntimezone = 'Europe/Berlin'"


def text(schedule: str) -> str:
    """Return a flow with a schedule."""
    return f"[schedule]\n{schedule}\n[blocks.one]\nsleep = 0\n"


def instants(flow: Flow) -> tuple[datetime | None, datetime | None]:
    """Return the start and the end of a flow's schedule, in UTC."""
    assert flow.schedule is not None
    starts, ends = (moment and moment.astimezone(UTC) for moment in (flow.schedule.starts, flow.schedule.ends))
    return starts, ends


@pytest.mark.parametrize(
    ("schedule", "instant"),
    [
        (f"{BERLIN}\nstarts = 2026-12-01T03:00:00+05:30", datetime(2026, 11, 30, 21, 30)),
        (f"{BERLIN}\nstarts = 2026-12-01T03:00:00Z", datetime(2026, 12, 1, 3)),
        (f"{BERLIN}\nstarts = 2026-12-01T03:00:00", datetime(2026, 12, 1, 2)),
        (f"{BERLIN}\nstarts = 2026-07-01", datetime(2026, 6, 30, 22)),
        (f"{BERLIN}\nstarts = '2026-07-01T00:00'", datetime(2026, 6, 30, 22)),
        ("fixed_rate = 60\nstarts = 2026-07-01", datetime(2026, 7, 1)),
        ("fixed_rate = 60\ntimezone = 'Asia/Tokyo'\nstarts = 2026-07-01T09:00:00", datetime(2026, 7, 1)),
        (f"{BERLIN}\nstarts = 2026-10-25T02:30:00+01:00", datetime(2026, 10, 25, 1, 30)),
    ],
)
def test_a_start_is_an_instant(schedule: str, instant: datetime) -> None:
    """An offset of its own wins over the zone; a date is its midnight there."""
    assert instants(flow_of(text(schedule)))[0] == instant.replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "problem"),
    [
        (
            "starts = 5",
            "schedule.starts: expected a date, or a date and a time, as in 2026-12-01T03:00:00+01:00, got 5",
        ),
        ("starts = 'tomorrow'", "schedule.starts: expected a date, or a date and a time"),
        ("starts = 03:00:00", "schedule.starts: expected a string, number, boolean, list or table, got a time"),
        ("starts = true", "schedule.starts: expected a date"),
        ("ends = [2026-01-01]", "schedule.ends[0]: expected a string"),
        ("starts = 2026-03-29T02:30:00", "schedule.starts: 2026-03-29T02:30:00 is skipped by the clock in Europe/Ber"),
        ("ends = 2026-10-25T02:30:00", "schedule.ends: 2026-10-25T02:30:00 comes twice in Europe/Berlin"),
        (
            "starts = 2026-06-02\nends = 2026-06-01",
            "schedule.ends: comes before starts, which is 2026-06-02T00:00:00+0",
        ),
        ("starts = 0001-01-01", "schedule.starts: "),
        ("jitter = 2026-01-01", "schedule.jitter: expected a string, number"),
    ],
)
def test_what_is_no_instant_is_told_with_its_place(schedule: str, problem: str) -> None:
    """Also a time that the clock of the zone does not show, or shows twice."""
    found = problems_of(text(f"{BERLIN}\n{schedule}"))
    assert len(found) == 1
    assert found[0].startswith(f"flow.toml: {problem}")


def test_a_zone_that_nothing_uses_is_told() -> None:
    """It would be taken for that of the start, which has an offset."""
    problems = problems_of(text("fixed_rate = 1\ntimezone = 'Asia/Tokyo'\nstarts = 2026-07-01T00:00:00Z"))
    assert problems == ["flow.toml: schedule.timezone: is for cron, and for starts and ends without an offset"]
    assert (
        "time zone 'Mars/Base' is not known"
        in problems_of(text("fixed_rate = 1\ntimezone = 'Mars/Base'\nstarts = 2026-07-01"))[0]
    )


def test_a_date_elsewhere_in_a_flow_is_refused_as_before() -> None:
    """What a flow does is plain data."""
    assert "blocks.a.args.day" in problems_of("[blocks.a]\ncall = 'x'\nargs = {day = 2026-01-01}")[0]


@pytest.mark.asyncio
async def test_the_store_has_it_from_toml_and_from_json(durable: Address, tmp_path: Path) -> None:
    """Where it is due between the two, and it is no other version of the flow."""
    begins = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    (tmp_path / "a.toml").write_text(text(f"fixed_rate = 60\nstarts = {begins.isoformat()}"))
    table = {
        "schedule": {"fixed_rate": 60, "starts": begins.isoformat(), "ends": (begins + timedelta(1)).isoformat()},
        "blocks": {"one": {"sleep": 0}},
    }
    (tmp_path / "b.json").write_text(json.dumps(table))
    flows = [load_flow(tmp_path / name) for name in ("a.toml", "b.json")]
    assert flows[0].digest == flows[1].digest
    async with Scheduler(durable) as scheduler:
        for flow in flows:
            assert flow.schedule is not None
            await scheduler.schedule(flow.name, flow, **flow.schedule.settings())
        first, second = await scheduler.schedules()
    assert first.next_due == first.starts == second.starts == begins.timestamp()
    assert (first.ends, second.ends) == (None, begins.timestamp() + 86_400)
