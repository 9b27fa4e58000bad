"""Stages: what a connector can do, what is refused when the attempt is over, and timeouts of single stages."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest

from lifecycle import ConnectError, ConnectTimeout, OwnerClosed, Scope, Stages, TaskStatus, connect
from lifecycle.testing import Bubble

from ..loops import virtual
from .peer import Peer


@contextlib.asynccontextmanager
async def session(peer: Peer, name: str) -> AsyncIterator[str]:
    """Make something, and release it at the end."""
    made = await peer.make(name)
    try:
        yield made
    finally:
        await peer.release(made)


@virtual
async def test_every_kind_of_stage_is_undone_in_its_turn(bubble: Bubble) -> None:
    """Values, context managers and tasks share one order; a synchronous factory and release do as well."""
    peer = Peer()

    async def task() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            peer.events.append("task ended")

    async def connector(stages: Stages) -> str:
        await stages.acquire(peer.make, "a", release=peer.release)
        entered = await stages.enter(session(peer, "b"), name="session")
        handle = stages.start_soon(task, name="reader")
        await stages.acquire(str, "c", release=lambda value: peer.events.append(f"let go of {value}"))
        assert await stages.step(asyncio.sleep(1, "answer")) == "answer"
        assert handle.status is TaskStatus.RUNNING
        return entered

    async with connect(connector) as value:
        assert value == "b"
    assert peer.events == ["made a", "made b", "let go of c", "task ended", "released b", "released a"]


@virtual
async def test_a_stage_knows_its_attempt_and_deadline(bubble: Bubble) -> None:
    """For connectors that choose another host, or pass the deadline down."""
    seen: list[tuple[int, float | None]] = []

    async def connector(stages: Stages) -> None:
        seen.append((stages.attempt, stages.deadline))
        assert "attempt 1" in repr(stages)

    now = asyncio.get_running_loop().time()
    await connect(connector, timeout=5)
    await connect(connector)
    assert seen == [(1, now + 5), (1, None)]


@pytest.mark.parametrize("kind", ["acquire", "enter", "step"])
@virtual
async def test_a_stage_may_have_a_timeout_of_its_own(bubble: Bubble, kind: str) -> None:
    """It fails with a TimeoutError that names it, and the attempt with it; nothing stays."""
    peer = Peer(seconds=10)

    async def connector(stages: Stages) -> None:
        if kind == "acquire":
            await stages.acquire(peer.make, "a", release=peer.release, name="slow", timeout=1)
        elif kind == "enter":
            await stages.enter(session(peer, "a"), name="slow", timeout=1)
        else:
            await stages.step(asyncio.sleep(10), name="slow", timeout=1)

    with pytest.raises(ConnectError) as caught:
        await connect(connector, timeout=100)
    assert not isinstance(caught.value, ConnectTimeout)
    assert isinstance(caught.value.__cause__, TimeoutError)
    assert "slow" in str(caught.value.__cause__)
    assert (caught.value.stage, peer.live) == ("slow", [])


@virtual
async def test_a_timeout_error_of_the_stage_itself_is_left_alone(bubble: Bubble) -> None:
    """It has its own message, though the stage had a timeout as well."""

    async def fails() -> None:
        raise TimeoutError("the peer says so")

    async def connector(stages: Stages) -> None:
        await stages.step(fails(), timeout=1)

    with pytest.raises(ConnectError, match="the peer says so"):
        await connect(connector)


@virtual
async def test_everything_is_refused_when_the_attempt_is_over(bubble: Bubble) -> None:
    """After success and after failure: nothing is called, a coroutine is closed."""
    peer = Peer()
    kept: list[Stages] = []

    async def connector(stages: Stages, fails: bool) -> None:
        kept.append(stages)
        if fails:
            raise OSError("planned")

    async with connect(connector, False, name="db"):
        with pytest.raises(ConnectError):
            await connect(connector, True, name="db")
        for stages in kept:
            coro: Coroutine[Any, Any, None] = asyncio.sleep(1)
            with pytest.raises(OwnerClosed, match="scope 'db' does not take stage 'hello'"):
                await stages.step(coro, name="hello")
            with pytest.raises(RuntimeError, match="cannot reuse"):
                await coro
            with pytest.raises(OwnerClosed):
                await stages.acquire(peer.make, "a")
            with pytest.raises(OwnerClosed):
                await stages.enter(session(peer, "a"))
            with pytest.raises(OwnerClosed):
                stages.start_soon(asyncio.sleep, 1)
    assert peer.events == []


@virtual
async def test_what_cannot_be_released_or_entered_is_refused(bubble: Bubble) -> None:
    """A value without a close method and no release; a thing that is no context manager; a timeout that is none."""

    async def nothing_to_close(stages: Stages) -> None:
        await stages.acquire(object)

    async def no_manager(stages: Stages) -> None:
        await stages.enter(object())  # type: ignore[arg-type]

    async def no_timeout(stages: Stages) -> None:
        await stages.step(asyncio.sleep(1), timeout=-1)

    async def no_timeout_for_a_future(stages: Stages) -> None:
        await stages.step(asyncio.get_running_loop().create_future(), timeout=-1)

    for connector, kind in (
        (nothing_to_close, TypeError),
        (no_manager, TypeError),
        (no_timeout, ValueError),
        (no_timeout_for_a_future, ValueError),
    ):
        with pytest.raises(ConnectError) as caught:
            await connect(connector)
        assert type(caught.value.__cause__) is kind


@virtual
async def test_concurrent_stages_are_all_undone(bubble: Bubble) -> None:
    """Three are made at once; what the timeout finds half made is undone as well."""
    peer = Peer(seconds=1)

    async def connector(stages: Stages) -> None:
        async with asyncio.TaskGroup() as group:
            for name in "abc":
                group.create_task(stages.acquire(peer.make, name, release=peer.release, name=name))
        await stages.step(asyncio.sleep(100), name="hello")

    for limit in (0.5, 1.0, 1.5):
        with pytest.raises(ConnectTimeout) as caught:
            await connect(connector, timeout=limit)
        assert caught.value.stage in ("c", "hello")
        assert peer.live == []


@virtual
async def test_candidates_that_lose_are_released_before_the_connect_is_over(bubble: Bubble) -> None:
    """Each gets a scope of its own, entered as a stage, which can be closed early; the winner's goes at the end."""
    peer = Peer()

    async def connector(stages: Stages) -> str:
        candidates = {}
        for name in "abc":
            candidates[name] = await stages.enter(Scope(name), name=f"candidate {name}")
            await candidates[name].acquire(peer.make, name, release=peer.release)
        for name in "ac":
            await candidates[name].aclose()
        return "b"

    async with connect(connector) as winner:
        assert peer.live == [winner]
    assert peer.live == []
    assert len(peer.events) == 6


@virtual
async def test_a_held_context_manager_that_fails_ends_the_attempt(bubble: Bubble) -> None:
    """A task group inside it ends with an error: the connector is interrupted."""

    async def fails() -> None:
        await asyncio.sleep(1)
        raise EOFError("hung up")

    @contextlib.asynccontextmanager
    async def with_a_task() -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            group.create_task(fails())
            yield
            await asyncio.sleep(100)

    async def connector(stages: Stages) -> None:
        await stages.enter(with_a_task())
        await stages.step(asyncio.sleep(100), name="hello")

    with pytest.raises(ConnectError) as caught:
        await connect(connector)
    assert caught.value.stage == "hello"
    assert "hung up" in repr(caught.value.__cause__)
