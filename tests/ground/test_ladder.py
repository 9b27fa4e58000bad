"""Ladder: the one patience with which everything is ended that has to end."""

from __future__ import annotations

import asyncio

from lifecycle._ground.kernel import FOREVER
from lifecycle._ground.ladder import GRACE, Ladder
from lifecycle.testing import Bubble

from ..loops import virtual


class Rungs:
    """A ladder that notes, with the time, what it does."""

    def __init__(self, bound: float) -> None:
        self.began = asyncio.get_running_loop().time()
        self.seen: list[tuple[str, float]] = []
        self.ladder = Ladder(lambda: self.note("interrupt"), lambda: self.note("give up"), bound)

    def note(self, what: str) -> None:
        self.seen.append((what, round(asyncio.get_running_loop().time() - self.began, 6)))


@virtual
async def test_what_ignores_both_cancellations_is_given_up(bubble: Bubble) -> None:
    """Now, a bound later, and a grace after that; a second climb changes nothing."""
    rungs = Rungs(5.0)
    rungs.ladder.climb()
    await asyncio.sleep(1)
    rungs.ladder.climb()
    await asyncio.sleep(60)
    assert rungs.seen == [("interrupt", 0.0), ("interrupt", 5.0), ("give up", 5.0 + GRACE)]
    assert rungs.ladder.rung == 3


@virtual
async def test_a_short_bound_has_a_short_grace(bubble: Bubble) -> None:
    """The grace is never longer than the bound."""
    rungs = Rungs(0.25)
    rungs.ladder.climb()
    await asyncio.sleep(60)
    assert rungs.seen == [("interrupt", 0.0), ("interrupt", 0.25), ("give up", 0.5)]


@virtual
async def test_what_is_given_time_is_interrupted_afterwards(bubble: Bubble) -> None:
    """First its time, then the rungs."""
    rungs = Rungs(1.0)
    rungs.ladder.expect(10.0)
    await asyncio.sleep(60)
    assert rungs.seen == [("interrupt", 10.0), ("interrupt", 11.0), ("give up", 12.0)]


@virtual
async def test_no_bound_is_one_interruption(bubble: Bubble) -> None:
    """Without a bound there is no second, and nothing is given up; no timer is set."""
    rungs = Rungs(FOREVER)
    rungs.ladder.expect(FOREVER)
    await asyncio.sleep(60)
    assert rungs.seen == []
    rungs.ladder.climb()
    await asyncio.sleep(60)
    assert [what for what, _ in rungs.seen] == ["interrupt"]


@virtual
async def test_an_end_at_any_rung_leaves_no_timer(bubble: Bubble) -> None:
    """After `end` nothing happens any more, wherever the ladder stood."""
    for stay in (0.0, 0.5, 1.5):
        rungs = Rungs(1.0)
        rungs.ladder.expect(0.25)
        await asyncio.sleep(stay)
        rungs.ladder.end()
        before = list(rungs.seen)
        await asyncio.sleep(60)
        assert rungs.seen == before
