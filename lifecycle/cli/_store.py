"""``lifecycle store``: look after a database: what it holds, whether it is sound, what to delete, and copies of it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import click

from ..scheduler._ground.text import plural
from ..scheduler._store.choice import open_upkeep
from ..scheduler._store.sqlite.place import belongs_to
from ..scheduler._store.upkeep import OutsideUpkeep
from ._careful import Group
from ._common import BAD_INPUT, as_json_option, refusing, seconds
from ._copy import copy
from ._database import Database, check_file, database, file_of
from .show._lines import complain, say, say_json
from .show._plain import PlainDisplay
from .show._store import print_facts, size


@click.group(cls=Group)
def store() -> None:
    """Look after a database, while schedulers work on it or not."""


@store.command()
@database
@as_json_option
def show(db: Database, as_json: bool) -> None:
    """Show how large it is, how many jobs it has in which state, and which schedulers work on it."""
    facts = _of(db, lambda upkeep: upkeep.facts())
    print_facts(facts, as_json=as_json)


@store.command()
@database
@as_json_option
@click.pass_context
def check(context: click.Context, db: Database, as_json: bool) -> None:
    """Look for damage, in an SQLite file and in what the rows say of each other. Exit code 1 if there is any."""
    problems = _of(db, lambda upkeep: upkeep.check())
    if as_json:
        say_json({"store": str(db), "sound": not problems, "problems": problems})
    else:
        for problem in problems or ("sound",):
            say(f"{db}: {problem}")
    context.exit(1 if problems else 0)


@store.command()
@database
@click.option(
    "--older-than",
    type=seconds,
    metavar="DURATION",
    help="Only what ended this long ago: seconds, or 15m, 12h, 7d, 2w.",
)
@click.option("--keep", type=click.IntRange(0), help="The newest so many jobs stay, whatever their age.")
@click.option("--name", help="Only jobs by themselves of this name, and runs of the flow of this name.")
@click.option("--succeeded", is_flag=True, help="Only what has succeeded: a run if all its jobs have.")
@click.option("--all", "everything", is_flag=True, help="Everything that has ended.")
@click.option("--dry-run", is_flag=True, help="Delete nothing, and say how many jobs that would be.")
@as_json_option
def purge(
    db: Database,
    older_than: float | None,
    keep: int | None,
    name: str | None,
    succeeded: bool,
    everything: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Delete jobs that have ended, and runs as a whole. What has not ended stays."""
    if older_than is None and keep is None and not everything:
        raise click.UsageError("say what may go: --older-than, --keep, or --all")
    if everything and (older_than is not None or keep is not None):
        raise click.UsageError("--all is everything that has ended: --older-than and --keep say that something stays")
    deleted = _of(
        db,
        lambda upkeep: upkeep.purge(
            older_than=older_than or 0.0, keep=keep, name=name, succeeded=succeeded, dry_run=dry_run
        ),
    )
    if as_json:
        say_json({"store": str(db), "deleted": 0 if dry_run else deleted, "found": deleted})
    else:
        say(f"{db}: {plural(deleted, 'job')} {'would be deleted' if dry_run else 'deleted'}")


@store.command()
@database
@as_json_option
def vacuum(db: Database, as_json: bool) -> None:
    """Give back what is free. Schedulers that work on a file wait meanwhile; those on a server go on."""
    before, after = _of(db, lambda upkeep: upkeep.vacuum())
    if as_json:
        say_json({"store": str(db), "before": before, "after": after})
    else:
        say(f"{db}: {size(before)} before, {size(after)} now")


@store.command()
@click.argument("target", type=click.Path(path_type=Path))
@database
@click.option("--overwrite", is_flag=True, help="Replace TARGET when it is there.")
@as_json_option
def backup(target: Path, db: Database, overwrite: bool, as_json: bool) -> None:
    """Copy an SQLite file, as it is at one moment, into the file TARGET, while schedulers go on.

    A database on a server is backed up with pg_dump, or copied into a file with `lifecycle store copy`.
    """
    try:
        written = _of(db, lambda upkeep: upkeep.backup(target, overwrite=overwrite))
    except FileExistsError as error:
        could = target.is_file() and not (overwrite or _belongs_to(db, target))
        complain(f"{error}; --overwrite replaces it" if could else str(error))
        raise SystemExit(BAD_INPUT) from None
    if as_json:
        say_json({"store": str(db), "target": str(target), "bytes": written})
    else:
        say(f"{db}: copied to {target}, {size(written)}")


@store.command()
@database
@click.option("--output", type=click.Path(path_type=Path), help="Write to this file, not to standard output.")
def export(db: Database, output: Path | None) -> None:
    """Write everything that it knows as JSON, one object for each run, job and schedule, one a line."""
    upkeep = _upkeep_of(db)
    if output is not None and _belongs_to(db, output):
        complain(f"{output}: is the database, or belongs to it; give another file")
        raise SystemExit(BAD_INPUT)
    whole = output is not None and (output.is_file() or not output.exists())  # not in the place of a pipe or a device

    def write() -> int:
        count = 0
        with (
            _no_more_readers_than(db),
            click.open_file(str(output or "-"), "w", encoding="utf-8", atomic=whole) as file,
            closing(upkeep.export()) as records,
        ):
            for record in records:
                file.write(f"{json.dumps(record)}\n")
                count += 1
        return count

    try:
        count = refusing(PlainDisplay(), write)
    except OSError as error:
        complain(f"{output}: {error.strerror or error}")
        raise SystemExit(BAD_INPUT) from None
    if output is not None:
        say(f"{db}: {plural(count, 'record')} written to {output}")


store.add_command(copy)


@contextmanager
def _no_more_readers_than(db: Database) -> Iterator[None]:
    """Make files, during the block, that nobody may read who may not read the database; of a server, nobody else."""
    file = file_of(db)
    readers = 0o700 if file is None else file.stat().st_mode & 0o777
    usual = os.umask(0o777)
    os.umask(usual | ~readers & 0o777)
    try:
        yield
    finally:
        os.umask(usual)


def _belongs_to(db: Database, path: Path) -> bool:
    return isinstance(db, Path) and belongs_to(db, path)


def _of(db: Database, question: Callable[[OutsideUpkeep], Any]) -> Any:
    """Return the answer to a question about the store in *db*; end with exit code 2 if it cannot be had."""
    upkeep = _upkeep_of(db)
    return refusing(PlainDisplay(), lambda: question(upkeep))


def _upkeep_of(db: Database) -> OutsideUpkeep:
    check_file(db)
    return open_upkeep(db)
