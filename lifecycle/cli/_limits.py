"""``lifecycle limits``: look at what holds jobs back in a database, set it, pause and resume."""

from __future__ import annotations

import click

from lifecycle import Rate

from ..scheduler._engine.limits import limit_key, new_limit
from ..scheduler._store.limits import LimitKey
from ._careful import Group
from ._common import as_json_option, checked, refusing, seconds
from ._database import Database, database, store_at
from .show._limits import print_limits
from .show._lines import say, say_json
from .show._plain import PlainDisplay

_queue = click.option("--queue", metavar="NAME", help="Of the queue of this name.")
_handler = click.option("--handler", metavar="NAME", help="Of the handler of this name.")


@click.group(cls=Group)
def limits() -> None:
    """Look at what holds jobs back in a database, and change it, while schedulers work on it or not."""


@limits.command("list")
@database
@as_json_option
def list_limits(db: Database, as_json: bool) -> None:
    """List all limits and pauses, and the queues that have jobs."""
    print_limits(refusing(PlainDisplay(), store_at(db).limits), as_json=as_json)


@limits.command("set")
@_queue
@_handler
@click.option("--limit", type=click.IntRange(0), help="How many run at once, over all schedulers.")
@click.option("--rate", type=click.IntRange(1), help="How many begin in the time that --per says.")
@click.option("--per", type=seconds, metavar="DURATION", help="The time of --rate.  [default: 1s]")
@click.option("--burst", type=click.IntRange(1), help="How many of --rate may begin at once.  [default: 1]")
@click.option("--weight", type=float, default=1.0, show_default=True, help="Of a queue: its share of the workers.")
@database
@as_json_option
def set_limit(
    queue: str | None,
    handler: str | None,
    limit: int | None,
    rate: int | None,
    per: float | None,
    burst: int | None,
    weight: float,
    db: Database,
    as_json: bool,
) -> None:
    """Set the limit of a queue, of a handler, or of everything, in place of what it was. A pause stays.

    Without --limit, --rate and --weight it has none any more.
    """
    key = _key(queue, handler)
    if rate is None and (per, burst) != (None, None):
        raise click.UsageError("--per and --burst are of a --rate, and there is none")
    bound = None if rate is None else checked(lambda: Rate(rate, per=1.0 if per is None else per, burst=burst or 1))
    new = checked(lambda: new_limit(key, limit, bound, weight))
    refusing(PlainDisplay(), lambda: store_at(db).put_limit(new))
    _tell(key, "unlimited" if new.neutral else "set", as_json)


@limits.command()
@_queue
@_handler
@database
@as_json_option
def pause(queue: str | None, handler: str | None, db: Database, as_json: bool) -> None:
    """Let no more jobs of a queue, of a handler, or at all, begin; what runs goes on."""
    _pause(_key(queue, handler), db, as_json, paused=True)


@limits.command()
@_queue
@_handler
@database
@as_json_option
def resume(queue: str | None, handler: str | None, db: Database, as_json: bool) -> None:
    """End a pause. Of everything: a queue that was paused by itself still is."""
    _pause(_key(queue, handler), db, as_json, paused=False)


def _pause(key: LimitKey, db: Database, as_json: bool, *, paused: bool) -> None:
    changed = refusing(PlainDisplay(), lambda: store_at(db).pause(key, paused=paused))
    effect = "paused" if paused else "resumed"
    _tell(key, effect if changed else f"was {effect}" if paused else "was not paused", as_json)


def _tell(key: LimitKey, effect: str, as_json: bool) -> None:
    if as_json:
        say_json({"kind": key.kind, "name": key.name, "effect": effect})
    else:
        say(f"{key}: {effect}")


def _key(queue: str | None, handler: str | None) -> LimitKey:
    return checked(lambda: limit_key(queue, handler))
