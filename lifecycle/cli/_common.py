"""What several commands share: options, and the way to refuse bad input."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from lifecycle import LifecycleError

from ..scheduler import FlowError, RunConflict, StoreError
from ..scheduler._ground.checks import LONGEST
from ..scheduler._ground.text import quote
from .show._display import Display

T = TypeVar("T")

BAD_INPUT: Final = 2
"""The exit code for bad input and for an environment in which nothing can be done."""

INTERRUPTED: Final = 130
"""The exit code after Ctrl-C: 128 and the number of the signal."""

STUCK_TIME: Final = 60.0
"""Seconds that closing may take beyond draining, before the process is forced to end."""


def seconds(text: str) -> float:
    """Return a duration in seconds, written as ``90``, ``15m``, ``12h``, ``7d`` or ``2w``; the type of an option.

    Raises:
        click.BadParameter: it is not one, or longer than a century.
    """
    found = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)([smhdw]?)", text.strip(), re.ASCII)
    duration = float(found[1]) * _UNITS[found[2] or "s"] if found else math.inf
    if duration > LONGEST:
        raise click.BadParameter(f"expected seconds, or a number with s, m, h, d or w, got {quote(text)}")
    return duration


_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}


class _RunNumber(click.ParamType[int]):
    """The number of a run: flows have names, and their runs have none."""

    name = "run"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number that was written."""
        if not re.fullmatch(r"[0-9]{1,18}", str(value), re.ASCII):
            self.fail(f"expected the number of a run, as `lifecycle runs list` has it, got {quote(value)}", param, ctx)
        return int(value)


RUN_NUMBER: Final = _RunNumber()


def moment(text: str) -> datetime:
    """Return a time that is to come: ISO 8601, local where it has no offset; the type of an option.

    Raises:
        click.BadParameter: it is none.
    """
    try:
        return datetime.fromisoformat(text.strip()).astimezone()  # local, where it has no offset
    except (ValueError, OverflowError, OSError):
        raise click.BadParameter(f"expected a time such as 2026-11-30T17:00, got {quote(text)}") from None


def instant(text: str) -> float:
    """Return a time as seconds since 1970: ISO 8601, local where it has no offset, or a duration ago as in `seconds`.

    Raises:
        click.BadParameter: it is neither.
    """
    try:
        return datetime.fromisoformat(text.strip()).timestamp()  # local, where it has no offset
    except (ValueError, OverflowError, OSError):
        pass
    try:
        return time.time() - seconds(text)
    except click.BadParameter:
        message = f"expected a time such as 2026-11-30T17:00, or how long ago, such as 90m, got {quote(text)}"
        raise click.BadParameter(message) from None


existing_file = click.Path(path_type=Path)

as_json_option = click.option("--json", "as_json", is_flag=True, help="JSON, for machines.")
# Both may be paths, in whatever encoding: these are not looked at as texts.
param_option = click.option(
    "--param",
    "params",
    type=click.UNPROCESSED,
    multiple=True,
    metavar="NAME=VALUE",
    help="A parameter of the flow.",
)
handlers_option = click.option(
    "--handlers",
    type=click.UNPROCESSED,
    multiple=True,
    metavar="MODULE",
    help="A further handler module: a .py file or a dotted name; may be repeated.",
)


def lines_of(error: BaseException) -> list[str] | None:
    """Return the lines to print for an error that needs no traceback, None for any other."""
    if isinstance(error, BaseExceptionGroup):
        inner = [lines_of(child) for child in error.exceptions]
        # Each line once: several may have met one and the same failure of the store.
        return None if None in inner else list(dict.fromkeys(line for lines in inner if lines for line in lines))
    if isinstance(error, FlowError):
        return list(error.problems)
    if isinstance(error, RunConflict) and error.flow_changed:
        return [f"{error}; `lifecycle run --fresh` does that"]
    return [str(error)] if isinstance(error, LifecycleError) else None


def refusing(display: Display, step: Callable[[], T]) -> T:
    """Return what *step* returns; print what is wrong and end with exit code 2."""
    try:
        return step()
    except (FlowError, RunConflict, StoreError) as error:
        display.problems(lines_of(error) or [])
        raise SystemExit(BAD_INPUT) from None


def checked(make: Callable[[], T]) -> T:
    """Return what *make* makes; what is wrong with the options is told as such."""
    try:
        return make()
    except (TypeError, ValueError) as error:
        raise click.UsageError(str(error)) from None
