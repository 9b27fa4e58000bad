"""``lifecycle jobs retry`` and ``lifecycle runs retry``: again by hand."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Final

import click

from ..scheduler._ground.text import plural
from ..scheduler._store.outside import OutsideStore
from ._careful import Command
from ._common import RUN_NUMBER, as_json_option, refusing
from ._database import Database, check_there, database, store_at, unknown
from .show._lines import say, say_json
from .show._plain import PlainDisplay

PATIENCE: Final = 2.0
"""Seconds for which it is looked whether a scheduler takes what waits again."""

INTERVAL: Final = 0.1
"""Seconds between two looks."""


@click.command("retry", cls=Command)
@click.argument("job", nargs=-1, required=True)
@click.option("--force", is_flag=True, help="Also a job that has succeeded, or was skipped for one that is deleted.")
@database
@as_json_option
@click.pass_context
def retry_jobs(context: click.Context, job: tuple[str, ...], force: bool, db: Database, as_json: bool) -> None:
    """Let each JOB wait again that has ended and did not succeed: a number, or a name (then the newest).

    With it waits what was skipped because of it. A scheduler that knows the handler, or serves the flow, runs it.

    Exit code 0 if every one waits again, 1 if one does not, 2 if there is no such job.
    """
    store = store_at(db)
    check_there(db, job, store.show, "job", "jobs")
    retried = refusing(PlainDisplay(), lambda: store.retry(job, force=force))
    for one in retried:
        if one.number is None:
            unknown(db, f"job {one.job!r}", "jobs")
    waiting = [one.number for one in retried if one.number is not None and one.refused is None]
    left = left_waiting(store, waiting)
    for one in retried:
        assert one.number is not None
        effect = "refused" if one.refused else "waits" if one.number in left else "taken"
        if as_json:
            say_json({"job_id": one.number, "effect": effect, "reason": one.refused or left.get(one.number)})
        else:
            why = f"not tried again: {one.refused}" if one.refused else _text(left.get(one.number))
            say(f"job {one.number}: {why}")
    context.exit(1 if len(waiting) < len(retried) else 0)


def _retry_runs(context: click.Context, run: tuple[int, ...], db: Database, as_json: bool) -> None:
    """Let everything of each RUN wait again that did not succeed; what has succeeded is kept.

    A scheduler that serves that version of the flow goes on with it; so does `lifecycle run` with the same file and
    parameters.

    Exit code 0 if something of every one waits again or is taken up, 1 if not, 2 if there is no such run.
    """
    store = store_at(db)
    check_there(db, run, store.run, "run", "runs")
    codes = []
    for number in run:
        revived = refusing(PlainDisplay(), lambda number=number: store.retry_run(number))  # type: ignore[misc]
        if revived is None:
            unknown(db, f"run {number}", "runs")
        jobs = len(revived.jobs) + revived.skipped
        refused = next(iter(revived.refused.values()), None)
        unfinished = store.unfinished_jobs(number)
        left = next(iter(left_waiting(store, unfinished[:1]).values()), None)
        codes.append(0 if unfinished and not refused else 1)
        if as_json:
            reason = refused or left
            say_json({"run": number, "jobs": jobs, "taken": bool(unfinished) and left is None, "reason": reason})
        elif refused:
            say(f"run {number}: not tried again: {refused}")
        elif unfinished:
            say(f"run {number}: {plural(jobs, 'job')} tried again{f'; it waits for {left}' if left else ''}")
        else:
            say(f"run {number}: has succeeded")
    context.exit(max(codes))


def runs_command(name: str) -> click.Command:
    """Return the command for runs under one of its names."""
    run = click.argument("run", nargs=-1, required=True, type=RUN_NUMBER)
    return click.command(name, cls=Command)(run(database(as_json_option(click.pass_context(_retry_runs)))))


def left_waiting(store: OutsideStore, numbers: Collection[int]) -> dict[int, str]:
    """Wait a moment for schedulers to take these jobs; return what those wait for that none has taken."""
    deadline = time.monotonic() + PATIENCE
    while left := refusing(PlainDisplay(), lambda: store.untaken(numbers)):
        if time.monotonic() > deadline or not store.alive():
            return left
        time.sleep(INTERVAL)
    return {}


def _text(left: str | None) -> str:
    return "is tried again" if left is None else f"waits again, for {left}"
