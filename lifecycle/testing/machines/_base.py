"""The base of all machines: a bubble that stays open, turns and time as rules, and a last look."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import anyio
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from typing_extensions import TypeVarTuple, Unpack

from .._errors import DeadlockError
from .._look.bubble import Bubble, open_bubble

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

picks = st.integers(0, 9)


class LoopMachine(RuleBasedStateMachine):
    """A state machine over a virtual loop. Subclass it for anything asynchronous; write rules as plain functions.

    Attributes:
        bubble: the world of this machine: ``bubble.ledger``, ``bubble.clock``, ``bubble.network``.
        expected: errors with which a task may end that was still running when the machine shut down.
    """

    expected: tuple[type[BaseException], ...] = (anyio.ClosedResourceError, ConnectionError)

    def __init__(self) -> None:
        super().__init__()
        self._stack = contextlib.ExitStack()
        opened = open_bubble(seed=None, io=False, max_steps=200_000, patience=5.0)
        self.bubble: Bubble = self._stack.enter_context(opened)
        self._tasks: list[asyncio.Task[Any]] = []
        self._closing = False

    # What rules are made of.

    def start(self, coro: Coroutine[Any, Any, T], name: str | None = None) -> asyncio.Task[T]:
        """Start a task in the machine's loop; it takes its first step with the next turn."""
        task: asyncio.Task[T] = self.bubble.loop.create_task(coro, name=name)
        self._tasks.append(task)
        return task

    def finish(self, coro: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end, time included, and return its value."""
        task = self.bubble.loop.create_task(coro, name="rule")
        self.bubble.loop.run_main(task)
        return task.result()  # type: ignore[no-any-return]

    def inside(self, fn: Callable[[Unpack[Ts]], T], *args: Unpack[Ts]) -> T:
        """Call a plain function inside the running loop, and return what it returns."""

        async def call() -> T:
            return fn(*args)

        return self.finish(call())

    def settle(self) -> None:
        """Run everything that can run, without letting time pass."""
        self.bubble.loop.settle()

    def running(self) -> list[asyncio.Task[Any]]:
        """Tasks that were started and have not ended."""
        ended = [task for task in self._tasks if task.done()]
        self._tasks = [task for task in self._tasks if not task.done()]
        for task in ended:
            error = None if task.cancelled() else task.exception()
            if error is not None and not (self._closing and isinstance(error, self.expected)):
                raise error
        return self._tasks

    # Rules of every machine.

    @rule(turns=st.integers(1, 4))
    def let_run(self, turns: int) -> None:
        """Make some turns of the loop."""
        self.bubble.loop.settle(turns)

    @rule(tenths=st.integers(1, 30))
    def let_time_pass(self, tenths: int) -> None:
        """Let time pass, and everything run that is due."""
        self.finish(asyncio.sleep(tenths / 10))

    # The end.

    async def shut_down(self) -> None:
        """Close what the machine has opened; overridden by each machine, and awaited in the end."""

    def end_tasks(self) -> None:
        """Wait for tasks that are still running, cancelled ones included."""
        left = self.running()
        if left:
            with contextlib.suppress(DeadlockError):
                self.finish(_wait(left))

    def teardown(self) -> None:
        """Close everything, and see that nothing is left."""
        try:
            self.running()
            self._closing = True
            self.finish(self.shut_down())
            self.end_tasks()
            for task in self.running():
                task.cancel()
            self.settle()
            self.running()
            residue = self.bubble.residue()
            assert not residue, "left at the end:\n  " + "\n  ".join(residue)
        finally:
            self._stack.close()


async def _wait(tasks: list[asyncio.Task[Any]]) -> None:
    await asyncio.wait(tasks)


def pick(things: list[T], number: int) -> T:
    """Choose one of some things by a number that may be too high."""
    return things[number % len(things)]
