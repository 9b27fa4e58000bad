"""A manager whose event loop was closed over tasks of it: the next loop waits for nothing, and may close it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from lifecycle import Rate, TaskManager, WrongLoop, limit_by

from ..loops import on_every_loop, some_turns

OPTIONS: dict[str, dict[str, Any]] = {
    "unbounded": {},
    "limit": {"limit": 2},
    "keys": {"limit_by": limit_by(lambda *_: "one", limit=2)},
    "rate": {"limit": 2, "rate": Rate(1, burst=100)},
    "keys with room": {"limit_by": limit_by(lambda *_: "one", limit=9)},
}
WAYS: dict[str, Callable[[TaskManager], Awaitable[Any]]] = {
    "drain": lambda manager: manager.drain(),
    "spawn": lambda manager: manager.spawn(asyncio.sleep, 1),
    "start_soon": lambda manager: manager.start_soon(asyncio.sleep, 1),
}


def leave_behind(manager: TaskManager, new_loop: Any, *, callers: int) -> None:
    """Close a loop by hand over two tasks of *manager*, and so many callers of spawn who wait."""
    loop = new_loop()
    loop.set_exception_handler(lambda loop, context: None)  # tasks that are destroyed

    async def begin() -> list[asyncio.Task[Any]]:
        left = [asyncio.create_task(manager.spawn(asyncio.sleep, 3600, name="left")) for _ in range(2 + callers)]
        await some_turns()
        return left

    left = loop.run_until_complete(begin())
    loop.close()
    del left


@on_every_loop
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("way", WAYS)
def test_nobody_waits_for_what_never_ends(new_loop: Any, options: dict[str, Any], way: str) -> None:
    """Neither for a task nor for a slot that one of them has; what was offered is not started."""
    manager = TaskManager(**options)
    leave_behind(manager, new_loop, callers=0)

    async def ask() -> None:
        async with asyncio.timeout(30):
            await WAYS[way](manager)

    with pytest.raises(WrongLoop, match="event loop that was closed with 2 tasks of it unfinished"):
        asyncio.run(ask())
    assert manager.statistics().pending == 0


@on_every_loop
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_coroutine_that_is_refused_is_closed(new_loop: Any, options: dict[str, Any]) -> None:
    """Or it would be told as never awaited."""
    manager = TaskManager(**options)
    leave_behind(manager, new_loop, callers=0)

    async def ask() -> None:
        coro = asyncio.sleep(1)
        key = {"limit_key": "one"} if "limit_by" in options else {}
        with pytest.raises(WrongLoop, match="event loop that was closed with 2 tasks of it unfinished"):
            manager.create_task(coro, **key)
        assert inspect.getcoroutinestate(coro) == inspect.CORO_CLOSED

    asyncio.run(ask())


@on_every_loop
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("callers", [0, 3])
def test_its_close_names_them(new_loop: Any, options: dict[str, Any], callers: int) -> None:
    """They are abandoned, and nothing of a dead loop is called."""
    manager = TaskManager(**options)
    leave_behind(manager, new_loop, callers=callers)
    expected = 2 + callers if options in ({}, OPTIONS["keys with room"]) else 2

    async def close() -> None:
        async with asyncio.timeout(30):
            report = await manager.aclose()
        assert [task.name for task in report.abandoned] == ["left"] * expected
        assert await manager.aclose() == report

    asyncio.run(close())
    assert manager.closed
    assert manager.statistics().running == 0
