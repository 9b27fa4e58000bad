"""Random connects: stages of all kinds that fail, hang or will not be undone, and callers who leave at any moment."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle import ConnectError, ReleaseTimeout, Retry, Stages, connect
from lifecycle._connect.state import SETTLED
from lifecycle.testing import Bubble, run_virtual
from lifecycle.types import AttemptState, ConnectAttempt

from ..leaves import leaves
from .at_length import at_length

CLOSE_TIMEOUT = 5.0


class Trouble(OSError):
    """What stages and releases raise."""


@dataclass(frozen=True)
class Stage:
    """One stage of a random connector.

    Attributes:
        kind: how it is made.
        seconds: how long that takes; a thousand is for ever.
        fails_in: the attempts in which it fails.
        release_seconds: how long its release takes.
        release_fails: whether that raises.
    """

    kind: str
    seconds: float
    fails_in: frozenset[int]
    release_seconds: float
    release_fails: bool


@dataclass(frozen=True)
class Program:
    """A random connect, and what its caller does."""

    stages: list[Stage]
    timeout: float | None
    attempts: int
    manner: str
    leaves_after: float | None
    leaves_by: str
    seed: int


@dataclass
class World:
    """What happened: what was made and released, by attempt."""

    made: list[tuple[int, int]] = field(default_factory=list)
    live: list[tuple[int, int]] = field(default_factory=list)
    begun: list[int] = field(default_factory=list)

    async def make(self, stage: Stage, key: tuple[int, int]) -> tuple[int, int]:
        """Make the value of a stage."""
        await asyncio.sleep(stage.seconds)
        if key[0] in stage.fails_in:
            raise Trouble(f"stage {key[1]}")
        self.made.append(key)
        self.live.append(key)
        return key

    async def shielded(self, stage: Stage, key: tuple[int, int]) -> tuple[int, int]:
        """Make it in a way that cannot be cancelled."""
        with anyio.CancelScope(shield=True):
            return await self.make(stage, key)

    async def release(self, stage: Stage, key: tuple[int, int]) -> None:
        """Release it; what came later must be gone, and it must not be for the second time."""
        assert self.live, f"{key} is released a second time"
        assert self.live[-1] == key, f"{key} is released before {self.live[-1]}"
        await asyncio.sleep(stage.release_seconds)
        assert self.live.pop() == key
        if stage.release_fails:
            raise Trouble(f"release of {key}")

    @contextlib.asynccontextmanager
    async def session(self, stage: Stage, key: tuple[int, int]) -> AsyncIterator[tuple[int, int]]:
        """Make it as a context manager."""
        made = await self.make(stage, key)
        try:
            yield made
        finally:
            await self.release(stage, made)

    async def connector(self, stages: Stages, program: Program) -> str:
        """Go through the stages."""
        assert not self.live, "the attempt before this one has not ended"
        self.begun.append(stages.attempt)
        for number, stage in enumerate(program.stages):
            key, name = (stages.attempt, number), str(number)

            async def release(made: tuple[int, int], stage: Stage = stage) -> None:
                await self.release(stage, made)

            if stage.kind == "value":
                await stages.acquire(self.make, stage, key, release=release, name=name)
            elif stage.kind == "shielded":
                await stages.acquire(self.shielded, stage, key, release=release, name=name)
            elif stage.kind == "manager":
                await stages.enter(self.session(stage, key), name=name)
            elif stage.kind == "task":
                stages.start_soon(asyncio.sleep, 1000)
            else:
                await stages.step(self.handshake(stage, key), name=name)
        return "connected"

    async def handshake(self, stage: Stage, key: tuple[int, int]) -> None:
        """Take a while, and fail or not."""
        await asyncio.sleep(stage.seconds)
        if key[0] in stage.fails_in:
            raise Trouble(f"stage {key[1]}")


stages = st.builds(
    Stage,
    kind=st.sampled_from(["value", "manager", "shielded", "task", "step"]),
    seconds=st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    fails_in=st.sampled_from([frozenset(), frozenset(), frozenset(), frozenset({1}), frozenset({1, 2, 3})]),
    release_seconds=st.sampled_from([0.0, 0.5, 1.0]),
    release_fails=st.sampled_from([False, False, False, True]),
)
programs = st.builds(
    Program,
    stages=st.lists(stages, max_size=5),
    timeout=st.sampled_from([None, 0.0, 0.5, 1.0, 2.5, 4.0]),
    attempts=st.integers(1, 3),
    manner=st.sampled_from(["awaited", "block", "polled"]),
    leaves_after=st.sampled_from([None, None, 0.0, 0.5, 1.0, 1.7, 3.0]),
    leaves_by=st.sampled_from(["cancel", "cancel twice", "close", "timeout", "scope"]),
    seed=st.integers(0, 1_000),
)


async def use(attempt: ConnectAttempt[str], program: Program, world: World) -> None:
    """Connect in the program's manner, and release what came of it."""
    wanted = [number for number, stage in enumerate(program.stages) if stage.kind not in ("task", "step")]
    if program.manner == "block":
        async with attempt as value:
            assert value == "connected"
            await asyncio.sleep(0.5)
            assert [number for _, number in world.live] == wanted
        return
    try:
        if program.manner == "awaited":
            await attempt
        else:
            while not attempt.poll():
                attempt._check_invariants()
                await asyncio.sleep(0.25)
        await asyncio.sleep(0.5)
        assert [number for _, number in world.live] == wanted
    finally:
        await attempt.aclose()
        if attempt.state is AttemptState.CONNECTED:
            await attempt.scope.aclose()


