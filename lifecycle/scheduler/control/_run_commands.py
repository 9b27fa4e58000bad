"""The commands for again and for waiting: jobs tried again, runs of flows, and the ends of both."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import anyio

from ._arguments import known_statuses, number, options, text, time_of_day
from ._commands import CommandError, CommandTable, shown
from ._encoder import encode
from ._job_commands import check_limit, show_job
from ._long_lists import encode_list
from ._parser import Words

if TYPE_CHECKING:
    from .._store.run_records import RunRecord
    from ._session import Session

commands: CommandTable[Session] = CommandTable()


@commands.command("LC.RETRY", 1, 2)
async def retry(session: Session, words: Words) -> bytes:
    """LC.RETRY job [FORCE]: let a job wait again that did not succeed, and what was skipped because of it."""
    if len(words) > 2 and words[2].upper() != b"FORCE":
        raise CommandError(f"expected FORCE, got {shown(words[2])}")
    job = await session.server.scheduler.retry(number(words[1], "job"), force=len(words) > 2)
    return encode({"job": job.id}, session.resp)


@commands.command("LC.WAIT", 1, 2)
async def wait(session: Session, words: Words) -> bytes:
    """LC.WAIT job [timeout]: return everything about a job as soon as it has ended; null when the time was up."""
    timeout = _timeout(words[2:])
    job = await session.server.scheduler.find(number(words[1], "job"))
    outcome = None
    with anyio.move_on_after(timeout):
        outcome = await job.wait()
    if outcome is None:
        return encode(None, session.resp)
    kept = await session.server.scheduler.job(job.id)
    if kept is not None:
        return await show_job(session, job.id)
    facts: dict[str, Any] = {"id": job.id, "name": outcome.name, "status": outcome.status.value, "error": outcome.error}
    return encode({name: value for name, value in facts.items() if value is not None}, session.resp)


@commands.command("LC.RUNS", 0, None)
async def runs(session: Session, words: Words) -> bytes:
    """LC.RUNS [STATUS a,b] [FLOW name] [SINCE at] [UNTIL at] [LIMIT n]: the newest runs of flows."""
    wanted = options(
        words[1:],
        {
            b"STATUS": known_statuses,
            b"FLOW": text,
            b"SINCE": lambda word: time_of_day(word, "SINCE"),
            b"UNTIL": lambda word: time_of_day(word, "UNTIL"),
            b"LIMIT": lambda word: number(word, "LIMIT"),
        },
    )
    limit = check_limit(session, wanted.pop("limit", 100))
    async with session.server.long_list(limit):
        records = await session.server.scheduler.runs.list(limit=limit, **wanted)
        return await encode_list(records, _facts_of, session.resp)


@commands.command("LC.RUN", 1, 3)
async def run(session: Session, words: Words) -> bytes:
    """LC.RUN run [CANCEL [reason] | RETRY | RESUME | WAIT [timeout]]: a run of a flow: show, stop, again, its end."""
    access, run_id = session.server.scheduler.runs, number(words[1], "run")
    wish, given = (words[2].upper() if len(words) > 2 else b""), words[3:]
    if wish == b"CANCEL":
        reason = text(given[0]) if given else "cancelled by a client of the control server"
        return encode(int(await access.cancel(run_id, reason)), session.resp)
    if wish == b"WAIT":
        ended = False
        with anyio.move_on_after(_timeout(given)):
            await access.wait(run_id)
            ended = True
        if not ended:
            return encode(None, session.resp)
    elif given:
        raise CommandError(f"unexpected {shown(given[0])}")
    elif wish in (b"RETRY", b"RESUME"):
        return encode(await access.retry(run_id), session.resp)
    elif wish:
        raise CommandError(f"expected CANCEL, RETRY, RESUME or WAIT, got {shown(words[2])}")
    record = await access.show(run_id)
    return encode(None if record is None else _facts_of(record), session.resp)


def _timeout(words: Words) -> float:
    seconds = number(words[0], "timeout", float) if words else math.inf
    if not seconds >= 0:
        raise CommandError(f"timeout: expected 0 or more seconds, got {shown(words[0])}")
    return float(seconds)


def _facts_of(record: RunRecord) -> dict[str, Any]:
    """Return what is known of a run, without what it does not have."""
    return {name: value for name, value in record.to_dict().items() if value is not None}
