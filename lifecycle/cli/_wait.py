"""``lifecycle jobs wait`` and ``lifecycle runs wait``: until jobs and runs have ended, whichever process runs them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, TypeVar

import click

from ..scheduler import JobRecord, JobStatus, RunRecord
from ..scheduler._store.outside import OutsideStore
from ..scheduler._words import duration, note_of, spaced
from ._careful import Command
from ._common import RUN_NUMBER, as_json_option, refusing, seconds
from ._database import Database, check_there, database, store_at, unknown
from .show._lines import complain, say, say_json
from .show._plain import PlainDisplay

T = TypeVar("T", JobRecord, RunRecord)

INTERVAL: Final = 0.2
"""Seconds between two looks at all that is waited for."""

TIME_IS_UP: Final = 124
"""The exit code when something has not ended in time, as `timeout` has it."""

timeout_option = click.option(
    "--timeout", type=seconds, metavar="DURATION", help="Wait this long at most: seconds, or 15m, 12h."
)


@click.command("wait", cls=Command)
@click.argument("job", nargs=-1, required=True)
@timeout_option
@database
@as_json_option
@click.pass_context
def wait_for_jobs(
    context: click.Context, job: tuple[str, ...], timeout: float | None, db: Database, as_json: bool
) -> None:
    """Wait until each JOB has ended: a number, or a name (then the newest); print how, in the order of the ends.

    Exit code 0 if all have succeeded, 1 if one did not, 2 if there is no such job, 124 if the time was up before.
    """
    store = store_at(db)
    numbers = []
    for one in job:
        record = refusing(PlainDisplay(), lambda one=one: store.show(one))  # type: ignore[misc]
        if record is None:
            unknown(db, f"job {one!r}", "jobs")
        numbers.append(record.id)

    def tell(number: int, record: JobRecord | None) -> None:
        if as_json:
            say_json({"job_id": number, "status": "deleted"} if record is None else record.to_dict())
        elif record is None:
            say(f"job {number}: has been deleted")
        else:
            note = f": {note_of(record)}" if note_of(record) else ""
            say(f"job {number}: {spaced(record.status.value)} in {duration(record.seconds or 0.0)}{note}")

    context.exit(_wait(store, db, numbers, timeout, store.ended_jobs, tell))


@click.command("wait", cls=Command)
@click.argument("run", nargs=-1, required=True, type=RUN_NUMBER)
@timeout_option
@database
@as_json_option
@click.pass_context
def wait_for_runs(
    context: click.Context, run: tuple[int, ...], timeout: float | None, db: Database, as_json: bool
) -> None:
    """Wait until each RUN has ended; print how, in the order of the ends.

    Exit code 0 if all have succeeded, 1 if one did not, 2 if there is no such run, 124 if the time was up before.
    """
    store = store_at(db)
    check_there(db, run, store.run, "run", "runs")

    def tell(number: int, record: RunRecord | None) -> None:
        if as_json:
            say_json({"id": number, "status": "deleted"} if record is None else record.to_dict())
        else:
            say(f"run {number}: {'has been deleted' if record is None else spaced(record.status.value)}")

    context.exit(_wait(store, db, run, timeout, store.ended_runs, tell))


def _wait(
    store: OutsideStore,
    db: Database,
    numbers: Sequence[int],
    timeout: float | None,
    ended: Callable[[Collection[int]], Mapping[int, T | None]],
    tell: Callable[[int, T | None], None],
) -> int:
    """Look until all have ended, and tell of each; return the exit code."""
    deadline = None if timeout is None else time.monotonic() + timeout
    waiting = dict.fromkeys(numbers)
    code, warned = 0, False
    while True:
        for number, record in refusing(PlainDisplay(), lambda: ended(waiting)).items():
            del waiting[number]
            tell(number, record)
            if record is None or record.status is not JobStatus.SUCCEEDED:
                code = 1
        if not waiting:
            return code
        if deadline is not None and time.monotonic() >= deadline:
            complain(f"{db}: not ended in time: {', '.join(map(str, waiting))}")
            return TIME_IS_UP
        if not warned and not store.alive():
            warned = True
            complain(f"{db}: no scheduler works on it")
        left = INTERVAL if deadline is None else min(INTERVAL, deadline - time.monotonic())
        time.sleep(max(0.0, left))
