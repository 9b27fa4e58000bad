"""``[schedule]``: when a flow runs without being submitted."""

from __future__ import annotations

from collections.abc import Mapping

from lifecycle.types import CronRule

from .._blocks.flow import FlowSchedule
from .._ground.text import listing
from .._language.params import Param, check_params
from .._language.table import TableReader
from .._store.pace import OVERLAPS
from .._store.rules import MISSED, SHORTEST

PRIORITY_BOUND = 1_000_000


def read_schedule(flow: TableReader, params: Mapping[str, Param]) -> FlowSchedule | None:
    """Return the schedule of a flow, None when it has none; of use only when no problem was reported.

    Args:
        flow: over the whole flow.
        params: the parameters of the flow, whose values ``[schedule.params]`` may give.
    """
    if "schedule" not in flow:
        return None
    reader = TableReader(flow.table("schedule"), "schedule", flow.problems)
    timings = [kind for kind in ("cron", "fixed_rate", "fixed_delay") if kind in reader]
    if len(timings) != 1:
        reader.problems.add(reader.path, f"expected one of cron, fixed_rate and fixed_delay, got {listing(timings)}")
    schedule = FlowSchedule(
        cron=reader.text("cron") or None,
        timezone=reader.text("timezone", "UTC"),
        fixed_rate=_period(reader, "fixed_rate"),
        fixed_delay=_period(reader, "fixed_delay"),
        missed=reader.choice("missed", MISSED),
        misfire_grace=reader.seconds("misfire_grace"),
        max_instances=reader.integer("max_instances", 1, minimum=1, maximum=1_000_000)
        if "max_instances" in reader
        else None,
        overlap=reader.choice("overlap", OVERLAPS),
        jitter=reader.seconds("jitter", 0.0) or 0.0,
        priority=reader.integer("priority", 0, minimum=-PRIORITY_BOUND, maximum=PRIORITY_BOUND),
        params=reader.table("params"),
    )
    if schedule.overlap != "skip" and schedule.max_instances is None:
        reader.problem("overlap", "is for a schedule with max_instances")
    _check_cron(reader, schedule)
    check_params(params, schedule.params, reader.problem)
    reader.finish()
    return schedule


def _instances(reader: TableReader) -> int | None:
    return reader.integer("max_instances", 1, minimum=1, maximum=1_000_000) if "max_instances" in reader else None


def _period(reader: TableReader, key: str) -> float | None:
    seconds = reader.seconds(key, positive=True)
    if seconds is not None and seconds < SHORTEST:
        reader.problem(key, f"expected at least {SHORTEST:g} seconds, got {seconds:g}")
    return seconds


def _check_cron(reader: TableReader, schedule: FlowSchedule) -> None:
    if schedule.cron is None:
        if "timezone" in reader:
            reader.problem("timezone", "is for cron only")
        return
    # With an expression that is valid for sure, an error is about the time zone.
    for key, expression in (("timezone", "* * * * *"), ("cron", schedule.cron)):
        try:
            CronRule(expression, schedule.timezone)
        except (ValueError, TypeError, ImportError) as error:
            reader.problem(key, str(error))
            return
