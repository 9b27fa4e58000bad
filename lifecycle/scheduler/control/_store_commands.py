"""The commands for the store: what it holds, whether it is sound, and deleting what has ended."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from ._arguments import flag, number, options, text
from ._commands import CommandError, CommandTable, shown
from ._encoder import encode
from ._parser import Words

if TYPE_CHECKING:
    from ._session import Session

commands: CommandTable[Session] = CommandTable()


@commands.command("LC.STORE", 0, None)
async def store(session: Session, words: Words) -> bytes:
    """LC.STORE [CHECK | VACUUM | PURGE OLDERTHAN seconds [option value ...]]: what the store holds, and its upkeep."""
    upkeep = session.server.scheduler.upkeep
    wish, given = (words[1].upper() if len(words) > 1 else b""), words[2:]
    if wish == b"PURGE":
        wanted = options(
            given,
            {
                b"OLDERTHAN": lambda word: number(word, "OLDERTHAN", float),
                b"KEEP": lambda word: number(word, "KEEP"),
                b"NAME": text,
                b"SUCCEEDED": lambda word: flag(word, "SUCCEEDED"),
                b"DRY_RUN": lambda word: flag(word, "DRY_RUN"),
            },
        )
        if "olderthan" not in wanted:
            raise CommandError("PURGE needs OLDERTHAN: the seconds since its end that a job must have")
        return encode(await upkeep.purge(older_than=wanted.pop("olderthan"), **wanted), session.resp)
    if wish not in (b"", b"CHECK", b"VACUUM"):
        raise CommandError(f"expected CHECK, VACUUM or PURGE, got {shown(words[1])}")
    if given:
        raise CommandError(f"unexpected {shown(given[0])}")
    if wish == b"VACUUM":
        before, after = await upkeep.vacuum()
        return encode({"before": before, "after": after}, session.resp)
    if wish == b"CHECK":
        return encode(list(await upkeep.check()), session.resp)
    facts = asdict(await upkeep.facts())
    del facts["path"]  # of the machine's directories a client need not know
    owners = [owner._asdict() for owner in facts.pop("owners")]
    return encode({**facts, "owners": owners}, session.resp)
