"""What a kept connection leaves behind: nothing, however often it is lost, and nothing for the collector to find."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections.abc import Iterator

import pytest

from lifecycle import Retry, Stages, keep_connected

from ..collection import without_collection
from .peer import Peer, Session

#: So many losses are looked at.
LOSSES = 200

#: As good as no pause.
QUICK = Retry(backoff=(0.0, 0.0), jitter=0.0)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """What is logged is kept by the fixtures of pytest."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("way", ["returns", "raises", "reported", "dropped", "used", "refused"])
def test_a_loss_leaves_nothing(way: str) -> None:
    """Neither objects that live, nor cycles: everything is gone by itself."""
    asyncio.run(lose_many(way))


async def lose_many(way: str) -> None:
    """Lose a connection many times in one way, and look at what there is more than before."""
    peer = Peer()

    async def connector(stages: Stages) -> Session:
        if way == "refused" and stages.attempt == 1:
            raise ConnectionRefusedError("planned")
        return await peer.connector(stages)

    async def nothing(_: object) -> None:
        await asyncio.sleep(0)

    uptime = 1000.0 if way == "refused" else 0.0
    kept = keep_connected(connector, retry=QUICK, replay=nothing, on_up=nothing, on_down=nothing, minimum_uptime=uptime)

    async def lose(times: int) -> None:
        for _ in range(times):
            session = await kept.get()
            if way == "returns":
                session.hang_up()
            elif way == "raises":
                session.hang_up(ConnectionResetError("gone"))
            elif way == "dropped":
                kept.reconnect()
            elif way == "used":
                with pytest.raises(BrokenPipeError):
                    async with kept.use():
                        raise BrokenPipeError("planned")
            else:
                kept.report_lost(session)
            while kept.current is session:
                await asyncio.sleep(0)
            del session
            peer.sessions.clear()
            peer.asked_at.clear()

    async with kept:
        await lose(20)
        with without_collection():
            before = len(gc.get_objects())
            await lose(LOSSES)
            grown = len(gc.get_objects()) - before
            found = gc.collect()
    assert kept.generation > LOSSES
    assert found < LOSSES / 2
    assert grown < LOSSES / 2


def test_a_value_is_let_go_when_its_connection_is_gone() -> None:
    """Also by the statistics, which keep the words of an error and not its frames."""

    async def main() -> None:
        peer = Peer()
        async with keep_connected(peer.connector, retry=Retry(backoff=(1000.0, 1000.0), jitter=0.0)) as kept:
            session = weakref.ref(await kept.get())
            kept.report_lost(peer.session, ConnectionResetError("gone"))
            peer.sessions.clear()
            while kept.statistics().next_attempt_at is None:
                await asyncio.sleep(0)
            assert session() is None
            assert kept.statistics().last_error == "ConnectionResetError('gone')"

    with without_collection():
        asyncio.run(main())
