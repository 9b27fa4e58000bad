"""Leaving and closing a pair: what is stopped, what may finish, and who may close."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from lifecycle import OwnerClosed, ReaderWorker, Scope, take_snapshot
from lifecycle.testing import Bubble

from ..loops import virtual
from .parts import Receive, Send, Wire, fails, forever


@virtual
async def test_leaving_the_block_stops_both(bubble: Bubble) -> None:
    """At once, joined, and neither ended first."""
    async with ReaderWorker(forever, forever) as pair:
        await asyncio.sleep(0.1)
    outcome = await pair.wait()
    assert outcome.first is None
    assert {end.how for end in outcome.ends} == {"stopped"}
    assert outcome.reason == "its block was left"


@virtual
async def test_an_error_that_nobody_has_got_is_raised_at_the_end_of_the_block(bubble: Bubble) -> None:
    """Together with that of the body; one that `wait` has told of is not raised again."""
    with pytest.raises(ValueError, match="broken"):
        async with ReaderWorker(fails, forever):
            await asyncio.sleep(1)
    with pytest.raises(ExceptionGroup) as caught:
        async with ReaderWorker(fails, forever):
            await asyncio.sleep(1)
            raise KeyError("body")
    assert {type(error) for error in caught.value.exceptions} == {ValueError, KeyError}
    async with ReaderWorker(fails, forever) as pair:
        await pair.wait()


@virtual
async def test_close_lets_the_worker_finish_what_was_read(bubble: Bubble) -> None:
    """The reader is stopped; no item that it has sent is lost."""
    got: list[int] = []

    async def reader(send: Send) -> None:
        for number in range(3):
            await send(number)
        await forever()

    async def worker(receive: Receive) -> None:
        async for item in receive:
            await asyncio.sleep(1)
            got.append(item)

    async with ReaderWorker(reader, worker) as pair:
        await asyncio.sleep(0.5)
        pair.stop_reading()
        pair.stop_reading()
        outcome = await pair.wait()
    assert got == [0, 1, 2]
    assert [str(end) for end in outcome.ends] == ["reader stopped", "worker returned"]


@virtual
async def test_the_end_of_the_worker_ends_what_close_has_left_to_drain(bubble: Bubble) -> None:
    """A read that no cancellation can end is freed then, also where draining has no bound."""
    wire = Wire()

    async def reader(send: Send) -> None:
        await wire.read()

    async with ReaderWorker(reader, fails, close=wire.close, drain_timeout=None) as pair:
        await asyncio.sleep(0.05)
        pair.stop_reading()
        async with asyncio.timeout(10):
            outcome = await pair.wait()
    assert [str(end) for end in outcome.ends] == [
        "worker raised ValueError('broken')",
        "reader raised OSError('closed under the read')",
    ]
    assert asyncio.get_running_loop().time() == pytest.approx(0.1)


@virtual
async def test_a_pair_that_was_closed_before_is_not_entered(bubble: Bubble) -> None:
    """As with every owner; its loops do not begin."""
    pair = ReaderWorker(forever, forever)
    pair.stop_reading()
    with pytest.raises(OwnerClosed, match="or closed"):
        async with pair:
            pass
    assert pair.state.value == "closed"


@virtual
async def test_close_bounds_the_draining_from_its_call_on(bubble: Bubble) -> None:
    """Also where the reader takes its time to stop."""

    async def reader(send: Send) -> None:
        await send(1)
        try:
            await forever()
        finally:
            await asyncio.sleep(1)

    async def worker(receive: Receive) -> None:
        async for _ in receive:
            await forever()

    async with ReaderWorker(reader, worker, drain_timeout=2) as pair:
        await asyncio.sleep(0.5)
        pair.stop_reading()
        await pair.wait()
    assert asyncio.get_running_loop().time() == pytest.approx(2.5)


@virtual
async def test_a_cancelled_wait_leaves_the_pair_running(bubble: Bubble) -> None:
    """And leaves nothing behind in it."""
    async with ReaderWorker(forever, forever) as pair:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await pair.wait()
        assert pair.state == "open"
        assert not pair._linked._watchers


@virtual
async def test_a_cancellation_at_the_end_of_the_block_waits_for_the_joins(bubble: Bubble) -> None:
    """It is held back while a loop cleans up, then raised, once."""
    ended: list[str] = []

    async def slow(*_: object) -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(1)
            ended.append("slow")

    async def host() -> None:
        async with ReaderWorker(slow, slow):
            await forever()

    task = asyncio.create_task(host())
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert ended == ["slow", "slow"]


@virtual
async def test_a_loop_that_closes_its_own_pair_does_not_wait_for_itself(bubble: Bubble) -> None:
    """It stops the other, and goes on to its own end."""
    pairs: list[ReaderWorker[Any]] = []

    async def worker(receive: Receive) -> str:
        await asyncio.sleep(0.1)
        await pairs[0].aclose()
        await asyncio.sleep(1)
        return "done"

    async with ReaderWorker(forever, worker) as pair:
        pairs.append(pair)
        outcome = await pair.wait()
    assert asyncio.get_running_loop().time() == pytest.approx(1.1)
    assert [str(end) for end in outcome.ends] == ["reader stopped", "worker returned"]


@virtual
async def test_aclose_from_any_task_is_idempotent(bubble: Bubble) -> None:
    """The second caller waits for the first."""
    async with Scope("owner") as scope:
        pair = ReaderWorker(forever, forever, name="mine")
        await scope.enter(pair)
        assert "pair 'mine', open" in str(take_snapshot())
        async with asyncio.TaskGroup() as group:
            group.create_task(pair.aclose())
            group.create_task(pair.aclose())
        assert pair.state.value == "closed"
