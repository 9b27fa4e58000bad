"""``lifecycle worker``: one of several processes that work on one database until they are stopped."""

from __future__ import annotations

from pathlib import Path

import click

from ._careful import Command
from ._common import existing_file
from ._database import Database, database
from ._serving import Serving, serve_until_signal, serving_options


@click.command(cls=Command)
@click.argument("flows", nargs=-1, type=existing_file)
@database
@click.option(
    "--control", "address", metavar="HOST:PORT", help="Where clients connect.  [default: no clients are accepted]"
)
@serving_options
@click.pass_context
def worker(
    context: click.Context, flows: tuple[Path, ...], db: Database, address: str | None, serving: Serving
) -> None:
    """Run the jobs of a database until SIGTERM or Ctrl-C: runs of the flows in the files FLOWS, and jobs of handlers.

    As many as are wanted work on one database. On a server, from many machines: whichever knows a job and has room
    takes it. On an SQLite file, from one machine: a job stays with the worker that has seen it first, as long as that
    lives. What is due by a schedule begins once, and what a worker leaves that has died is taken over. Jobs come from
    `lifecycle jobs submit`, from programs, and from schedules.

    The log goes to standard error.
    Exit code 0 if it was ended by a signal and has drained, 1 if something is still owned, 2 for bad input.
    """
    if not flows and not any(serving["handlers"]):
        raise click.UsageError("it would run nothing: name FLOWS, or give --handlers")
    if serving["password_file"] is not None and address is None and serving["web"] is None:
        raise click.UsageError("--password-file is for the clients of --control and --web, and there are none")
    serve_until_signal(context, "lifecycle worker", flows, db, address, serving)
