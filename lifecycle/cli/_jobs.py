"""``lifecycle jobs``: look at the jobs in a database, cancel some, try them again, wait for them."""

from __future__ import annotations

from typing import Any

import click

from ..scheduler import JobStatus
from ..scheduler._store.filters import job_filter
from ..scheduler._store.outside import OutsideStore
from ._careful import Group
from ._common import as_json_option, checked, instant, refusing
from ._database import Database, check_there, database, store_at, unknown
from ._log import log
from ._retry import retry_jobs
from ._runs import cancel_run
from ._submit import submit_job
from ._wait import wait_for_jobs
from .show._jobs import print_job, print_jobs
from .show._lines import say, say_json
from .show._plain import PlainDisplay


@click.group(cls=Group)
def jobs() -> None:
    """Look at the jobs in a database, cancel them and try them again, while schedulers work on it or not."""


@jobs.command("list")
@database
@as_json_option
@click.option(
    "--status",
    "statuses",
    type=click.Choice([status.value for status in JobStatus]),
    multiple=True,
    help="Only those in this state; may be repeated.",
)
@click.option("--run", "run", type=click.IntRange(1), help="Only those of the run with this number.")
@click.option("--flow", help="Only those of runs of the flow of this name.")
@click.option("--name", help="Only those of this name.")
@click.option(
    "--since", type=instant, metavar="TIME", help="Only those submitted since: ISO 8601, or 90m, 12h, 7d ago."
)
@click.option("--until", type=instant, metavar="TIME", help="Only those submitted before.")
@click.option(
    "--limit", type=click.IntRange(1, 1_000_000), default=1_000, show_default=True, help="How many of the newest."
)
def list_jobs(db: Database, as_json: bool, statuses: tuple[str, ...], **wanted: Any) -> None:
    """List jobs, the newest last."""
    which = checked(lambda: job_filter(status=[JobStatus(status) for status in statuses], **wanted))
    records = refusing(PlainDisplay(), lambda: store_at(db).jobs(which))
    print_jobs(records, as_json=as_json)


@jobs.command()
@click.argument("job")
@database
@as_json_option
def show(job: str, db: Database, as_json: bool) -> None:
    """Show everything of JOB: a number, or a name (then the newest)."""
    record = refusing(PlainDisplay(), lambda: store_at(db).show(job))
    if record is None:
        unknown(db, f"job {job!r}", "jobs")
    print_job(record, as_json=as_json)


@jobs.command()
@click.argument("job", nargs=-1)
@click.option("--run", "run_id", type=click.IntRange(1), help="Cancel the whole run with this number.")
@click.option("--reason", default="cancelled from the command line", show_default=True, help="Why; it is kept.")
@database
@as_json_option
@click.pass_context
def cancel(
    context: click.Context, job: tuple[str, ...], run_id: int | None, reason: str, db: Database, as_json: bool
) -> None:
    """Cancel each JOB: a number, or a name (then the newest that has not ended).

    Exit code 0 if every one was cancelled or is being stopped, 1 if one had ended already, 2 if there is no such job.
    """
    if not job and run_id is None:
        raise click.UsageError("name a JOB or give --run")
    store = store_at(db)
    check_there(db, job, store.show, "job", "jobs")
    check_there(db, () if run_id is None else (run_id,), store.run, "run", "runs")
    codes = [_cancel_one(store, db, one, reason, as_json) for one in job]
    if run_id is not None:
        codes.append(cancel_run(store, db, run_id, reason, as_json))
    context.exit(max(codes))


def _cancel_one(store: OutsideStore, db: Database, job: str, reason: str, as_json: bool) -> int:
    found = refusing(PlainDisplay(), lambda: store.cancel(job, reason))
    if found is None:
        unknown(db, f"job {job!r}", "jobs")
    number, cancelling = found
    assert cancelling.before is not None
    ended = cancelling.before.final
    effect = "ended" if ended else "cancelled" if cancelling.settled else "stopping"
    if as_json:
        say_json({"job_id": number, "before": cancelling.before.value, "effect": effect})
    else:
        texts = {"ended": f"had ended: {cancelling.before.value}", "stopping": "runs and is being stopped"}
        say(f"job {number}: {texts.get(effect, 'cancelled')}")
    return 1 if ended else 0


@jobs.command("set")
@click.argument("job", nargs=-1, required=True)
@click.option(
    "--priority", type=click.IntRange(-1_000_000, 1_000_000), required=True, help="Higher is first; as for others, 0."
)
@database
@as_json_option
@click.pass_context
def set_(context: click.Context, job: tuple[str, ...], priority: int, db: Database, as_json: bool) -> None:
    """Change each JOB that waits: a number, or a name (then the newest that has not ended).

    Exit code 0 if every one waited, 1 if one does not wait any more, 2 if there is no such job.
    """
    store, codes = store_at(db), []
    check_there(db, job, store.show, "job", "jobs")
    for one in job:
        found = refusing(PlainDisplay(), lambda one=one: store.set_priority(one, priority))  # type: ignore[misc]
        if found is None:
            unknown(db, f"job {one!r}", "jobs")
        number, waits = found
        codes.append(0 if waits else 1)
        if as_json:
            say_json({"job_id": number, "priority": priority, "effect": "set" if waits else "not waiting"})
        else:
            say(f"job {number}: {f'priority {priority}' if waits else 'does not wait any more'}")
    context.exit(max(codes))


jobs.add_command(log)
jobs.add_command(submit_job)
jobs.add_command(retry_jobs)
jobs.add_command(wait_for_jobs)
