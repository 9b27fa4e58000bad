"""Random lives of a kept connection on a network in memory: peers that hang up and break, and all who interfere."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from anyio import BrokenResourceError
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle import ConnectError, LifecycleError, Retry, Stages, dial_tcp, keep_connected
from lifecycle.testing import Bubble, run_virtual
from lifecycle.types import ConnectionDown, ConnectionUp, KeptConnection, KeptState

from ..leaves import leaves
from .at_length import at_length

FIRST, LONGEST, UPTIME = 0.5, 4.0, 6.0
CLOSE_TIMEOUT = 5.0

ACTIONS = [
    *("hang up", "hang up", "reset", "kill all", "report", "report late", "defect"),
    *("reconnect", "use", "get", "get and leave", "follow"),
]


class Trouble(OSError):
    """What hooks and releases raise."""


#: What a close may raise: why it was given up, and what releases and stopped tasks have met, which may be a connection
#: that breaks in the very moment of the close.
MAY_BE_MET = (ConnectError, Trouble, BrokenResourceError)


@dataclass(frozen=True)
class Program:
    """A random life, and how it ends.

    Attributes:
        actions: what is done, after so many seconds since the action before.
        refused: the attempts that the peer refuses.
        bad_replays: the attempts whose replay fails.
        attempts: how many failures in a row are allowed.
        replay: seconds that a replay takes.
        on_up, on_down: seconds that the hooks take; negative for hooks that fail.
        release: seconds that a release takes; negative for one that fails.
        end: how it is ended, after the last action.
        seed: the order of ready tasks.
    """

    actions: list[tuple[float, str]]
    refused: frozenset[int]
    bad_replays: frozenset[int]
    attempts: int | None
    replay: float
    on_up: float
    on_down: float
    release: float
    end: str
    seed: int


@dataclass
class Attempt:
    """What became of one attempt: when it began, came up, and was over."""

    began: float
    up: float | None = None
    over: float | None = None


class Session:
    """One connection: a stream, and the reader of it."""

    def __init__(self, stream: object) -> None:
        self.stream: object = stream
        self.broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def read(self) -> None:
        """Return when the peer hangs up; fail when the connection breaks."""
        async for _ in self.stream:  # type: ignore[attr-defined]
            pass

    async def watch(self) -> None:
        """Fail when something is found to be broken."""
        await self.broken


@dataclass
class World:
    """The peer, and what happened."""

    program: Program
    attempts: list[Attempt] = field(default_factory=list)
    live: list[Session] = field(default_factory=list)
    peers: list[asyncio.StreamWriter] = field(default_factory=list)
    ups: list[int] = field(default_factory=list)
    downs: list[int] = field(default_factory=list)
    hurried: list[float] = field(default_factory=list)
    old: list[Session] = field(default_factory=list)

    @property
    def now(self) -> float:
        """The loop time."""
        return asyncio.get_running_loop().time()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Stay until the client has gone."""
        self.peers.append(writer)
        with contextlib.suppress(OSError):
            await reader.read()
        writer.close()

    async def connector(self, stages: Stages) -> Session:
        """Connect, and read."""
        assert not self.live, "an attempt begins beside a connection"
        if self.attempts and self.attempts[-1].over is None:
            self.attempts[-1].over = self.attempts[-1].began
        self.attempts.append(Attempt(self.now))
        number = len(self.attempts)
        try:
            if number in self.program.refused:
                raise ConnectionRefusedError("refused")
            stream = await dial_tcp(stages, "peer", 7)
            session = await stages.acquire(self.open, stream, release=self.release, name="session")
            stages.start_soon(session.read, name="reader")
            stages.start_soon(session.watch, name="watch")
        except BaseException:
            self.attempts[-1].over = self.now
            raise
        return session

    async def open(self, stream: object) -> Session:
        """Open a session."""
        session = Session(stream)
        self.live.append(session)
        return session

    async def release(self, session: Session) -> None:
        """Release it, once."""
        self.live.remove(session)
        await asyncio.sleep(abs(self.program.release))
        if self.program.release < 0:
            raise Trouble("release")

    async def replay(self, session: Session) -> None:
        """Take a while, and fail or not."""
        assert self.live == [session]
        try:
            await asyncio.sleep(self.program.replay)
            if len(self.attempts) in self.program.bad_replays:
                raise Trouble("replay")
        except BaseException:
            self.attempts[-1].over = self.now
            raise

    async def on_up(self, up: ConnectionUp[Session]) -> None:
        """Note it."""
        assert self.ups == self.downs, "told before the end of the one before"
        assert self.live == [up.value]
        assert (up.gap is None) == (up.generation == 1)
        self.ups.append(up.generation)
        await asyncio.sleep(abs(self.program.on_up))
        if self.program.on_up < 0:
            raise Trouble("on_up")

    async def on_down(self, down: ConnectionDown[Session]) -> None:
        """Note it."""
        assert self.live == [down.value], "told after the release"
        self.downs.append(down.generation)
        self.attempts[-1].up, self.attempts[-1].over = self.now - down.uptime, self.now
        self.old.append(down.value)
        await asyncio.sleep(abs(self.program.on_down))
        if self.program.on_down < 0:
            raise Trouble("on_down")

    def check_pauses(self) -> None:
        """Check that no attempt came before its time, but those that somebody wanted at once."""
        failures = 0
        for this, following in zip(self.attempts, self.attempts[1:], strict=False):
            assert this.over is not None
            lived = this.up is not None and this.over - this.up >= UPTIME - 1e-6
            failures = 0 if lived else failures + 1
            if any(this.over - 1e-6 <= at <= following.began for at in self.hurried):
                continue
            pause = FIRST if lived else min(LONGEST, FIRST * 2 ** (failures - 1))
            assert following.began >= this.over + pause - 1e-6, (this, following, failures)


