"""The inlined end of a member that returns and the way through `_count_end` leave the same account."""

from __future__ import annotations

import asyncio
from typing import Any

from lifecycle import TaskGroup

from ..loops import run_on
from .tasks import after


async def play(limit: int | None) -> tuple[Any, ...]:
    """Run members of both kinds; a limit takes the fast end away."""
    async with TaskGroup(limit=limit) as group:
        assert group._members._fast_end is (limit is None)
        handles = [group.start_soon(after, 0.0, number) for number in range(3)]
        tasks = [group.create_task(after(0.0, number)) for number in range(3)]
        counts = [(group.statistics().running, group.statistics().created)]
        await handles[-1]
        await tasks[-1]
        counts.append((group.statistics().running, group.statistics().finished))
    statistics = group.statistics()
    return counts, [handle.result() for handle in handles], statistics.finished, statistics.running, group.closed


def test_both_ends_are_the_same_to_see() -> None:
    """Values, counts, and a block that ends."""
    fast, slow = (run_on(asyncio.new_event_loop, play(limit)) for limit in (None, 100))
    assert fast == slow
    assert fast[2:] == (6, 0, True)
