"""on_up and on_down: once for each connection, one after the other, told of their own time, and never in the way."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from lifecycle import NotConnected, Retry, keep_connected
from lifecycle.testing import Bubble
from lifecycle.types import ConnectionDown, ConnectionUp, KeptConnection, KeptState

from ..loops import some_turns, virtual
from .peer import STEADY, Peer, Session, until

#: As good as no pause.
QUICK = Retry(backoff=(0.001, 0.001), jitter=0.0)


@pytest.mark.parametrize("end", ["reader", "report", "reconnect", "aclose", "cancel"])
@virtual
async def test_on_down_runs_to_its_end(bubble: Bubble, end: str) -> None:
    """Whatever ends the connection: a hook in the task that a close cancels would be cancelled with it."""
    peer = Peer()
    events: list[str] = []

    async def on_down(down: ConnectionDown[Session]) -> None:
        assert down.value in peer.live, "it is told after the release"
        events.append("begins")
        await asyncio.sleep(1.0)
        events.append("ends")

    kept = keep_connected(peer.connector, retry=STEADY, on_down=on_down)

    async def block() -> None:
        async with kept:
            await asyncio.sleep(1000.0)

    task = asyncio.create_task(block())
    session = await kept.get()
    if end == "reader":
        session.hang_up()
    elif end == "report":
        assert kept.report_lost(session)
    elif end == "reconnect":
        kept.reconnect()
    elif end == "aclose":
        await asyncio.create_task(kept.aclose())
    await asyncio.sleep(0.5)
    task.cancel()  # while it runs, or as the end itself
    await asyncio.gather(task, return_exceptions=True)
    await kept.aclose()
    assert events == ["begins", "ends"]


@virtual
async def test_hooks_come_in_order(bubble: Bubble) -> None:
    """A slow hook and a quick reconnect: those of one connection are over before those of the next begin."""
    peer = Peer()
    events: list[str] = []

    async def on_up(up: ConnectionUp[Session]) -> None:
        events.append(f"up {up.generation}")
        await asyncio.sleep(0.0)

    async def on_down(down: ConnectionDown[Session]) -> None:
        events.append(f"down {down.generation}")
        await asyncio.sleep(5.0)
        events.append(f"down {down.generation} ends, {down.reason}")

    async with keep_connected(peer.connector, retry=QUICK, on_up=on_up, on_down=on_down) as kept:
        for _ in range(2):
            (await kept.get()).hang_up(OSError("planned"))
            await until(kept, KeptState.DOWN)
        await kept.get()
        await some_turns()
    lost = "OSError('planned')"
    assert events == [
        *("up 1", "down 1", f"down 1 ends, {lost}", "up 2", "down 2", f"down 2 ends, {lost}"),
        *("up 3", "down 3", "down 3 ends, it was closed"),
    ]


@virtual
async def test_what_a_hook_raises_is_told_and_counted(bubble: Bubble, caplog: pytest.LogCaptureFixture) -> None:
    """The connection stays, and the next attempt follows."""
    peer = Peer()

    def fails(event: object) -> None:
        raise LookupError("a defect of a hook")

    with caplog.at_level(logging.ERROR, "lifecycle.kept"):
        async with keep_connected(peer.connector, retry=QUICK, on_up=fails, on_down=fails, name="broker") as kept:
            session = await kept.get()
            await some_turns()
            assert kept.state is KeptState.UP
            session.hang_up()
            while (await kept.get()) is session:
                await asyncio.sleep(0)
            await some_turns()
            assert kept.statistics().hook_errors == 3
    assert [(record.getMessage(), vars(record)["owner"], vars(record)["hook"]) for record in caplog.records] == [
        ("hook failed", "broker", hook) for hook in ("on_up", "on_down", "on_up", "on_down")
    ]


@virtual
async def test_on_up_ends_with_its_connection(bubble: Bubble) -> None:
    """It may use the connection, and is cancelled when that is lost, before `on_down` is called."""
    peer = Peer()
    events: list[str] = []

    async def on_up(up: ConnectionUp[Session]) -> None:
        try:
            await asyncio.sleep(1000.0)
        finally:
            events.append("up ends")

    async with keep_connected(
        peer.connector, retry=STEADY, on_up=on_up, on_down=lambda _: events.append("down")
    ) as kept:
        session = await kept.get()
        await asyncio.sleep(1.0)
        session.hang_up()
        await until(kept, KeptState.WAITING)
        assert events == ["up ends", "down"]


@virtual
async def test_on_down_is_told_where_on_up_was(bubble: Bubble) -> None:
    """Closed in the very step in which it came up, so that `on_up` was not called: neither is `on_down`."""
    peer = Peer()
    events: list[str] = []
    kept = keep_connected(peer.connector, on_up=lambda _: events.append("up"), on_down=lambda _: events.append("down"))

    async def closes() -> None:
        await kept.get()
        await kept.aclose()

    await closes()
    assert events in ([], ["up", "down"])


@pytest.mark.parametrize("hook", ["on_down", "connector"])
@virtual
async def test_who_the_next_connection_waits_for_cannot_wait_for_it(bubble: Bubble, hook: str) -> None:
    """It would wait for itself; the error is one that callers of a connection catch anyway."""
    peer = Peer()
    told: list[BaseException] = []

    async def asks(_: object) -> None:
        try:
            await kept.get()
        except NotConnected as error:
            told.append(error)

    async def connector(stages: Any) -> Session:
        if hook == "connector":
            await asks(stages)
        return await peer.connector(stages)

    kept: KeptConnection[Session] = keep_connected(connector, retry=STEADY, on_down=asks if hook == "on_down" else None)
    async with kept:
        session = await kept.get()
        session.hang_up()
        await until(kept, KeptState.WAITING)
    assert asyncio.get_running_loop().time() < 5.0
    assert len(told) == 1
    assert "waits for the caller" in str(told[0])


@virtual
async def test_on_down_has_a_bound(bubble: Bubble) -> None:
    """One that hangs is cancelled after `close_timeout`, and the next attempt follows."""
    peer = Peer()

    async def hangs(down: ConnectionDown[Session]) -> None:
        if down.generation == 1:
            await asyncio.sleep(1000.0)

    kept = keep_connected(peer.connector, retry=STEADY, on_down=hangs, close_timeout=3.0)
    async with kept:
        (await kept.get()).hang_up()
        await until(kept, KeptState.WAITING)
        assert asyncio.get_running_loop().time() == pytest.approx(3.0, abs=0.2)
        assert kept.statistics().release_errors == 1
        await kept.get()
