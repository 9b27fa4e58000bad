"""The table of commands: what each is called, how many arguments it takes, and what it does."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._session import Session

Reply = bytes | Awaitable[bytes]
Run = Callable[["Session", list[bytes]], Reply]


class CommandError(Exception):
    """The command is not right; the text is for the client.

    Attributes:
        kind: the first word of the reply.
    """

    def __init__(self, text: str, kind: str = "ERR") -> None:
        super().__init__(text)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Entry:
    """One command.

    Attributes:
        name: as it is told of.
        run: called with the session and the arguments, its own name first.
        least: how many arguments it takes at least, its name left out.
        most: how many at most, None for any number.
        before_auth: whether it is allowed before a password was given.
        summary: one line for people.
        waits: whether it has to be awaited; the others are done where they are read.
    """

    name: str
    run: Run
    least: int
    most: int | None
    before_auth: bool
    summary: str
    waits: bool = False

    @property
    def arity(self) -> int:
        """How Redis tells how many words it takes: negative where that is the least."""
        exact = self.most == self.least
        return self.least + 1 if exact else -(self.least + 1)


COMMANDS: dict[bytes, Entry] = {}


def command(name: str, least: int = 0, most: int | None = 0, *, before_auth: bool = False) -> Callable[[Run], Run]:
    """Enter a function into the table; its docstring is the summary."""

    def enter(run: Run) -> Run:
        summary = (run.__doc__ or "").strip().partition("\n")[0].rstrip(".")
        waits = inspect.iscoroutinefunction(run)
        COMMANDS[name.encode()] = Entry(name, run, least, most, before_auth, summary, waits)
        return run

    return enter


def find(words: list[bytes]) -> Entry:
    """Return the entry of a command.

    Raises:
        CommandError: there is none, or it has the wrong number of arguments.
    """
    entry = COMMANDS.get(words[0]) or COMMANDS.get(words[0].upper())
    if entry is None:
        raise CommandError(f"unknown command {shown(words[0])}")
    count = len(words) - 1
    if count < entry.least or (entry.most is not None and count > entry.most):
        raise CommandError(f"wrong number of arguments for '{entry.name.lower()}' command")
    return entry


def shown(word: bytes) -> str:
    """Return a word of the client for a message to it."""
    return repr(word[:64].decode("utf-8", "replace"))
