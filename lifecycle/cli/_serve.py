"""``lifecycle serve``: a scheduler that runs until it is stopped."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lifecycle import LifecycleError
from lifecycle import run as run_process

from ..scheduler import Scheduler
from ._careful import Command
from ._common import (
    BAD_INPUT,
    STUCK_TIME,
    existing_file,
    handlers_option,
    lines_of,
    refusing,
)
from ._database import Database, file_of, for_scheduler, option_for, optional_database
from ._owned import still_owned
from ._settings import SchedulerSettings, scheduler_options
from ._signals import ServiceSignals
from ._streams import output_for_us
from .show._display import Display
from .show._json import JsonDisplay
from .show._log import LogDisplay
from .show._logging import LEVELS, logging_to_stderr
from .show._plain import PlainDisplay

if TYPE_CHECKING:
    from ._service import Service


@click.command(cls=Command)
@click.argument("flows", nargs=-1, type=existing_file)
@optional_database("what was interrupted is resumed.")
@click.option(
    "--control",
    "address",
    default="127.0.0.1:6480",
    show_default=True,
    metavar="HOST:PORT",
    help="Where clients connect.",
)
@click.option("--web", metavar="HOST:PORT", help="Serve a page of what happens; needs the extra `web`.")
@click.option(
    "--password-file",
    type=existing_file,
    help="A file with the password that clients must give; needed beyond this machine.",
)
@scheduler_options
@handlers_option
@click.option("--json", "as_json", is_flag=True, help="Events on standard output, one JSON object per line.")
@click.option(
    "--log-level", type=click.Choice(LEVELS), default="info", show_default=True, help="The lowest level that is logged."
)
@click.option("--log-json", is_flag=True, help="The log as one JSON object per line.")
@click.pass_context
def serve(
    context: click.Context,
    flows: tuple[Path, ...],
    db: Database | None,
    address: str,
    web: str | None,
    password_file: Path | None,
    handlers: str | None,
    settings: SchedulerSettings,
    as_json: bool,
    log_level: str,
    log_json: bool,
) -> None:
    """Run jobs until SIGTERM or Ctrl-C, and accept them from Redis clients: the flows in the files FLOWS, and handlers.

    The log goes to standard error.
    Exit code 0 if it was ended by a signal and has drained, 1 if something is still owned, 2 for bad input.
    """
    from ._service import Service

    stream = context.with_resource(output_for_us()) if as_json else None
    display = LogDisplay() if stream is None else JsonDisplay(stream)
    threads = frozenset(threading.enumerate())
    with logging_to_stderr(log_level, as_json=log_json, db=option_for(db)), ServiceSignals() as signals:
        refusals = PlainDisplay() if stream is None else display
        service = refusing(refusals, lambda: Service.read(flows, handlers, address, password_file, web))
        scheduler = Scheduler(
            for_scheduler(db),
            name="lifecycle serve",
            on_event=display.event,
            **settings,
        )
        code = _until_signal(service, scheduler, display, settings["drain_timeout"], signals)
        owned = still_owned(threads, file_of(db))
        display.owned(owned)
    context.exit(code or (1 if owned else 0))


def _until_signal(
    service: Service, scheduler: Scheduler, display: Display, drain_timeout: float, signals: ServiceSignals
) -> int:
    """Serve until a signal comes, and return the exit code."""
    try:
        # The scheduler keeps to the drain timeout by itself; only a second signal forces it.
        run_process(service.run, scheduler, display.event, signals, drain_timeout=drain_timeout + STUCK_TIME)
    except (KeyboardInterrupt, SystemExit):
        return 0
    except (LifecycleError, OSError, ExceptionGroup) as error:
        display.problems(lines_of(error) or [str(error)])
        return BAD_INPUT
    return 0
