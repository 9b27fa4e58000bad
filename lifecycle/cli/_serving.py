"""Serving until a signal: what ``lifecycle serve`` and ``worker`` have in common, their options included."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypedDict

import click

from lifecycle import LifecycleError
from lifecycle import run as run_process

from ..scheduler import Scheduler
from ._common import BAD_INPUT, STUCK_TIME, existing_file, handlers_option, lines_of, refusing
from ._database import Database, file_of, for_scheduler, option_for
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


class Serving(TypedDict):
    """How to serve: the values of the options that both commands have."""

    web: str | None
    password_file: Path | None
    handlers: tuple[str, ...]
    settings: SchedulerSettings
    as_json: bool
    log_level: str
    log_json: bool


def serving_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `Serving`; it is called with all of them as *serving*."""

    @functools.wraps(command)
    def collecting(**values: Any) -> None:
        serving = {name: values.pop(name) for name in Serving.__annotations__}
        command(**values, serving=serving)

    wrapped: Callable[..., None] = collecting
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


_OPTIONS: Final[tuple[Callable[[Callable[..., None]], Callable[..., None]], ...]] = (
    click.option("--web", metavar="HOST:PORT", help="Serve a page of what happens; needs the extra `web`."),
    click.option(
        "--password-file",
        type=existing_file,
        help="A file with the password that clients must give; needed beyond this machine.",
    ),
    scheduler_options,
    handlers_option,
    click.option("--json", "as_json", is_flag=True, help="Events on standard output, one JSON object per line."),
    click.option(
        "--log-level",
        type=click.Choice(LEVELS),
        default="info",
        show_default=True,
        help="The lowest level that is logged.",
    ),
    click.option("--log-json", is_flag=True, help="The log as one JSON object per line."),
)


def serve_until_signal(
    context: click.Context,
    name: str,
    flows: tuple[Path, ...],
    db: Database | None,
    address: str | None,
    serving: Serving,
) -> None:
    """Serve as a command line says until a signal comes, and end with the exit code."""
    from ._service import Service

    settings = serving["settings"]
    stream = context.with_resource(output_for_us()) if serving["as_json"] else None
    display = LogDisplay() if stream is None else JsonDisplay(stream)
    refusals = PlainDisplay() if stream is None else display
    threads = frozenset(threading.enumerate())
    log = logging_to_stderr(serving["log_level"], as_json=serving["log_json"], db=option_for(db))
    with log, ServiceSignals() as signals:
        where = (address, serving["password_file"], serving["web"])
        service = refusing(refusals, lambda: Service.read(flows, serving["handlers"], *where))
        store = for_scheduler(db)
        scheduler = refusing(refusals, lambda: Scheduler(store, name=name, on_event=display.event, **settings))
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
