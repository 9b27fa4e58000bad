"""Typed reading of one table of a flow: each wrong value becomes a problem, each unread key too."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Final

from .._ground.checks import integer_problem, is_number, seconds_problem
from .._ground.pauses import pauses_from
from .._ground.text import did_you_mean, listing, quote
from .problems import Message, Problems

NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,99}")
"""What a parameter, a block or a step may be called; the same that expressions can spell."""


class TableReader:
    """Reads the keys of one table and reports what is wrong with them.

    Every reading method returns a usable value also after a problem, so that one pass finds all problems.

    Args:
        table: the plain table.
        path: its place in the flow.
        problems: where problems go.
    """

    def __init__(self, table: dict[str, Any], path: str, problems: Problems) -> None:
        self.path = path
        self.problems = problems
        self._table = table
        self._read: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self._table

    def place(self, key: str) -> str:
        """Return the path of *key*."""
        return f"{self.path}.{key}" if self.path else key

    def problem(self, key: str, message: Message) -> None:
        """Report a problem with *key*."""
        self.problems.add(self.place(key), message)

    def raw(self, key: str, default: Any = None) -> Any:
        """Return the value of *key* as it is, and count it as read."""
        self._read.add(key)
        return self._table.get(key, default)

    def usable_names(self) -> tuple[str, ...]:
        """Return the table's keys, reporting and leaving out those that are not usable names."""
        usable = []
        for key in self._table:
            if NAME.fullmatch(key):
                usable.append(key)
            else:
                self._read.add(key)
                self.problem(key, "expected a name: letters, digits, '_' and '-', first a letter or '_'")
        return tuple(usable)

    def text(self, key: str, default: str = "") -> str:
        """Return a string that is not empty."""
        value = self.raw(key, default)
        if not isinstance(value, str):
            self.problem(key, f"expected a string, got {quote(value)}")
            return default
        if not value.strip() and key in self:
            self.problem(key, "expected a string that is not empty")
        return value

    def flag(self, key: str, default: bool = False) -> bool:
        """Return a boolean."""
        value = self.raw(key, default)
        if not isinstance(value, bool):
            self.problem(key, f"expected true or false, got {quote(value)}")
            return default
        return value

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        """Return one of *choices*; the first is the default."""
        value = self.raw(key, choices[0])
        if value not in choices:
            self.problem(key, f"expected one of {listing(choices)}, got {quote(value)}")
            return choices[0]
        return str(value)

    def integer(self, key: str, default: int, *, minimum: int, maximum: int = 1_000_000) -> int:
        """Return an integer between *minimum* and *maximum*, both included."""
        value = self.raw(key, default)
        message = integer_problem(value, minimum, maximum)
        if message:
            self.problem(key, message)
            return default
        return int(value)

    def seconds(self, key: str, default: float | None = None, *, positive: bool = False) -> float | None:
        """Return a duration in seconds, None when there is none and no default."""
        value = self.raw(key)
        if key not in self:
            return default
        message = seconds_problem(value, positive=positive)
        if message:
            self.problem(key, message)
            return default
        return float(value)

    def names(self, key: str) -> tuple[str, ...]:
        """Return a list of different names."""
        value = self.raw(key, [])
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            self.problem(key, f"expected a list of names, got {quote(value)}")
            return ()
        for name, times in sorted(Counter(value).items()):
            if times > 1:
                self.problem(key, f"the name {quote(name)} is used twice")
        return tuple(dict.fromkeys(value))

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of strings that are not empty."""
        value = self.raw(key, [])
        if not isinstance(value, list) or not all(isinstance(text, str) and text.strip() for text in value):
            self.problem(key, f"expected a list of strings that are not empty, got {quote(value)}")
            return ()
        return tuple(value)

    def table(self, key: str) -> dict[str, Any]:
        """Return a table, empty when there is none."""
        value = self.raw(key, {})
        if not isinstance(value, dict):
            self.problem(key, f"expected a table, got {quote(value)}")
            return {}
        return value

    def backoff(self, key: str, default: tuple[float, float] = (0.1, 10.0)) -> tuple[float, float]:
        """Return the first and the longest pause between attempts, from one number or a pair."""
        value = self.raw(key)
        if key not in self:
            return default
        pair = value if isinstance(value, list) else pauses_from(value) if is_number(value) else [value, value]
        problems = [seconds_problem(seconds) for seconds in pair]
        if len(pair) != 2 or any(problems):
            detail = next((message for message in problems if message), f"got {quote(value)}")
            self.problem(key, f"expected seconds, or [first, longest]: {detail}")
            return default
        if pair[0] > pair[1]:
            self.problem(key, f"the first pause {pair[0]:g} is longer than the longest {pair[1]:g}")
        return float(pair[0]), float(pair[1])

    def unread(self) -> list[str]:
        """Return the keys that have not been read yet."""
        return [key for key in self._table if key not in self._read]

    def finish(self) -> None:
        """Report each key that has not been read."""
        for key in self.unread():
            hint = did_you_mean(key, self._read) or f"; expected {listing(self._read, limit=20)}"
            self.problem(key, f"unknown key{hint}")
