"""Looks for leaks around one test: inside the loop for async tests, inside ``asyncio.run`` for plain ones."""

from __future__ import annotations

import asyncio
import asyncio.runners
import contextlib
import fnmatch
import functools
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from .._errors import LeakError
from ._errors import LeakWarning
from ._ledger import Ledger
from ._watch import describe_leak, end_tasks, left_since, path_of, watched_tasks

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
        """Watch a plain test that runs loops itself: look when ``asyncio.run`` is about to cancel what is left."""
        cancel_all, run = asyncio.runners._cancel_all_tasks, asyncio.Runner.run  # type: ignore[attr-defined]
        guard = self

        def look_then_cancel(loop: Any) -> None:
            left = [task for task in asyncio.all_tasks(loop) if not guard._is_allowed(task)]
            guard._found += sorted(describe_leak(task) for task in left)
            cancel_all(loop)

        @functools.wraps(run)
        def run_watched(self: Any, coro: Any, **options: Any) -> Any:
            with watched_tasks(self.get_loop()):
                return run(self, coro, **options)

        asyncio.runners._cancel_all_tasks = look_then_cancel  # type: ignore[attr-defined]
        asyncio.Runner.run = run_watched  # type: ignore[method-assign]
        try:
            with self._ledger.recording():
                yield
        finally:
            asyncio.runners._cancel_all_tasks = cancel_all  # type: ignore[attr-defined]
            asyncio.Runner.run = run  # type: ignore[method-assign]
        self._report()

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
