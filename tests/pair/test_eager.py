"""Pair: on a loop that starts tasks eagerly the first loop acts before the second has a task."""

import asyncio
from typing import Any

import pytest

from lifecycle import ReaderWorker, link

from ..loops import on_every_loop, run_on


async def forever(*_: object) -> None:
    """Run until cancelled."""
    await asyncio.Event().wait()


@on_every_loop
@pytest.mark.parametrize("how", ["aclose", "cancel", "return", "raise"])
def test_the_first_loop_ends_the_pair_before_the_second_has_begun(new_loop: Any, how: str) -> None:
    """G15: the second makes its first step, so that what it was given reaches it, and is stopped then."""
    steps: list[str] = []

    async def reader(send: Any) -> None:
        if how == "aclose":
            await pair.aclose()
        elif how == "cancel":
            pair.cancel("enough")
        elif how == "raise":
            raise ValueError("no")

    async def worker(receive: Any) -> None:
        steps.append("began")
        try:
            await forever()
        finally:
            steps.append("ended")

    pair = ReaderWorker(reader, worker, drain_timeout=0)

    async def main() -> None:
        async with pair:
            outcome = await pair.wait()
        ends = {end.name: end.how for end in outcome.ends}
        assert ends == {"reader": "raised" if how == "raise" else "returned", "worker": "stopped"}

    run_on(new_loop, main())
    assert steps == ["began", "ended"]


@on_every_loop
def test_a_linked_loop_that_returns_at_once(new_loop: Any) -> None:
    """The others are stopped after their first step; the outcome names the one that ended first."""

    async def at_once() -> None:
        return

    async def main() -> None:
        outcome = await link(forever, at_once, forever)
        assert outcome.first is not None
        assert [end.how for end in outcome.ends] == ["returned", "stopped", "stopped"]

    run_on(new_loop, main())
