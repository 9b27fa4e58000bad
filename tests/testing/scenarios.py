"""Contention scenarios for everything that we ship: holders, waiters, a late arrival, a closer.

A primitive joins by a scenario in ``SCENARIOS``: a name and ``async def scenario(bubble)``. What a scenario opens it
enters into the bubble's ledger, in the step in which it exists, so that the exploration sees what is left.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import anyio

from lifecycle import OwnerClosed, Scope, TaskManager
from lifecycle.testing import Bubble, Token

Scenario = Callable[[Bubble], Coroutine[Any, Any, Any]]

SCENARIOS: dict[str, Scenario] = {}


def scenario(function: Scenario) -> Scenario:
    """Enter a scenario into the table."""
    SCENARIOS[function.__name__] = function
    return function


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
        try:  # whoever may be struck again during its clean-up must not leave the release behind a wait
            await asyncio.sleep(0.01)
        finally:
            token.release()


async def work(bubble: Bubble, name: str, seconds: float) -> str:
    with bubble.ledger.acquire(name, kind="work"):
        await asyncio.sleep(seconds)
    return name


def ignore_error(handle: object, error: BaseException) -> None:
    """Errors of background tasks are expected here: they were injected."""


# Scope.


@scenario
async def scope_unwinds_in_order(bubble: Bubble) -> None:
    """Resources, tasks and context managers in one ledger: each task ends before what is older goes."""
    async with Scope("session") as scope:
        first = await scope.acquire(connect, bubble, "first", release=disconnect)
        scope.start_soon(_uses, bubble, first)
        second = await scope.enter(session(bubble, "second"))
        scope.start_soon(_uses, bubble, second)
        scope.callback(_check_released, second)
        await asyncio.sleep(0.03)


async def _uses(bubble: Bubble, token: Token) -> None:
    try:
        await work(bubble, f"user of {token.name}", 1)
    finally:
        assert not token.releases, f"{token.name} was released under its user"


def _check_released(token: Token) -> None:
    assert not token.releases


@scenario
async def scope_children(bubble: Bubble) -> None:
    """A tree of scopes, one closed early, the others by their owner."""
    async with Scope("root") as root:
        left, right = root.child("left"), root.child("right")
        await left.acquire(connect, bubble, "in left", release=disconnect)
        right.start_soon(work, bubble, "in right", 1)
        await right.acquire(connect, bubble, "deep", release=disconnect)
        await left.aclose()
        await asyncio.sleep(0.01)


@scenario
async def scope_closed_by_another_task(bubble: Bubble) -> None:
    """Two closers, a task that acquires while they close, and one that comes too late."""
    scope = Scope("shared")
    try:
        await scope.acquire(connect, bubble, "held", release=disconnect)

        async def acquires() -> None:
            with contextlib.suppress(OwnerClosed):
                await scope.acquire(connect, bubble, "late", release=disconnect)

        async with asyncio.TaskGroup() as group:
            group.create_task(acquires())
            group.create_task(scope.aclose())
            group.create_task(scope.aclose())
            await asyncio.sleep(0.01)
            group.create_task(acquires())
    finally:
        await scope.aclose()


@scenario
async def scope_with_a_failing_task(bubble: Bubble) -> None:
    """A task that fails interrupts the body; everything is unwound and the error raised."""

    async def fails() -> None:
        await asyncio.sleep(0.02)
        raise KeyError("planned")

    with contextlib.suppress(KeyError):
        async with Scope("failing") as scope:
            await scope.acquire(connect, bubble, "held", release=disconnect)
            scope.start_soon(fails)
            scope.start_soon(work, bubble, "bystander", 1)
            await asyncio.sleep(5)
    await asyncio.sleep(0)  # a cancellation that came together with the error is delivered at the next wait


@scenario
async def scope_inside_timeouts_and_groups(bubble: Bubble) -> None:
    """A scope inside asyncio.timeout, inside an anyio task group, with a timeout that fires."""
    async with anyio.create_task_group() as group:
        group.start_soon(work, bubble, "neighbour", 0.05)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.03), Scope("inner") as scope:
                await scope.acquire(connect, bubble, "held", release=disconnect)
                scope.start_soon(work, bubble, "worker", 1)
                await asyncio.sleep(5)


@scenario
async def scope_start_handshake(bubble: Bubble) -> None:
    """A task that reports when it is ready, one that is slow to, and a body that waits for both."""

    async def serves(delay: float, *, task_status: anyio.abc.TaskStatus[str] = anyio.TASK_STATUS_IGNORED) -> None:
        with bubble.ledger.acquire(f"server {delay}"):
            await asyncio.sleep(delay)
            task_status.started("ready")
            await asyncio.sleep(1)

    async with Scope("servers") as scope:
        assert await scope.start(serves, 0.01) == "ready"
        assert await scope.start(serves, 0.02) == "ready"
        await asyncio.sleep(0.01)


# TaskManager.


@scenario
async def manager_drains(bubble: Bubble) -> None:
    """Two running, two waiting for a slot, one late, and a drain."""
    async with TaskManager("jobs", limit=2, on_error=ignore_error) as jobs:
        for number in range(4):
            jobs.start_soon(work, bubble, f"job {number}", 0.02)
        await asyncio.sleep(0.01)
        jobs.start_soon(work, bubble, "late", 0.01)


@scenario
async def manager_spawn_waits_for_a_slot(bubble: Bubble) -> None:
    """Producers that wait for slots beside tasks that queue for them, and a closer that comes early."""
    jobs = TaskManager("jobs", limit=1, drain_timeout=0.05, on_error=ignore_error)

    async def produces(name: str) -> None:
        with contextlib.suppress(OwnerClosed):
            await jobs.spawn(work, bubble, name, 0.02)

    try:
        async with asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(produces(f"producer {number}"))
            jobs.start_soon(work, bubble, "queued", 0.02)
            await asyncio.sleep(0.03)
            group.create_task(jobs.aclose())
            group.create_task(produces("late"))
    finally:
        await jobs.aclose()


@scenario
async def manager_cancels_what_does_not_end(bubble: Bubble) -> None:
    """Draining runs out: what is left is cancelled, with its clean-up, and reported."""

    async def lingers() -> None:
        async with session(bubble, "lingering"):
            await asyncio.sleep(60)

    async with TaskManager("jobs", drain_timeout=0.02, on_error=ignore_error) as jobs:
        jobs.start_soon(lingers)
        jobs.start_soon(work, bubble, "quick", 0.01)
        await asyncio.sleep(0.01)
        handle = jobs.start_soon(lingers)
        await asyncio.sleep(0)
        handle.cancel("no longer wanted")


@scenario
async def manager_limit_changes(bubble: Bubble) -> None:
    """The limit goes up and down while tasks run and wait."""
    async with TaskManager("jobs", limit=1, on_error=ignore_error) as jobs:
        handles = [jobs.start_soon(work, bubble, f"job {number}", 0.02) for number in range(4)]
        await asyncio.sleep(0.01)
        jobs.limit = 3
        handles[3].cancel()
        await asyncio.sleep(0.01)
        jobs.limit = 1
        with contextlib.suppress(BaseException):
            await handles[3].wait()
