"""keep_connected: a full cycle, with those who wait, report, close, and hooks that are told once."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from lifecycle import ConnectError, OwnerClosed, Retry, Scope, Stages, TaskGroup, dial_tcp, keep_connected

from ._table import connect as make
from ._table import disconnect, scenario, work

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from lifecycle.testing import Bubble
    from lifecycle.testing.types import Token
    from lifecycle.types import ConnectionDown, ConnectionUp, KeptConnection

#: Nothing is left to chance; errors that were injected are tried again as well.
QUICK = Retry(backoff=(0.01, 0.02), jitter=0.0, retry_on=Exception)


class Line:
    """What is connected to: a token with a reader, one at a time; and who was told of it."""

    def __init__(self, bubble: Bubble, *, failures: int = 0) -> None:
        self.bubble = bubble
        self.failures = failures
        self.ends: asyncio.Event = asyncio.Event()
        self.up: list[int] = []
        self.down: list[int] = []

    async def connector(self, stages: Stages) -> Token:
        assert not alive(self.bubble), "an attempt began before the connection before it had ended"
        token = await stages.acquire(make, self.bubble, "line", release=disconnect)
        stages.start_soon(self.read, token)
        if self.failures:
            self.failures -= 1
            raise ConnectionRefusedError("planned")
        return token

    async def read(self, token: Token) -> None:
        """Read until the peer hangs up, once."""
        try:
            await self.ends.wait()
        finally:
            assert not token.releases, "the line was released under its reader"
        self.ends = asyncio.Event()

    async def replay(self, token: Token) -> None:
        """Bring back what was there."""
        await work(self.bubble, "replay", 0.01)

    async def on_up(self, up: ConnectionUp[Token]) -> None:
        """Note it, and take a moment."""
        assert self.up == self.down, "a connection came up before the end of the one before it was told"
        self.up.append(up.generation)
        await asyncio.sleep(0.005)

    async def on_down(self, down: ConnectionDown[Token]) -> None:
        """Note it, and take a moment."""
        assert not down.value.releases, "it is told after the release"
        self.down.append(down.generation)
        await asyncio.sleep(0.005)

    def check_told(self) -> None:
        """Check that each connection was told of once, in order."""
        assert self.up == self.down == sorted(set(self.up)), f"up {self.up}, down {self.down}"


def alive(bubble: Bubble) -> list[Token]:
    """Return what lives of the connection."""
    return [token for token in bubble.ledger.live if token.name in ("line", "replay")]


def keep(line: Line, retry: Retry = QUICK) -> KeptConnection[Token]:
    """Return a kept connection with all that it can have."""
    return keep_connected(
        line.connector,
        replay=line.replay,
        on_up=line.on_up,
        on_down=line.on_down,
        retry=retry,
        timeout=1.0,
        minimum_uptime=0.02,
        close_timeout=1.0,
    )


async def ends(line: Line, kept: KeptConnection[Token]) -> None:
    """Close it, and look that nothing is left, nor comes up afterwards."""
    await kept.aclose()
    kept._check_invariants()
    assert not alive(line.bubble)
    line.check_told()


@contextlib.asynccontextmanager
async def closing(line: Line, kept: KeptConnection[Token]) -> AsyncIterator[None]:
    """Close it at the end of a block, whatever happens."""
    async with Scope("user") as scope:
        scope.push_async_callback(ends, line, kept)
        yield


@scenario
async def kept_through_a_cycle(bubble: Bubble) -> None:
    """The first attempt is refused; then connect, replay, up, a loss, a pause, and all of it again, until the close."""
    line = Line(bubble, failures=1)
    with contextlib.suppress(ConnectError):
        async with keep(line) as kept:
            await kept.get()
            await asyncio.sleep(0.03)
            line.ends.set()
            await asyncio.sleep(0.001)
            await kept.get()
            await asyncio.sleep(0.005)
    assert not alive(bubble)
    line.check_told()
    asked = kept.statistics().attempts
    await asyncio.sleep(1.0)
    assert kept.statistics().attempts == asked, "an attempt was made after the close"
    kept._check_invariants()


@scenario
async def kept_without_a_block(bubble: Bubble) -> None:
    """Two wait for it, one with a bound; somebody else closes it in the pause."""
    line = Line(bubble)
    kept = keep(line)

    async def uses(timeout: float | None) -> None:
        with contextlib.suppress(ConnectError, OwnerClosed, TimeoutError):
            token = await kept.get(timeout)
            await asyncio.sleep(0.01)
            kept.report_lost(token, ConnectionResetError("planned"))
            kept.report_lost(token)
            await kept.get(timeout)

    with contextlib.suppress(ConnectError):
        async with closing(line, kept), asyncio.TaskGroup() as group:
            group.create_task(uses(None))
            group.create_task(uses(0.05))
            await asyncio.sleep(0.04)
            await kept.aclose()
    await asyncio.sleep(0)


@scenario
async def kept_and_closed_from_inside(bubble: Bubble) -> None:
    """By a task of the connection, by a hook, and by the replay; a second closer comes from outside."""

    async def close(_: object) -> None:
        await kept.aclose()

    for place in ("reader", "replay", "on_up", "on_down"):
        line = Line(bubble)
        change: Callable[..., None] = setattr
        if place == "reader":
            change(line, "read", close)
        else:
            change(line, place, close)
        kept = keep(line)
        with contextlib.suppress(ConnectError):
            async with Scope("user") as scope:
                scope.push_async_callback(kept.aclose)
                with contextlib.suppress(ConnectError, OwnerClosed):
                    await kept.get()
                line.ends.set()
                await kept.wait()
        assert not alive(bubble)
        kept._check_invariants()
        await asyncio.sleep(0)


@scenario
async def kept_until_it_is_given_up(bubble: Bubble) -> None:
    """The body is interrupted, and all who wait are told, in it and elsewhere."""
    line = Line(bubble, failures=9)
    kept = keep(line, Retry(attempts=2, backoff=(0.01, 0.01), jitter=0.0))
    with contextlib.suppress(ConnectError, ExceptionGroup):
        async with TaskGroup() as group:
            for _ in range(2):
                group.start_soon(expects_the_end, kept)
            with contextlib.suppress(ConnectError):  # so that those who wait have to be told
                async with kept:
                    await asyncio.sleep(5.0)
                    raise AssertionError("it was not given up")
    assert not alive(bubble)
    line.check_told()
    await asyncio.sleep(0)


async def expects_the_end(kept: KeptConnection[Token]) -> None:
    with contextlib.suppress(ConnectError, OwnerClosed):
        await kept.get()


@scenario
async def kept_and_dropped(bubble: Bubble) -> None:
    """A user drops it, another skips the pause, a third follows all connections."""
    line = Line(bubble)
    kept = keep(line)

    async def follows() -> None:
        with contextlib.suppress(ConnectError):
            async for token in kept:
                assert not token.releases

    async def drops() -> None:
        with contextlib.suppress(ConnectError, OwnerClosed):
            async with kept.use():
                await asyncio.sleep(0.03)
                kept.reconnect("planned")
            async with kept.use():
                raise ConnectionResetError("planned")

    with contextlib.suppress(ConnectError):
        async with closing(line, kept), asyncio.TaskGroup() as group:
            group.create_task(follows())
            await asyncio.gather(drops(), return_exceptions=True)
            await asyncio.sleep(0.005)
            with contextlib.suppress(ConnectError, OwnerClosed):
                kept.reconnect("no pause")
                await kept.get()
            await kept.aclose()
    await asyncio.sleep(0)


@scenario
async def kept_over_the_network(bubble: Bubble) -> None:
    """A stream to a server that hangs up after one word; connections break as well here."""

    async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError), contextlib.closing(writer):
            writer.write(b"hello")
            await writer.drain()
            await reader.read(1)

    async def connector(stages: Stages) -> list[bytes]:
        stream = await dial_tcp(stages, "server", 7)
        words = [await stages.step(stream.receive(), name="hello")]
        stages.start_soon(stream.receive, name="reader")
        await stages.step(stream.send(b"!"), name="answer")
        return words

    server = await asyncio.start_server(hello, "server", 7)
    try:
        with contextlib.suppress(ConnectError):
            async with keep_connected(connector, retry=QUICK, minimum_uptime=0.02) as kept:
                async for words in kept:
                    assert words == [b"hello"]
                    if kept.generation >= 2:
                        break
        await asyncio.sleep(0)
    finally:
        server.close()


@scenario
async def kept_with_short_lives(bubble: Bubble) -> None:
    """The peer accepts and hangs up: it is asked after pauses that grow."""
    line = Line(bubble)
    line.ends.set()
    asked_at: list[float] = []

    async def connector(stages: Stages) -> Token:
        asked_at.append(asyncio.get_running_loop().time())
        line.ends.set()
        return await line.connector(stages)

    retry = Retry(backoff=(0.1, 10.0), jitter=0.0, retry_on=Exception)
    with contextlib.suppress(ConnectError):
        async with keep_connected(connector, retry=retry, close_timeout=1.0):
            await asyncio.sleep(1.0)
    assert len(asked_at) <= 4, f"asked at {asked_at}"
    assert not alive(bubble)
    await asyncio.sleep(0)


@scenario
async def kept_and_lost_in_its_replay(bubble: Bubble) -> None:
    """The replay waits for what the reader would bring, which has met the end: there is no other bound."""
    line = Line(bubble)
    replays = 0

    async def replay(token: Token) -> None:
        nonlocal replays
        replays += 1
        if replays == 1:
            line.ends.set()
            await asyncio.sleep(1000.0)

    ended_at = float("inf")
    with contextlib.suppress(ConnectError):
        async with keep_connected(line.connector, replay=replay, retry=QUICK, minimum_uptime=0.02) as kept:
            await kept.get()
            ended_at = asyncio.get_running_loop().time()
    assert ended_at == float("inf") or ended_at < 100.0, "the replay waited for a reader that had ended"
    assert not alive(bubble)
    await asyncio.sleep(0)
