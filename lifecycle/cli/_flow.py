"""``lifecycle flow``: look at a flow and run nothing."""

from __future__ import annotations

from pathlib import Path

import click

from ..scheduler import load_flow
from ._careful import Group
from ._common import existing_file, handlers_option, refusing
from .show._flow import as_svg, as_text
from .show._lines import say
from .show._plain import PlainDisplay


@click.group(cls=Group)
def flow() -> None:
    """Look at a flow."""


@flow.command()
@click.argument("file", type=existing_file)
@handlers_option
@click.option("--svg", is_flag=True, help="An SVG image.")
def show(file: Path, handlers: str | None, svg: bool) -> None:
    """Draw the flow in FILE: its jobs by levels, each below all that it needs. Nothing is run."""
    loaded = refusing(PlainDisplay(), lambda: load_flow(file, handlers=handlers))
    for line in as_svg(loaded).splitlines() if svg else as_text(loaded):
        say(line)
