"""The commands for limits: what holds jobs back, setting it, pausing and resuming."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from lifecycle import Rate

from ._arguments import number, options, text
from ._commands import CommandError, CommandTable, shown
from ._encoder import OK, encode
from ._parser import Words

if TYPE_CHECKING:
    from ._session import Session

commands: CommandTable[Session] = CommandTable()


@commands.command("LC.LIMITS")
async def limits(session: Session, words: Words) -> bytes:
    """LC.LIMITS: list all limits, and the queues that have jobs."""
    records = [record.to_dict() for record in await session.server.scheduler.limits.records()]
    return encode(
        [{name: value for name, value in facts.items() if value is not None} for facts in records], session.resp
    )


@commands.command("LC.LIMIT", 0, None)
async def limit(session: Session, words: Words) -> bytes:
    """LC.LIMIT [QUEUE name | HANDLER name] [LIMIT n] [RATE n [PER s] [BURST n]] [WEIGHT w]: set a limit."""
    wanted = options(
        words[1:],
        {
            **_OF,
            b"LIMIT": lambda word: number(word, "LIMIT"),
            b"RATE": lambda word: number(word, "RATE"),
            b"PER": lambda word: number(word, "PER", float),
            b"BURST": lambda word: number(word, "BURST"),
            b"WEIGHT": lambda word: number(word, "WEIGHT", float),
        },
    )
    bounds = {name: wanted.pop(name) for name in ("per", "burst") if name in wanted}
    if "rate" in wanted:
        wanted["rate"] = Rate(wanted["rate"], **bounds)
    elif bounds:
        raise CommandError("PER and BURST are of a RATE, and there is none")
    await session.server.scheduler.limits.set(**wanted)
    return OK


@commands.command("LC.PAUSE", 0, 2)
async def pause(session: Session, words: Words) -> bytes:
    """LC.PAUSE [QUEUE name | HANDLER name]: let none of its jobs begin, or none at all; 0 where that was so."""
    return encode(int(await session.server.scheduler.limits.pause(**_of(words))), session.resp)


@commands.command("LC.RESUME", 0, 2)
async def resume(session: Session, words: Words) -> bytes:
    """LC.RESUME [QUEUE name | HANDLER name]: end a pause; 0 where there was none."""
    return encode(int(await session.server.scheduler.limits.resume(**_of(words))), session.resp)


_OF: Final[dict[bytes, Callable[[bytes], Any]]] = {b"QUEUE": text, b"HANDLER": text}


def _of(words: Words) -> dict[str, Any]:
    if len(words) == 2:
        raise CommandError(f"expected QUEUE or HANDLER and a name, got {shown(words[1])}")
    return options(words[1:], _OF)
