"""connect: stages, retries, polls, late values, closers, and a success that nobody takes."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import anyio

from lifecycle import ConnectError, Retry, Scope, Stages, connect, dial_tcp
from lifecycle._group.gather import gather
from lifecycle.types import AttemptState, ConnectAttempt, RetryFailure

from ._table import connect as make
from ._table import disconnect, scenario, session, work

if TYPE_CHECKING:
    from lifecycle.testing import Bubble
    from lifecycle.testing.types import Token


class Connector:
    """Two stages with something to undo, a task of the connection, and a handshake; and an eye on who is alive."""

    def __init__(self, bubble: Bubble, *, failures: int = 0, handshake: float = 0.01) -> None:
        self.bubble = bubble
        self.failures = failures
        self.handshake = handshake

    async def __call__(self, stages: Stages, name: str) -> Token:
        assert not alive(self.bubble, name), f"attempt {stages.attempt} began before the one before it had ended"
        first = await stages.acquire(make, self.bubble, f"{name} first", release=disconnect, name="first")
        stages.start_soon(uses, self.bubble, first)
        second = await stages.enter(session(self.bubble, f"{name} second"), name="second")
        await stages.step(asyncio.sleep(self.handshake), name="handshake")
        if stages.attempt <= self.failures:
            raise ConnectionRefusedError("planned")
        return second


async def uses(bubble: Bubble, token: Token) -> None:
    """Use what was made first until the end of the connection."""
    try:
        await work(bubble, f"{token.name} user", 1000)
    finally:
        assert not token.releases, f"{token.name} was released under its user"


def alive(bubble: Bubble, name: str) -> list[Token]:
    """Return what lives of one connect."""
    return [token for token in bubble.ledger.live if token.name.startswith(f"{name} ")]


def quick(attempts: int | None = None) -> Retry:
    """Return a retry that leaves nothing to chance."""
    return Retry(attempts=attempts, backoff=(0.01, 0.01), jitter=0.0)


@scenario
async def connect_as_a_context_manager(bubble: Bubble) -> None:
    """The first attempt fails, the second is used for a while."""
    async with connect(Connector(bubble, failures=1), "db", retry=quick(2), name="db") as token:
        await asyncio.sleep(0.01)
        assert not token.releases
    assert not alive(bubble, "db")


@scenario
async def connect_awaited(bubble: Bubble) -> None:
    """Awaited, and released by the scope of the connection."""
    attempt = connect(Connector(bubble), "db", name="db")
    async with Scope("user") as scope:
        scope.push_async_callback(close_all_of, attempt)
        await attempt
        await asyncio.sleep(0.01)
    assert not alive(bubble, "db")


@scenario
async def connect_that_fails_for_good(bubble: Bubble) -> None:
    """Both attempts are refused after all stages have been made."""
    with contextlib.suppress(ConnectError):
        await connect(Connector(bubble, failures=9), "db", name="db", retry=quick(2))
        raise AssertionError("it must not succeed")
    assert not alive(bubble, "db")
    await asyncio.sleep(0)


@scenario
async def connect_whose_hook_is_told(bubble: Bubble) -> None:
    """Each failure is told to a hook that takes its time, when nothing of the attempt is left."""
    told: list[int] = []

    async def hook(failure: RetryFailure) -> None:
        assert not alive(bubble, "db"), "the hook came before the end of the attempt"
        await asyncio.sleep(0.01)
        told.append(failure.attempt)

    retry = Retry(attempts=2, backoff=(0.01, 0.01), jitter=0.0, on_failure=hook)
    with contextlib.suppress(ConnectError):
        try:
            await connect(Connector(bubble, failures=9), "db", name="db", retry=retry)
        except ConnectError:  # also where it is cancelled while the hook is told of the last
            assert told in ([1, 2], [1])
            raise
        raise AssertionError("it must not succeed")
    assert not alive(bubble, "db")
    await asyncio.sleep(0)


@scenario
async def call_that_is_tried_again(bubble: Bubble) -> None:
    """Each attempt has something open, which is closed before the next one begins; the third succeeds."""
    begun = 0

    async def attempt() -> None:
        nonlocal begun
        begun += 1
        assert not alive(bubble, "call"), "an attempt began before the one before it had ended"
        async with session(bubble, "call session"):
            await asyncio.sleep(0.01)
            if begun < 3:
                raise ConnectionResetError("planned")

    async def hook(failure: RetryFailure) -> None:
        assert not alive(bubble, "call")
        await asyncio.sleep(0.01)
        told.append(failure.attempt)

    told: list[int] = []
    await Retry(attempts=3, backoff=(0.01, 0.01), jitter=0.0, on_failure=hook).call(attempt)
    assert (begun, told) == (3, [1, 2])


@scenario
async def connect_that_fails_unseen(bubble: Bubble) -> None:
    """It is refused while nobody waits for it; whoever closes it is told."""
    attempt = connect(Connector(bubble, failures=9), "db", name="db")
    attempt.poll()
    told = False
    try:
        await asyncio.sleep(0.1)
    finally:
        try:
            await attempt.aclose()
        except ConnectError:
            told = True
        assert told is (attempt.state is AttemptState.FAILED)
        assert not alive(bubble, "db")
    await asyncio.sleep(0)


@scenario
async def connect_that_is_too_slow(bubble: Bubble) -> None:
    """The handshake takes longer than the connect may; it is over soon after its time."""
    ends = asyncio.get_running_loop().time() + 0.2
    with contextlib.suppress(ConnectError):
        await connect(Connector(bubble, handshake=1.0), "db", name="db", timeout=0.03)
        raise AssertionError("it must not succeed")
    assert not alive(bubble, "db")
    assert asyncio.get_running_loop().time() < ends, "the deadline did not reach the connector"
    await asyncio.sleep(0)


async def close_all_of(attempt: ConnectAttempt[Token]) -> None:
    """Close an attempt, and the connection if somebody has taken it."""
    await attempt.aclose()
    attempt._check_invariants()
    if attempt.state is AttemptState.CONNECTED:
        await attempt.scope.aclose()


@scenario
async def connect_polled(bubble: Bubble) -> None:
    """One is polled until it is there, one is closed on the way, one is connected when it is closed, unseen."""
    polled, closed, unseen = (connect(Connector(bubble), name, name=name) for name in ("polled", "closed", "unseen"))
    async with Scope("polls") as scope:
        for attempt in (polled, closed, unseen):
            scope.push_async_callback(close_all_of, attempt)
        unseen.poll()
        while closed.stage != "handshake" and not closed.poll():
            polled.poll()
            await asyncio.sleep(0.005)
        await closed.aclose()
        assert not alive(bubble, "closed")
        while not polled.poll():
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.1)
        assert unseen.state is AttemptState.CONNECTED
    assert not alive(bubble, "unseen")


@scenario
async def connect_with_late_values(bubble: Bubble) -> None:
    """A value that cannot be cancelled comes after the timeout, one in the very tick of it; the next attempt waits."""

    async def stubborn(seconds: float) -> Token:
        with anyio.CancelScope(shield=True):
            await asyncio.sleep(seconds)
            return await make(bubble, "late value")

    async def connector(stages: Stages, seconds: float) -> Token:
        assert not alive(bubble, "late"), "another attempt began before the late value was gone"
        return await stages.acquire(stubborn, seconds, release=disconnect, name="stubborn")

    for seconds in (0.03, 0.01):
        with contextlib.suppress(ConnectError):
            async with connect(connector, seconds, timeout=0.02, retry=quick(2)):
                await asyncio.sleep(0.01)
        assert not alive(bubble, "late")
        await asyncio.sleep(0)


@scenario
async def connect_ended_by_others(bubble: Bubble) -> None:
    """Two wait for one connect, another cancels and closes it."""
    attempt: ConnectAttempt[Token] = connect(Connector(bubble, failures=1), "db", retry=quick(), name="db")

    async def waits() -> None:
        with contextlib.suppress(ConnectError):
            await attempt
        await asyncio.sleep(0)

    async def closes(after: float) -> None:
        await asyncio.sleep(after)
        attempt.cancel("no longer needed")
        await attempt.aclose()

    async with Scope("users") as scope:
        scope.push_async_callback(close_all_of, attempt)
        await gather(waits(), waits(), closes(0.015), return_exceptions=True)
    assert not alive(bubble, "db")


@scenario
async def connect_entered_in_a_scope(bubble: Bubble) -> None:
    """A scope holds a connection whose task fails while the scope's body waits."""

    failed_at = float("inf")

    async def fails(token: Token) -> None:
        nonlocal failed_at
        await asyncio.sleep(0.03)
        failed_at = asyncio.get_running_loop().time()
        raise LookupError("the reader failed")

    async def connector(stages: Stages) -> Token:
        token = await stages.acquire(make, bubble, "db value", release=disconnect)
        stages.start_soon(fails, token)
        await stages.step(asyncio.sleep(0.01))
        return token

    with contextlib.suppress(LookupError):
        async with Scope("owner") as scope:
            await scope.enter(connect(connector, name="db"))
            await asyncio.sleep(5)
    assert asyncio.get_running_loop().time() < failed_at + 1, "the failure of the reader interrupted nobody"
    await asyncio.sleep(0)


