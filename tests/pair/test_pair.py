"""ReaderWorker: whichever loop ends first, the other is freed, stopped and joined, and both are told of."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from typing import Any

import anyio
import anyio.to_thread
import pytest

from lifecycle import OwnerClosed, ReaderWorker, ReleaseTimeout
from lifecycle.testing import Bubble
from lifecycle.types import LoopEnd

from ..collection import without_collection
from ..guarantees.things import Stubborn
from ..loops import on_every_loop, run_on, virtual
from .parts import Receive, Send, Wire, fails, forever, returns, returns_at_once


async def collect(receive: Receive) -> list[Any]:
    return [item async for item in receive]


# Who ends first


@virtual
async def test_the_worker_gets_what_was_read_when_the_reader_returns(bubble: Bubble) -> None:
    """Its iteration ends after the last item, and both have returned."""
    got: list[int] = []

    async def reader(send: Send) -> None:
        for number in range(200):
            await send(number)

    async def worker(receive: Receive) -> None:
        async for item in receive:
            got.append(item)
            await asyncio.sleep(0.01)

    async with ReaderWorker(reader, worker, capacity=3) as pair:
        outcome = await pair.wait()
    assert got == list(range(200))
    assert outcome.first == LoopEnd("reader", "returned")
    assert [str(end) for end in outcome.ends] == ["reader returned", "worker returned"]
    assert (outcome.reason, outcome.errors, outcome.undelivered) == (None, (), 0)


@virtual
async def test_a_worker_that_takes_too_long_for_the_rest_is_stopped(bubble: Bubble) -> None:
    """After ``drain_timeout``, with the rest undelivered."""

    async def reader(send: Send) -> None:
        for number in range(5):
            await send(number)

    async def worker(receive: Receive) -> None:
        async for _ in receive:
            await asyncio.sleep(1)

    async with ReaderWorker(reader, worker, drain_timeout=2.5) as pair:
        outcome = await pair.wait()
    assert asyncio.get_running_loop().time() == pytest.approx(2.5)
    assert [str(end) for end in outcome.ends] == ["reader returned", "worker stopped"]
    assert outcome.undelivered == 2
    assert outcome.reason == "reader returned, and draining took longer than 2.5 s"


@virtual
async def test_the_end_of_the_worker_stops_a_blocked_read(bubble: Bubble) -> None:
    """However the worker ends, a return included."""
    for worker, how in ((returns, "returned"), (fails, "raised")):
        began = asyncio.get_running_loop().time()
        async with ReaderWorker(forever, worker) as pair:
            outcome = await pair.wait()
        assert asyncio.get_running_loop().time() - began == pytest.approx(0.1)
        assert outcome.first is not None
        assert (outcome.first.name, outcome.first.how) == ("worker", how)
        assert outcome.ends[1] == LoopEnd("reader", "stopped", told=True)
        assert (outcome.worker_error is not None) is (how == "raised")


@virtual
async def test_the_end_of_the_worker_frees_a_blocked_send(bubble: Bubble) -> None:
    """Also one of a helper of the reader, which the pair has not cancelled: it is refused."""
    refused: list[BaseException] = []

    async def reader(send: Send) -> None:
        async def helper() -> None:
            try:
                await send("second")
            except OwnerClosed as error:
                refused.append(error)

        await send("first")
        helping = asyncio.create_task(helper())
        try:
            await send("third")
        finally:
            await helping

    async with ReaderWorker(reader, returns, capacity=1) as pair:
        outcome = await pair.wait()
    assert outcome.ends[1].how == "stopped"
    assert len(refused) == 1
    assert outcome.undelivered == 1


@virtual
async def test_the_failure_of_the_reader_stops_a_blocked_receive(bubble: Bubble) -> None:
    """The worker is not left waiting for items."""
    async with ReaderWorker(fails, collect) as pair:
        outcome = await pair.wait()
    assert outcome.first is not None
    assert (outcome.first.name, outcome.first.how) == ("reader", "raised")
    assert isinstance(outcome.reader_error, ValueError)
    assert outcome.ends[1].how == "stopped"
    assert outcome.reason == "reader raised ValueError('broken')"


@virtual
async def test_both_errors_are_reported(bubble: Bubble) -> None:
    """The one that ended it all, and the one met while stopping."""

    async def bad_ending(send: Send) -> None:
        try:
            await forever()
        finally:
            raise KeyError("while stopping")

    async with ReaderWorker(bad_ending, fails) as pair:
        outcome = await pair.wait()
    assert isinstance(outcome.worker_error, ValueError)
    assert isinstance(outcome.reader_error, KeyError)
    assert outcome.errors == (outcome.worker_error, outcome.reader_error)


@virtual
async def test_a_loop_that_somebody_else_cancels_ends_both(bubble: Bubble) -> None:
    """It is told apart from one that was stopped."""
    tasks: list[Any] = []

    async def reader(send: Send) -> None:
        tasks.append(asyncio.current_task())
        await forever()

    async with ReaderWorker(reader, forever) as pair:
        await asyncio.sleep(0.1)
        tasks[0].cancel()
        outcome = await pair.wait()
    assert outcome.first == LoopEnd("reader", "cancelled")
    assert outcome.ends[1].how == "stopped"


# The resource


@virtual
async def test_closing_the_resource_frees_a_read_that_no_cancellation_can(bubble: Bubble) -> None:
    """It is closed once, before the joins, and its echo is in the outcome only."""
    wire = Wire()

    async def reader(send: Send) -> None:
        await wire.read()

    async with ReaderWorker(reader, returns, close=wire.close) as pair:
        await asyncio.sleep(1)
    outcome = await pair.wait()
    assert wire.closed == 1
    assert isinstance(outcome.reader_error, OSError)
    assert asyncio.get_running_loop().time() == pytest.approx(1)


def test_a_read_in_a_thread_is_freed(tmp_path: Any) -> None:
    """A real thread blocked in a real call, which only the closing ends."""

    async def main() -> None:
        over = threading.Event()

        async def reader(send: Send) -> None:
            await anyio.to_thread.run_sync(over.wait)

        async with ReaderWorker(reader, returns, close=over.set) as pair:
            outcome = await pair.wait()
        assert outcome.first is not None
        assert outcome.first.name == "worker"

    asyncio.run(main())


@virtual
async def test_the_resource_stays_open_while_the_worker_drains(bubble: Bubble) -> None:
    """And is closed once when the worker is done."""
    wire = Wire()
    seen: list[int] = []

    async def reader(send: Send) -> None:
        await send("last")

    async def worker(receive: Receive) -> None:
        async for _ in receive:
            await asyncio.sleep(1)
            seen.append(wire.closed)

    async with ReaderWorker(reader, worker, close=wire.close) as pair:
        await pair.wait()
    assert (seen, wire.closed) == ([0], 1)


@virtual
async def test_an_asynchronous_close_is_waited_for(bubble: Bubble) -> None:
    """The pair is over when the resource is."""
    closed: list[float] = []

    async def close() -> None:
        await asyncio.sleep(1)
        closed.append(asyncio.get_running_loop().time())

    async with ReaderWorker(forever, returns, close=close) as pair:
        await pair.wait()
        assert closed == [pytest.approx(1.1)]


@virtual
async def test_the_error_of_closing_is_reported(bubble: Bubble) -> None:
    """In the outcome, and at the end of the block where no caller asked for that."""

    async def close() -> None:
        raise ValueError("cannot close")

    with pytest.raises(ValueError, match="cannot close"):
        async with ReaderWorker(forever, forever, close=close) as pair:
            pass
    assert isinstance((await pair.wait()).close_error, ValueError)


@virtual
async def test_a_close_that_takes_too_long_is_cancelled_and_named(bubble: Bubble) -> None:
    """After ``close_timeout``; one that ignores that is cancelled again as long after, and abandoned a grace later."""
    stubborn = Stubborn()
    for close, seconds in ((forever, 2.0), (stubborn.run, 5.0)):
        began = asyncio.get_running_loop().time()
        async with ReaderWorker(forever, returns, close=close, close_timeout=2, name="slow") as pair:
            outcome = await pair.wait()
        assert asyncio.get_running_loop().time() - began == pytest.approx(seconds + 0.1)
        assert isinstance(outcome.close_error, ReleaseTimeout)
        assert outcome.close_error.resource == "the resource of pair 'slow'"
    assert stubborn.cancellations == 2
    await stubborn.let_go()


@virtual
async def test_a_close_that_swallows_one_cancellation_is_not_abandoned(bubble: Bubble) -> None:
    """A stray ``except BaseException`` in it costs time, and leaves nothing behind."""

    async def close() -> None:
        with contextlib.suppress(BaseException):
            await forever()
        await forever()

    async with ReaderWorker(forever, returns, close=close, close_timeout=2) as pair:
        outcome = await pair.wait()
    assert asyncio.get_running_loop().time() == pytest.approx(4.1)
    assert isinstance(outcome.close_error, ReleaseTimeout)
    assert not outcome.close_error.abandoned


@virtual
async def test_what_an_abandoned_close_raises_later_is_logged(bubble: Bubble, caplog: pytest.LogCaptureFixture) -> None:
    """The outcome still says that it was abandoned."""

    async def close() -> None:
        until = asyncio.get_running_loop().time() + 10
        while (left := until - asyncio.get_running_loop().time()) > 0:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(left)
        raise ValueError("too late")

    async with ReaderWorker(forever, returns, close=close, close_timeout=1, name="p") as pair:
        before = await pair.wait()
    await asyncio.sleep(10)
    assert await pair.wait() == before
    assert isinstance(before.close_error, ReleaseTimeout)
    assert before.close_error.abandoned
    [record] = [record for record in caplog.records if record.message == "abandoned closing failed"]
    assert record.owner == "p"  # type: ignore[attr-defined]


@virtual
async def test_a_loop_that_will_not_stop_is_abandoned_and_named(bubble: Bubble) -> None:
    """After two cancellations."""
    stubborn = Stubborn()

    async def reader(send: Send) -> None:
        await stubborn.run()

    async with ReaderWorker(reader, returns, close_timeout=2, name="p") as pair:
        outcome = await pair.wait()
    assert asyncio.get_running_loop().time() == pytest.approx(3.1)
    assert stubborn.cancellations == 2
    assert outcome.ends[1].how == "abandoned"
    assert isinstance(outcome.reader_error, ReleaseTimeout)
    assert outcome.reader_error.abandoned
    assert any("Stubborn.run" in line for line in outcome.reader_error.stack)
    await stubborn.let_go()


# The block, wait, close and aclose


@virtual
async def test_a_pair_is_entered_once(bubble: Bubble) -> None:
    """A second block is refused, and `wait` needs a first."""
    pair = ReaderWorker(returns, returns)
    with pytest.raises(RuntimeError, match="has not been entered"):
        await pair.wait()
    async with pair:
        with pytest.raises(OwnerClosed, match="entered before"):
            await pair.__aenter__()
        await pair.wait()
    assert pair.waiting == 0


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"capacity": 0}, ValueError),
        ({"capacity": None}, TypeError),
        ({"drain_timeout": -1}, ValueError),
        ({"close_timeout": "1"}, TypeError),
    ],
)
def test_bad_arguments_are_refused(arguments: Any, error: type[Exception]) -> None:
    """Before anything begins."""
    with pytest.raises(error):
        ReaderWorker(returns, returns, **arguments)


@virtual
async def test_a_loop_that_is_no_coroutine_function_is_refused(bubble: Bubble) -> None:
    """And the coroutine of the other is closed."""
    with pytest.raises(TypeError, match="async function"):
        async with ReaderWorker(returns, lambda receive: None):  # type: ignore[arg-type,return-value]
            pass


@on_every_loop
def test_nothing_is_left_on_any_loop(new_loop: Any) -> None:
    """Also where tasks start eagerly, and a loop ends before the other begins."""

    async def at_once(*_: object) -> None:
        pass

    async def fails_at_once(*_: object) -> None:
        raise ValueError("at once")

    async def main() -> None:
        for reader in (at_once, fails_at_once, returns, forever):
            for worker in (at_once, fails_at_once, returns, collect):
                async with asyncio.timeout(5), ReaderWorker(reader, worker, drain_timeout=0.05) as pair:
                    if reader is not forever or worker is not collect:
                        outcome = await pair.wait()
                        assert len(outcome.ends) == 2
                        assert outcome.first is not None

    run_on(new_loop, main())


def test_a_pair_is_garbage_as_soon_as_it_is_over() -> None:
    """Without the help of the collector, so that a server does not carry ended connections about."""

    async def main() -> int:
        with without_collection():
            for _ in range(50):
                async with ReaderWorker(returns_at_once, collect) as pair:
                    await pair.wait()
            del pair
            return sum(isinstance(thing, ReaderWorker) for thing in gc.get_objects())

    assert asyncio.run(main()) <= 1
