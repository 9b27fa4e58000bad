"""Pools of connects in stages: whatever lies below the value is closed with it, and nothing warns."""

import asyncio
import contextlib
import gc
import warnings

import pytest

from lifecycle import Pool, Stages, connect
from lifecycle.testing import Bubble

from ..loops import virtual

ended: list[str] = []


class Part:
    def __init__(self, name: str) -> None:
        self.name = name

    async def close(self) -> None:
        await asyncio.sleep(0.01)
        ended.append(self.name)


async def in_three_stages(stages: Stages) -> Part:
    async def open_part(name: str) -> Part:
        await asyncio.sleep(0.01)
        return Part(name)

    await stages.acquire(open_part, "tunnel", release=Part.close)
    session = await stages.acquire(open_part, "session", release=Part.close)
    stages.start_soon(asyncio.sleep, 3600)
    return session


@pytest.mark.parametrize("leaves", ["well", "broken"])
@virtual
async def test_what_lies_below_a_value_is_closed_after_it(bubble: Bubble, leaves: str) -> None:
    """Once, in reverse, and its tasks are stopped."""
    ended.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        async with Pool(lambda: connect(in_three_stages), Part.close, max_size=1) as pool:
            with contextlib.suppress(KeyError):
                async with pool.acquire() as value:
                    assert value.name == "session"
                    gc.collect()
                    assert not ended
                    if leaves == "broken":
                        raise KeyError
            await asyncio.sleep(5)
            if leaves == "broken":
                assert ended == ["session", "tunnel"]
        gc.collect()
    assert ended == ["session", "tunnel"]


@virtual
async def test_the_end_of_a_value_does_not_keep_the_rest_from_its_end(bubble: Bubble) -> None:
    """Its error is raised by the close, and the rest is closed."""
    ended.clear()

    async def fails(value: Part) -> None:
        raise OSError("refused to close")

    with pytest.raises(OSError, match="refused to close"):
        async with Pool(lambda: connect(in_three_stages), fails, max_size=1) as pool, pool.acquire():
            pass
    assert ended == ["tunnel"]
