"""What a pair has in common with other owners: arguments, its name, cancelling it, and what closing it reports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from lifecycle import OwnerClosed, ReaderWorker, link, take_snapshot
from lifecycle.testing import Bubble, run_virtual
from lifecycle.types import LinkOutcome

Send = Callable[[int], Coroutine[Any, Any, None]]


async def forever(*_: object) -> None:
    await asyncio.sleep(1_000)


async def fails(receive: AsyncIterator[int]) -> None:
    raise ValueError("worker")


def test_what_cannot_be_called_or_is_no_name_is_refused_when_it_is_given() -> None:
    """Before anything has started."""
    for wrong in (
        lambda: ReaderWorker(3, forever),  # type: ignore[arg-type]
        lambda: ReaderWorker(forever, 4),  # type: ignore[arg-type]
        lambda: ReaderWorker(forever, forever, close=3),  # type: ignore[arg-type]
        lambda: ReaderWorker(forever, forever, name=3),  # type: ignore[arg-type]
        lambda: ReaderWorker(forever, forever, capacity=None),  # type: ignore[arg-type]
    ):
        with pytest.raises(TypeError, match="must be a"):
            wrong()

    async def scenario(_: Bubble) -> None:
        with pytest.raises(TypeError, match="a loop must be a function, got 3"):
            await link(3)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="close must be a function"):
            await link(forever, close=3)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="name must be a string"):
            await link(forever, name=3)  # type: ignore[arg-type]

    run_virtual(scenario)


def test_closing_returns_what_became_of_the_loops_and_the_block_raises_it() -> None:
    """Who ignores the report still gets the error."""

    async def scenario(_: Bubble) -> None:
        with pytest.raises(ValueError, match="worker"):
            async with ReaderWorker[int](forever, fails, name="feed") as pair:
                await asyncio.sleep(1)
                outcome = await pair.aclose()
                assert isinstance(outcome, LinkOutcome)
                assert isinstance(outcome.worker_error, ValueError)
                assert pair.closed

    run_virtual(scenario)


def test_cancel_stops_both_and_says_why() -> None:
    """It does not wait; the reason is in the outcome."""

    async def scenario(_: Bubble) -> None:
        async with ReaderWorker[int](forever, forever) as pair:
            await asyncio.sleep(1)
            pair.cancel("no longer wanted")
            assert not pair.closed
            outcome = await pair.wait()
        assert (outcome.reason, [end.how for end in outcome.ends]) == ("no longer wanted", ["stopped", "stopped"])
        assert pair.closed

    run_virtual(scenario)


def test_the_state_is_in_the_message_of_a_pair_that_cannot_be_entered() -> None:
    """Entered twice, entered after its end, and waited for before it was entered."""

    async def scenario(_: Bubble) -> None:
        pair = ReaderWorker[int](forever, forever)
        with pytest.raises(OwnerClosed, match="has not been entered"):
            await pair.wait()
        async with pair:
            with pytest.raises(OwnerClosed, match="it is open"):
                await pair.__aenter__()
        with pytest.raises(OwnerClosed, match="it is closed"):
            await pair.__aenter__()

    run_virtual(scenario)


def test_linked_loops_have_the_name_that_they_were_given() -> None:
    """In a snapshot as in errors."""

    async def scenario(_: Bubble) -> None:
        linked = asyncio.create_task(link(forever, name="session"))
        await asyncio.sleep(1)
        assert "session" in str(take_snapshot())
        linked.cancel()

    run_virtual(scenario)


def test_none_is_no_bound_on_the_others() -> None:
    """They come to their own end, however late; with 0, which is the default, they are stopped."""

    async def scenario(bubble: Bubble) -> None:
        async def returns() -> None:
            pass

        outcome = await link(returns, forever, drain_timeout=None)
        assert ([end.how for end in outcome.ends], bubble.clock.now) == (["returned", "returned"], 1_000)
        outcome = await link(returns, forever)
        assert [end.how for end in outcome.ends] == ["returned", "stopped"]

    run_virtual(scenario)
