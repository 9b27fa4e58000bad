"""The commands for schedules: list, pause, resume, trigger, change, remove."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._engine.job import FlowRun
from .._store.schedule_records import ScheduleRecord
from ._arguments import number, options, text
from ._commands import CommandError, CommandTable, shown
from ._encoder import OK, encode
from ._long_lists import encode_list
from ._parser import Words

if TYPE_CHECKING:
    from ._session import Session

commands: CommandTable[Session] = CommandTable()


@commands.command("LC.SCHEDULES")
async def schedules(session: Session, words: Words) -> bytes:
    """LC.SCHEDULES: list all schedules, by name."""
    records = await session.server.scheduler.schedules()
    return await encode_list(records, _facts_of, session.resp)


def _facts_of(record: ScheduleRecord) -> dict[str, object]:
    return {name: value for name, value in record.to_dict().items() if value is not None}


@commands.command("LC.SCHEDULE", 2, None)
async def schedule(session: Session, words: Words) -> bytes:
    """LC.SCHEDULE name PAUSE|RESUME|TRIGGER|REMOVE|SET [MAX_INSTANCES n] [OVERLAP word]: change it, start a run."""
    handle = session.server.scheduler.schedule_named(text(words[1]))
    wish = words[2].upper()
    if wish == b"SET":
        bound = {
            b"MAX_INSTANCES": lambda word: number(word, "MAX_INSTANCES"),
            b"OVERLAP": lambda word: text(word).lower(),
        }
        await handle.set_overlap(**{"max_instances": None, **options(words[3:], bound)})
        return OK
    if len(words) > 3:
        raise CommandError(f"unexpected {shown(words[3])}")
    if wish == b"TRIGGER":
        work = await handle.trigger()
        return encode({"run" if isinstance(work, FlowRun) else "job": work.id}, session.resp)
    if wish == b"PAUSE":
        await handle.pause()
    elif wish == b"RESUME":
        await handle.resume()
    elif wish == b"REMOVE":
        await handle.remove()
    else:
        raise CommandError(f"expected PAUSE, RESUME, TRIGGER, REMOVE or SET, got {shown(words[2])}")
    return OK