@scenario
async def connect_that_swallows_its_end(bubble: Bubble) -> None:
    """A connector that returns a value after its deadline, and one that does although its reader has failed."""

    async def fails() -> None:
        await asyncio.sleep(0.01)
        raise LookupError("the reader failed")

    async def connector(stages: Stages, name: str) -> Token:
        token = await stages.acquire(make, bubble, f"{name} value", release=disconnect)
        if name == "reader":
            stages.start_soon(fails)
        with contextlib.suppress(asyncio.CancelledError):
            await stages.step(asyncio.sleep(1))
        return token

    for name in ("late", "reader"):
        with contextlib.suppress(ConnectError):
            async with connect(connector, name, timeout=0.03, name=name):
                raise AssertionError("it must not succeed")
        assert not alive(bubble, name)
        await asyncio.sleep(0)


@scenario
async def connect_whose_rollback_fails(bubble: Bubble) -> None:
    """The error of a release reaches whoever waits, also one who was cancelled, and the cancellation comes after it."""

    async def bad(token: Token) -> None:
        await disconnect(token)
        raise LookupError("planned")

    async def connector(stages: Stages) -> None:
        await stages.acquire(make, bubble, "db value", release=bad)
        await stages.step(asyncio.sleep(0.01))
        raise ConnectionRefusedError("planned")

    with contextlib.suppress(ConnectError):
        await connect(connector, name="db")
    assert not alive(bubble, "db")
    await asyncio.sleep(0)


@scenario
async def connect_in_two_stages(bubble: Bubble) -> None:
    """Short enough for all pairs of cancellations."""

    async def connector(stages: Stages) -> Token:
        token = await stages.acquire(make, bubble, "db value", release=disconnect)
        await stages.step(asyncio.sleep(0.01))
        return token

    async with connect(connector, name="db") as token:
        assert not token.releases


@scenario
async def connect_over_the_network(bubble: Bubble) -> None:
    """A stream to a server that says hello; connections break as well here."""

    async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError), contextlib.closing(writer):
            writer.write(b"hello")
            await writer.drain()
            await reader.read()

    async def connector(stages: Stages) -> bytes:
        stream = await dial_tcp(stages, "server", 7)
        return await stages.step(stream.receive(), name="hello")

    server = await asyncio.start_server(hello, "server", 7)
    try:
        with contextlib.suppress(ConnectError):
            async with connect(connector, timeout=5.0, retry=quick(2)) as answer:
                assert answer == b"hello"
                await asyncio.sleep(0.01)
        await asyncio.sleep(0)
    finally:
        server.close()
