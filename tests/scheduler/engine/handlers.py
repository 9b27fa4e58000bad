"""The handlers that these tests run, and what they note and wait for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio

from lifecycle.scheduler import Context, Scheduler, handler

Make = Callable[..., Scheduler]


@handler("test.add")
def add(x: int, y: int = 1) -> int:
    """Add, in a worker thread."""
    return x + y


@handler("test.add_async")
async def add_async(x: int, y: int = 1) -> int:
    """Add, in the loop."""
    await anyio.sleep(0)
    return x + y


@handler("test.anything")
async def anything(value: Any) -> Any:
    """Return what it is given."""
    return value


@handler("test.fail")
def fail(message: str) -> None:
    """Fail."""
    raise ValueError(message)


@handler("test.wait")
async def wait_for_ever() -> None:
    """Wait until cancelled."""
    await anyio.sleep_forever()


released: set[str] = set()


@handler("test.held")
async def held() -> None:
    """Take until the test says so."""
    while not released:
        await anyio.sleep(0.001)


@handler("test.context")
async def use_context(context: Context) -> list[Any]:
    """Log, progress, and what the context knows."""
    context.log("one\nline")
    context.progress(1, 2)
    context.check()
    return [context.job, context.attempt, context.stopping, context.block]


calls: list[str] = []


@handler("test.note")
async def note(name: str) -> str:
    """Note that it was called."""
    calls.append(name)
    return name


async def account_of(scheduler: Scheduler) -> None:
    """Check that nothing of the scheduler's own is left."""
    engine = scheduler._life.engine
    assert engine is not None
    assert (dict(engine.running), dict(engine.runs.open), len(engine.jobs)) == ({}, {}, 0)
