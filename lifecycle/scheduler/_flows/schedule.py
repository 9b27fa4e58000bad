"""``[schedule]``: when a flow runs without being submitted."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import tzinfo
from typing import cast

from lifecycle.types import CronRule

from .._blocks.flow import FlowSchedule
from .._ground.text import listing
from .._language.params import Param, check_params
from .._language.table import TableReader
from .._store.pace import OVERLAPS, Overlap
from .._store.rules import MISSED, SHORTEST
from .moments import is_local, read_moment, read_zone

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
    zone = read_zone(reader, "timezone")
    max_instances, overlap = read_overlap(reader, "schedule")
    schedule = FlowSchedule(
        cron=reader.text("cron") or None,
        timezone=reader.text("timezone", "UTC"),
        fixed_rate=_period(reader, "fixed_rate"),
        fixed_delay=_period(reader, "fixed_delay"),
        missed=reader.choice("missed", MISSED),
        misfire_grace=reader.seconds("misfire_grace"),
        max_instances=max_instances,
        overlap=overlap,
        jitter=reader.seconds("jitter", 0.0) or 0.0,
        starts=read_moment(reader, "starts", zone),
        ends=read_moment(reader, "ends", zone),
        priority=reader.integer("priority", 0, minimum=-PRIORITY_BOUND, maximum=PRIORITY_BOUND),
        params=reader.table("params"),
    )
    if schedule.starts is not None and schedule.ends is not None and schedule.ends < schedule.starts:
        reader.problem("ends", f"comes before starts, which is {schedule.starts.isoformat()}")
    _check_cron(reader, schedule, zone)
    check_params(params, schedule.params, reader.problem)
    reader.finish()
    return schedule


def read_overlap(reader: TableReader, what: str) -> tuple[int | None, Overlap]:
    """Return ``max_instances`` and ``overlap`` of a table; *what* names it for a problem."""
    limit = reader.integer("max_instances", 1, minimum=1, maximum=1_000_000) if "max_instances" in reader else None
    overlap = reader.choice("overlap", OVERLAPS)
    if overlap != "skip" and limit is None:
        reader.problem("overlap", f"is for a {what} with max_instances")
    return limit, cast(Overlap, overlap)


def _period(reader: TableReader, key: str) -> float | None:
    seconds = reader.seconds(key, positive=True)
    if seconds is not None and seconds < SHORTEST:
        reader.problem(key, f"expected at least {SHORTEST:g} seconds, got {seconds:g}")
    return seconds


def _check_cron(reader: TableReader, schedule: FlowSchedule, zone: tzinfo | None) -> None:
    if schedule.cron is None:
        if "timezone" in reader and not any(is_local(reader.raw(key)) for key in ("starts", "ends")):
            reader.problem("timezone", "is for cron, and for starts and ends without an offset")
    elif zone is not None:
        try:
            CronRule(schedule.cron, zone)
        except (ValueError, TypeError, ImportError) as error:
            reader.problem("cron", str(error))
