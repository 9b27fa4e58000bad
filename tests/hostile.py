"""Errors of the kinds that users have and owners must survive: they refuse, they raise, they run in circles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import pytest


@dataclass(frozen=True)
class Frozen(Exception):
    """Refuses that its traceback and its context are set."""

    code: int = 3


@dataclass(frozen=True, slots=True)
class FrozenSlots(Exception):
    """Refuses that as well, with another error."""

    code: int = 3


class Touchy(Exception):
    """Raises whatever is asked of it."""

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{name} is not yours")

    def __eq__(self, other: object) -> NoReturn:
        raise TypeError("not to be compared")

    def __hash__(self) -> NoReturn:
        raise TypeError("not to be hashed")

    def __repr__(self) -> NoReturn:
        raise ValueError("without words")

    __str__ = __repr__

    def with_traceback(self, traceback: object) -> NoReturn:
        raise ValueError("without a traceback")


class Underived(ExceptionGroup[Exception]):
    """A group that can be neither split nor derived from."""

    def derive(self, errors: Any) -> NoReturn:
        raise TypeError("there is one of it")

    def split(self, condition: Any) -> NoReturn:
        raise TypeError("it is one")


def circle() -> Exception:
    """Return an error whose contexts run in a circle that it is not part of."""
    first, second, third = ValueError("circle"), ValueError("second"), ValueError("third")
    first.__context__, second.__context__, third.__context__ = second, third, second
    return first


def deep_group() -> Exception:
    """Return a group that is nested by the thousand."""
    error: Exception = ValueError("at the bottom")
    for _ in range(3000):
        error = ExceptionGroup("nested", [error])
    return error


HOSTILE: dict[str, Callable[[], Exception]] = {
    "frozen": Frozen,
    "frozen, with slots": FrozenSlots,
    "touchy": Touchy,
    "underived": lambda: Underived("underived", [ValueError("inner")]),
    "circle": circle,
    "deep": deep_group,
}

with_hostile_errors = pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
