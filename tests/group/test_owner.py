"""TaskGroup as an owner: its name, its one block, `closed` and `wait`."""

import asyncio
from typing import Any

import pytest

from lifecycle import OwnerClosed, TaskGroup
from lifecycle.testing import Bubble

from ..loops import virtual


def test_a_name_is_a_string() -> None:
    """The default is what a snapshot calls it."""
    assert TaskGroup().name == "task group"
    with pytest.raises(TypeError, match="name must be a string or None, got 3"):
        TaskGroup(name=3)  # type: ignore[arg-type]


@virtual
async def test_a_group_has_one_block(bubble: Bubble) -> None:
    """Before it, in it and after it the error is an OwnerClosed, which is a RuntimeError, and says the state."""
    group = TaskGroup(name="pages")
    with pytest.raises(OwnerClosed, match="it has not been entered; use `async with`"):
        group.start_soon(asyncio.sleep, 0)
    async with group:
        with pytest.raises(OwnerClosed, match="task group 'pages' has already been entered, and is open"):
            await group.__aenter__()
    with pytest.raises(RuntimeError, match="has already been entered, and is closed"):
        await group.__aenter__()


@pytest.mark.parametrize("stranger", [3, asyncio.sleep])
@virtual
async def test_what_is_no_coroutine_is_refused_as_such(bubble: Bubble, stranger: Any) -> None:
    """By a group that takes tasks, and by one that takes none (any more)."""
    group = TaskGroup()
    with pytest.raises(TypeError, match="coroutine"):
        group.create_task(stranger)
    async with group:
        with pytest.raises(TypeError, match="coroutine"):
            group.create_task(stranger)
    with pytest.raises(TypeError, match="coroutine"):
        group.create_task(stranger)


@virtual
async def test_wait_returns_when_the_block_has_ended(bubble: Bubble) -> None:
    """For every caller, at any time; a cancelled one changes nothing."""
    group = TaskGroup()
    waiters = [asyncio.create_task(group.wait()) for _ in range(3)]
    async with group:
        group.start_soon(asyncio.sleep, 5)
        await asyncio.sleep(1)
        waiters[0].cancel()
        await asyncio.sleep(0)
        assert [waiter.done() for waiter in waiters] == [True, False, False]
        assert not group.closed
    assert group.closed
    await asyncio.gather(*waiters[1:])
    await group.wait()
    assert bubble.clock.time() == 5.0
