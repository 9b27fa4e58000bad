"""Commands about the connection and the server, which Redis clients send before their own."""

from __future__ import annotations

import fnmatch
import hmac
import re
from typing import TYPE_CHECKING

from lifecycle import __version__

from ._commands import CommandError, CommandTable, shown
from ._encoder import OK, PONG, bulk, encode
from ._parser import Words

if TYPE_CHECKING:
    from ._session import Session

commands: CommandTable[Session] = CommandTable()

LONGEST_PATTERN = 64
"""Characters of a pattern of CONFIG GET; a longer one matches nothing."""


@commands.command("PING", 0, 1)
def ping(session: Session, words: Words) -> bytes:
    """Answer PONG, or with the argument."""
    return PONG if len(words) == 1 else bulk(words[1])


@commands.command("ECHO", 1, 1)
def echo(session: Session, words: Words) -> bytes:
    """Answer with the argument."""
    return bulk(words[1])


@commands.command("QUIT", 0, None, before_auth=True)
def quit_(session: Session, words: Words) -> bytes:
    """Answer, and close the connection."""
    session.leaving = True
    return OK


@commands.command("ABORT", 0, 0)
def abort(session: Session, words: Words) -> bytes:
    """Close the connection at once, without an answer."""
    session.leaving = True
    session.cut("ABORT")
    return b""


@commands.command("SELECT", 1, 1)
def select(session: Session, words: Words) -> bytes:
    """Answer OK for database 0, the only one."""
    if words[1] != b"0":
        raise CommandError("DB index is out of range")
    return OK


@commands.command("AUTH", 1, 2, before_auth=True)
def auth(session: Session, words: Words) -> bytes:
    """Give the password."""
    if session.server.password is None:
        raise CommandError("AUTH called without any password configured; no password is needed")
    log_in(session, words[1] if len(words) == 3 else b"default", words[-1])
    return OK


def log_in(session: Session, user: bytes, password: bytes) -> None:
    """Check a client's name and password, and let it in.

    Raises:
        CommandError: the user or the password is wrong; the text does not say which.
    """
    expected = session.server.password
    # Both are compared, in constant time, so that the time taken gives nothing away.
    right = hmac.compare_digest(password, expected.encode()) if expected is not None else True
    known = hmac.compare_digest(user, b"default")
    if not (right and known):
        session.punish()
        raise CommandError("invalid username-password pair or user is disabled.", "WRONGPASS")
    session.let_in()


@commands.command("HELLO", 0, None, before_auth=True)
def hello(session: Session, words: Words) -> bytes:
    """Choose the version of the protocol, and return facts about the server."""
    if len(words) > 1 and words[1] not in (b"2", b"3"):
        raise CommandError("unsupported protocol version", "NOPROTO")
    name = hello_options(session, words[2:])
    if not session.authenticated:
        raise CommandError("HELLO must be called with the client already authenticated, or with AUTH", "NOAUTH")
    if len(words) > 1:
        session.resp = int(words[1])
    session.name = name
    about = {
        "server": "lifecycle",
        "version": __version__,
        "proto": session.resp,
        "id": session.id,
        "mode": "standalone",
        "role": "master",
        "modules": [],
    }
    return encode(about, session.resp)


def hello_options(session: Session, rest: Words) -> bytes:
    """Log in as the options of HELLO say, and return the name that the client is to have."""
    name = session.name
    while rest:
        option = rest[0].upper()
        if option == b"AUTH" and len(rest) >= 3:
            log_in(session, rest[1], rest[2])
            rest = rest[3:]
        elif option == b"SETNAME" and len(rest) >= 2:
            name, rest = checked_name(rest[1]), rest[2:]
        else:
            raise CommandError(f"Syntax error in HELLO option {shown(rest[0])}")
    return name


def checked_name(name: bytes) -> bytes:
    """Return a client's name.

    Raises:
        CommandError: it has blanks or line ends, or is very long.
    """
    if len(name) > 256 or any(byte < 33 or byte > 126 for byte in name):
        raise CommandError("Client names cannot contain spaces, newlines or special characters.")
    return name


@commands.command("CONFIG", 1, None)
def config(session: Session, words: Words) -> bytes:
    """CONFIG GET pattern ...: return settings."""
    if words[1].upper() != b"GET" or len(words) < 3:
        raise CommandError("unknown subcommand or wrong number of arguments; try CONFIG GET pattern")
    settings = {"appendonly": "no", "databases": "1", "maxclients": str(session.server.limit), "save": ""}
    patterns = [word.decode("utf-8", "replace").lower() for word in words[2:10]]
    found = {key: text for key, text in settings.items() if any(matches(key, one) for one in patterns)}
    return encode(found, session.resp)


def matches(key: str, pattern: str) -> bool:
    """Return whether *key* matches *pattern*, without `fnmatch.fnmatch`, whose cache keeps patterns of clients."""
    return len(pattern) <= LONGEST_PATTERN and re.match(fnmatch.translate(pattern), key) is not None


@commands.command("INFO", 0, None)
def info(session: Session, words: Words) -> bytes:
    """Return facts about the server, its clients and the scheduler."""
    sections = {word.decode("utf-8", "replace").lower() for word in words[1:]} - {"all", "default", "everything"}
    lines: list[str] = []
    for title, facts in session.server.facts().items():
        if not sections or title.lower() in sections:
            lines += [f"# {title}", *(f"{key}:{value}" for key, value in facts.items()), ""]
    return bulk("\r\n".join(lines).encode())


@commands.command("COMMAND", 0, None)
def command_(session: Session, words: Words) -> bytes:
    """List the commands."""
    entries = sorted(session.server.commands.values(), key=lambda entry: entry.name)
    word = words[1].upper() if len(words) > 1 else b""
    wanted = {one.upper() for one in words[2:]}
    if word == b"COUNT":
        return encode(len(entries), session.resp)
    if word == b"DOCS":
        docs = {
            entry.name.lower(): {"summary": entry.summary, "since": __version__, "group": "lifecycle"}
            for entry in entries
            if not wanted or entry.name.encode() in wanted
        }
        return encode(docs, session.resp)
    if word not in (b"", b"INFO", b"LIST"):
        raise CommandError(f"unknown subcommand {shown(words[1])}; try COMMAND, COMMAND COUNT or COMMAND DOCS")
    if word == b"LIST":
        return encode([entry.name.lower() for entry in entries], session.resp)
    chosen = [entry for entry in entries if not wanted or entry.name.encode() in wanted]
    return encode([[entry.name.lower(), entry.arity, ["loading"], 0, 0, 0] for entry in chosen], session.resp)