async def run(program: Program, world: World) -> ConnectAttempt[str]:
    """Run a program to its end, and check how it ended."""
    retry = Retry(attempts=program.attempts, backoff=(0.5, 0.5), jitter=0.0)
    attempt = connect(
        world.connector, program, timeout=program.timeout, retry=retry, close_timeout=CLOSE_TIMEOUT, name="program"
    )
    task = asyncio.create_task(within(attempt, program, world))
    if program.leaves_after is not None:
        await asyncio.sleep(program.leaves_after)
        if program.leaves_by.startswith("cancel"):
            task.cancel()
            if program.leaves_by == "cancel twice":
                await asyncio.sleep(0.5)
                task.cancel()
        elif program.leaves_by == "close":
            with contextlib.suppress(ConnectError, Trouble, ExceptionGroup):
                await attempt.aclose()
    (error,) = await asyncio.gather(task, return_exceptions=True)
    for part in leaves(error):
        assert isinstance(part, (ConnectError, Trouble, TimeoutError, asyncio.CancelledError)), part
        assert not isinstance(part, ReleaseTimeout), part
    return attempt


async def within(attempt: ConnectAttempt[str], program: Program, world: World) -> None:
    """Use an attempt, within a timeout if that is how its caller leaves."""
    limit = program.leaves_after
    if limit is not None and program.leaves_by == "timeout":
        async with asyncio.timeout(limit):
            await use(attempt, program, world)
    elif limit is not None and program.leaves_by == "scope":
        with anyio.move_on_after(limit):
            await use(attempt, program, world)
    else:
        await use(attempt, program, world)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def check(program: Program) -> None:
    """Run a program in virtual time and in an order of its own, and check what must be true of all."""
    world = World()

    async def scenario(bubble: Bubble) -> None:
        attempt = await run(program, world)
        attempt._check_invariants()
        if attempt.state is AttemptState.NEW:  # its caller was cancelled before it came to begin
            assert not world.begun
        else:
            assert attempt.state in SETTLED
        assert world.begun == list(range(1, len(world.begun) + 1))
        assert len(world.begun) <= program.attempts

    run_virtual(scenario, seed=program.seed)
    assert not world.live


@given(programs)
@settings(max_examples=100, deadline=None)
def test_whatever_happens_everything_is_undone_once_and_in_reverse(program: Program) -> None:
    """A hundred programs: no attempt overlaps another, nothing is released twice, early, or not at all."""
    check(program)


@at_length(20_000, programs)
def test_whatever_happens_everything_is_undone_once_and_in_reverse_at_length(program: Program) -> None:
    """The same with twenty thousand."""
    check(program)
