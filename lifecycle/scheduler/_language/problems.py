"""The problems found in one flow, collected so that all of them are reported at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from .._ground.errors import FlowError
from .._ground.limits import PROBLEMS
from .._ground.text import one_line, plural, shorten

Message: TypeAlias = str | Callable[[], str]
"""What is wrong, or what says it: a hint at what was meant costs a look at every name that there is, and only the
first problems are listed."""

ReportProblem: TypeAlias = Callable[[str, Message], None]
"""Called with a place in the flow and a message."""


class Problems:
    """Collects one line per problem, each with the file's name and the path of the place.

    Args:
        source: what the lines begin with, the file's name.
    """

    def __init__(self, source: str) -> None:
        self.source: str = one_line(shorten(source, 200))
        self.lines: list[str] = []
        self.count: int = 0

    def add(self, path: str, message: Message) -> None:
        """Record one problem at *path* (empty for the file as a whole)."""
        self.count += 1
        if len(self.lines) < PROBLEMS:
            place = f"{one_line(shorten(path, 200))}: " if path else ""
            text = message if isinstance(message, str) else message()
            self.lines.append(f"{self.source}: {place}{one_line(shorten(text, 400))}")

    def raise_if_any(self) -> None:
        """Raise FlowError with everything collected.

        Raises:
            FlowError: there was at least one problem.
        """
        if not self.count:
            return
        rest = self.count - len(self.lines)
        more = [f"{self.source}: and {plural(rest, 'more problem')}"] if rest else []
        raise FlowError([*self.lines, *more])
