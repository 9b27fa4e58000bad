"""``lifecycle runs``: look at the runs of flows in a database, cancel some, try them again, wait for them."""

from __future__ import annotations

from typing import Any, Final

import click

from ..scheduler import JobStatus
from ..scheduler._ground.text import plural
from ..scheduler._store.filters import JobFilter
from ..scheduler._store.outside import OutsideStore
from ..scheduler._store.run_records import RUN_STATES, run_filter
from ._careful import Group
from ._common import RUN_NUMBER, as_json_option, checked, instant, refusing
from ._database import Database, check_there, database, store_at, unknown
from ._retry import runs_command
from ._wait import wait_for_runs
from .show._lines import say, say_json
from .show._plain import PlainDisplay
from .show._runs import print_run, print_runs

_STATES: Final = [status for status in JobStatus if status in RUN_STATES]


@click.group(cls=Group)
def runs() -> None:
    """Look at the runs of flows in a database, cancel them and try them again, while schedulers work on it or not."""


@runs.command("list")
@database
@as_json_option
@click.option(
    "--status",
    "statuses",
    type=click.Choice([status.value for status in _STATES]),
    multiple=True,
    help="Only those in this state; may be repeated.",
)
@click.option("--flow", help="Only those of the flow of this name.")
@click.option("--since", type=instant, metavar="TIME", help="Only those begun since: ISO 8601, or 90m, 12h, 7d ago.")
@click.option("--until", type=instant, metavar="TIME", help="Only those begun before.")
@click.option(
    "--limit", type=click.IntRange(1, 1_000_000), default=100, show_default=True, help="How many of the newest."
)
def list_runs(db: Database, as_json: bool, statuses: tuple[str, ...], **wanted: Any) -> None:
    """List runs, the newest last."""
    which = checked(lambda: run_filter(status=[JobStatus(status) for status in statuses], **wanted))
    print_runs(refusing(PlainDisplay(), lambda: store_at(db).runs(which)), as_json=as_json)


@runs.command()
@click.argument("run", type=RUN_NUMBER)
@database
@as_json_option
def show(run: int, db: Database, as_json: bool) -> None:
    """Show everything of RUN, a number, and its jobs."""
    store = store_at(db)
    record = refusing(PlainDisplay(), lambda: store.run(run))
    if record is None:
        unknown(db, f"run {run}", "runs")
    jobs = refusing(PlainDisplay(), lambda: store.jobs(JobFilter(run=run, limit=1_000_000)))
    print_run(record, jobs, as_json=as_json)


@runs.command()
@click.argument("run", nargs=-1, required=True, type=RUN_NUMBER)
@click.option("--reason", default="cancelled from the command line", show_default=True, help="Why; it is kept.")
@database
@as_json_option
@click.pass_context
def cancel(context: click.Context, run: tuple[int, ...], reason: str, db: Database, as_json: bool) -> None:
    """Cancel all jobs of each RUN that have not ended.

    Exit code 0 if there were some in every one, 1 if one had ended already, 2 if there is no such run.
    """
    store = store_at(db)
    check_there(db, run, store.run, "run", "runs")
    context.exit(max([cancel_run(store, db, number, reason, as_json) for number in run]))


def cancel_run(store: OutsideStore, db: Database, run: int, reason: str, as_json: bool) -> int:
    """Cancel a run, print what came of it, and return the exit code."""
    found = refusing(PlainDisplay(), lambda: store.cancel_run(run, reason))
    if found is None:
        unknown(db, f"run {run}", "runs")
    cancelled, stopping = found
    if as_json:
        say_json({"run": run, "cancelled": cancelled, "stopping": stopping})
    elif cancelled or stopping:
        say(f"run {run}: {plural(cancelled, 'job')} cancelled, {stopping} being stopped")
    else:
        say(f"run {run}: had ended")
    return 0 if cancelled or stopping else 1


runs.add_command(runs_command("retry"))
runs.add_command(runs_command("resume"))
runs.add_command(wait_for_runs)
