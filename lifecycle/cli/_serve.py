"""``lifecycle serve``: a scheduler that runs until it is stopped, and takes jobs from clients."""

from __future__ import annotations

from pathlib import Path

import click

from ._careful import Command
from ._common import existing_file
from ._database import Database, optional_database
from ._serving import Serving, serve_until_signal, serving_options


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
@serving_options
@click.pass_context
def serve(context: click.Context, flows: tuple[Path, ...], db: Database | None, address: str, serving: Serving) -> None:
    """Run jobs until SIGTERM or Ctrl-C, and accept them from Redis clients: the flows in the files FLOWS, and handlers.

    The log goes to standard error.
    Exit code 0 if it was ended by a signal and has drained, 1 if something is still owned, 2 for bad input.
    """
    serve_until_signal(context, "lifecycle serve", flows, db, address, serving)
