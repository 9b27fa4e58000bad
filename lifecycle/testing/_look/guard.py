"""Looks for leaks around one test: inside the loop for async tests, inside ``asyncio.run`` for plain ones."""

from __future__ import annotations

import asyncio
import asyncio.runners
import contextlib
import fnmatch
import functools
import warnings
from asyncio.base_events import BaseEventLoop
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from .._errors import LeakError, LeakWarning
from .._loop.clock import is_virtual
from .ledger import Ledger
from .watch import describe_leak, end_tasks, left_since, path_of, watched_tasks

if TYPE_CHECKING:
    from collections.abc import Iterator

Severity = Literal["error", "warn", "off"]


@dataclass(frozen=True)
class Allowed:
    """What may be left: patterns, as in a shell, for names of tasks and of ledger entries, or for their paths."""

    tasks: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()

    def task(self, task: asyncio.Task[Any]) -> bool:
        return _matches(self.tasks, task.get_name(), path_of(task))

    def resource(self, name: str, path: str) -> bool:
        return _matches(self.resources, name, path)


def _matches(patterns: tuple[str, ...], *names: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns for name in names)


class Guard:
    """Watches one test and reports what it leaves.

    Args:
        severity: what a leak is.
        allowed: what may be left.
        ledger: records what our primitives, and the test, open.
        network: the test's memory network, if it has one.
    """

    def __init__(
        self, severity: Severity, allowed: Allowed = Allowed(), *, ledger: Ledger | None = None, network: Any = None
    ) -> None:
        self._severity = severity
        self._allowed = allowed
        self._ledger = Ledger() if ledger is None else ledger
        self._network = network
        self._found: list[str] = []

    async def run(self, test: Any) -> Any:
        """Run an async test and look for leaks before anything closes the loop.

        Cancellation: passed on to the test.
        """
        loop = asyncio.get_running_loop()
        before = asyncio.all_tasks(loop)
        with self._ledger.recording(), watched_tasks(loop):
            result = await test
            left = [task for task in await left_since(before) if not self._is_allowed(task)]
            self._found += [describe_leak(task) for task in left]
            if self._severity == "error":
                await end_tasks(left)
        self._report()
        return result

    def _is_allowed(self, task: asyncio.Task[Any]) -> bool:
        return self._allowed.task(task) or (self._network is not None and self._network.is_outside(task))

    @contextlib.contextmanager
    def watching_runners(self) -> Iterator[None]:
        """Watch a plain test that runs loops itself: look before ``asyncio.run`` cancels, or a loop closes."""
        cancel_all = asyncio.runners._cancel_all_tasks  # type: ignore[attr-defined]
        run, close = BaseEventLoop.run_until_complete, BaseEventLoop.close

        def look_then_cancel(loop: Any) -> None:
            self._look_at(loop)
            cancel_all(loop)

        @functools.wraps(close)
        def look_then_close(loop: Any) -> None:
            self._look_at(loop)
            close(loop)

        @functools.wraps(run)
        def run_watched(loop: Any, main: Any) -> Any:
            with watched_tasks(loop):
                return run(loop, main)

        asyncio.runners._cancel_all_tasks = look_then_cancel  # type: ignore[attr-defined]
        BaseEventLoop.run_until_complete = run_watched  # type: ignore[assignment,method-assign]
        BaseEventLoop.close = look_then_close  # type: ignore[assignment,method-assign]
        try:
            with self._ledger.recording():
                yield
        finally:
            asyncio.runners._cancel_all_tasks = cancel_all  # type: ignore[attr-defined]
            BaseEventLoop.run_until_complete = run  # type: ignore[method-assign]
            BaseEventLoop.close = close  # type: ignore[method-assign]
        self._report()

    def _look_at(self, loop: Any) -> None:
        """Note what is left in a loop that is about to be closed; a virtual one has a report of its own."""
        if not loop.is_closed() and not is_virtual(loop):
            left = [task for task in asyncio.all_tasks(loop) if not self._is_allowed(task)]
            self._found += sorted(describe_leak(task) for task in left)

    def _report(self) -> None:
        found = self._found + [
            token.describe() for token in self._ledger.live if not self._allowed.resource(token.name, token.path)
        ]
        found += self._ledger.violations
        if self._network is not None:
            found += self._network.residue()
        if not found or self._severity == "off":
            return
        lines = "\n  ".join(found)
        message = f"the test left {len(found)} thing(s) behind:\n  {lines}"
        if self._severity == "error":
            raise LeakError(message)
        warnings.warn(message, LeakWarning, stacklevel=2)
