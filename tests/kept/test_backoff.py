"""How often a peer is asked that refuses, hangs up, or cuts: never a storm, and never for long after a good life."""

from __future__ import annotations

import asyncio
import logging

import pytest

from lifecycle import ConnectError, Retry, keep_connected
from lifecycle.testing import Bubble
from lifecycle.types import KeptState

from ..loops import virtual
from .peer import STEADY, Peer, Session, until


def gaps(peer: Peer) -> list[float]:
    """Return the seconds between the attempts."""
    return [after - before for before, after in zip(peer.asked_at, peer.asked_at[1:], strict=False)]


@virtual
async def test_a_peer_that_accepts_and_hangs_up_is_asked_as_one_that_refuses(bubble: Bubble) -> None:
    """A connection is no reason to begin the pauses anew: a plain loop asks such a peer thousands of times a second."""
    peer = Peer(hangs_up=True)
    async with keep_connected(peer.connector, retry=STEADY) as kept:
        await asyncio.sleep(60.0)
        assert gaps(peer) == [1.0, 2.0, 4.0, 8.0, 16.0, 16.0]
        assert kept.statistics().failures_in_a_row == 7


@virtual
async def test_connections_that_live_shortly_count_as_failures(bubble: Bubble) -> None:
    """Also where each of them was up: they are told apart in the statistics."""
    peer = Peer()
    async with keep_connected(peer.connector, retry=STEADY) as kept:
        for _ in range(4):
            session = await kept.get()
            await asyncio.sleep(0.5)
            session.hang_up()
            await until(kept, KeptState.WAITING)
        assert gaps(peer) == [1.5, 2.5, 4.5]
        statistics = kept.statistics()
        assert (statistics.short_lives, statistics.failures, statistics.failures_in_a_row) == (4, 0, 4)


@pytest.mark.parametrize("error", [None, ConnectionResetError("gone")])
@virtual
async def test_a_life_that_is_long_enough_begins_the_pauses_anew(bubble: Bubble, error: OSError | None) -> None:
    """Whatever it ends by; one that was short does not."""
    peer = Peer(refusals=3)
    async with keep_connected(peer.connector, retry=STEADY, minimum_uptime=20.0) as kept:
        session = await kept.get()
        assert gaps(peer) == [1.0, 2.0, 4.0]
        await asyncio.sleep(19.9)
        session.hang_up(error)
        session = await after(kept.get, session)
        assert gaps(peer)[3:] == [pytest.approx(27.9)]
        await asyncio.sleep(20.0)
        session.hang_up(error)
        session = await after(kept.get, session)
        assert gaps(peer)[4:] == [21.0]
        assert kept.statistics().failures_in_a_row == 0


async def after(get: object, session: Session) -> Session:
    """Return the session that follows one that was hung up."""
    while True:
        following: Session = await get()  # type: ignore[operator]
        if following is not session:
            return following
        await asyncio.sleep(0)


@virtual
async def test_a_life_begins_when_the_connection_is_up(bubble: Bubble) -> None:
    """A connect that takes its time is no life, and neither is a slow replay."""
    peer = Peer(seconds=60.0)

    async def replay(session: Session) -> None:
        await asyncio.sleep(60.0)

    async with keep_connected(peer.connector, retry=STEADY, replay=replay) as kept:
        session = await kept.get()
        await asyncio.sleep(1.0)
        session.hang_up()
        await until(kept, KeptState.WAITING)
        assert kept.statistics().short_lives == 1
        assert kept.statistics().failures_in_a_row == 1


def test_a_life_must_be_longer_than_the_longest_pause() -> None:
    """A peer that cuts at just that age would be asked for ever with the shortest pause."""
    peer = Peer()
    with pytest.raises(
        ValueError, match="minimum_uptime must be at least the longest pause of the retry, 16 s, got 2 s"
    ):
        keep_connected(peer.connector, retry=STEADY, minimum_uptime=2.0)
    plan = keep_connected(peer.connector, retry=Retry(backoff=(1.0, 300.0)))._keeper.plan
    assert plan.minimum_uptime == 300.0
    assert keep_connected(peer.connector, retry=Retry(backoff=(0.1, 0.1)))._keeper.plan.minimum_uptime == 10.0


@virtual
async def test_those_who_lose_a_server_together_do_not_come_back_together(bubble: Bubble) -> None:
    """The first pause after a long life is drawn from nothing on; a first connect is not delayed."""

    async def one_client() -> float:
        peer = Peer()
        async with keep_connected(peer.connector, retry=Retry(backoff=(10.0, 10.0))) as kept:
            session = await kept.get()
            assert peer.asked_at == [0.0]
            await asyncio.sleep(100.0)
            session.hang_up()
            await after(kept.get, session)
            return peer.asked_at[1] - 100.0

    pauses = await asyncio.gather(*(one_client() for _ in range(100)))
    assert 0.0 <= min(pauses) < 2.0
    assert 8.0 < max(pauses) <= 10.0


