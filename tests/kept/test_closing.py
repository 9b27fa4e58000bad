"""A close in every state, from every place: it is over at once, and nothing comes up afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from lifecycle import OwnerClosed, Stages, keep_connected
from lifecycle.testing import Bubble, run_virtual
from lifecycle.types import ConnectionDown, KeptConnection, KeptState

from ..loops import some_turns, virtual
from .peer import STEADY, Peer, Session, until


@pytest.mark.parametrize("manner", ["aclose", "cancel", "leave"])
@pytest.mark.parametrize("eighths", range(1, 60))
def test_a_close_at_any_moment_of_a_cycle(manner: str, eighths: int) -> None:
    """Connect, replay, up, loss, release, pause, and again: one close at each eighth of a second of it."""

    async def scenario(bubble: Bubble) -> None:
        peer = Peer(seconds=1.0, refusals=1)
        ups: list[int] = []
        downs: list[int] = []

        async def replay(session: Session) -> None:
            await asyncio.sleep(0.5)

        async def on_down(down: ConnectionDown[Session]) -> None:
            await asyncio.sleep(0.25)
            downs.append(down.generation)

        kept = keep_connected(
            peer.connector, retry=STEADY, replay=replay, on_up=lambda up: ups.append(up.generation), on_down=on_down
        )

        async def loses() -> None:
            await asyncio.sleep(4.0)
            peer.session.hang_up()

        async def block() -> None:
            async with kept:
                await asyncio.sleep(1000.0 if manner == "cancel" else eighths / 8)

        loser = asyncio.create_task(loses())
        if manner == "aclose":
            waiter = asyncio.create_task(kept.get())
            await asyncio.sleep(eighths / 8)
            await kept.aclose()
            await some_turns()
            assert waiter.done()
            waiter.cancelled() or waiter.exception()
        elif manner == "leave":
            await block()
        else:
            task = asyncio.create_task(block())
            await asyncio.sleep(eighths / 8)
            task.cancel("enough")
            with pytest.raises(asyncio.CancelledError, match="enough"):
                await task
        ended_at, asked, told = asyncio.get_running_loop().time(), len(peer.asked_at), (list(ups), list(downs))
        assert ended_at <= eighths / 8 + 1.25, "it has not ended at once"
        assert kept.closed
        assert kept.state is KeptState.CLOSED
        assert not peer.live
        assert ups == downs
        kept._check_invariants()
        loser.cancel()
        await asyncio.sleep(60.0)
        assert (len(peer.asked_at), (ups, downs)) == (asked, told)
        with pytest.raises(OwnerClosed):
            await kept.get()

    run_virtual(scenario)


PLACES = ["connector", "replay", "on_up", "on_down", "reader", "release", "user"]


@pytest.mark.parametrize("place", PLACES)
@virtual
async def test_a_close_from_inside(bubble: Bubble, place: str) -> None:
    """From the connector, each hook, a task of the connection, and a release: nobody waits for itself."""
    peer = Peer()
    closed: list[str] = []

    async def close(where: str) -> None:
        if where == place:
            await kept.aclose()
            closed.append(where)

    async def connector(stages: Stages) -> Session:
        await stages.acquire(say, release=lambda _: close("release"))
        session = await peer.connector(stages)
        stages.start_soon(reads, session)
        await close("connector")
        return session

    async def say() -> str:
        return "hello"

    async def reads(session: Session) -> None:
        await some_turns()
        await close("reader")
        if place != "reader":  # which a close from inside leaves alone
            await session.read()

    kept: KeptConnection[Session] = keep_connected(
        connector,
        retry=STEADY,
        replay=lambda _: close("replay"),
        on_up=lambda _: close("on_up"),
        on_down=lambda _: close("on_down"),
    )
    user = asyncio.create_task(kept.get())
    await some_turns()
    if place in ("on_down", "release"):
        peer.session.hang_up()
    elif place == "user":
        await close("user")
    await asyncio.wait_for(kept.wait(), 5.0)
    await some_turns()
    await kept.aclose()
    assert not peer.live
    assert kept.state is KeptState.CLOSED
    assert len(peer.asked_at) == 1
    assert closed in ([place], [])  # who was cancelled by the close that it has asked for has not come that far
    assert user.done()
    user.cancelled() or user.exception()


@virtual
async def test_several_closers_wait_for_one_close(bubble: Bubble) -> None:
    """And one who is cancelled just stops waiting."""
    peer = Peer(seconds=1.0)
    kept = keep_connected(peer.connector)
    await kept.get()
    one, other, impatient = (asyncio.create_task(kept.aclose()) for _ in range(3))
    await asyncio.sleep(0.5)
    impatient.cancel()
    assert not kept.closed
    await asyncio.gather(one, other)
    assert impatient.cancelled()
    assert kept.closed
    assert asyncio.get_running_loop().time() == 2.0


@virtual
async def test_a_close_is_no_loss(bubble: Bubble) -> None:
    """`on_down` is told once, without an error, and no reconnect is counted."""
    peer = Peer()
    downs: list[ConnectionDown[Session]] = []
    async with keep_connected(peer.connector, on_down=downs.append) as kept:
        await kept.get()
    assert [(down.error, down.reason) for down in downs] == [(None, "it was closed")]
    assert kept.statistics().losses == 0
    assert len(peer.asked_at) == 1


@pytest.mark.parametrize("end", ["loss", "report", "close", "cancel"])
@virtual
async def test_a_value_is_not_given_any_more_from_that_step_on(bubble: Bubble, end: str) -> None:
    """First the books, then those who wait, then what takes time."""
    peer = Peer(seconds=1.0)
    kept = keep_connected(peer.connector, retry=STEADY)
    session = await kept.get()
    ends: dict[str, Callable[[], Any]] = {
        "report": lambda: kept.report_lost(session),
        "close": lambda: asyncio.ensure_future(kept.aclose()),
        "cancel": kept.reconnect,
        "loss": session.hang_up,
    }
    ends[end]()
    if end in ("loss", "close"):
        await some_turns()  # until the reader has met its end, or the close has begun
    assert kept.current is None
    assert kept.state is (KeptState.CLOSING if end == "close" else KeptState.DOWN)
    with pytest.raises((ConnectionError, OwnerClosed)):
        kept.get_nowait()
    await until(kept, KeptState.CLOSED if end == "close" else KeptState.WAITING)
    await kept.aclose()
