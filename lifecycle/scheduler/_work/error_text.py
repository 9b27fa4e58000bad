"""What can be read of an error of a handler, whatever that is: nothing of it is trusted to work, or to end."""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from traceback import FrameSummary, walk_tb
from types import TracebackType
from typing import TypeVar

from .._ground.interrupts import from_operator

T = TypeVar("T")

MOST_ERRORS = 10_000
"""Errors of one group that are looked at."""

MOST_SHOWN = 50
"""Of these, those that a message quotes: it would be shortened anyway."""

MOST_NODES = 500
"""Errors, their causes and contexts that are rendered together, each as often as it is reached."""

FRAMES = 8
"""Frames of a traceback that are kept, from its end."""


def attempt(function: Callable[[], T], otherwise: Callable[[BaseException], T]) -> T:
    """Return what *function* returns, which calls what is a handler's; what it raises ends nothing but this."""
    try:
        return function()
    except BaseException as broken:
        if from_operator(broken):
            raise
        return otherwise(broken)


def kind_of(error: BaseException) -> str:
    """Return the name of its type."""
    name: str = vars(type)["__name__"].__get__(type(error))
    return name


def long_kind_of(error: BaseException) -> str:
    """Return the name of its type as tracebacks show it: with its module."""
    name: str = vars(type)["__qualname__"].__get__(type(error))
    module = attempt(lambda: vars(type)["__module__"].__get__(type(error)), lambda _: None)
    return name if type(module) is not str or module in ("builtins", "__main__") else f"{module}.{name}"


def is_group(error: BaseException) -> bool:
    """Return whether it is a group, whatever it says of itself."""
    return issubclass(type(error), BaseExceptionGroup)


def members_of(group: BaseException) -> tuple[BaseException, ...]:
    """Return what a group was made of, whatever it says of itself."""
    found: tuple[BaseException, ...] = vars(BaseExceptionGroup)["exceptions"].__get__(group)
    return found


def leaves_of(error: BaseException) -> Iterator[BaseException]:
    """Yield what is in a group and the groups in it, each once and `MOST_ERRORS` at most; an error itself elsewhere."""
    line, seen = [error], set[int]()
    while line:
        found = line.pop()
        if not is_group(found):
            yield found
            continue
        fresh = {id(member): member for member in members_of(found)[:MOST_ERRORS] if id(member) not in seen}
        room = MOST_ERRORS - len(seen)
        seen.update(islice(fresh, room))
        line.extend(reversed([*islice(fresh.values(), room)]))


def text_of(error: BaseException) -> str:
    """Return its text, as a plain string."""
    return attempt(
        lambda: str.__str__(str(error)), lambda broken: f"<its message could not be made: {kind_of(broken)}>"
    )


def notes_of(error: BaseException) -> list[str]:
    """Return the notes that were added to it, those that are strings."""

    def read() -> list[str]:
        notes = getattr(error, "__notes__", None)
        return [str.__str__(note) for note in notes if issubclass(type(note), str)] if type(notes) is list else []

    return attempt(read, lambda _: [])


def frames_of(error: BaseException, ours: Callable[[str], bool]) -> list[FrameSummary]:
    """Return the last frames of its traceback, without those of files that are *ours*.

    Of an error that is raised again and again, a traceback grows each time: only what is returned is looked up.
    """
    kept = ((frame, line) for frame, line in walk_tb(_traceback(error)) if not ours(frame.f_code.co_filename))
    return list(traceback.StackSummary.extract(iter(deque(kept, FRAMES))))


def rendered(error: BaseException) -> str | None:
    """Return everything that Python would show of it, its causes and its traceback; None when that cannot be had."""
    if _nodes(error) > MOST_NODES:
        return None
    return attempt(lambda: "".join(traceback.format_exception(error)), lambda _: None)


def _nodes(error: BaseException) -> int:
    """Return how many errors are reached from one, and by how many ways, as far as it matters."""
    line: list[BaseException] = [error]
    count = 0
    while line and count <= MOST_NODES:
        found = line.pop()
        count += 1
        line += [other for other in (_cause(found), _context(found)) if other is not None]
        if is_group(found):
            line += members_of(found)[:MOST_NODES]
    return count


def _traceback(error: BaseException) -> TracebackType | None:
    found: TracebackType | None = vars(BaseException)["__traceback__"].__get__(error)
    return found


def _cause(error: BaseException) -> BaseException | None:
    found: BaseException | None = vars(BaseException)["__cause__"].__get__(error)
    return found


def _context(error: BaseException) -> BaseException | None:
    found: BaseException | None = vars(BaseException)["__context__"].__get__(error)
    return found
