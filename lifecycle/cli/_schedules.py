"""``lifecycle schedules``: look at the schedules in a database, pause, resume, trigger, change and remove them."""

from __future__ import annotations

from collections.abc import Callable

import click

from ..scheduler._store.outside import OutsideStore
from ..scheduler._store.pace import OVERLAPS, Bound, Overlap
from ..scheduler._words import overlap_text
from ._careful import Group
from ._common import BAD_INPUT, as_json_option, refusing
from ._database import Database, check_there, database, store_at, unknown
from .show._lines import complain, say, say_json
from .show._plain import PlainDisplay
from .show._schedules import print_schedule, print_schedules


@click.group(cls=Group)
def schedules() -> None:
    """Look at the schedules in a database and change them, while schedulers work on it or not."""


@schedules.command("list")
@database
@as_json_option
def list_schedules(db: Database, as_json: bool) -> None:
    """List the schedules by name, with their next and last due times."""
    print_schedules(refusing(PlainDisplay(), store_at(db).schedules), as_json=as_json)


@schedules.command()
@click.argument("name")
@database
@as_json_option
def show(name: str, db: Database, as_json: bool) -> None:
    """Show everything of the schedule NAME."""
    there = {record.name: record for record in refusing(PlainDisplay(), store_at(db).schedules)}
    if (record := there.get(name)) is None:
        unknown(db, f"schedule {name!r}", "schedules")
    print_schedule(record, as_json=as_json)


@schedules.command()
@click.argument("name", nargs=-1, required=True)
@database
@as_json_option
def pause(name: tuple[str, ...], db: Database, as_json: bool) -> None:
    """Pause each schedule NAME until it is resumed; what runs goes on."""
    _change(name, db, lambda store, one: store.pause_schedule(one), "paused", "paused", as_json)


@schedules.command()
@click.argument("name", nargs=-1, required=True)
@database
@as_json_option
def resume(name: tuple[str, ...], db: Database, as_json: bool) -> None:
    """End the pause of each schedule NAME; what was due meanwhile is not made up for."""
    _change(name, db, lambda store, one: store.resume_schedule(one), "resumed", "resumed", as_json)


@schedules.command()
@click.argument("name", nargs=-1, required=True)
@database
@as_json_option
def trigger(name: tuple[str, ...], db: Database, as_json: bool) -> None:
    """Start a run of each schedule NAME, besides those that are due, also during a pause.

    A scheduler that serves the flow or handler starts it: within about a second, or when one is started.
    """
    _change(name, db, lambda store, one: store.trigger_schedule(one), "triggered", "a run will be started", as_json)


@schedules.command()
@click.argument("name", nargs=-1, required=True)
@database
@as_json_option
def remove(name: tuple[str, ...], db: Database, as_json: bool) -> None:
    """Remove each schedule NAME from the database; what it has submitted goes on.

    A scheduler whose program, or whose flow's file, has such a schedule makes it again when it is started.
    """
    _change(name, db, lambda store, one: store.remove_schedule(one), "removed", "removed", as_json)


@schedules.command("set")
@click.argument("name", nargs=-1, required=True)
@click.option("--max-instances", type=click.IntRange(1), help="How many of its runs may be unfinished at once.")
@click.option("--overlap", type=click.Choice(OVERLAPS), default="skip", show_default=True, help="Of one more.")
@database
@as_json_option
def set_overlap(
    name: tuple[str, ...], max_instances: int | None, overlap: Overlap, db: Database, as_json: bool
) -> None:
    """Set how many runs of each schedule NAME go on at once, and what becomes of one more, in place of what it was.

    Without --max-instances there is no bound. A service that is started again, or reads its flows again, says it anew.
    """
    if max_instances is None and overlap != "skip":
        raise click.UsageError("--overlap is for a schedule with --max-instances")
    bound, text = Bound(max_instances, overlap), overlap_text(max_instances, overlap)
    _change(name, db, lambda store, one: store.bound_schedule(one, bound), "set", text, as_json)


def _change(
    names: tuple[str, ...],
    db: Database,
    change: Callable[[OutsideStore, str], bool],
    effect: str,
    text: str,
    as_json: bool,
) -> None:
    """Change each schedule, and print the effect; a name that does not exist ends it with exit code 2."""
    store = store_at(db)
    there = {record.name: record for record in refusing(PlainDisplay(), store.schedules)}
    check_there(db, names, there.get, "schedule", "schedules")
    for name in names:
        try:
            known = refusing(PlainDisplay(), lambda name=name: change(store, name))  # type: ignore[misc]
        except (ValueError, ImportError) as error:  # when it is due cannot be said on this machine
            complain(f"schedule {name}: {error}")
            raise SystemExit(BAD_INPUT) from None
        if not known:
            unknown(db, f"schedule {name!r}", "schedules")
        if as_json:
            say_json({"schedule": name, "effect": effect})
        else:
            say(f"schedule {name}: {text}")