@virtual
async def test_attempts_count_anew_after_a_long_life(bubble: Bubble) -> None:
    """Short lives count, and so the last allowed failure may be one."""
    peer = Peer(refusals=2)
    retry = Retry(attempts=3, backoff=(1.0, 1.0), jitter=0.0)
    with pytest.raises(ConnectError, match="after 3 failures in a row: it was lost by ConnectionLost"):
        async with keep_connected(peer.connector, retry=retry) as kept:
            session = await kept.get()
            await asyncio.sleep(10.0)
            peer.refusals = 2
            session.hang_up()
            session = await after(kept.get, session)
            assert len(peer.asked_at) == 6
            session.hang_up()
            await asyncio.sleep(100.0)
            raise AssertionError("unreachable")
    assert len(peer.asked_at) == 6


@virtual
async def test_the_time_of_the_retry_is_time_without_a_connection(bubble: Bubble) -> None:
    """It bounds one outage: not the life of the whole, nor that of a connection in between."""
    peer = Peer()
    retry = Retry(timeout=5.0, backoff=(1.0, 1.0), jitter=0.0)
    with pytest.raises(ConnectError, match="given up"):
        async with keep_connected(peer.connector, retry=retry) as kept:
            for _ in range(4):  # each has cost a pause of one second
                session = await kept.get()
                await asyncio.sleep(9.0)
                session.hang_up()
                await until(kept, KeptState.UP if kept.state is KeptState.WAITING else KeptState.WAITING)
            session = await kept.get()
            assert len(peer.asked_at) == 5
            peer.refusals = 99
            session.hang_up()
            await asyncio.sleep(100.0)
            raise AssertionError("unreachable")
    assert len(peer.asked_at) == 5


@virtual
async def test_the_time_of_the_retry_cuts_an_attempt(bubble: Bubble) -> None:
    """So an outage with a bound is over in time, also where a peer says nothing."""
    peer = Peer(seconds=1000.0)
    with pytest.raises(ConnectError, match="given up"):
        async with keep_connected(peer.connector, retry=Retry(timeout=5.0)):
            await asyncio.sleep(100.0)
            raise AssertionError("unreachable")
    assert asyncio.get_running_loop().time() == 5.0


@virtual
async def test_a_reconnect_skips_the_pause(bubble: Bubble) -> None:
    """The button of a user: now, and not in sixteen seconds; only one attempt comes of it."""
    peer = Peer(refusals=99)
    async with keep_connected(peer.connector, retry=STEADY) as kept:
        await asyncio.sleep(20.0)
        assert gaps(peer) == [1.0, 2.0, 4.0, 8.0]
        peer.refusals = 0
        kept.reconnect()
        kept.reconnect()
        await kept.get()
        assert gaps(peer)[4:] == [5.0]


@virtual
async def test_a_reconnect_drops_what_is_up(bubble: Bubble) -> None:
    """At once, after a long life; with the pause of a failure after a short one: no loop makes a storm of it."""
    peer = Peer()
    reasons: list[tuple[str, object]] = []

    async with keep_connected(
        peer.connector, retry=STEADY, on_down=lambda down: reasons.append((down.reason, down.error))
    ) as kept:
        session = await kept.get()
        await asyncio.sleep(20.0)
        kept.reconnect("a new token")
        kept.reconnect("once more")
        session = await after(kept.get, session)
        assert gaps(peer) == [20.0]
        kept.reconnect()
        session = await after(kept.get, session)
        assert gaps(peer)[1:] == [1.0]
        assert reasons == [("a new token", None), ("a reconnect was asked for", None)]


@virtual
async def test_two_with_one_identity_are_pointed_out(bubble: Bubble, caplog: pytest.LogCaptureFixture) -> None:
    """They evict each other: it looks like a flap, and is told once."""
    peer = Peer()
    with caplog.at_level(logging.WARNING, "lifecycle.kept"):
        async with keep_connected(peer.connector, retry=STEADY) as kept:
            for _ in range(6):
                (await kept.get()).hang_up()
                await until(kept, KeptState.WAITING)
            assert kept.statistics().short_lives == 6
    told = [record for record in caplog.records if "end early" in record.getMessage()]
    assert len(told) == 1


@virtual
async def test_a_long_outage_is_told_rarely_and_loudly(bubble: Bubble, caplog: pytest.LogCaptureFixture) -> None:
    """A warning at first, then fewer, and an error where the pauses are at their longest."""
    peer = Peer(refusals=10_000)
    with caplog.at_level(logging.WARNING, "lifecycle.kept"):
        async with keep_connected(peer.connector, retry=STEADY):
            await asyncio.sleep(16.0 * 1000)
    levels = [(vars(record)["attempt"], record.levelname) for record in caplog.records]
    assert levels[:4] == [(1, "WARNING"), (2, "WARNING"), (4, "WARNING"), (8, "ERROR")]
    assert len(levels) == 10
