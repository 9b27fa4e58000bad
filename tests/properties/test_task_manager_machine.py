"""A task manager under random treatment: after every step the account closes, at the end nothing is left.

The machine is synchronous and drives a virtual loop. A burst is a list of operations in one step of one task, so that
their effects meet: a foreign cancellation before a first step, a limit raised while a slot is handed over, a close
beside a drain. Between bursts the loop takes single turns, comes to rest, or lets time pass.
"""

from __future__ import annotations

import asyncio
import contextlib
import warnings
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from lifecycle import LifecycleError, TaskHandle, TaskManager, TaskStatus
from lifecycle.testing.types import VirtualLoop

from .at_length import run_lives

LONG = 50.0


class Planned(Exception):
    """An error that a task was told to raise."""


class Bodies:
    """What tasks do. None of them ends later than the machine wants: ``over`` ends the stubborn."""

    def __init__(self, manager: TaskManager) -> None:
        self._manager = manager
        self._over: asyncio.Event | None = None
        self.begun = 0
        self.ended = 0

    def end_the_stubborn(self) -> None:
        """Let those end that ignore every cancellation."""
        self._event().set()

    def _event(self) -> asyncio.Event:
        if self._over is None:
            self._over = asyncio.Event()
        return self._over

    @contextlib.contextmanager
    def _counted(self) -> Any:
        self.begun += 1
        try:
            yield
        finally:
            self.ended += 1

    async def quick(self) -> None:
        """End in the first step."""
        with self._counted():
            pass

    async def short(self) -> None:
        """Take a moment."""
        with self._counted():
            await asyncio.sleep(1)

    async def long(self) -> None:
        """Take too long for any drain."""
        with self._counted():
            await asyncio.sleep(LONG)

    async def failing(self) -> None:
        """Raise after a moment."""
        with self._counted():
            await asyncio.sleep(1)
            raise Planned

    async def failing_at_once(self) -> None:
        """Raise in the first step."""
        with self._counted():
            raise Planned

    async def shielded(self) -> None:
        """Let nobody interrupt a section."""
        with self._counted():
            with anyio.CancelScope(shield=True):
                await asyncio.sleep(1.5)
            await asyncio.sleep(1)

    async def swallowing(self) -> None:
        """Swallow one cancellation."""
        with self._counted():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(LONG)
            await asyncio.sleep(LONG)

    async def stubborn(self) -> None:
        """Swallow them all."""
        with self._counted():
            while not self._event().is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await self._event().wait()

    async def parent(self) -> None:
        """Start another task, if that is still possible."""
        with self._counted():
            await asyncio.sleep(0.5)
            with contextlib.suppress(LifecycleError):
                self._manager.start_soon(self.short)

    async def drainer(self) -> None:
        """Drain the manager from inside."""
        with self._counted():
            await self._manager.drain()

    async def closer(self) -> None:
        """Close the manager from inside."""
        with self._counted():
            await self._manager.aclose()


KINDS = [
    "quick", "short", "long", "failing", "failing_at_once", "shielded", "swallowing", "stubborn", "parent", "drainer",
    "closer",
]  # fmt: skip

LIMITS = [1, 2, 3, None]
BOUNDS = [None, 0.0, 2.0]

#: What a burst is made of; each with a number that says which task, which kind, which limit.
OPERATIONS = [
    *["start"] * 4, *["start and cancel natively"] * 3, *["cancel"] * 3, *["cancel natively"] * 2, "create",
    "spawn", "spawn", "cancel a helper", "limit", "drain", "close", "aclose",
]  # fmt: skip

bursts = st.lists(st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 40)), min_size=2, max_size=8)


