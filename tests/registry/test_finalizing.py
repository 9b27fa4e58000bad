"""Finalizing: whoever makes values leave in steps of its own does not outrun the crew."""

import asyncio

from lifecycle import Registry

from ..loops import run_on


def test_what_is_to_be_finalized_does_not_grow_for_ever() -> None:
    """A step that replaces many values leaves the crew time in proportion; most of all would be left otherwise."""
    each_step = 1000

    async def end(value: int) -> None:
        """End nothing."""

    async def main() -> None:
        async with Registry[int, int](finalizer=end) as registry:
            for number in range(100_000 // each_step):
                for key in range(each_step):
                    registry.put(key, number)
                await asyncio.sleep(0)
            assert registry.statistics().pending_close < 30_000
            registry._check_invariants()

    run_on(asyncio.new_event_loop, main())
