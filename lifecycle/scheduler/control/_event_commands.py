"""The commands for watching events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._commands import CommandError, CommandTable, shown
from ._encoder import OK, Push, encode
from ._parser import Words

if TYPE_CHECKING:
    from ._session import Session

CHANNEL = "lc.events"
"""The channel that events come on."""

commands: CommandTable[Session] = CommandTable()


@commands.command("LC.WATCH", 0, 1)
def watch(session: Session, words: Words) -> bytes:
    """LC.WATCH [ON|OFF]: send events as they happen, as pushes (RESP3) or messages (RESP2) on the channel lc.events."""
    wanted = words[1].upper() if len(words) > 1 else b"ON"
    if wanted not in (b"ON", b"OFF"):
        raise CommandError(f"expected ON or OFF, got {shown(words[1])}")
    session.server.watch(session, on=wanted == b"ON")
    return OK


@commands.command("SUBSCRIBE", 1, None)
def subscribe(session: Session, words: Words) -> bytes:
    """SUBSCRIBE lc.events: the same as LC.WATCH, as Redis clients write it."""
    if any(word != CHANNEL.encode() for word in words[1:]):
        raise CommandError(f"there is one channel: {CHANNEL}")
    session.server.watch(session, on=True)
    return b"".join(encode(Push(["subscribe", CHANNEL, 1]), session.resp) for _ in words[1:])


@commands.command("UNSUBSCRIBE", 0, None)
def unsubscribe(session: Session, words: Words) -> bytes:
    """UNSUBSCRIBE [lc.events]: the same as LC.WATCH OFF."""
    session.server.watch(session, on=False)
    return encode(Push(["unsubscribe", CHANNEL, 0]), session.resp)
