"""What a case of growth is, and the kinds of things that its owner has n of."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager

from anyio.abc import TaskStatus

#: Encloses a row: its name, and how many operations it holds.
Laps = Callable[[str, int], AbstractContextManager[None]]
Case = Callable[[int, Laps], Awaitable[None]]

CASES: dict[str, Case] = {}


def case(function: Case) -> Case:
    """Make *function* one of the cases."""
    CASES[function.__name__.removesuffix("_")] = function
    return function


# What is owned


def nothing(*_: object) -> None:
    pass


def fails(*_: object) -> None:
    raise ValueError


async def returns(*_: object) -> int:
    return 0


async def suspends(*_: object) -> None:
    await asyncio.sleep(0)


async def starts(*, task_status: TaskStatus[None]) -> None:
    task_status.started()
    await asyncio.Event().wait()


async def fails_later(*_: object) -> None:
    await asyncio.sleep(0)
    raise ValueError


async def waits(*_: object) -> None:
    await asyncio.Event().wait()


async def waits_and_fails(*_: object) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        raise ValueError


@asynccontextmanager
async def manages() -> AsyncIterator[None]:
    yield


@contextmanager
def manages_at_once() -> Iterator[None]:
    yield


async def settle(turns: int = 4) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)


def few(n: int) -> int:
    """Return how many connections stand for *n*: both ends of each are descriptors of this process."""
    return min(n, 400)


def silence() -> None:
    """Keep what fails on purpose out of the log."""
    logging.getLogger("lifecycle").setLevel(logging.CRITICAL)
