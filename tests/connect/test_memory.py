"""What is left of a connect for the collector: nothing, however it ends."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from lifecycle import Retry, Stages, connect

from ..loops import some_turns

TIMES = 100


async def succeeds() -> None:
    """Connect, use, and close."""

    async def connector(stages: Stages) -> None:
        await stages.acquire(object, release=lambda value: None)

    async with connect(connector):
        pass


async def fails() -> None:
    """Fail in a stage."""

    async def connector(stages: Stages) -> None:
        await stages.step(asyncio.sleep(0))
        raise OSError("refused")

    with contextlib.suppress(OSError):
        await connect(connector)


async def fails_again() -> None:
    """Fail, three times, each of them told to a hook."""

    async def connector(stages: Stages) -> None:
        raise OSError("refused")

    with contextlib.suppress(OSError):
        await connect(connector, retry=Retry(attempts=3, backoff=(0.0, 0.0), on_failure=lambda failure: None))


async def calls_again() -> None:
    """Do the same in a call."""

    async def attempt() -> None:
        raise OSError("refused")

    with contextlib.suppress(OSError):
        await Retry(attempts=3, backoff=(0.0, 0.0), on_failure=lambda failure: None).call(attempt)


async def is_cancelled() -> None:
    """Be cancelled in a stage."""

    async def connector(stages: Stages) -> None:
        await stages.step(asyncio.sleep(3600))

    task = asyncio.ensure_future(connect(connector).__aenter__())
    await some_turns()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("ends", [succeeds, fails, fails_again, calls_again, is_cancelled])
def test_nothing_is_left_for_the_collector(ends: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """A hundred of them leave no more objects behind than one does."""

    async def main() -> float:
        for _ in range(10):
            await ends()
        await some_turns()
        gc.collect()
        before = len(gc.get_objects())
        for _ in range(TIMES):
            await ends()
        await some_turns()
        return (len(gc.get_objects()) - before) / TIMES

    logging.disable(logging.CRITICAL)
    gc.disable()
    try:
        assert asyncio.run(main()) < 1
    finally:
        gc.enable()
        logging.disable(logging.NOTSET)
