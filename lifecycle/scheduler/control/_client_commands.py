"""CLIENT and its subcommands: list, name and disconnect clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ._commands import CommandError, CommandTable, shown
from ._connection_commands import checked_name
from ._encoder import OK, bulk, encode
from ._parser import Words

if TYPE_CHECKING:
    from ._session import Session

commands: CommandTable[Session] = CommandTable()


@commands.command("CLIENT", 1, None)
def client(session: Session, words: Words) -> bytes:
    """CLIENT ID | LIST | KILL | SETNAME | GETNAME | SETINFO: about the connections."""
    subcommand = SUBCOMMANDS.get(words[1].upper())
    if subcommand is None:
        raise CommandError(f"unknown subcommand {shown(words[1])}; there are {', '.join(NAMES)}")
    return subcommand(session, words[2:])


def id_(session: Session, words: Words) -> bytes:
    return encode(session.id, session.resp)


def set_name(session: Session, words: Words) -> bytes:
    if len(words) != 1:
        raise CommandError("wrong number of arguments for 'client|setname' command")
    session.name = checked_name(words[0])
    return OK


def get_name(session: Session, words: Words) -> bytes:
    return encode(session.name or None, session.resp)


def set_info(session: Session, words: Words) -> bytes:
    if len(words) != 2 or words[0].upper() not in (b"LIB-NAME", b"LIB-VER"):
        raise CommandError("expected CLIENT SETINFO LIB-NAME|LIB-VER text")
    session.library = {**session.library, words[0].lower().decode(): checked_name(words[1]).decode()}
    return OK


def list_(session: Session, words: Words) -> bytes:
    lines = [line_of(one) for one in session.server.sessions()]
    return bulk("".join(f"{line}\n" for line in lines).encode())


def line_of(session: Session) -> str:
    """Return the line of CLIENT LIST for a client."""
    facts = {
        "id": session.id,
        "addr": session.stream.peer,
        "name": session.name.decode(),
        "age": int(session.age),
        "db": 0,
        "resp": session.resp,
        "cmds": session.commands,
        "watch": int(session.watching),
        "omem": session.stream.unsent,
        **session.library,
    }
    return " ".join(f"{key}={value}" for key, value in facts.items())


def kill(session: Session, words: Words) -> bytes:
    """CLIENT KILL address, CLIENT KILL ID number, CLIENT KILL ADDR address."""
    if len(words) == 1:
        found = [one for one in session.server.sessions() if one.stream.peer.encode() == words[0]]
        if not found:
            raise CommandError("No such client")
        end_all(session, found)
        return OK
    if len(words) != 2 or words[0].upper() not in (b"ID", b"ADDR"):
        raise CommandError("expected CLIENT KILL address, CLIENT KILL ID number or CLIENT KILL ADDR address")
    if words[0].upper() == b"ID":
        found = [one for one in session.server.sessions() if str(one.id).encode() == words[1]]
    else:
        found = [one for one in session.server.sessions() if one.stream.peer.encode() == words[1]]
    end_all(session, found)
    return encode(len(found), session.resp)


def end_all(session: Session, found: list[Session]) -> None:
    """Disconnect clients; one that disconnects itself still gets its answer."""
    for one in found:
        if one is session:
            one.leaving = True
        else:
            one.cut("CLIENT KILL")


SUBCOMMANDS: dict[bytes, Callable[[Session, Words], bytes]] = {
    b"ID": id_,
    b"LIST": list_,
    b"KILL": kill,
    b"SETNAME": set_name,
    b"GETNAME": get_name,
    b"SETINFO": set_info,
}
NAMES = [name.decode() for name in SUBCOMMANDS]
