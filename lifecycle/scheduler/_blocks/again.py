"""A block tried again when it fails: what ``retry`` and the jobs of a subflow share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._ground.pauses import pause_before

if TYPE_CHECKING:
    from .._work.frame import Frame
    from .block import Block


async def run_again(frame: Frame, block: Block, attempts: int, backoff: tuple[float, float]) -> Any:
    """Run a block until it succeeds, at most *attempts* times, and return its output.

    An attempt starts only when the one before it has ended completely; if something of it could not be stopped, or its
    output can never be kept, the block is not tried again.

    Args:
        frame: where it runs.
        block: the block.
        attempts: how often it is tried, 1 or more.
        backoff: the first and the longest pause, in seconds.
    """
    for attempt in range(1, attempts):
        try:
            return await frame.run(block)
        except Exception as error:
            if frame.is_final(error):
                raise
            pause = pause_before(attempt, backoff)
            frame.log(f"{block.path}: attempt {attempt} of {attempts} failed, next in {pause:.2f} s: {error}")
        await frame.pause(pause)
    return await frame.run(block)
