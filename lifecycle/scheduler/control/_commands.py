"""A table of commands: what each is called, how many arguments it takes, and the function that answers it."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from ._parser import Words

S = TypeVar("S")
Answering = Callable[[S, Words], bytes | Awaitable[bytes]]


class CommandError(Exception):
    """The command is not right; the text is for the client.

    Attributes:
        kind: the first word of the answer.
    """

    def __init__(self, text: str, kind: str = "ERR") -> None:
        super().__init__(text)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class CommandSpec(Generic[S]):
    """One command.

    Attributes:
        name: its name, in capitals.
        run: called with the session and the words of the command, its own name first.
        least: how many arguments it takes at least, its name left out.
        most: how many at most, None for any number.
        before_auth: whether it is allowed before a password was given.
        summary: one line for people.
        waits: whether it has to be awaited; the others are answered by the reader.
    """

    name: str
    run: Answering[S]
    least: int
    most: int | None
    before_auth: bool
    summary: str
    waits: bool = False

    @property
    def arity(self) -> int:
        """The number of words it takes, as Redis has it: negative where that is the least."""
        exact = self.most == self.least
        return self.least + 1 if exact else -(self.least + 1)


class CommandTable(dict[bytes, CommandSpec[S]]):
    """Commands by name. A room of commands fills one of its own; the server answers those of all rooms together."""

    def command(
        self, name: str, least: int = 0, most: int | None = 0, *, before_auth: bool = False
    ) -> Callable[[Answering[S]], Answering[S]]:
        """Enter the decorated function; the first line of its docstring is the summary."""

        def enter(run: Answering[S]) -> Answering[S]:
            summary = (run.__doc__ or "").strip().partition("\n")[0].rstrip(".")
            waits = inspect.iscoroutinefunction(run)
            self[name.encode()] = CommandSpec(name, run, least, most, before_auth, summary, waits)
            return run

        return enter

    def find(self, words: Words) -> CommandSpec[S]:
        """Return the command that *words* begin with.

        Raises:
            CommandError: there is none of that name, or it takes another number of arguments.
        """
        spec = self.get(words[0]) or self.get(words[0].upper())
        if spec is None:
            raise CommandError(f"unknown command {shown(words[0])}")
        count = len(words) - 1
        if count < spec.least or (spec.most is not None and count > spec.most):
            raise CommandError(f"wrong number of arguments for '{spec.name.lower()}' command")
        return spec


def shown(word: bytes) -> str:
    """Return a word of the client for a message to it."""
    return repr(word[:64].decode("utf-8", "replace"))
