"""link: loops that end together, and how they drain, fail and are joined."""

from __future__ import annotations

import asyncio

import pytest

from lifecycle import link
from lifecycle.testing import Bubble
from lifecycle.types import LoopEnd

from ..loops import virtual
from .parts import Wire, fails, forever, returns, returns_at_once


@virtual
async def test_linked_loops_end_together(bubble: Bubble) -> None:
    """However many, and the resource is closed once."""
    wire = Wire()
    outcome = await link(forever, returns, wire.read, forever, close=wire.close)
    assert outcome.first == LoopEnd("returns", "returned")
    assert sorted(end.name for end in outcome.ends) == ["forever", "forever 2", "read", "returns"]
    assert wire.closed == 1


@virtual
async def test_linked_loops_may_drain(bubble: Bubble) -> None:
    """When the first has returned; not when it failed."""

    async def longer() -> None:
        await asyncio.sleep(1)

    outcome = await link(returns, longer, forever, drain_timeout=2)
    assert asyncio.get_running_loop().time() == pytest.approx(2.1)
    assert [str(end) for end in outcome.ends] == [
        "returns returned",
        "longer returned",
        "forever stopped",
    ]
    outcome = await link(fails, longer, drain_timeout=2)
    assert [end.how for end in outcome.ends] == ["raised", "stopped"]


@virtual
async def test_a_linked_loop_that_fails_ends_the_draining(bubble: Bubble) -> None:
    """The others are stopped then, and not when the time for draining is over."""
    outcome = await link(returns_at_once, fails, forever, drain_timeout=10)
    assert [end.how for end in outcome.ends] == ["returned", "raised", "stopped"]
    assert asyncio.get_running_loop().time() == pytest.approx(0.1)


@virtual
async def test_a_cancelled_link_joins_all_first(bubble: Bubble) -> None:
    """Then goes on; errors met on the way are raised."""
    ended: list[int] = []

    async def slow() -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(1)
            ended.append(1)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await link(slow, slow)
    assert ended == [1, 1]

    async def bad_ending() -> None:
        try:
            await forever()
        finally:
            raise KeyError("while stopping")

    task = asyncio.create_task(link(bad_ending, forever))
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.wait([task])
    assert isinstance(task.exception(), KeyError)


@virtual
async def test_link_needs_a_loop(bubble: Bubble) -> None:
    """None at all is a mistake."""
    with pytest.raises(TypeError, match="at least one"):
        await link()
