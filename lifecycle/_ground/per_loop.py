"""What there is one of in every event loop; it goes with its loop, whatever that has left unfinished."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def kept_by_loop(name: str, make: Callable[[], T]) -> Callable[[AbstractEventLoop], T]:
    """Return the function that gives what a loop keeps, made by ``make()`` when it is first asked for.

    An attribute of the loop, because a table of loops, also a weak one, would keep what refers to its loop.

    Args:
        name: of the attribute.
        make: makes a new one.
    """

    def kept(loop: AbstractEventLoop) -> T:
        found: T | None = getattr(loop, name, None)
        if found is None:
            found = make()
            setattr(loop, name, found)
        return found

    return kept
