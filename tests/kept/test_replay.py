"""What is brought back before anybody gets a connection: once each time, inside the attempt, or the attempt fails."""

from __future__ import annotations

import asyncio

import pytest

from lifecycle import keep_connected
from lifecycle.testing import Bubble
from lifecycle.types import KeptConnection, KeptState

from ..loops import virtual
from .peer import STEADY, Peer, Session, until


@virtual
async def test_nobody_gets_a_connection_before_its_replay(bubble: Bubble) -> None:
    """Neither who waits nor who looks; then all in one step."""
    peer = Peer()

    async def replay(session: Session) -> None:
        await asyncio.sleep(1.0)

    async with keep_connected(peer.connector, replay=replay) as kept:
        waiters = [asyncio.create_task(kept.get()) for _ in range(3)]
        await asyncio.sleep(0.5)
        assert kept.current is None
        assert kept.state is KeptState.CONNECTING
        assert not any(waiter.done() for waiter in waiters)
        assert await asyncio.gather(*waiters) == [peer.session] * 3
        assert asyncio.get_running_loop().time() == 1.0


@virtual
async def test_a_replay_that_fails_is_a_failed_attempt(bubble: Bubble) -> None:
    """It is rolled back, tried again after a pause, and named."""
    peer = Peer()
    replayed: list[int] = []

    async def replay(session: Session) -> None:
        replayed.append(session.number)
        if session.number < 3:
            raise ConnectionResetError("in the middle of it")

    async with keep_connected(peer.connector, replay=replay, retry=STEADY) as kept:
        assert (await kept.get()).number == 3
        assert replayed == [1, 2, 3]
        assert peer.asked_at == [0.0, 1.0, 3.0]
        assert "in stage 'replay'" in str(kept.statistics().last_error)
        assert kept.statistics().ups == 1


@virtual
async def test_a_loss_during_the_replay_is_a_failed_attempt(bubble: Bubble) -> None:
    """It waits for an answer that never comes, because the reader has met the end; no timeout is needed."""
    peer = Peer()

    async def replay(session: Session) -> None:
        if session.number == 1:
            session.hang_up()
            await asyncio.sleep(1000.0)

    async with keep_connected(peer.connector, replay=replay, retry=STEADY) as kept:
        assert (await kept.get()).number == 2
        assert peer.asked_at == [0.0, 1.0]


@virtual
async def test_the_timeout_of_an_attempt_is_that_of_its_replay(bubble: Bubble) -> None:
    """A peer that answers everything but the replay is as good as none."""
    peer = Peer()

    async def replay(session: Session) -> None:
        if session.number == 1:
            await asyncio.sleep(1000.0)

    async with keep_connected(peer.connector, replay=replay, retry=STEADY, timeout=5.0) as kept:
        assert (await kept.get()).number == 2
        assert peer.asked_at == [0.0, 6.0]


@virtual
async def test_a_replay_may_ask_for_what_it_prepares(bubble: Bubble) -> None:
    """Through the layers of a client, which know only the kept connection."""
    peer = Peer()
    got: list[Session] = []

    async def replay(session: Session) -> None:
        got.append(await kept.get())

    kept: KeptConnection[Session] = keep_connected(peer.connector, replay=replay)
    async with kept:
        assert await kept.get() is got[0] is peer.session


class Client:
    """Keeps what is *wanted*, whatever was acknowledged, as the documentation advises."""

    def __init__(self, peer: Peer) -> None:
        self.wanted: dict[str, None] = {}
        self.sent: list[tuple[int, str]] = []
        self.kept = keep_connected(peer.connector, replay=self.replay, retry=STEADY)

    async def replay(self, session: Session) -> None:
        """Subscribe to everything that is wanted at this moment."""
        for topic in list(self.wanted):
            if topic in self.wanted:
                await self.send(session, topic)

    async def send(self, session: Session, topic: str) -> None:
        """Subscribe to one."""
        await asyncio.sleep(0.1)
        self.sent.append((session.number, topic))

    async def subscribe(self, topic: str) -> None:
        """Want a topic from now on."""
        self.wanted[topic] = None
        session = self.kept.current
        if session is not None:
            await self.send(session, topic)


@virtual
async def test_what_is_wanted_comes_back_once(bubble: Bubble) -> None:
    """Asked for while there is no connection, and not twice after many failed attempts; what is not wanted is gone."""
    peer = Peer(refusals=5)
    client = Client(peer)
    async with client.kept as kept:
        await client.subscribe("early")
        await client.subscribe("unwanted")
        session = await kept.get()
        await client.subscribe("late")
        assert client.sent == [(1, "early"), (1, "unwanted"), (1, "late")]
        client.sent.clear()
        del client.wanted["unwanted"]
        peer.refusals = 100
        session.hang_up()
        await until(kept, KeptState.WAITING)
        await client.subscribe("during the outage")
        await asyncio.sleep(16.0 * 102)
        await kept.get()
        assert client.sent == [(2, "early"), (2, "late"), (2, "during the outage")]


@virtual
async def test_what_changes_during_the_replay(bubble: Bubble) -> None:
    """Removed in the middle of it: it is not brought back."""
    peer = Peer()
    client = Client(peer)
    await client.subscribe("kept")
    await client.subscribe("removed")
    async with client.kept as kept:
        await asyncio.sleep(0.05)
        del client.wanted["removed"]
        await kept.get()
        assert client.sent == [(1, "kept")]


@pytest.mark.parametrize("refusals", [0, 3])
@virtual
async def test_a_synchronous_replay(bubble: Bubble, refusals: int) -> None:
    """Of either kind."""
    peer = Peer(refusals=refusals)
    replayed: list[Session] = []
    async with keep_connected(peer.connector, replay=replayed.append, retry=STEADY) as kept:
        assert [await kept.get()] == replayed
