"""How tests run their scenarios: once in virtual time, or on every kind of event loop that users have."""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from lifecycle.testing import Bubble, run_virtual


def virtual(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an ``async def test(bubble, ...)`` in virtual time; nothing may be left when it has returned."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def scenario(bubble: Bubble) -> None:
            await test(*args, bubble, **kwargs)

        run_virtual(scenario)

    signature = list(inspect.signature(test).parameters.values())
    kept = [parameter for parameter in signature if parameter.name != "bubble"]
    run.__signature__ = inspect.Signature(kept)  # type: ignore[attr-defined]
    return run


def eager_loop() -> asyncio.AbstractEventLoop:
    """Return a loop whose tasks start eagerly."""
    loop = asyncio.new_event_loop()
    loop.set_task_factory(asyncio.eager_task_factory)
    return loop


LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
if sys.version_info >= (3, 12):
    LOOPS["eager"] = eager_loop

on_every_loop = pytest.mark.parametrize("new_loop", LOOPS.values(), ids=LOOPS)


def run_on(new_loop: Callable[[], asyncio.AbstractEventLoop], main: Coroutine[Any, Any, Any]) -> Any:
    """Run *main* on a real loop of the given kind; no task may be left when it has returned."""

    async def checked() -> Any:
        result = await main
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, left
        return result

    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(checked())


async def some_turns() -> None:
    """Let the loop turn so often that whatever was started stands where it waits; no clock decides whether it does."""
    for _ in range(50):
        await asyncio.sleep(0)
