"""``lifecycle flow``: look at a flow and run nothing."""

from __future__ import annotations

from pathlib import Path

import click

from ..scheduler import load_flow
from ._careful import Group
from ._common import as_json_option, existing_file, handlers_option, refusing
from .show._flow import as_svg, as_table, as_text
from .show._lines import say, say_json
from .show._plain import PlainDisplay


@click.group(cls=Group)
def flow() -> None:
    """Look at a flow."""


@flow.command()
@click.argument("file", type=existing_file)
@handlers_option
@click.option("--svg", is_flag=True, help="An SVG image.")
@as_json_option
def show(file: Path, handlers: tuple[str, ...], svg: bool, as_json: bool) -> None:
    """Draw the flow in FILE: its parameters, and its jobs by levels, each below all that it needs. Nothing is run."""
    if svg and as_json:
        raise click.UsageError("give --svg or --json, not both")
    loaded = refusing(PlainDisplay(), lambda: load_flow(file, handlers=handlers))
    if as_json:
        say_json(as_table(loaded))
        return
    for line in as_svg(loaded).splitlines() if svg else as_text(loaded):
        say(line)
