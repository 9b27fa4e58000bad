"""``lifecycle jobs log``: the last lines of a job's log, and those that come."""

from __future__ import annotations

import time
from typing import Final

import click

from ..scheduler import JobRecord
from ..scheduler._ground.limits import LOG_LINES
from ..scheduler._ground.text import plural
from ..scheduler._store.outside import OutsideStore
from ._careful import Command
from ._common import refusing
from ._database import Database, database, store_at, unknown
from .show._lines import complain, say
from .show._plain import PlainDisplay

INTERVAL: Final = 0.5
"""Seconds between two looks: a scheduler writes once a second what its jobs have logged."""


@click.command("log", cls=Command)
@click.argument("job")
@click.option("-f", "--follow", is_flag=True, help="Print what is logged from now on as well, until the job has ended.")
@database
def log(job: str, follow: bool, db: Database) -> None:
    """Print the last lines of the log of JOB: a number, or a name (then the newest). One that runs is a second late."""
    store = store_at(db)
    record = _record(store, db, job)
    if record.log:
        say(record.log)
    if not follow:
        return
    seen = Seen(record)
    while not record.status.final:
        time.sleep(INTERVAL)
        record = _record(store, db, str(record.id))
        lost, lines = seen.new_of(record)
        if lost:
            complain(f"{plural(lost, 'line')} not kept")
        for line in lines:
            say(line)


class Seen:
    """Which lines of a job's log have been seen.

    Args:
        record: the job as it was seen first, with all that it had logged.
    """

    def __init__(self, record: JobRecord) -> None:
        self._attempt, self._logged = record.attempts, record.logged

    def new_of(self, record: JobRecord) -> tuple[int, list[str]]:
        """Return how many lines have come and are not kept any more, and the new ones that are."""
        seen = self._logged if record.attempts == self._attempt else 0
        self._attempt, self._logged = record.attempts, record.logged
        new = record.logged - seen
        kept = min(new, LOG_LINES)
        return (new - kept, (record.log or "").split("\n")[-kept:]) if new > 0 else (0, [])


def _record(store: OutsideStore, db: Database, job: str) -> JobRecord:
    record = refusing(PlainDisplay(), lambda: store.show(job))
    if record is None:
        unknown(db, f"job {job!r}", "jobs")
    return record
