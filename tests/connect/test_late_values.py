"""Values that come late: connectors that swallow their cancellation, ignore it, or end in the tick of the deadline."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from lifecycle import ConnectTimeout, OwnerClosed, Stages, connect
from lifecycle.testing import Bubble, run_virtual

from ..loops import virtual
from .peer import QUICK, Peer


@virtual
async def test_a_connector_that_swallows_its_cancellation_has_its_value_undone(bubble: Bubble) -> None:
    """It returns a value after the deadline: too late, all is released."""
    peer = Peer()

    async def connector(stages: Stages) -> str:
        value = await stages.acquire(peer.make, "a", release=peer.release)
        try:
            await stages.step(asyncio.sleep(100), name="hello")
        except asyncio.CancelledError:
            await asyncio.sleep(1)
        return value

    with pytest.raises(ConnectTimeout) as caught:
        await connect(connector, timeout=1)
    assert caught.value.stage == "hello"
    assert peer.live == []


@virtual
async def test_a_connector_that_ignores_every_cancellation_is_abandoned(bubble: Bubble) -> None:
    """Its stages are undone without it, the error says so, nothing is tried again, and it gets no new stage."""
    peer = Peer()
    may_end = asyncio.Event()
    refused: list[str] = []

    async def connector(stages: Stages) -> None:
        await stages.acquire(peer.make, "a", release=peer.release)
        while not may_end.is_set():
            try:
                await stages.step(asyncio.sleep(100 if len(refused) < 2 else 0.1), name="deaf")
            except (asyncio.CancelledError, OwnerClosed) as error:
                refused.append(type(error).__name__)
                await asyncio.sleep(0.5)

    began = asyncio.get_running_loop().time()
    with pytest.raises(ConnectTimeout, match="the connector was abandoned") as caught:
        await connect(connector, timeout=1, close_timeout=3, retry=QUICK)
    assert asyncio.get_running_loop().time() - began == pytest.approx(1 + 3 + 1, abs=0.1)
    assert (caught.value.attempts, caught.value.stage, peer.live) == (1, "deaf", [])
    await asyncio.sleep(2)
    assert refused[:2] == ["CancelledError", "CancelledError"]
    assert refused[-1] == "OwnerClosed"
    may_end.set()
    await asyncio.sleep(1)


@virtual
async def test_a_release_may_close_the_attempt_whose_connector_was_abandoned(bubble: Bubble) -> None:
    """The undoing runs in a task of its own then, and does not wait for itself either."""

    async def release(_: object) -> None:
        await attempt.aclose()

    async def connector(stages: Stages) -> None:
        await stages.acquire(object, release=release)
        for _ in range(3):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(50)

    attempt = connect(connector, timeout=1, close_timeout=2)
    with pytest.raises(ConnectTimeout) as caught:
        await attempt
    assert caught.value.rollback_errors == ()
    await asyncio.sleep(200)


def test_a_connector_that_was_abandoned_and_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """No task waits for it any more; its error is not lost."""

    async def connector(stages: Stages) -> None:
        for _ in range(2):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(50)
        await asyncio.sleep(50)
        raise OSError("much later")

    async def scenario(bubble: Bubble) -> None:
        with pytest.raises(ConnectTimeout):
            await connect(connector, timeout=1, close_timeout=2, name="db")
        await asyncio.sleep(200)

    run_virtual(scenario)
    (record,) = [record for record in caplog.records if record.message == "abandoned connector failed"]
    assert record.owner == "db"  # type: ignore[attr-defined]


@virtual
async def test_without_a_close_timeout_a_rollback_may_take_its_time(bubble: Bubble) -> None:
    """It is waited for without a bound."""
    peer = Peer(seconds=1000)
    attempt = connect(peer.connector, "a", close_timeout=None)
    attempt.poll()
    await asyncio.sleep(1500)
    await attempt.aclose()
    assert peer.live == []


@virtual
async def test_a_value_in_the_very_tick_of_the_deadline_is_taken_or_released(bubble: Bubble) -> None:
    """Whichever comes first wins; nothing is lost."""
    for offset in (-0.001, 0.0, 0.001):
        peer = Peer(seconds=1)
        try:
            async with connect(peer.connector, "a", timeout=2 + offset):
                assert peer.live == ["a"]
        except ConnectTimeout:
            assert offset <= 0
        assert peer.live == []
        assert peer.events == ["made a", "released a"]
