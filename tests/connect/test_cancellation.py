"""Cancelled awaiters, closers and connecting tasks: the rollback comes first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from lifecycle import ConnectError, connect
from lifecycle.testing import Bubble
from lifecycle.types import AttemptState, ConnectAttempt

from ..loops import virtual
from .peer import QUICK, Peer


@virtual
async def test_a_cancelled_awaiter_waits_for_the_rollback_and_is_cancelled_once(bubble: Bubble) -> None:
    """Two cancellations during the rollback: everything is undone, one is raised, the count stays exact."""
    peer = Peer(seconds=1)
    counts = []

    async def awaits() -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            await connect(peer.connector, "ab")
        except asyncio.CancelledError:
            counts.append(task.cancelling())
            await asyncio.sleep(1)  # is not interrupted again
            counts.append(len(peer.live))
            raise

    task = asyncio.create_task(awaits())
    await asyncio.sleep(2.5)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0.3)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert counts == [3, 0]


@pytest.mark.parametrize("limit", [asyncio.timeout, anyio.fail_after], ids=["asyncio", "anyio"])
@virtual
async def test_a_timeout_around_it_waits_for_the_rollback(bubble: Bubble, limit: Callable[[float], Any]) -> None:
    """A timeout of the caller's ends the connect, and times out when everything is undone."""
    peer = Peer(seconds=1)

    async def awaits() -> None:
        scope = limit(2.5)
        if hasattr(scope, "__aenter__"):
            async with scope:
                await connect(peer.connector, "ab")
        else:
            with scope:
                await connect(peer.connector, "ab")

    with pytest.raises(TimeoutError) as caught:
        await awaits()
    assert not isinstance(caught.value, ConnectError)
    assert peer.live == []


@virtual
async def test_a_rollback_that_fails_for_a_cancelled_awaiter_is_told_first(bubble: Bubble) -> None:
    """The error of the rollback is raised, the cancellation at the next suspension."""
    peer = Peer(seconds=1, bad_releases="a")
    seen: list[BaseException] = []

    async def awaits() -> None:
        try:
            await connect(peer.connector, "ab")
        except ConnectError as error:
            seen.extend(error.rollback_errors)
        await asyncio.sleep(10)

    task = asyncio.create_task(awaits())
    await asyncio.sleep(2.5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [str(error) for error in seen] == ["a is stuck"]


@virtual
async def test_a_cancelled_closer_waits_for_the_rollback(bubble: Bubble) -> None:
    """It is cancelled afterwards; if the rollback met errors these come first."""
    for bad in ("", "a"):
        peer = Peer(seconds=1, bad_releases=bad)
        attempt = connect(peer.connector, "ab")
        attempt.poll()
        await asyncio.sleep(2.5)
        errors: list[str] = []

        async def closes(attempt: ConnectAttempt[str] = attempt, errors: list[str] = errors) -> None:
            try:
                await attempt.aclose()
            except ValueError as error:
                errors.append(str(error))
            await asyncio.sleep(10)

        task = asyncio.create_task(closes())
        await asyncio.sleep(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (peer.live, errors) == ([], ["a is stuck"] if bad else [])


@virtual
async def test_a_native_cancellation_during_the_rollback_of_a_scope_goes_first(bubble: Bubble) -> None:
    """An anyio scope ends the connect, and a native cancellation comes on top: the task is cancelled."""
    peer = Peer(seconds=1)

    async def awaits() -> None:
        with anyio.move_on_after(2.5):
            await connect(peer.connector, "ab")
        raise AssertionError("the native cancellation was swallowed")

    task = asyncio.create_task(awaits())
    await asyncio.sleep(3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert peer.live == []


@virtual
async def test_two_wait_for_one_connect(bubble: Bubble) -> None:
    """Both get the value; it runs once."""
    peer = Peer()
    attempt = connect(peer.connector, "a")
    assert await asyncio.gather(attempt, attempt) == ["connected to a"] * 2
    assert peer.events == ["made a"]
    await attempt.scope.aclose()


@virtual
async def test_a_destroyed_awaiter_ends_the_connect(bubble: Bubble) -> None:
    """A coroutine that is closed while it waits cannot wait for the rollback, but it has asked for it."""
    peer = Peer()
    attempt = connect(peer.connector, "ab")
    coro = attempt._arrival()
    coro.send(None)
    coro.close()
    await asyncio.sleep(5)
    assert (attempt.state, peer.live) == (AttemptState.CANCELLED, [])


@virtual
async def test_a_connecting_task_cancelled_by_a_stranger_fails_and_is_rolled_back(bubble: Bubble) -> None:
    """Before its first step, and later; it is not tried again."""
    for steps in (0, 3):
        peer = Peer(seconds=1)
        attempt = connect(peer.connector, "ab", name="db", retry=QUICK)
        attempt.poll()
        await asyncio.sleep(steps / 2)
        task = attempt._connecting.task
        assert task is not None
        task.cancel()
        with pytest.raises(ConnectError, match="its task was cancelled from outside"):
            await attempt
        assert (attempt.attempts, peer.live) == (1, [])


@virtual
async def test_the_undoing_of_a_success_survives_a_stranger(bubble: Bubble) -> None:
    """Its task is cancelled before its first step: another takes its place."""
    peer = Peer()
    attempt = connect(peer.connector, "ab")
    attempt.poll()
    await asyncio.sleep(5)
    attempt.cancel()
    task = attempt._connecting.task
    assert task is not None
    task.cancel()
    await attempt.aclose()
    assert (attempt.state, peer.live) == (AttemptState.CANCELLED, [])


@virtual
async def test_a_stranger_who_cancels_the_undoing_of_a_success_is_held_off(bubble: Bubble) -> None:
    """Everything is released; the task that did so ends cancelled."""
    peer = Peer(seconds=1)
    attempt = connect(peer.connector, "ab")
    attempt.poll()
    await asyncio.sleep(5)
    attempt.cancel()
    await asyncio.sleep(0.5)
    task = attempt._connecting.task
    assert task is not None
    task.cancel()
    await attempt.aclose()
    assert (attempt.state, peer.live) == (AttemptState.CANCELLED, [])
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
