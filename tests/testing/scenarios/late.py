"""What swallows the end of its time, and returns as if nothing had been: it has failed, and its owner says so."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from lifecycle import (
    ConnectError,
    CreationTimeout,
    Pool,
    ReaderWorker,
    ReleaseTimeout,
    Scope,
    Stages,
    TimeoutExpired,
    connect,
)

from ._table import scenario, work

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lifecycle.testing import Bubble
    from lifecycle.testing.types import Token


class Stubborn:
    """Takes a minute, and returns when it is cancelled; knows whether that took longer than it may."""

    def __init__(self, bubble: Bubble, allowed: float) -> None:
        self._bubble = bubble
        self._allowed = allowed
        self.late = False

    async def __call__(self, *_: object) -> None:
        began = self._bubble.clock.time()
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await work(self._bubble, "stubborn", 60)
            await asyncio.sleep(0.001)
        finally:
            self.late = self._bubble.clock.time() - began > self._allowed

    async def make(self) -> Token:
        await self()
        return self._bubble.ledger.acquire("made late", kind="connection")


@contextlib.contextmanager
def told_or_in_time(end: Stubborn, mistake: str) -> Iterator[None]:
    """See that an owner whose *end* has come too late raises it when its block is left."""
    told = False
    try:
        yield
    except ReleaseTimeout:
        told = True
    except BaseExceptionGroup:
        told = True
        raise
    finally:
        assert told or not end.late, mistake


@scenario
async def late_step_of_a_connect(bubble: Bubble) -> None:
    """The connect has failed."""
    step = Stubborn(bubble, 0.02)

    async def connector(stages: Stages) -> None:
        await stages.step(step(), name="greeting", timeout=0.02)

    with contextlib.suppress(ConnectError):
        async with connect(connector):
            assert not step.late, "a connect with a late step has succeeded"
    await asyncio.sleep(0)


@scenario
async def late_value_of_a_scope(bubble: Bubble) -> None:
    """The caller has been told that it was not made in time; the scope releases it."""
    factory = Stubborn(bubble, 0.02)
    async with Scope("late") as scope:
        with contextlib.suppress(TimeoutExpired):
            await scope.acquire(factory.make, release=lambda token: token.release(), timeout=0.02)
            assert not factory.late, "a value that was made too late was handed out"


@scenario
async def late_value_of_a_pool(bubble: Bubble) -> None:
    """The borrower has been told, and the value is ended."""
    factory = Stubborn(bubble, 0.02)

    async def end(token: Token) -> None:
        token.release()

    async with Pool(factory.make, end, max_size=1, create_timeout=0.02) as pool:
        with contextlib.suppress(CreationTimeout):
            async with pool.acquire(timeout=1):
                assert not factory.late, "a value that was made too late was lent"


@scenario
async def late_end_of_a_value(bubble: Bubble) -> None:
    """The pool counts it among the ends that failed, and its close raises it."""
    end = Stubborn(bubble, 0.02)
    pool: Pool[object] = Pool(object, end, max_size=1, close_timeout=0.02)
    with told_or_in_time(end, "the late end of a value is a good one"):
        async with pool, pool.acquire():
            await asyncio.sleep(0.01)
    await asyncio.sleep(0)


async def idle_loop(_: Any) -> None:
    await asyncio.sleep(60)


@scenario
async def late_close_of_a_pair(bubble: Bubble) -> None:
    """The block of the pair raises it."""
    close = Stubborn(bubble, 0.02)
    with told_or_in_time(close, "the late close of a pair is a good one"):
        async with ReaderWorker(idle_loop, idle_loop, close=close, close_timeout=0.02):
            await asyncio.sleep(0.01)
    await asyncio.sleep(0)