class ManagerMachine(RuleBasedStateMachine):
    """The rules."""

    loop: VirtualLoop
    manager: TaskManager

    @initialize(
        limit=st.sampled_from([None, 1, 2]),
        pending_limit=st.sampled_from([None, 0, 2]),
        drain_timeout=st.sampled_from([0.0, 3.0, 20.0]),
        eager=st.booleans(),
        may_close=st.sampled_from([False, False, True]),
    )
    def begin(
        self, limit: int | None, pending_limit: int | None, drain_timeout: float, eager: bool, may_close: bool
    ) -> None:
        """Make a loop and a manager; unless it *may_close*, it stays open until the end."""
        self.may_close = may_close
        self.loop = VirtualLoop()
        asyncio.set_event_loop(None)
        self.manager = TaskManager(
            "machine", limit=limit, pending_limit=pending_limit, drain_timeout=drain_timeout, cancel_timeout=2.0,
            eager=eager, hooks=[self], on_error=self.note_error,
        )  # fmt: skip
        self.bodies = Bodies(self.manager)
        self.handles: list[TaskHandle[Any]] = []
        self.helpers: list[asyncio.Task[Any]] = []
        self.hooked: Counter[str] = Counter()
        self.live: set[TaskHandle[Any]] = set()
        self.errors = 0

    # What the manager tells us

    def note_error(self, handle: TaskHandle[Any], error: BaseException) -> None:
        """Count errors, which must all be planned."""
        assert isinstance(error, Planned)
        self.errors += 1

    def queued(self, handle: TaskHandle[Any]) -> None:
        """A task stands in line."""
        assert handle not in self.handles
        self.handles.append(handle)

    def before(self, handle: TaskHandle[Any]) -> None:
        """A task has a slot."""
        assert handle not in self.live
        self.live.add(handle)
        if handle not in self.handles:
            self.handles.append(handle)
        self.hooked["before"] += 1

    def after(self, handle: TaskHandle[Any]) -> None:
        """A task has ended, or was dropped."""
        assert handle.done()
        self.live.discard(handle)
        self.hooked["after"] += 1

    def rejected(self, name: str, error: Exception) -> None:
        """A task was refused."""
        self.hooked["rejected"] += 1

    # The rules

    @rule(burst=bursts)
    def burst(self, burst: list[tuple[str, int]]) -> None:
        """Do several things in one step."""

        async def do() -> None:
            for operation, number in burst:
                self.operate(operation, number)

        self.run(do())

    @rule(turns=st.integers(1, 4))
    def take_turns(self, turns: int) -> None:
        """Let the loop take some turns."""

        async def do() -> None:
            for _ in range(turns):
                await asyncio.sleep(0)

        self.run(do())

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 5.0]))
    def come_to_rest(self, seconds: float) -> None:
        """Let time pass, and then run whoever can: no slot is held by a task that is over, none is left unused."""

        async def do() -> None:
            await asyncio.sleep(seconds)
            await self.loop.wait_all_blocked()

        self.run(do())
        slots = self.manager._slots
        assert slots._granted == 0
        assert not slots.waiting or not slots.has_room
        for handle in self.manager._running:
            assert handle._task is not None
            assert not handle._task.done()

    # The account

    @invariant()
    def account_closes(self) -> None:
        """Ours, by handles and hooks, equals the manager's; without a look that would sweep."""
        manager = getattr(self, "manager", None)
        if manager is None:
            return
        ends = Counter(handle.status for handle in self.handles)
        assert manager._accepted == len(self.handles)
        assert manager._finished == ends[TaskStatus.FINISHED]
        assert manager._failed == ends[TaskStatus.FAILED] == self.errors
        assert manager._cancelled + manager._discarded == ends[TaskStatus.CANCELLED]
        assert manager._rejected == self.hooked["rejected"]
        alive = len(manager._running) + len(manager._abandoned) + manager._slots.queued
        assert alive == ends[TaskStatus.PENDING] + ends[TaskStatus.RUNNING]
        assert self.live == {*manager._running, *manager._abandoned}
        assert self.hooked["after"] == len(self.handles) - alive
        assert manager.limit is None or manager._slots._granted <= manager.limit or manager._state.value != "open"
        assert not self.loop.problems, self.loop.problems

    # The end

    def teardown(self) -> None:
        """Close whatever happened, and look for what is left."""
        if not hasattr(self, "manager"):
            return
        try:
            self.run(self.manager.aclose())
            self.account_closes()
            self.manager._check_invariants()
            self.bodies.end_the_stubborn()
            self.run(asyncio.sleep(3 * LONG))
            self.account_closes()
            assert all(handle.done() for handle in self.handles)
            assert self.bodies.begun == self.bodies.ended
            assert len(self.manager) == len(self.live) == self.manager.statistics().abandoned == 0
            assert not self.manager._idleness._waits
            assert not self.manager._idleness._closers
            assert self.loop.live_tasks() == []
            assert self.loop.live_timers() == []
            for helper in self.helpers:
                if not helper.cancelled() and helper.exception() is not None:
                    assert isinstance(helper.exception(), LifecycleError)
        finally:
            self.loop.close()

    # How

    def run(self, coro: Coroutine[Any, Any, Any]) -> None:
        """Run a coroutine to its end in the loop."""
        task = self.loop.create_task(coro)
        self.loop.run_main(task)
        task.result()

    def operate(self, operation: str, number: int) -> None:
        """Do one thing."""
        kind = KINDS[number % len(KINDS)]
        if not self.may_close and (operation in ("close", "aclose") or kind == "closer"):
            return
        body = getattr(self.bodies, kind)
        with contextlib.suppress(LifecycleError):
            match operation:
                case "start":
                    self.manager.start_soon(body)
                case "start and cancel natively":
                    task = self.manager.start_soon(body)._task
                    if task is not None:
                        task.cancel()
                case "create":
                    self.manager.create_task(body())
                case "spawn":
                    self.help(self.manager.spawn(body))
                case "drain":
                    self.help(self.manager.drain(BOUNDS[number % len(BOUNDS)]))
                case "close":
                    self.manager.close()
                case "aclose":
                    self.help(self.manager.aclose())
                case "limit":
                    self.manager.limit = LIMITS[number % len(LIMITS)]
                case _:
                    self.interrupt(operation, number)

    def help(self, coro: Coroutine[Any, Any, Any]) -> None:
        """Do something that waits, in a task of its own."""
        self.helpers.append(self.loop.create_task(coro))

    def interrupt(self, operation: str, number: int) -> None:
        """Cancel one of those that there are."""
        if operation == "cancel a helper" and self.helpers:
            self.helpers[number % len(self.helpers)].cancel()
        elif operation != "cancel a helper" and self.handles:
            handle = self.handles[number % len(self.handles)]
            if operation == "cancel":
                was_done = handle.done()
                assert handle.cancel("by the machine") is not was_done
            elif handle._task is not None:
                handle._task.cancel()


def test_random_treatment() -> None:
    """A hundred random treatments of twenty steps each; warnings are errors."""
    self_made: Callable[[], RuleBasedStateMachine] = ManagerMachine
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run_lives(self_made, 100, 20)


@pytest.mark.nightly
def test_random_treatment_at_length() -> None:
    """Five thousand treatments of sixty steps each."""
    run_lives(ManagerMachine, 5000, 60)
