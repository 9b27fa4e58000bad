"""``lifecycle run``: one flow, to its end."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import click

from lifecycle import LifecycleError
from lifecycle import run as run_process

from ..scheduler import Flow, FlowRun, RunOutcome, Scheduler, load_flow
from ._careful import Command
from ._common import (
    BAD_INPUT,
    INTERRUPTED,
    STUCK_TIME,
    existing_file,
    handlers_option,
    lines_of,
    param_option,
    refusing,
)
from ._database import Database, file_of, for_scheduler, optional_database
from ._owned import still_owned
from ._params import values_from_texts
from ._settings import SchedulerSettings, scheduler_options
from ._streams import output_for_us
from .show._display import Display
from .show._flow import as_text, plan_of
from .show._json import JsonDisplay
from .show._lines import say, say_json
from .show._logging import job_log_in_last_resort
from .show._plain import PlainDisplay


@click.command(cls=Command)
@click.argument("flow", type=existing_file)
@optional_database("a run that was killed is resumed.")
@scheduler_options
@param_option
@handlers_option
@click.option("--fresh", is_flag=True, help="Cancel what is left of an unfinished run and begin a new one.")
@click.option("--dry-run", is_flag=True, help="Say what would run, in which order; run and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line, for machines.")
@click.pass_context
def run(
    context: click.Context,
    flow: Path,
    db: Database | None,
    params: tuple[str, ...],
    handlers: tuple[str, ...],
    settings: SchedulerSettings,
    fresh: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Run the flow in the file FLOW to its end.

    Exit code 0 only if every job succeeded, 1 if some did not, 2 for bad input, 130 or 143 if interrupted.
    """
    json_to = context.with_resource(output_for_us()) if as_json else None
    display = choose_display(json_to)
    threads = frozenset(threading.enumerate())
    loaded = refusing(display, lambda: load_flow(flow, handlers=handlers))
    values = refusing(display, lambda: values_from_texts(loaded, params))
    if dry_run:
        show_plan(loaded, refusing(display, lambda: loaded.bind(values)), json_to)
        return
    scheduler = Scheduler(
        for_scheduler(db),
        name=loaded.name,
        on_event=display.event,
        adopt=False,
        **settings,
    )
    running = _Running(scheduler, loaded, values, fresh, display)
    code, problems = running.to_its_end(settings["drain_timeout"])
    display.problems(problems)
    owned = still_owned(threads, file_of(db))
    display.owned(owned)
    context.exit(code or (1 if owned else 0))


def choose_display(json_to: TextIO | None) -> Display:
    """Return the display that fits where the output goes: JSON to a stream, or what suits standard output."""
    if json_to is not None:
        return JsonDisplay(json_to)
    if not sys.stdout.isatty() or not sys.stdout.encoding.lower().startswith("utf"):
        return PlainDisplay()
    from .show._live import LiveDisplay

    return LiveDisplay()


def show_plan(flow: Flow, params: Mapping[str, Any], json_to: TextIO | None) -> None:
    """Print what would run: the jobs by levels, with the values of the parameters."""
    if json_to is not None:
        say_json(plan_of(flow, params), json_to)
        return
    for line in as_text(flow, params):
        say(line)


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
        """How it ended, None before its end."""
        return self._run.outcome if self._run is not None else None

    def to_its_end(self, drain_timeout: float) -> tuple[int, list[str]]:
        """Run it under `lifecycle.run` and return the exit code and the problems to print."""
        try:
            # The scheduler keeps to the drain timeout by itself; only a second signal forces it.
            with job_log_in_last_resort():
                run_process(self._main, drain_timeout=drain_timeout + STUCK_TIME)
        except KeyboardInterrupt:
            return self._interrupted(INTERRUPTED), []
        except SystemExit as ended:
            return self._interrupted(int(ended.code or 0)), []
        except (LifecycleError, ExceptionGroup) as error:
            lines = lines_of(error)
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
