"""TaskManager as an owner: its name, its block, what it checks when it is given, and its ends: cancel, wait, closed."""

import asyncio
from typing import Any

import pytest

from lifecycle import OwnerClosed, TaskManager, TaskStatus
from lifecycle.hooks import QueueAlarm
from lifecycle.testing import Bubble

from ..loops import virtual


async def work(seconds: float = 1.0) -> None:
    """Work for a while."""
    await asyncio.sleep(seconds)


def test_a_name_is_a_string() -> None:
    """The default is what a snapshot calls it."""
    assert TaskManager().name == "task manager"
    assert TaskManager("mail").name == "mail"
    with pytest.raises(TypeError, match="name must be a string or None, got 3"):
        TaskManager(3)  # type: ignore[arg-type]


def test_what_is_called_later_is_checked_at_once() -> None:
    """on_error, hooks, and what an alarm calls."""
    bad: Any = 3
    with pytest.raises(TypeError, match="on_error must be a function, got 3"):
        TaskManager(on_error=bad)
    with pytest.raises(TypeError, match="a hook needs one of the methods queued, before, after, rejected; got 3"):
        TaskManager(hooks=[bad])
    with pytest.raises(TypeError, match="on_alarm must be a function"):
        QueueAlarm(1.0, bad)


def test_an_empty_manager_is_true() -> None:
    """Although its length is 0."""
    manager = TaskManager()
    assert manager
    assert len(manager) == 0


@virtual
async def test_a_manager_has_one_block(bubble: Bubble) -> None:
    """The error says in which state it is; a refused entry is not a rejected task."""
    async with TaskManager("mail") as manager:
        with pytest.raises(OwnerClosed, match="task manager 'mail' has already been entered, and is open; make a new"):
            await manager.__aenter__()
    with pytest.raises(RuntimeError, match="has already been entered, and is closed"):
        await manager.__aenter__()
    closed = TaskManager("mail")
    await closed.aclose()
    with pytest.raises(OwnerClosed, match="task manager 'mail' is closed; make a new manager"):
        await closed.__aenter__()
    assert (manager.statistics().rejected, closed.statistics().rejected) == (0, 0)


@virtual
async def test_cancel_ends_all_at_once(bubble: Bubble) -> None:
    """What waits is dropped, what runs is cancelled with the reason, nothing new is taken, and the block ends."""
    async with TaskManager("mail", limit=1) as manager:
        running = manager.start_soon(work, 3600)
        waiting = manager.start_soon(work, 3600)
        await asyncio.sleep(1)
        manager.cancel("enough")
        assert not manager.closed
        with pytest.raises(OwnerClosed, match="it is closing"):
            manager.start_soon(work)
    assert manager.closed
    assert bubble.clock.time() == 1.0
    assert (running.status, running.cancel_reason) == (TaskStatus.CANCELLED, "enough")
    assert waiting.status is TaskStatus.CANCELLED
    statistics = manager.statistics()
    assert (statistics.cancelled, statistics.discarded) == (1, 1)
    manager._check_invariants()
    manager.cancel()  # any number of times


@virtual
async def test_cancel_gives_a_reason_of_its_own(bubble: Bubble) -> None:
    """It names the manager."""
    async with TaskManager("mail") as manager:
        handle = manager.start_soon(work, 3600)
        await asyncio.sleep(1)
        manager.cancel()
    assert handle.cancel_reason == "task manager 'mail' was cancelled"


@virtual
async def test_wait_returns_when_the_manager_is_closed(bubble: Bubble) -> None:
    """For every caller, at any time; a cancelled one changes nothing."""
    manager = TaskManager()
    manager.start_soon(work, 5)
    waiters = [asyncio.create_task(manager.wait()) for _ in range(3)]
    await asyncio.sleep(1)
    waiters[0].cancel()
    await asyncio.sleep(0)
    assert [waiter.done() for waiter in waiters] == [True, False, False]
    await manager.aclose()
    await asyncio.gather(*waiters[1:])
    await manager.wait()
    assert bubble.clock.time() == 5.0
