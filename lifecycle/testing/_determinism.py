"""What else would make two equal runs differ: sets of anyio's cancel scopes, ordered by address."""

from __future__ import annotations

import contextlib
import itertools
import weakref
from typing import TYPE_CHECKING, Any

from anyio._backends import _asyncio as anyio_asyncio

if TYPE_CHECKING:
    from collections.abc import Iterator

_CancelScope: Any = anyio_asyncio.CancelScope
_depth = 0


@contextlib.contextmanager
def numbered_scopes() -> Iterator[None]:
    """Let anyio's cancel scopes hash by the order in which they are first put into a set.

    A cancel scope keeps its inner scopes in a set and cancels them in the order of that set. Scopes are
    compared by identity, so any constant hash is correct; numbering makes the order the same in every run.
    """
    global _depth
    if _depth:
        yield
        return
    counter = itertools.count(1)
    numbers: dict[int, tuple[int, weakref.ref[Any]]] = {}

    def number(scope: Any) -> int:
        known = numbers.get(id(scope))
        if known is None or known[1]() is not scope:  # an address is used again
            known = numbers[id(scope)] = (next(counter), weakref.ref(scope))
        return known[0]

    plain = _CancelScope.__hash__
    _depth += 1
    _CancelScope.__hash__ = number
    try:
        yield
    finally:
        _depth -= 1
        _CancelScope.__hash__ = plain
