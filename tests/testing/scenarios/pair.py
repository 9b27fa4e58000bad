"""ReaderWorker and link: slow workers, blocked reads, workers that leave first, and closes from outside and inside."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import TYPE_CHECKING, Any

import anyio

from lifecycle import OwnerClosed, ReaderWorker, ReleaseTimeout, TaskGroup, link

from ._table import scenario, work

if TYPE_CHECKING:
    from lifecycle.testing import Bubble

Send = Callable[[int], Coroutine[Any, Any, None]]


class Wire:
    """A connection: reads until it is closed, which takes time."""

    def __init__(self, bubble: Bubble) -> None:
        self._token = bubble.ledger.acquire("wire", kind="connection")
        self._over = asyncio.get_running_loop().create_future()

    async def read(self) -> None:
        await asyncio.shield(self._over)

    async def close(self) -> None:
        try:
            await asyncio.sleep(0.01)
        finally:
            self.cut()

    def cut(self) -> None:
        self._token.release()
        if not self._over.done():
            self._over.set_result(None)


@scenario
async def pair_drains_what_was_read(bubble: Bubble) -> None:
    """A reader that is faster than its worker, and returns; a worker that comes to its end has got everything."""
    wire = Wire(bubble)
    sent: list[int] = []
    got: list[int] = []

    async def reader(send: Send) -> None:
        for number in range(4):
            await send(number)
            sent.append(number)
        await asyncio.sleep(0.005)

    async def worker(receive: AsyncIterator[int]) -> None:
        async for number in receive:
            got.append(number)
            await work(bubble, "item", 0.01)

    async with ReaderWorker(reader, worker, capacity=1, close=wire.close, name="draining") as pair:
        outcome = await pair.wait()
        assert len(outcome.ends) == 2
        if outcome.ends[-1].name == "worker" and outcome.ends[-1].how == "returned":
            assert got[: len(sent)] == sent, f"{sent} was sent, {got} was received"


@scenario
async def pair_whose_worker_leaves(bubble: Bubble) -> None:
    """The reader sits in a send, a helper of it in another; the worker returns, and somebody closes the pair."""
    wire = Wire(bubble)

    async def reader(send: Send) -> None:
        async def helper() -> None:
            with contextlib.suppress(OwnerClosed):
                await send(2)

        async with TaskGroup() as group:
            group.create_task(helper())
            with contextlib.suppress(OwnerClosed):
                await send(1)
                await send(3)
            await wire.read()

    async def worker(receive: AsyncIterator[int]) -> None:
        await anext(receive)
        await work(bubble, "item", 0.01)

    async def closer(pair: ReaderWorker[int]) -> None:
        await asyncio.sleep(0.015)
        await pair.aclose()

    pair = ReaderWorker(reader, worker, capacity=1, close=wire.close, name="leaving")
    async with pair, TaskGroup() as group:
        group.create_task(closer(pair))
        group.create_task(closer(pair))
        await pair.wait()


@scenario
async def linked_loops(bubble: Bubble) -> None:
    """Three loops, one of which ends, one of which takes its time to stop."""
    wire = Wire(bubble)

    async def slow_to_stop() -> None:
        try:
            await wire.read()
        finally:
            await work(bubble, "clean-up", 0.01)

    outcome = await link(
        lambda: work(bubble, "first", 0.01), slow_to_stop, lambda: work(bubble, "long", 5), close=wire.close
    )
    assert len(outcome.ends) == 3


@scenario
async def pair_closed_while_a_read_is_blocked(bubble: Bubble) -> None:
    """No cancellation ends the read, and draining has no bound: the end of the worker frees it."""
    wire = Wire(bubble)

    async def reader(send: Send) -> None:
        await send(1)
        with anyio.CancelScope(shield=True):
            await wire.read()

    async def worker(receive: AsyncIterator[int]) -> None:
        async for _ in receive:
            await work(bubble, "item", 0.01)
            return

    pair = ReaderWorker(reader, worker, close=wire.close, drain_timeout=None, name="closed")
    async with pair:
        await asyncio.sleep(0.005)
        pair.stop_reading()
        await pair.wait()


@scenario
async def pair_that_its_own_worker_closes(bubble: Bubble) -> None:
    """While the reader takes its time to stop and somebody else waits."""
    wire = Wire(bubble)

    async def reader(send: Send) -> None:
        try:
            await wire.read()
        finally:
            await work(bubble, "clean-up", 0.01)

    async def worker(receive: AsyncIterator[int]) -> None:
        await asyncio.sleep(0.005)
        await pair.aclose()
        await work(bubble, "afterwards", 0.01)

    pair = ReaderWorker(reader, worker, close=wire.close, name="own")
    async with pair, TaskGroup() as group:
        group.create_task(pair.wait())
        await pair.wait()


@scenario
async def pair_whose_close_hangs(bubble: Bubble) -> None:
    """It is cancelled in time, and told of."""
    wire = Wire(bubble)

    async def close() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            await wire.close()

    async def reader(send: Send) -> None:
        await work(bubble, "reading", 0.01)

    async def worker(receive: AsyncIterator[int]) -> None:
        await wire.read()

    settings: dict[str, float] = {"drain_timeout": 0.02, "close_timeout": 0.05}
    with contextlib.suppress(ReleaseTimeout):  # where the wait is struck, so that nobody has got it
        async with ReaderWorker(reader, worker, close=close, name="hanging", **settings) as pair:
            await pair.wait()
    await asyncio.sleep(0)  # where the cancellation comes that waited behind the error


@scenario
async def linked_loops_that_drain(bubble: Bubble) -> None:
    """The first returns, the second fails while they drain, which ends the third."""

    async def fails() -> None:
        await work(bubble, "failing", 0.02)
        raise OSError("broken")

    with contextlib.suppress(OSError):  # where the caller is struck meanwhile
        outcome = await link(
            lambda: work(bubble, "first", 0.01), fails, lambda: work(bubble, "long", 5), drain_timeout=10
        )
        assert len(outcome.ends) == 3
    await asyncio.sleep(0)  # where the cancellation comes that waited behind the error


@scenario
async def linked_loops_of_which_one_may_end(bubble: Bubble) -> None:
    """One returns and the others go on; the close that follows takes too long, and what it would have closed is cut."""
    wire = Wire(bubble)
    over = asyncio.get_running_loop().create_future()

    async def hangs() -> None:
        await over

    def abort() -> None:
        wire.cut()
        over.set_result(None)

    async def up(seconds: float) -> None:
        await work(bubble, "up", seconds)

    settings: dict[str, float] = {"close_timeout": 0.05}
    with contextlib.suppress(ReleaseTimeout):  # where the caller is struck, so that nobody gets the outcome
        outcome = await link(
            wire.read, up=(up, 0.01), down=(up, 0.03), close=hangs, abort=abort, may_end="up", **settings
        )
        assert [end.name for end in outcome.ends][-1] == "read", outcome
        assert isinstance(outcome.close_error, (ReleaseTimeout, type(None))), outcome
    await asyncio.sleep(0)  # where the cancellation comes that waited behind the error
