"""``lifecycle store copy``: a store moves into another one, from SQLite to PostgreSQL, back, or to its like."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import click

from ..scheduler._ground.text import plural
from ..scheduler._store.choice import copy_store
from ._careful import Command
from ._common import as_json_option, refusing
from ._database import DATABASE, Database, check_file
from .show._lines import complain, say, say_json
from .show._plain import PlainDisplay

INTERVAL: Final = 5.0
"""Seconds between two lines that say how far it is."""


@click.command("copy", cls=Command)
@click.argument("source", metavar="FROM", type=DATABASE)
@click.argument("target", metavar="TO", type=DATABASE)
@click.option("--live", is_flag=True, help="Copy it as it is now, although schedulers work on FROM.")
@as_json_option
def copy(source: Database, target: Database, live: bool, as_json: bool) -> None:
    """Copy all that the database FROM knows into the empty database TO, each a file or postgresql://USER@HOST/NAME.

    Runs, jobs with their results and logs, schedules with their due times, and limits: everything keeps its number.
    TO has everything, or, when it fails, nothing; FROM stays as it is. A file is made when it is not there.

    While a scheduler works on FROM nothing is copied: what it does meanwhile would be missing, and what is unfinished
    would run twice. With --live the copy is as FROM is at one moment, such as to try something out. What ran at that
    moment is interrupted in the copy, and begins again when a scheduler works on that.

    In place of an address with a password write -, for the one in LIFECYCLE_DB.
    """
    check_file(source)
    copied = refusing(PlainDisplay(), lambda: copy_store(source, target, live=live, progress=_progress()))
    counts = copied.counts
    if as_json:
        say_json({"from": str(source), "to": str(target), **counts, "unfinished": copied.unfinished})
        return
    parts = [plural(counts[table], table.removesuffix("s")) for table in ("runs", "jobs", "schedules", "limits")]
    say(f"{source}: {', '.join(parts)} copied to {target}")
    if not live and (copied.unfinished or counts["schedules"]):
        say(f"{source}: let no scheduler work on it any more; what has not ended, or is due, would run twice")


def _progress() -> Callable[[int, int], object]:
    """Return what says on standard error how far it is, now and then."""
    told = time.monotonic()

    def tell(copied: int, total: int) -> None:
        nonlocal told
        if time.monotonic() - told >= INTERVAL:
            told = time.monotonic()
            complain(f"{copied:,} of {total:,} rows copied")

    return tell
