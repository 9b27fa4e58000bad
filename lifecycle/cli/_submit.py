"""``lifecycle jobs submit``: a job for whichever scheduler works on the database and knows the handler."""

from __future__ import annotations

import json
from typing import Any

import click

from lifecycle import LifecycleError

from ..scheduler._engine.submission import call_settings, named_job
from ..scheduler._ground.text import quote
from ..scheduler._store.admission import Admitted
from ..scheduler._store.outside import OutsideStore
from ..scheduler._store.records import NewJob
from ..scheduler._store.skipping import WHEN
from ..scheduler._store.terms import TWINS
from ._careful import Command
from ._common import BAD_INPUT, as_json_option, moment, refusing, seconds
from ._database import Database, database, store_at
from ._retry import left_waiting
from .show._lines import complain, say, say_json
from .show._plain import PlainDisplay


def _json_object(text: str) -> Any:
    """Return the object that is written as JSON; the type of an option.

    Raises:
        click.BadParameter: it is none.
    """
    value = _value(text)
    if not isinstance(value, dict):
        raise click.BadParameter(f'expected a JSON object such as {{"tenant": "acme"}}, got {quote(text)}')
    return value


def _pauses(text: str) -> float | tuple[float, float]:
    """Return the first pause before a retry, or the first and the longest; the type of an option."""
    first, *longest = text.split(",", 1)
    return (seconds(first), seconds(longest[0])) if longest else seconds(first)


@click.command("submit", cls=Command)
@click.argument("handler")
@click.argument("args", nargs=-1)
@click.option("--priority", type=int, help="Higher is first.  [default: 0]")
@click.option("--delay", type=seconds, metavar="DURATION", help="How long it waits before it may begin.")
@click.option(
    "--at", type=moment, metavar="TIME", help="When it may begin: ISO 8601, local time where it has no offset."
)
@click.option("--expires", type=seconds, metavar="DURATION", help="From when on it is not begun any more.")
@click.option("--retries", type=int, help="How often it is tried again.  [default: 0]")
@click.option(
    "--backoff",
    type=_pauses,
    metavar="FIRST[,LONGEST]",
    help="The pause before a retry, which doubles up to the longest.  [default: 0.1,10]",
)
@click.option("--timeout", type=seconds, metavar="DURATION", help="For one attempt.")
@click.option("--queue", help="The queue that it waits in.  [default: default]")
@click.option("--name", help="For lists, logs and errors.  [default: the handler's]")
@click.option("--key", help="Of the jobs that have not ended, one has it.")
@click.option("--on-twin", type=click.Choice(TWINS), help="What becomes of it when another has its key.")
@click.option("--need", "needs", type=click.IntRange(1), multiple=True, help="A job that must have ended first.")
@click.option("--when", type=click.Choice(WHEN), help="How those must have ended.  [default: success]")
@click.option("--metadata", type=_json_object, metavar="JSON", help="An object that travels with it.")
@database
@as_json_option
@click.pass_context
def submit_job(
    context: click.Context, /, handler: str, args: tuple[str, ...], db: Database, as_json: bool, **given: Any
) -> None:
    """Submit a call of the handler HANDLER with the arguments ARGS, each as JSON if it is that, else as text.

    It is on disk when this ends. A scheduler that works on the database and knows the handler runs it; which handlers
    there are, and what they take, is not known here. Before an ARG that begins with a dash, such as -1, write -- and
    the options before that: lifecycle jobs submit --db FILE -- HANDLER -1.

    Exit code 0 if it was submitted, 1 if another job has its key, 2 if something is not right.
    """
    new = _read(handler, args, given)
    store = store_at(db)
    admitted = refusing(PlainDisplay(), lambda: store.submit(new))
    if admitted.unknown:
        complain(f"{db}: there is no job {', '.join(map(str, admitted.unknown))}, which it needs")
        raise SystemExit(BAD_INPUT)
    _tell(store, admitted, as_json)
    context.exit(0 if admitted.job is not None or given["on_twin"] == "return" else 1)


def _tell(store: OutsideStore, admitted: Admitted, as_json: bool) -> None:
    twin = admitted.twin
    if admitted.job is None:
        assert twin is not None
        if as_json:
            say_json({"job_id": twin.id, "effect": "twin", "reason": f"{twin.status.value}, and has the key"})
        else:
            say(f"job {twin.id} {twin.name!r} has the key: {twin.status.value}; nothing was submitted")
        return
    number = admitted.job
    unrun = admitted.unrun
    waits_for = None if unrun else left_waiting(store, [number]).get(number)
    effect = unrun.status.value if unrun else "waits" if waits_for else "taken"
    if as_json:
        say_json({"job_id": number, "effect": effect, "reason": unrun.reason if unrun else waits_for})
    elif unrun:
        say(f"job {number}: {unrun.status.value}: {unrun.reason}")
    else:
        say(f"job {number}: {'submitted' if waits_for is None else f'submitted; it waits for {waits_for}'}")


def _read(handler: str, args: tuple[str, ...], given: dict[str, Any]) -> NewJob:
    """Return the job that the words describe; end with exit code 2 if they describe none."""
    settings = {name: value for name, value in given.items() if value not in (None, ())}
    try:
        return named_job(handler, [_value(arg) for arg in args], call_settings(settings))
    except (TypeError, ValueError, LifecycleError) as error:
        raise click.UsageError(str(error)) from None


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
