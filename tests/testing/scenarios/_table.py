"""The table of scenarios, and what they are made of: connections that take time, work that holds something."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from lifecycle._ground import trace
from lifecycle.testing import Bubble
from lifecycle.testing.types import Token

Scenario = Callable[[Bubble], Coroutine[Any, Any, Any]]

SCENARIOS: dict[str, Scenario] = {}


def scenario(function: Scenario) -> Scenario:
    """Enter a scenario into the table."""
    SCENARIOS[function.__name__] = function
    return function


def unreported(function: Scenario) -> Scenario:
    """Return a scenario in which primitives are not traced: they take shorter ways then, as in production."""

    @functools.wraps(function)
    async def run(bubble: Bubble) -> None:
        trace.sink = None  # the bubble sets it back
        await function(bubble)

    return run


# What scenarios use: a connection that takes time to make and to release, and work that holds something.


async def connect(bubble: Bubble, name: str) -> Token:
    await asyncio.sleep(0.01)
    return bubble.ledger.acquire(name, kind="connection")


async def disconnect(token: Token) -> None:
    await asyncio.sleep(0.01)
    token.release()


@contextlib.asynccontextmanager
async def session(bubble: Bubble, name: str) -> AsyncIterator[Token]:
    token = bubble.ledger.acquire(name, kind="session")
    try:
        yield token
    finally:
        try:  # what may be struck again during its clean-up must not leave the release behind a wait
            await asyncio.sleep(0.01)
        finally:
            token.release()


async def work(bubble: Bubble, name: str, seconds: float) -> str:
    with bubble.ledger.acquire(name, kind="work"):
        await asyncio.sleep(seconds)
    return name


class Gauge:
    """Counts who works at the same time, and complains above a limit."""

    def __init__(self, bubble: Bubble, limit: int) -> None:
        self._bubble = bubble
        self._limit = limit
        self._working = 0

    async def work(self, name: str, seconds: float) -> None:
        self._working += 1
        try:
            assert self._working <= self._limit, f"{self._working} at work, {self._limit} are allowed"
            await work(self._bubble, name, seconds)
        finally:
            self._working -= 1


def ignore_error(handle: object, error: BaseException) -> None:
    """Errors of background tasks are expected here: they were injected."""


def fail_on_assertion(handle: object, error: BaseException) -> None:
    """Hand a failed assertion of a background task to the loop's exception handler, which fails the run."""
    if isinstance(error, AssertionError):
        context = {"message": "an assertion of a background task failed", "exception": error}
        asyncio.get_running_loop().call_exception_handler(context)
