"""The page: one HTML text without scripts; all data in it is escaped."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Final

from .._ground.text import shorten
from .._words import cells_of, duration, moment, next_of, note_of, spaced, what_of, when_of

if TYPE_CHECKING:
    from .._store.records import JobRecord
    from .._store.schedule_records import ScheduleRecord
    from ._facts import Facts

REFRESH: Final = 5
"""Seconds after which a browser reloads."""

LINES: Final = 500
"""Lines of the tree of owners that are shown."""

_STYLE: Final = (
    "body{font:14px/1.4 system-ui,sans-serif;margin:1.5em}table{border-collapse:collapse;margin-bottom:1.5em}"
    "th,td{text-align:left;padding:.15em 1em .15em 0;border-bottom:1px solid #ccc;vertical-align:top}"
    "h2{font-size:1.1em;margin-bottom:.3em}pre{font-size:12px}"
)


def page_of(facts: Facts) -> str:
    """Return the page."""
    statistics = facts.statistics
    name = escape(str(statistics["name"]))
    figures = [(key, statistics[key]) for key in ("workers", "running", "runs")]
    figures += [(spaced(status), number) for status, number in statistics["ended"].items()]
    parts = [
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="{REFRESH}">',
        f"<title>{name}</title><style>{_STYLE}</style></head><body><h1>{name}</h1>",
        f"<p>{escape(moment(time.time()) or '')}</p>",
        _table("Scheduler", [key for key, _ in figures], [[str(number) for _, number in figures]]),
        _table("Running jobs", _JOB_HEAD, map(_job, facts.running)),
        _table("Last ended jobs", _JOB_HEAD, map(_job, facts.ended)),
        _table("Schedules", _SCHEDULE_HEAD, map(_schedule, facts.schedules)),
        f"<h2>Owners</h2><pre>{escape(_tree(str(facts.owners)))}</pre>",
        "</body></html>\n",
    ]
    return "".join(parts)


_JOB_HEAD: Final = ("id", "run", "flow", "job", "state", "attempts", "started", "time", "")


def _job(job: JobRecord) -> tuple[str, ...]:
    return *cells_of(job), moment(job.started) or "-", duration(job.seconds), note_of(job)


_SCHEDULE_HEAD: Final = ("schedule", "runs", "when", "next", "last", "times", "dropped")


def _schedule(schedule: ScheduleRecord) -> tuple[str, ...]:
    return (
        schedule.name,
        what_of(schedule),
        when_of(schedule),
        next_of(schedule),
        moment(schedule.last_due) or "-",
        str(schedule.runs),
        str(schedule.missed_runs),
    )


def _table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = "".join(f"<tr>{''.join(f'<td>{escape(shorten(cell, 500))}</td>' for cell in row)}</tr>" for row in rows)
    if not lines:
        return f"<h2>{escape(title)}</h2><p>none</p>"
    names = "".join(f"<th>{escape(name)}</th>" for name in head)
    return f"<h2>{escape(title)}</h2><table><tr>{names}</tr>{lines}</table>"


def _tree(text: str) -> str:
    lines = text.splitlines()
    more = [f"... and {len(lines) - LINES:,} more lines"] if len(lines) > LINES else []
    return "\n".join([*lines[:LINES], *more])
