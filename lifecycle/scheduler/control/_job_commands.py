"""The commands for jobs: submit, look, cancel."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

from .._ground.text import one_line, shorten
from .._store.records import JobRecord
from ._arguments import known_statuses, number, options, pauses, plain, term, text, time_of_day
from ._commands import CommandError, CommandTable
from ._encoder import encode
from ._long_lists import encode_list
from ._parser import Words

if TYPE_CHECKING:
    from ._session import Session

commands: CommandTable[Session] = CommandTable()


@commands.command("LC.ENQUEUE", 1, None)
async def enqueue(session: Session, words: Words) -> bytes:
    """LC.ENQUEUE name [ARGS|PARAMS json] [METADATA json] [option value ...]: submit work."""
    settings = options(
        words[2:],
        {
            b"ARGS": lambda word: plain(word, list, "ARGS"),
            b"PARAMS": lambda word: plain(word, dict, "PARAMS"),
            b"PRIORITY": lambda word: number(word, "PRIORITY"),
            b"DELAY": lambda word: number(word, "DELAY", float),
            b"RETRIES": lambda word: number(word, "RETRIES"),
            b"BACKOFF": lambda word: pauses(word, "BACKOFF"),
            b"TIMEOUT": lambda word: number(word, "TIMEOUT", float),
            b"NAME": text,
            b"QUEUE": text,
            b"AT": lambda word: time_of_day(word, "AT"),
            b"EXPIRES": lambda word: term(word, "EXPIRES"),
            b"KEY": text,
            b"ON_TWIN": lambda word: text(word).lower(),
            b"NEEDS": lambda word: plain(word, list, "NEEDS"),
            b"WHEN": lambda word: text(word).lower(),
            b"METADATA": lambda word: plain(word, dict, "METADATA"),
        },
    )
    return await submit(session, text(words[1]), settings)


async def submit(session: Session, name: str, settings: dict[str, Any]) -> bytes:
    """Submit a job of a handler, or a run of a flow, and answer with its number."""
    try:
        return await _submit(session, name, settings)
    except Exception as refusal:
        about = {"work": one_line(shorten(name, 200)), "error": one_line(shorten(str(refusal), 300))}
        session.server.alarm("work of a client refused", session, **about)
        raise


async def _submit(session: Session, name: str, settings: dict[str, Any]) -> bytes:
    scheduler = session.server.scheduler
    flow = session.server.flows.get(name)
    if flow is not None:
        params, metadata = settings.pop("params", None), settings.pop("metadata", None)
        if settings:
            raise CommandError(f"{name!r} is a flow; it takes PARAMS, METADATA and nothing else")
        run = await scheduler.submit(flow, params=params, metadata=metadata)
        return encode({"run": run.id}, session.resp)
    if "params" in settings:
        raise CommandError(f"there is no flow {name!r}; a handler takes ARGS")
    job = await scheduler.submit(name, *settings.pop("args", ()), **settings)
    return encode({"job": job.id}, session.resp)


@commands.command("LC.STATUS", 0, 1)
async def status(session: Session, words: Words) -> bytes:
    """LC.STATUS [job]: return everything about a job, or what the scheduler does."""
    if len(words) == 1:
        statistics = session.server.scheduler.statistics()
        facts = {"name": statistics.name, "workers": statistics.workers, "running": statistics.running}
        facts |= {"waiting": statistics.waiting, "runs": statistics.runs, "refused": statistics.refused}
        return encode({**facts, "ended": dict(statistics.ended), "left": dict(statistics.left)}, session.resp)
    return await show_job(session, number(words[1], "job"))


async def show_job(session: Session, job_id: int) -> bytes:
    """Answer with a job, None where there is none: a store in memory forgets a job that has ended."""
    record = await session.server.scheduler.job(job_id)
    return encode(None if record is None else facts_of(record, details=True), session.resp)


@commands.command("LC.PRIORITY", 2, 2)
async def priority(session: Session, words: Words) -> bytes:
    """LC.PRIORITY job n: give a job that waits another priority; 0 where there is none that waits."""
    job, new = number(words[1], "job"), number(words[2], "priority")
    return encode(int(await session.server.scheduler.set_priority(job, new)), session.resp)


@commands.command("LC.LOG", 1, 1)
async def log(session: Session, words: Words) -> bytes:
    """LC.LOG job: the last lines that a job has logged, one that runs included; null where there is no such job."""
    record = await session.server.scheduler.job(number(words[1], "job"))
    return encode(None if record is None else (record.log or "").splitlines(), session.resp)


@commands.command("LC.CANCEL", 1, 2)
async def cancel(session: Session, words: Words) -> bytes:
    """LC.CANCEL job [reason]: cancel a job, queued or running; 0 where there was nothing to cancel."""
    reason = text(words[2]) if len(words) > 2 else "cancelled by a client of the control server"
    return encode(int(await session.server.scheduler.cancel(number(words[1], "job"), reason)), session.resp)


@commands.command("LC.LIST", 0, None)
async def list_(session: Session, words: Words) -> bytes:
    """LC.LIST [STATUS a,b] [RUN n] [FLOW name] [NAME name] [SINCE at] [UNTIL at] [LIMIT n]: the newest jobs."""
    wanted = options(
        words[1:],
        {
            b"STATUS": known_statuses,
            b"RUN": lambda word: number(word, "RUN"),
            b"FLOW": text,
            b"NAME": text,
            b"SINCE": lambda word: time_of_day(word, "SINCE"),
            b"UNTIL": lambda word: time_of_day(word, "UNTIL"),
            b"LIMIT": lambda word: number(word, "LIMIT"),
        },
    )
    limit = check_limit(session, wanted.pop("limit", 100))
    async with session.server.long_list(limit):
        records = await session.server.scheduler.jobs(limit=limit, **wanted)
        return await encode_list(records, partial(facts_of, details=False), session.resp)


def check_limit(session: Session, limit: int) -> int:
    """Return how long a list may be.

    Raises:
        CommandError: that is longer than one may be.
    """
    most = session.server.limits.listed
    if not 1 <= limit <= most:
        raise CommandError(f"LIMIT: expected 1 to {most:,}, got {limit}")
    return limit


def facts_of(record: JobRecord, *, details: bool) -> dict[str, Any]:
    """Return what is known of a job, without what it does not have."""
    facts = record.to_dict(details=details)
    if facts.get("result") is not None:
        facts["result"] = json.dumps(facts["result"], default=repr)
    return {name: value for name, value in facts.items() if value not in (None, [])}
