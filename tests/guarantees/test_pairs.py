"""G13: a pair ends together, whichever loop ends first and whatever the other is blocked in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import pytest

from lifecycle import OwnerClosed, ReaderWorker, ReleaseTimeout, take_snapshot
from lifecycle.testing import Bubble

from ..loops import virtual
from .things import Stubborn

Send = Callable[[Any], Awaitable[None]]
Receive = AsyncIterator[Any]


async def returns(*_: object) -> None:
    await asyncio.sleep(1)


async def raises(*_: object) -> None:
    await asyncio.sleep(1)
    raise ValueError("broken")


async def blocked_read(send: Send) -> None:
    await asyncio.Event().wait()


async def blocked_send(send: Send) -> None:
    while True:
        await send("item")


async def shielded_read(send: Send) -> None:
    with anyio.CancelScope(shield=True):
        await resource.wait()


async def blocked_receive(receive: Receive) -> None:
    async for _ in receive:
        pass


async def blocked_work(receive: Receive) -> None:
    await asyncio.Event().wait()


resource = asyncio.Event()


@pytest.mark.usefixtures("no_strangers")
@virtual
async def test_the_end_of_either_ends_both(bubble: Bubble) -> None:
    """A return or an error of either, whatever the other is blocked in: both are joined and nothing is left."""
    global resource
    for ending in (returns, raises):
        for reader in (blocked_read, blocked_send, shielded_read):
            resource = asyncio.Event()
            async with ReaderWorker(reader, ending, capacity=2, close=resource.set) as pair:
                outcome = await pair.wait()
            assert [end.name for end in outcome.ends] == ["worker", "reader"]
        for worker in (blocked_receive, blocked_work):
            async with ReaderWorker(ending, worker, drain_timeout=1) as pair:
                outcome = await pair.wait()
            assert [end.name for end in outcome.ends] == ["reader", "worker"]
    assert take_snapshot().count("pair") == 0


@virtual
async def test_a_blocked_send_is_refused_when_nobody_will_receive(bubble: Bubble) -> None:
    """Also one of a task that the pair does not know."""
    sends: list[Send] = []

    async def reader(send: Send) -> None:
        sends.append(send)
        await blocked_send(send)

    async with ReaderWorker(reader, returns, capacity=1) as pair:
        await asyncio.sleep(0.5)
        outsider = asyncio.ensure_future(sends[0]("late"))
        await pair.wait()
        with pytest.raises(OwnerClosed, match="its worker has ended"):
            await outsider


@virtual
async def test_both_errors_are_reported(bubble: Bubble) -> None:
    """The one that ended the pair, and the one met while stopping."""

    async def reader(send: Send) -> None:
        try:
            await blocked_read(send)
        finally:
            raise KeyError("while stopping")

    async with ReaderWorker(reader, raises) as pair:
        outcome = await pair.wait()
    assert outcome.first is not None
    assert outcome.first.error is outcome.worker_error
    assert [type(error) for error in outcome.errors] == [ValueError, KeyError]


@virtual
async def test_draining_is_bounded_and_loses_nothing_before_that(bubble: Bubble) -> None:
    """What was sent is received, in order, until ``drain_timeout`` has passed."""
    got: list[int] = []

    async def reader(send: Send) -> None:
        for number in range(10):
            await send(number)

    async def worker(receive: Receive) -> None:
        async for number in receive:
            got.append(number)
            await asyncio.sleep(1)

    for timeout, expected in ((30, 10), (4.5, 5)):
        got.clear()
        async with ReaderWorker(reader, worker, capacity=100, drain_timeout=timeout) as pair:
            outcome = await pair.wait()
        assert got == list(range(expected))
        assert outcome.undelivered == 10 - expected


@virtual
async def test_a_loop_that_ignores_everything_does_not_hold_the_pair(bubble: Bubble) -> None:
    """It is abandoned after ``close_timeout`` and a grace, and named."""
    stubborn = Stubborn()

    async def reader(send: Send) -> None:
        await stubborn.run()

    async with ReaderWorker(reader, returns, close_timeout=3) as pair:
        outcome = await pair.wait()
    assert asyncio.get_running_loop().time() == pytest.approx(5)
    assert isinstance(outcome.reader_error, ReleaseTimeout)
    await stubborn.let_go()
