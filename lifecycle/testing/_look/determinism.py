"""What else would make two equal runs differ: sets ordered by address, random numbers, reads of the real clock."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import random
import sys
import time
import weakref
from typing import TYPE_CHECKING, Any

from anyio._backends import _asyncio as anyio_asyncio

from ..._task.handle import TaskHandle
from .._loop.task import VirtualTask

if TYPE_CHECKING:
    from collections.abc import Iterator

_PACKAGE = __name__.partition(".")[0]
_depth = 0
_counter = itertools.count(1)


def start_anew(seed: int) -> None:
    """Begin a bubble: number from one, because the order of a set depends on the numbers, and seed ``random``."""
    global _counter
    _counter = itertools.count(1)
    random.setstate(_random_state(seed))


@functools.lru_cache(maxsize=64)
def _random_state(seed: int) -> Any:
    return random.Random(seed).getstate()


@contextlib.contextmanager
def under_control() -> Iterator[None]:
    """Make everything that is put into sets hash by number, our own core make numbered tasks, and keep ``random``.

    A cancel scope of anyio keeps its inner scopes in a set, and our task managers keep handles in one; both cancel
    in the order of that set. They are compared by identity, so any constant hash is correct.
    """
    global _depth
    if _depth:
        yield
        return
    _depth += 1
    drawn = random.getstate()
    try:
        with contextlib.ExitStack() as stack:
            for kind in _kinds_in_sets():
                stack.enter_context(_numbered(kind))
            stack.enter_context(_controlled_core())
            yield
    finally:
        random.setstate(drawn)
        _depth -= 1


def _kinds_in_sets() -> list[Any]:
    return [anyio_asyncio.CancelScope, TaskHandle]


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


def _stopped_clock() -> float:
    return 0.0


# What our core knows by a name of its own, and what stands there in a bubble.
_STAND_INS: tuple[tuple[Any, Any], ...] = ((asyncio.Task, VirtualTask), (time.perf_counter, _stopped_clock))


@contextlib.contextmanager
def _controlled_core() -> Iterator[None]:
    """Let our own core make numbered tasks where it bypasses the loop's task factory, as it does in production.

    A virtual loop therefore shows no task factory: with one, the core would take another path, and its eager
    tasks would never be explored. The clock by which the core sees that it has held the loop for long stands still:
    on a busy machine it would show another time in every run.
    """
    places = _places_in_core()
    for module, name, _, stand_in in places:
        setattr(module, name, stand_in)
    try:
        yield
    finally:
        for module, name, original, _ in places:
            setattr(module, name, original)


_known: tuple[int, list[tuple[Any, str, Any, Any]]] = (-1, [])


def _places_in_core() -> list[tuple[Any, str, Any, Any]]:
    """Find every module-level name in the core bound to an object with a stand-in; again when modules were imported."""
    global _known
    count = len(sys.modules)
    if _known[0] != count:
        modules = [
            module
            for name, module in list(sys.modules.items())
            if name.startswith(f"{_PACKAGE}.") and not name.startswith(f"{_PACKAGE}.testing")
        ]
        found = [
            (module, name, original, stand_in)
            for original, stand_in in _STAND_INS
            for module in modules
            for name, value in vars(module).items()
            if value is original
        ]
        _known = count, found
    return _known[1]
