"""The command line: ``lifecycle run``, ``lifecycle serve``, ``lifecycle validate`` and ``lifecycle jobs``."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from lifecycle import LifecycleError, __version__
from lifecycle import run as run_process

from .scheduler import Flow, FlowError, FlowRun, JobStatus, RunConflict, RunOutcome, Scheduler, StoreError, load_flow
from .scheduler._inspect import StoreFile
from .scheduler._owned import still_owned
from .scheduler._text import plural
from .scheduler.flow._params import params_from_text
from .scheduler.show import Display, JsonDisplay, PlainDisplay, choose_display
from .scheduler.show._jobs import print_job, print_jobs

T = TypeVar("T")

BAD_INPUT = 2
"""The exit code for bad input and for an environment in which nothing can be done."""

STUCK_TIME = 60.0
"""Seconds that closing may take beyond draining, before the process is forced to end."""

_existing_file = click.Path(path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="lifecycle")
def cli() -> None:
    """Run flows of jobs that leave nothing behind."""


@cli.command()
@click.argument("flow", type=_existing_file)
@click.option("--db", type=_existing_file, help="Keep the jobs in this SQLite file; a run that was killed goes on.")
@click.option("--workers", type=click.IntRange(1, 1_000), default=8, show_default=True, help="Jobs at once.")
@click.option("--param", "params", multiple=True, metavar="NAME=VALUE", help="A parameter of the flow.")
@click.option("--handlers", metavar="MODULE", help="A further handler module: a .py file or a dotted name.")
@click.option(
    "--drain-timeout",
    type=click.FloatRange(0, 86_400),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="Time for running jobs to end after SIGTERM or Ctrl-C; the rest is interrupted.",
)
@click.option("--fresh", is_flag=True, help="Cancel what is left of an unfinished run and begin a new one.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line, for machines.")
@click.pass_context
def run(
    context: click.Context,
    flow: Path,
    db: Path | None,
    workers: int,
    params: tuple[str, ...],
    handlers: str | None,
    drain_timeout: float,
    fresh: bool,
    as_json: bool,
) -> None:
    """Run the flow in the file FLOW to its end.

    Exit code 0 only if every job succeeded, 1 if some did not, 2 for bad input, 130 or 143 if interrupted.
    """
    display = choose_display(as_json=as_json)
    threads = frozenset(threading.enumerate())
    loaded = _refusing(display, lambda: load_flow(flow, handlers=handlers))
    values = _refusing(display, lambda: _bound(loaded, params))
    scheduler = Scheduler(
        db, workers=workers, name=loaded.name, drain_timeout=drain_timeout, on_event=display.event, adopt=False
    )
    running = _Running(scheduler, loaded, values, fresh, display)
    code, problems = running.to_its_end(drain_timeout)
    display.problems(problems)
    owned = still_owned(threads, db)
    display.owned(owned)
    context.exit(code or (1 if owned else 0))


@cli.command()
@click.argument("flows", nargs=-1, type=_existing_file)
@click.option("--db", type=_existing_file, help="Keep the jobs in this SQLite file; what was interrupted goes on.")
@click.option("--control", "address", default="127.0.0.1:6480", show_default=True, metavar="HOST:PORT", help="Where.")
@click.option(
    "--password-file", type=_existing_file, help="Clients must give what this file holds; needed beyond this machine."
)
@click.option("--workers", type=click.IntRange(1, 1_000), default=8, show_default=True, help="Jobs at once.")
@click.option("--handlers", metavar="MODULE", help="A handler module: a .py file or a dotted name.")
@click.option(
    "--drain-timeout",
    type=click.FloatRange(0, 86_400),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="Time for running jobs to end after SIGTERM or Ctrl-C; the rest is interrupted.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line, for machines.")
@click.pass_context
def serve(
    context: click.Context,
    flows: tuple[Path, ...],
    db: Path | None,
    address: str,
    password_file: Path | None,
    workers: int,
    handlers: str | None,
    drain_timeout: float,
    as_json: bool,
) -> None:
    """Run jobs until SIGTERM or Ctrl-C, and take them from Redis clients: the flows in the files FLOWS, and handlers.

    Exit code 0 when it was ended by a signal and has drained, 1 if something is still owned, 2 for bad input.
    """
    from .scheduler._service import Service  # the control server is worth its loading only here

    display = JsonDisplay() if as_json else PlainDisplay()
    threads = frozenset(threading.enumerate())
    service = _refusing(display, lambda: Service.read(flows, handlers, address, password_file))
    scheduler = Scheduler(
        db, workers=workers, name="lifecycle serve", drain_timeout=drain_timeout, on_event=display.event
    )
    try:
        run_process(service.run, scheduler, display.event, drain_timeout=drain_timeout + STUCK_TIME)
    except (KeyboardInterrupt, SystemExit):
        code = 0
    except (LifecycleError, OSError, ExceptionGroup) as error:
        display.problems(_lines(error) or [str(error)])
        code = BAD_INPUT
    owned = still_owned(threads, db)
    display.owned(owned)
    context.exit(code or (1 if owned else 0))


class _Running:
    """One run of a flow, from its submission to its outcome."""

    def __init__(self, scheduler: Scheduler, flow: Flow, params: dict[str, Any], fresh: bool, display: Display) -> None:
        self._scheduler = scheduler
        self._display = display
        self._flow = flow
        self._params = params
        self._fresh = fresh
        self._run: FlowRun | None = None

    @property
    def outcome(self) -> RunOutcome | None:
        """How it ended, as far as that is known."""
        return self._run.outcome if self._run is not None else None

    def to_its_end(self, drain_timeout: float) -> tuple[int, list[str]]:
        """Run it under `lifecycle.run` and return the exit code and the problems to tell."""
        try:
            # The scheduler keeps to the drain timeout by itself; only a second signal forces it.
            run_process(self._main, drain_timeout=drain_timeout + STUCK_TIME)
        except KeyboardInterrupt:
            return self._interrupted(130), []
        except SystemExit as ended:
            return self._interrupted(int(ended.code or 0)), []
        except (LifecycleError, ExceptionGroup) as error:
            lines = _lines(error)
            if lines is None:
                raise
            return BAD_INPUT, lines
        assert self.outcome is not None
        return (0 if self.outcome.succeeded else 1), []

    def _interrupted(self, code: int) -> int:
        """Return the exit code after a signal: that of the signal, unless nothing was left to interrupt."""
        return 0 if self.outcome is not None and self.outcome.succeeded else code

    async def _main(self) -> None:
        with self._shown():
            async with self._scheduler as scheduler:
                self._run = await scheduler.submit(self._flow, params=self._params, resume=True, fresh=self._fresh)
                await self._run.wait()

    @contextmanager
    def _shown(self) -> Iterator[None]:
        """Show the run while it lasts, then its outcome: here, because `lifecycle.run` may end a stuck process."""
        began = time.monotonic()
        try:
            with self._display:
                yield
        finally:
            if self.outcome is not None:
                self._display.outcome(self.outcome, time.monotonic() - began)


def _lines(error: BaseException) -> list[str] | None:
    """Return the lines to tell for an error that needs no traceback, None for any other."""
    if isinstance(error, BaseExceptionGroup):
        inner = [_lines(child) for child in error.exceptions]
        # Each line once: several may have met one and the same failure of the store.
        return None if None in inner else list(dict.fromkeys(line for lines in inner if lines for line in lines))
    if isinstance(error, FlowError):
        return list(error.problems)
    return [str(error)] if isinstance(error, LifecycleError) else None


def _bound(flow: Flow, params: tuple[str, ...]) -> dict[str, Any]:
    given = params_from_text(flow.params, list(params), flow.source)
    flow.bind(given)
    return given


def _refusing(display: Display, step: Callable[[], T]) -> T:
    """Return what *step* returns; end with the lines that say what is wrong and exit code 2."""
    try:
        return step()
    except (FlowError, RunConflict, StoreError) as error:
        display.problems(_lines(error) or [])
        raise SystemExit(BAD_INPUT) from None


@cli.command()
@click.argument("flow", type=_existing_file)
@click.option("--param", "params", multiple=True, metavar="NAME=VALUE", help="A parameter of the flow.")
@click.option("--handlers", metavar="MODULE", help="A further handler module: a .py file or a dotted name.")
def validate(flow: Path, params: tuple[str, ...], handlers: str | None) -> None:
    """Check the flow in the file FLOW; run nothing. Parameters are checked when one is given."""
    display = PlainDisplay()
    loaded = _refusing(display, lambda: load_flow(flow, handlers=handlers))
    if params:
        _refusing(display, lambda: _bound(loaded, params))
    click.echo(
        f"{loaded.source}: flow {loaded.name!r} is right: {plural(len(loaded.jobs), 'job')}, "
        f"{plural(len(loaded.params), 'parameter')}"
    )


@cli.group()
def jobs() -> None:
    """Look at the jobs in a database, and cancel some, while schedulers work on it or not."""


_database = click.option("--db", type=_existing_file, required=True, help="The SQLite file.")
_as_json_option = click.option("--json", "as_json", is_flag=True, help="JSON, for machines.")


@jobs.command("list")
@_database
@_as_json_option
@click.option("--status", type=click.Choice([status.value for status in JobStatus]), help="Only those in this state.")
@click.option("--run", "run_id", type=click.IntRange(1), help="Only those of this run.")
@click.option(
    "--limit", type=click.IntRange(1, 1_000_000), default=1_000, show_default=True, help="The newest so many."
)
def list_jobs(db: Path, as_json: bool, status: str | None, run_id: int | None, limit: int) -> None:
    """List jobs, the newest last."""
    wanted = JobStatus(status) if status else None
    records = _refusing(PlainDisplay(), lambda: StoreFile(db).jobs(status=wanted, run=run_id, limit=limit))
    print_jobs(records, as_json=as_json)


@jobs.command()
@click.argument("job")
@_database
@_as_json_option
def show(job: str, db: Path, as_json: bool) -> None:
    """Show everything of JOB: a number, or a name (then the newest)."""
    record = _refusing(PlainDisplay(), lambda: StoreFile(db).show(job))
    if record is None:
        _unknown(db, f"job {job!r}")
    print_job(record, as_json=as_json)


@jobs.command()
@click.argument("job", nargs=-1)
@click.option("--run", "run_id", type=click.IntRange(1), help="Cancel the whole run with this number.")
@click.option("--reason", default="cancelled from the command line", show_default=True, help="Why; it is kept.")
@_database
@_as_json_option
@click.pass_context
def cancel(
    context: click.Context, job: tuple[str, ...], run_id: int | None, reason: str, db: Path, as_json: bool
) -> None:
    """Cancel each JOB: a number, or a name (then the newest that has not ended).

    Exit code 0 if every one was cancelled or is being stopped, 1 if one had ended already, 2 if there is none such.
    """
    if not job and run_id is None:
        raise click.UsageError("name a JOB or give --run")
    file = StoreFile(db)
    codes = [_cancel_one(file, db, one, reason, as_json) for one in job]
    if run_id is not None:
        codes.append(_cancel_run(file, db, run_id, reason, as_json))
    context.exit(max(codes))


def _cancel_one(file: StoreFile, db: Path, job: str, reason: str, as_json: bool) -> int:
    found = _refusing(PlainDisplay(), lambda: file.cancel(job, reason))
    if found is None:
        _unknown(db, f"job {job!r}")
    number, cancelling = found
    assert cancelling.before is not None
    ended = cancelling.before.final
    effect = "ended" if ended else "cancelled" if cancelling.settled else "stopping"
    if as_json:
        click.echo(json.dumps({"job_id": number, "before": cancelling.before.value, "effect": effect}))
    else:
        texts = {"ended": f"had ended: {cancelling.before.value}", "stopping": "runs and is being stopped"}
        click.echo(f"job {number}: {texts.get(effect, 'cancelled')}")
    return 1 if ended else 0


def _cancel_run(file: StoreFile, db: Path, run_id: int, reason: str, as_json: bool) -> int:
    found = _refusing(PlainDisplay(), lambda: file.cancel_run(run_id, reason))
    if found is None:
        _unknown(db, f"run {run_id}")
    cancelled, stopping = found
    if as_json:
        click.echo(json.dumps({"run": run_id, "cancelled": cancelled, "stopping": stopping}))
    elif cancelled or stopping:
        click.echo(f"run {run_id}: {plural(cancelled, 'job')} cancelled, {stopping} being stopped")
    else:
        click.echo(f"run {run_id}: had ended")
    return 0 if cancelled or stopping else 1


def _unknown(db: Path, what: str) -> NoReturn:
    click.echo(f"{db}: there is no {what}; `lifecycle jobs list --db {db}` shows what there is", err=True)
    raise SystemExit(BAD_INPUT)
