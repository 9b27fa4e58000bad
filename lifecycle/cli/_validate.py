"""``lifecycle validate``: check a flow and run nothing."""

from __future__ import annotations

from pathlib import Path

import click

from ..scheduler import load_flow
from ..scheduler._ground.text import plural
from ._careful import Command
from ._common import (
    existing_file,
    handlers_option,
    param_option,
    refusing,
)
from ._params import values_from_texts
from .show._lines import say
from .show._plain import PlainDisplay


@click.command(cls=Command)
@click.argument("flow", type=existing_file)
@param_option
@handlers_option
def validate(flow: Path, params: tuple[str, ...], handlers: tuple[str, ...]) -> None:
    """Check the flow in the file FLOW; run nothing. Parameters are checked when one is given."""
    display = PlainDisplay()
    loaded = refusing(display, lambda: load_flow(flow, handlers=handlers))
    if params:
        refusing(display, lambda: values_from_texts(loaded, params))
    say(
        f"{loaded.source}: flow {loaded.name!r} is valid: {plural(len(loaded.jobs), 'job')}, "
        f"{plural(len(loaded.params), 'parameter')}"
    )
