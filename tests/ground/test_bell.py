"""The bell: a sleep that can be cut short."""

import asyncio

import pytest
import uvloop

from lifecycle._ground.bell import Bell
from lifecycle.testing import Bubble, explore_cancellation, run_virtual


def test_it_sleeps_as_long_as_it_is_told() -> None:
    """To the last digit, and for no time at all."""

    async def scenario(bubble: Bubble) -> None:
        bell = Bell()
        await bell.sleep(3.25)
        await bell.sleep(0.0)
        assert bubble.clock.now == 3.25

    run_virtual(scenario)


def test_a_ring_wakes_the_sleeper() -> None:
    """At once, also one that sleeps for ever; more rings are one ring."""

    async def scenario(bubble: Bubble) -> None:
        bell = Bell()
        for seconds in (100.0, float("inf")):
            begin = bubble.clock.now
            asyncio.get_running_loop().call_later(1, bell.ring)
            asyncio.get_running_loop().call_later(1, bell.ring)
            await bell.sleep(seconds)
            assert bubble.clock.now == begin + 1
            await asyncio.sleep(0)
        await bell.sleep(2)

    run_virtual(scenario)


def test_a_ring_that_nobody_sleeps_through_is_kept_once() -> None:
    """The next sleep ends at once, the one after it does not; and the loop gets a turn in between."""

    async def scenario(bubble: Bubble) -> None:
        bell = Bell()
        turns: list[int] = []
        asyncio.get_running_loop().call_soon(turns.append, 1)
        bell.ring()
        bell.ring()
        await bell.sleep(100)
        assert turns == [1]
        assert bubble.clock.now == 0
        await bell.sleep(5)
        assert bubble.clock.now == 5

    run_virtual(scenario)


def test_struck_anywhere_it_leaves_no_timer() -> None:
    """Cancelled while it sleeps: nothing stays in the loop."""

    async def scenario(bubble: Bubble) -> None:
        bell = Bell()
        await bell.sleep(1)
        await bell.sleep(1)

    explore_cancellation(scenario).assert_clean()


@pytest.mark.parametrize("make", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_it_never_wakes_early(make: object) -> None:
    """Also on a loop that rounds to milliseconds: waking early would mean to spin until it is time."""

    async def main() -> None:
        now, bell = asyncio.get_running_loop().time, Bell()
        for seconds in (0.0103, 0.0004, 0.0016, 0.0102):
            begin = now()
            await bell.sleep(seconds)
            assert now() - begin >= seconds - 1e-6

    with asyncio.Runner(loop_factory=make) as runner:  # type: ignore[arg-type]
        runner.run(main())
