"""What else would make two equal runs differ: sets ordered by address, and tasks made past the task factory."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
import weakref
from typing import TYPE_CHECKING, Any

from anyio._backends import _asyncio as anyio_asyncio

from ._task import VirtualTask

if TYPE_CHECKING:
    from collections.abc import Iterator

_PACKAGE = __name__.partition(".")[0]
_depth = 0
_counter = itertools.count(1)


def restart_numbers() -> None:
    """Number anew from one, at the start of each bubble: the order of a set depends on the numbers themselves."""
    global _counter
    _counter = itertools.count(1)


@contextlib.contextmanager
def numbered_scopes() -> Iterator[None]:
    """Make everything that is put into sets hash by number, and our own core make numbered tasks.

    A cancel scope of anyio keeps its inner scopes in a set, and our task managers keep handles in one; both cancel
    in the order of that set. They are compared by identity, so any constant hash is correct.
    """
    global _depth
    if _depth:
        yield
        return
    _depth += 1
    try:
        with contextlib.ExitStack() as stack:
            for kind in _kinds_in_sets():
                stack.enter_context(_numbered(kind))
            stack.enter_context(_numbered_core_tasks())
            yield
    finally:
        _depth -= 1


def _kinds_in_sets() -> list[Any]:
    kinds: list[Any] = [anyio_asyncio.CancelScope]
    handles = sys.modules.get(f"{_PACKAGE}._handle")
    if handles is not None:
        kinds.append(handles.TaskHandle)
    return kinds


@contextlib.contextmanager
def _numbered(kind: Any) -> Iterator[None]:
    """Let instances hash by the order in which they are first put into a set, inside the block."""
    numbers: dict[int, tuple[int, weakref.ref[Any]]] = {}

    def number(instance: Any) -> int:
        known = numbers.get(id(instance))
        if known is None or known[1]() is not instance:  # an address is used again
            known = numbers[id(instance)] = (next(_counter), weakref.ref(instance))
        return known[0]

    own = vars(kind).get("__hash__")
    kind.__hash__ = number
    try:
        yield
    finally:
        if own is None:
            del kind.__hash__
        else:
            kind.__hash__ = own


@contextlib.contextmanager
def _numbered_core_tasks() -> Iterator[None]:
    """Let our own core make numbered tasks where it bypasses the loop's task factory, as it does in production.

    A virtual loop therefore shows no task factory: with one, the core would take another path, and its eager
    tasks would never be explored.
    """
    places = _core_names_of_task()
    for module, name in places:
        setattr(module, name, VirtualTask)
    try:
        yield
    finally:
        for module, name in places:
            setattr(module, name, asyncio.Task)


_known: tuple[int, list[tuple[Any, str]]] = (-1, [])


def _core_names_of_task() -> list[tuple[Any, str]]:
    """Find the names under which modules of the core know ``asyncio.Task``; anew when modules were added."""
    global _known
    count = len(sys.modules)
    if _known[0] != count:
        modules = [
            module
            for name, module in list(sys.modules.items())
            if name.startswith(f"{_PACKAGE}.") and not name.startswith(f"{_PACKAGE}.testing")
        ]
        found = [(module, name) for module in modules for name, value in vars(module).items() if value is asyncio.Task]
        _known = count, found
    return _known[1]