seconds = st.sampled_from([0.0, 0.0, 0.5, 1.0, 3.0])
programs = st.builds(
    Program,
    actions=st.lists(
        st.tuples(st.sampled_from([0.0, 0.001, 0.25, 1.0, 3.0, 7.0, 20.0]), st.sampled_from(ACTIONS)), max_size=12
    ),
    refused=st.frozensets(st.integers(1, 8), max_size=4),
    bad_replays=st.frozensets(st.integers(1, 8), max_size=3),
    attempts=st.sampled_from([None, None, 1, 2, 4]),
    replay=seconds,
    on_up=st.sampled_from([0.0, 0.5, -0.5, 100.0]),
    on_down=st.sampled_from([0.0, 0.5, -0.5]),
    release=st.sampled_from([0.0, 0.0, 0.5, -0.5]),
    end=st.sampled_from(["leave", "close", "cancel", "two close", "defect"]),
    seed=st.integers(0, 1_000),
)


async def act(kept: KeptConnection[Session], world: World, action: str, bubble: Bubble) -> None:
    """Do one thing to it."""
    present, peer = kept.current, world.peers[-1] if world.peers else None
    if action == "hang up" and peer is not None:
        peer.close()
    elif action == "reset" and peer is not None:
        peer.transport.abort()
    elif action == "kill all":
        bubble.network.kill_all()
    elif action == "report" and present is not None:
        assert kept.report_lost(present, ConnectionResetError("reported"))
        assert not kept.report_lost(present)
        assert kept.current is None
    elif action == "report late" and world.old:
        assert not kept.report_lost(world.old[-1], LookupError("late"))
        assert kept.current is present
    elif action == "defect" and present is not None and not present.broken.done():
        present.broken.set_exception(LookupError("defect"))
    elif action == "reconnect":
        with contextlib.suppress(LifecycleError):
            kept.reconnect()
            world.hurried.append(world.now)
    elif action == "use":
        with contextlib.suppress(LifecycleError, ConnectionError, TimeoutError):
            async with kept.use(timeout=1.0):
                raise ConnectionResetError("of a use")
    elif action == "get":
        with contextlib.suppress(LifecycleError, TimeoutError):
            assert await kept.get(timeout=2.0) is not None
    elif action == "get and leave":
        with contextlib.suppress(LifecycleError, TimeoutError):
            async with asyncio.timeout(0.3):
                await kept.get()


async def follow(kept: KeptConnection[Session]) -> None:
    """Take each connection once."""
    seen: list[Session] = []
    with contextlib.suppress(ConnectError):
        async for session in kept:
            assert session not in seen
            seen.append(session)


async def live(kept: KeptConnection[Session], world: World, bubble: Bubble) -> None:
    """Do what the program says, from the inside of the block."""
    async with kept, asyncio.TaskGroup() as group:
        group.create_task(follow(kept))
        for delay, action in world.program.actions:
            await asyncio.sleep(delay)
            kept._check_invariants()
            await act(kept, world, action, bubble)
            kept._check_invariants()
        if world.program.end in ("close", "two close"):
            closers = [group.create_task(kept.aclose()) for _ in range(len(world.program.end.split()))]
            await asyncio.wait(closers)
        elif world.program.end == "defect":
            raise LookupError("of the body")
        elif world.program.end == "cancel":
            await asyncio.sleep(1000.0)
        else:
            asyncio.get_running_loop().call_soon(asyncio.ensure_future, close_beside(kept))


async def close_beside(kept: KeptConnection[Session]) -> None:
    """Close it while its block is left: whoever comes first gets what the releases have met."""
    with contextlib.suppress(*MAY_BE_MET, ExceptionGroup):
        await kept.aclose()


async def scenario(world: World, bubble: Bubble) -> None:
    """Run a program to its end, and check what must be true of all."""
    program = world.program
    await bubble.network.peer(world.serve, "peer", 7)
    kept = keep_connected(
        world.connector,
        retry=Retry(attempts=program.attempts, backoff=(FIRST, LONGEST), jitter=0.0),
        minimum_uptime=UPTIME,
        replay=world.replay,
        on_up=world.on_up,
        on_down=world.on_down,
        close_timeout=CLOSE_TIMEOUT,
    )
    task = asyncio.create_task(live(kept, world, bubble))
    if program.end == "cancel":
        await asyncio.wait([task], timeout=sum(delay for delay, _ in program.actions) + 3.0)
        task.cancel()
    (error,) = await asyncio.gather(task, return_exceptions=True)
    for part in leaves(error):
        assert isinstance(part, (*MAY_BE_MET, LookupError, asyncio.CancelledError)), part
    await close_beside(kept)
    begun = len(world.attempts)
    await asyncio.sleep(60.0)
    assert len(world.attempts) == begun, "an attempt came after the end"
    assert kept.closed
    assert kept.state in (KeptState.CLOSED, KeptState.GIVEN_UP)
    assert not world.live
    assert world.ups == world.downs == sorted(set(world.ups))
    assert kept.statistics().waiting == 0
    kept._check_invariants()
    world.check_pauses()


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def check(program: Program) -> None:
    """Run a program in virtual time, in an order of its own."""
    world = World(program)

    async def run(bubble: Bubble) -> None:
        await scenario(world, bubble)

    run_virtual(run, seed=program.seed)


@given(programs)
@settings(max_examples=100, deadline=None)
def test_one_connection_at_a_time_whoever_interferes(program: Program) -> None:
    """A hundred lives: each connection told once, none before its time, and nothing after the end."""
    check(program)


@at_length(20_000, programs)
def test_one_connection_at_a_time_whoever_interferes_at_length(program: Program) -> None:
    """The same with twenty thousand."""
    check(program)
