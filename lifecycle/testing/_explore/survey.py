"""A survey: the run without a fault, which shows at every boundary who could be struck."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from types import CodeType
from typing import Any

from ..._ground.calls import name_of
from ..._ground.frames import coroutine_of
from .._checks import checked_names
from .._look.bubble import Bubble
from .._sites import ANYIO, call_chain, file_kind
from .faults import CANCEL_BEFORE_START, Fault, KillTransport
from .plan import Injection

Targets = str | Iterable[str] | Callable[[asyncio.Task[Any]], bool]

# Files whose waits are waits for the outside world, and functions that only pass a sleep on.
_OUTSIDE_FILES = (
    "asyncio/streams.py",
    "asyncio/base_events.py",
    "asyncio/selector_events.py",
    "asyncio/sslproto.py",
)
_SLEEPS = frozenset(
    {"sleep", "__sleep0", "_sleep0", "sleep_until", "sleep_forever", "checkpoint", "AsyncIOBackend.sleep"}
)


def checked_targets(targets: Targets) -> Targets:
    """Return *targets*, names as a tuple of their own.

    Raises:
        TypeError: it is neither a word, a function nor names.
        ValueError: it is a word that means nothing, or there are no names.
    """
    if isinstance(targets, str):
        if targets not in ("all", "main", "user"):
            raise ValueError(f"targets={targets!r}: use 'main', 'user', 'all', task names or a function")
        return targets
    if callable(targets):
        return targets
    names = checked_names(targets, "targets")
    if not names:
        raise ValueError("targets is empty, so that nothing would be struck")
    return names


def unmet(targets: Targets, met: Iterable[str], tasks: Iterable[str]) -> list[str]:
    """Return, in words, which of *targets* is none of those that were *met*, and what *tasks* there were; by name."""
    met = set(met)
    there_were = f"there were {', '.join(map(repr, sorted(tasks)))}"
    if isinstance(targets, str):
        return []
    if callable(targets):
        return [] if met else [f"targets: {name_of(targets)}() has wanted no task; {there_were}"]
    return [f"targets: no task was named {name!r}; {there_were}" for name in targets if name not in met]


def wanted_by(targets: Targets) -> Callable[[asyncio.Task[Any]], bool]:
    """Turn the ``targets`` argument into a question about a task."""
    if targets == "all":
        return lambda task: True
    if targets == "main":
        return lambda task: task.get_name() == "main"
    if targets == "user":
        return lambda task: task.get_name() == "main" or bool(getattr(task, "by_user", False))
    if callable(targets):
        return targets
    names = frozenset(targets)
    return lambda task: task.get_name() in names


class Survey:
    """Counts boundaries and notes, per boundary, which wanted tasks are alive and how they stand.

    Attributes:
        boundary: index of the boundary seen last; -1 before the first.
        points: how many (task, boundary) pairs there are.
        names: the names of the tasks seen as targets, by number.
        tasks: the names of all tasks.
    """

    def __init__(self, bubble: Bubble, targets: Targets, *, start: int = -1) -> None:
        self.boundary = start
        self.names: dict[int, str] = {}
        self.tasks: set[str] = set()
        self._bubble = bubble
        self._wanted = wanted_by(targets)
        self._seen = 0
        self._alive: dict[int, asyncio.Task[Any]] = {}
        self._started: set[int] = set()
        self._wrapped: set[int] = set()
        self._unstarted: list[tuple[int, int]] = []
        self._suspended: list[tuple[int, int]] = []
        self._outside: list[tuple[int, int]] = []
        self._connected: list[tuple[int, int]] = []

    @property
    def points(self) -> int:
        return len(self._unstarted) + len(self._suspended)

    def observe(self, handle: Any, task: asyncio.Task[Any] | None) -> None:
        """Note who is alive before this step."""
        self.boundary = boundary = self.boundary + 1
        self._welcome()
        alive = self._alive
        for number in [number for number, known in alive.items() if known.done()]:
            del alive[number]
        for number in alive:
            if number in self._started:
                self._suspended.append((number, boundary))
            elif number not in self._wrapped:
                self._unstarted.append((number, boundary))
        number = getattr(task, "number", 0)
        if number in alive:
            assert task is not None
            if number in self._started and is_outside_wait(call_chain(task)):
                self._outside.append((number, boundary))
            self._started.add(number)
        if alive and self._bubble.has_connections():
            self._connected.append((next(iter(alive)), boundary))

    def _welcome(self) -> None:
        made = self._bubble.loop.tasks_made
        while self._seen < len(made):
            task = made[self._seen]()
            self._seen += 1
            if task is None:
                continue
            self.tasks.add(task.get_name())
            if self._wanted(task):
                number = getattr(task, "number", 0)
                self._alive[number] = task
                self.names[number] = task.get_name()
                coro = coroutine_of(task)
                if getattr(coro, "cr_suspended", False):  # started eagerly
                    self._started.add(number)
                if _is_wrapped_by_anyio(coro):
                    self._wrapped.add(number)

    def injections(self, faults: Iterable[Fault]) -> list[Injection]:
        """Every injection that these faults allow at what was seen, in the order of the faults."""
        return [Injection(fault, number, boundary) for fault in faults for number, boundary in self._places(fault)]

    def _places(self, fault: Fault) -> list[tuple[int, int]]:
        if isinstance(fault, KillTransport):
            return self._connected
        if fault.on_step:
            return self._outside
        if fault is CANCEL_BEFORE_START:
            return self._unstarted
        return self._suspended


def _is_wrapped_by_anyio(coro: Any) -> bool:
    """Whether anyio runs the user's coroutine inside one of its own.

    A native cancel before the first step then leaves the user's coroutine "never awaited". That hole is
    anyio's own, in every program that uses its task groups; reporting it would drown what the user can mend.
    """
    code = getattr(coro, "cr_code", None)
    return code is not None and code.co_filename.startswith(ANYIO)


def is_outside_wait(chain: list[tuple[CodeType, int]]) -> bool:
    """Whether a suspended task waits, in its own words, for time or for the network."""
    depth = len(chain)
    while depth and _passes_on(chain[depth - 1][0]):
        depth -= 1
    return 0 < depth < len(chain) and file_kind(chain[depth - 1][0].co_filename) != "runtime"


def _passes_on(code: CodeType) -> bool:
    if file_kind(code.co_filename) != "runtime":
        return False
    return code.co_name in _SLEEPS or code.co_filename.endswith(_OUTSIDE_FILES)
