"""A bubble: the closed world in which a scenario runs, and ``run_virtual``, which runs it there once."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine, Iterator
from types import SimpleNamespace
from typing import Any, TypeVar

from ..._ground import trace
from .._checks import checked_kind, checked_scenario, checked_seed
from .._errors import LeakError
from .._loop.clock import VirtualClock
from .._loop.loops import VirtualIOLoop, VirtualLoop
from .._loop.strategies import RandomWalk, Strategy
from .._network import MemoryNetwork
from .._sites import describe_task
from .determinism import start_anew, under_control
from .ledger import Ledger
from .residue import describe_problem, describe_timers, end_everything
from .tracking import new_descriptors, open_descriptors

T = TypeVar("T")
Scenario = Callable[["Bubble"], Coroutine[Any, Any, T]]


class Bubble:
    """What a scenario sees of its world; handed to it as its only argument.

    Attributes:
        loop: the virtual loop, of this bubble only.
        clock: its time.
        ledger: the account that must be clean at the end; our primitives report to it.
        state: a namespace for values that ``then=`` or an invariant reads.
    """

    def __init__(self, loop: VirtualLoop | VirtualIOLoop, seed: int | None) -> None:
        self.loop = loop
        self.clock: VirtualClock = loop.clock
        self.ledger: Ledger = Ledger()
        if isinstance(loop, VirtualLoop):
            loop.make_network = lambda: self.network
        self.state: SimpleNamespace = SimpleNamespace()
        self._seed = seed or 0
        self._random: random.Random | None = None
        self._network: MemoryNetwork | None = None
        self.descriptors: dict[str, str] | None = open_descriptors() if isinstance(loop, VirtualIOLoop) else None

    @property
    def random(self) -> random.Random:
        """A random generator with the run's seed; the ``random`` module has been seeded with the same."""
        if self._random is None:
            self._random = random.Random(self._seed)
        return self._random

    def has_network(self) -> bool:
        """Whether the network has been asked for."""
        return self._network is not None

    def has_connections(self) -> bool:
        """Whether any connection of the memory network is open."""
        return self._network is not None and self._network.has_connections()

    @property
    def network(self) -> MemoryNetwork:
        """The memory network of this bubble; with ``io=True`` connections are real instead."""
        if self._network is None:
            self._network = MemoryNetwork()
        return self._network

    def is_outside(self, task: asyncio.Task[Any]) -> bool:
        """Whether a task answers for a server that is not under test."""
        return self._network is not None and self._network.is_outside(task)

    async def wait_all_blocked(self) -> None:
        """Wait until every other task is blocked, without letting time pass.

        Cancellation: raised at once, nothing is left behind. Two tasks that wait so are woken one after
        the other, the first one first.
        """
        await self.loop.wait_all_blocked()

    def residue(self) -> list[str]:
        """Name everything that should not be there once the scenario has ended."""
        loop, network = self.loop, self._network
        residue = [describe_task(task).strip() for task in loop.live_tasks() if not self.is_outside(task)]
        if network is not None:
            residue += network.residue()
            network.end_peers()
            loop.settle()
        residue += describe_timers(loop)
        residue += self.ledger.residue()
        if self.descriptors is not None:
            residue += new_descriptors(self.descriptors)
        return residue + [describe_problem(problem) for problem in loop.problems]


def no_busy_loop(bubble: Bubble) -> str | None:
    """An invariant: no task busy-waits, for instance by swallowing anyio's repeated cancellation and going on."""
    times = checked_kind(bubble, Bubble, "the argument of no_busy_loop", "a bubble").loop.jumps_while_busy
    return f"busy loop: {times} time(s) tasks ran in circles until the clock was moved" if times else None


@contextlib.contextmanager
def open_bubble(*, seed: int | None, io: bool, max_steps: int, patience: float) -> Iterator[Bubble]:
    """Make a loop and its bubble, and take both down again, whatever was left in them."""
    make = VirtualIOLoop if io else VirtualLoop
    loop = make(max_steps=max_steps, patience=patience)
    bubble = Bubble(loop, seed)
    sink = trace.sink
    trace.sink = bubble.ledger
    try:
        with under_control():
            start_anew(seed or 0)
            yield bubble
    finally:
        try:
            end_everything(loop)
        finally:
            trace.sink = sink


def run_virtual(
    scenario: Scenario[T],
    *,
    seed: int | None = None,
    schedule: Strategy | None = None,
    io: bool = False,
    check: bool = True,
    max_steps: int = 200_000,
    patience: float = 5.0,
) -> T:
    """Run a scenario once on a virtual loop and return what it returns.

    Time stands still while anything can run and jumps when everything is blocked; an hour of sleeping costs
    nothing. When the scenario has returned, nothing of it may be left.

    Args:
        scenario: ``async def scenario(bubble)``.
        seed: None runs tasks in asyncio's order; a number chooses the order of ready tasks by a random walk
            with that seed, the same in every run. It also seeds ``bubble.random``.
        schedule: another way to choose the order: a strategy, which gets the seed, or what Hypothesis drew.
        io: allow real sockets, pipes and subprocesses; the clock then jumps only when they are silent.
        check: look for what is left after a scenario that returned: tasks, timers, ledger entries, errors
            that only the loop's exception handler saw.
        max_steps: task steps after which a run counts as a livelock.
        patience: real seconds to wait for a worker thread or a descriptor before they count as silent.

    Raises:
        DeadlockError: nothing can run any more.
        LivelockError: ``max_steps`` were not enough.
        LeakError: something was left; with names, owner paths and creation sites.
        TypeError, ValueError: an argument is of the wrong type, or a number out of range.
    """
    checked_scenario(scenario)
    if seed is not None:
        checked_seed(seed)
    if schedule is not None:
        checked_kind(schedule, Strategy, "schedule", "a strategy of lifecycle.testing.orders")
    with open_bubble(seed=seed, io=io, max_steps=max_steps, patience=patience) as bubble:
        loop = bubble.loop
        if schedule is not None:
            loop.chooser = schedule.chooser(seed or 0)
        elif seed is not None:
            loop.chooser = RandomWalk().chooser(seed)
        main: asyncio.Task[T] = loop.create_task(scenario(bubble), name="main")
        loop.run_main(main)
        if not check or main.cancelled() or main.exception() is not None:
            return main.result()
        loop.settle()
        residue = bubble.residue()
        if residue:
            lines = "\n  ".join(residue)
            raise LeakError(f"the scenario returned and left {len(residue)} thing(s) behind:\n  {lines}")
        return main.result()
