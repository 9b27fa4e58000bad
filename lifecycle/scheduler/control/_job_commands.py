"""The scheduler's own commands: put in work, look at it, cancel it, and watch what happens."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .._store.records import JobRecord, JobStatus
from ._commands import CommandError, command, shown
from ._encoder import OK, Push, encode

if TYPE_CHECKING:
    from ._session import Session

#: The channel that events come on.
CHANNEL = "lc.events"


def number(word: bytes, what: str, kind: Callable[[str], Any] = int) -> Any:
    """Return the number that a word says.

    Raises:
        CommandError: it says none.
    """
    try:
        return kind(word.decode("ascii"))
    except (UnicodeDecodeError, ValueError):
        raise CommandError(f"{what}: expected a number, got {shown(word)}") from None


def text(word: bytes) -> str:
    """Return a word as text.

    Raises:
        CommandError: it is no UTF-8.
    """
    try:
        return word.decode()
    except UnicodeDecodeError:
        raise CommandError(f"expected UTF-8, got {shown(word)}") from None


def plain(word: bytes, kind: type, what: str) -> Any:
    """Return the JSON value that a word holds.

    Raises:
        CommandError: it is no JSON, or of another kind.
    """
    try:
        value = json.loads(word)
    except (ValueError, RecursionError):
        raise CommandError(f"{what}: expected JSON, got {shown(word)}") from None
    if not isinstance(value, kind):
        raise CommandError(f"{what}: expected a JSON {'array' if kind is list else 'object'}, got {shown(word)}")
    return value


def options(words: list[bytes], known: dict[bytes, Callable[[bytes], Any]]) -> dict[str, Any]:
    """Return pairs of option and value.

    Raises:
        CommandError: an option is unknown, or has no value.
    """
    found: dict[str, Any] = {}
    for position in range(0, len(words), 2):
        option = words[position].upper()
        if option not in known:
            names = ", ".join(name.decode() for name in known)
            raise CommandError(f"unknown option {shown(words[position])}; there are {names}")
        if position + 1 == len(words):
            raise CommandError(f"option {option.decode()} has no value")
        found[option.decode().lower()] = known[option](words[position + 1])
    return found


@command("LC.ENQUEUE", 1, None)
async def enqueue(session: Session, words: list[bytes]) -> bytes:
    """LC.ENQUEUE name [ARGS|PARAMS json] [PRIORITY n] [DELAY s] [RETRIES n] [TIMEOUT s] [NAME text]: put in work."""
    settings = options(
        words[2:],
        {
            b"ARGS": lambda word: plain(word, list, "ARGS"),
            b"PARAMS": lambda word: plain(word, dict, "PARAMS"),
            b"PRIORITY": lambda word: number(word, "PRIORITY"),
            b"DELAY": lambda word: number(word, "DELAY", float),
            b"RETRIES": lambda word: number(word, "RETRIES"),
            b"TIMEOUT": lambda word: number(word, "TIMEOUT", float),
            b"NAME": text,
        },
    )
    return await submit(session, text(words[1]), settings)


async def submit(session: Session, name: str, settings: dict[str, Any]) -> bytes:
    """Put in a job of a handler, or a run of a flow, and answer with its number."""
    scheduler = session.server.scheduler
    flow = session.server.flows.get(name)
    if flow is not None:
        params = settings.pop("params", None)
        if settings:
            raise CommandError(f"{name!r} is a flow; it takes PARAMS and nothing else")
        run = await scheduler.submit(flow, params=params)
        return encode({"run": run.id}, session.resp)
    if "params" in settings:
        raise CommandError(f"there is no flow {name!r}; a handler takes ARGS")
    job = await scheduler.submit(name, *settings.pop("args", ()), **settings)
    return encode({"job": job.id}, session.resp)


@command("LC.STATUS", 0, 1)
async def status(session: Session, words: list[bytes]) -> bytes:
    """LC.STATUS [job]: tell everything of a job, or what the scheduler does."""
    if len(words) == 1:
        statistics = session.server.scheduler.statistics()
        facts = {"name": statistics.name, "workers": statistics.workers, "running": statistics.running}
        return encode({**facts, "runs": statistics.runs, "ended": dict(statistics.ended)}, session.resp)
    return await tell_job(session, number(words[1], "job"))


async def tell_job(session: Session, job_id: int) -> bytes:
    """Answer with a job, None where there is none: a store in memory forgets a job that has ended."""
    record = await session.server.scheduler.job(job_id)
    return encode(None if record is None else facts_of(record, details=True), session.resp)


@command("LC.CANCEL", 1, 2)
async def cancel(session: Session, words: list[bytes]) -> bytes:
    """LC.CANCEL job [reason]: cancel a job, queued or running; 0 where there was nothing to cancel."""
    reason = text(words[2]) if len(words) > 2 else "cancelled by a client of the control server"
    return encode(int(await session.server.scheduler.cancel(number(words[1], "job"), reason)), session.resp)


@command("LC.LIST", 0, None)
async def list_(session: Session, words: list[bytes]) -> bytes:
    """LC.LIST [STATUS status] [RUN number] [LIMIT n]: tell of jobs, the newest last."""

    def known_status(word: bytes) -> JobStatus:
        try:
            return JobStatus(text(word).lower())
        except ValueError:
            names = ", ".join(status.value for status in JobStatus)
            raise CommandError(f"unknown status {shown(word)}; there are {names}") from None

    wanted = options(
        words[1:],
        {
            b"STATUS": known_status,
            b"RUN": lambda word: number(word, "RUN"),
            b"LIMIT": lambda word: number(word, "LIMIT"),
        },
    )
    limit = wanted.pop("limit", 100)
    most = session.server.limits.listed
    if not 1 <= limit <= most:
        raise CommandError(f"LIMIT: expected 1 to {most:,}, got {limit}")
    records = await session.server.scheduler.jobs(limit=limit, **wanted)
    return encode([facts_of(record, details=False) for record in records], session.resp)


def facts_of(record: JobRecord, *, details: bool) -> dict[str, Any]:
    """Return what there is to tell of a job, without what it does not have."""
    facts = record.to_dict()
    more = {name: facts.pop(name) for name in ("result", "trace", "log", "needs")}
    if details:
        facts |= more
        facts["result"] = None if more["result"] is None else json.dumps(more["result"], default=repr)
    return {name: value for name, value in facts.items() if value not in (None, [])}


@command("LC.WATCH", 0, 1)
def watch(session: Session, words: list[bytes]) -> bytes:
    """LC.WATCH [ON|OFF]: send events as they happen, as pushes (RESP3) or messages (RESP2) on the channel lc.events."""
    wanted = words[1].upper() if len(words) > 1 else b"ON"
    if wanted not in (b"ON", b"OFF"):
        raise CommandError(f"expected ON or OFF, got {shown(words[1])}")
    session.server.watch(session, on=wanted == b"ON")
    return OK


@command("SUBSCRIBE", 1, None)
def subscribe(session: Session, words: list[bytes]) -> bytes:
    """SUBSCRIBE lc.events: the same as LC.WATCH, in the words that clients have for it."""
    if any(word != CHANNEL.encode() for word in words[1:]):
        raise CommandError(f"there is one channel: {CHANNEL}")
    session.server.watch(session, on=True)
    return b"".join(encode(Push(["subscribe", CHANNEL, 1]), session.resp) for _ in words[1:])


@command("UNSUBSCRIBE", 0, None)
def unsubscribe(session: Session, words: list[bytes]) -> bytes:
    """UNSUBSCRIBE [lc.events]: the same as LC.WATCH OFF."""
    session.server.watch(session, on=False)
    return encode(Push(["unsubscribe", CHANNEL, 0]), session.resp)
