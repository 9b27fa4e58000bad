"""How long a scope waits for what it stops: cancelled when its time is up, again a timeout later, then abandoned."""

from __future__ import annotations

import asyncio
import contextlib
import logging

import pytest

from lifecycle import ReleaseTimeout, Scope
from lifecycle._ground.ladder import GRACE
from lifecycle.testing import Bubble

from ..loops import virtual


class Stubborn:
    """Swallows a number of cancellations, and notes when they came."""

    def __init__(self, swallows: int) -> None:
        self.swallows = swallows
        self.cancelled_at: list[float] = []

    async def run(self, *_: object) -> None:
        while True:
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                self.cancelled_at.append(asyncio.get_running_loop().time())
                if len(self.cancelled_at) > self.swallows:
                    raise

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, *details: object) -> None:
        await self.run()


@virtual
async def test_a_release_that_swallows_its_first_cancellation_gets_a_second(bubble: Bubble) -> None:
    """It ends by it, so that it is not abandoned, and leaves no cancellation to the next release."""
    stubborn = Stubborn(1)
    log: list[str] = []

    async def next_release() -> None:
        await asyncio.sleep(0.1)
        log.append("released")

    with pytest.raises(ReleaseTimeout) as caught:
        async with Scope(close_timeout=5) as scope:
            scope.push_async_callback(next_release)
            scope.push_async_callback(stubborn.run)
    assert stubborn.cancelled_at == pytest.approx([5, 10])
    assert not caught.value.abandoned
    assert log == ["released"]


@virtual
async def test_a_release_that_ignores_both_is_abandoned_a_grace_later(bubble: Bubble) -> None:
    """And what it raises afterwards is logged, with the scope that it belonged to."""
    stubborn = Stubborn(2)
    with pytest.raises(ReleaseTimeout) as caught:
        async with Scope(close_timeout=5) as scope:
            scope.push_async_callback(stubborn.run)
    assert caught.value.abandoned
    assert bubble.clock.time() == pytest.approx(10 + GRACE)
    await asyncio.sleep(1)
    assert stubborn.cancelled_at == pytest.approx([5, 10, 10 + GRACE])  # the last as a farewell


@virtual
async def test_a_task_is_cancelled_at_once_and_again_when_its_time_is_up(bubble: Bubble) -> None:
    """Its release is a cancellation, so that it is a rung ahead."""
    stubborn = Stubborn(1)
    async with Scope(close_timeout=5) as scope:
        scope.start_soon(stubborn.run)
        await asyncio.sleep(1)
        with pytest.raises(ReleaseTimeout) as caught:
            await scope.aclose()
    assert stubborn.cancelled_at == pytest.approx([1, 6])
    assert not caught.value.abandoned


@virtual
async def test_a_factory_is_cancelled_at_once_and_again_when_its_time_is_up(bubble: Bubble) -> None:
    """As a task is."""
    stubborn = Stubborn(1)
    scope = Scope(close_timeout=5)
    asking = asyncio.ensure_future(scope.acquire(stubborn.run, release=print))
    await asyncio.sleep(1)
    with pytest.raises(ReleaseTimeout):
        await scope.aclose()
    assert stubborn.cancelled_at == pytest.approx([1, 6])
    await asyncio.wait([asking])
    assert asking.exception() is not None


@virtual
async def test_interruptions_of_a_context_manager_are_not_taken_for_a_cancellation_from_outside(bubble: Bubble) -> None:
    """Both are taken back: the host is not cancelled, now or later."""
    task = asyncio.current_task()
    assert task is not None

    async def swallow(*_: object) -> None:
        for _ in range(2):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(1000)

    with pytest.raises(ReleaseTimeout):
        async with Scope(close_timeout=5) as scope:
            scope.push_async_exit(swallow)
    assert bubble.clock.time() == pytest.approx(10)
    assert task.cancelling() == 0
    await asyncio.sleep(1)


@virtual
async def test_what_an_abandoned_release_raises_later_is_logged(
    bubble: Bubble, caplog: pytest.LogCaptureFixture
) -> None:
    """Under one name, with the scope and the release beside it."""

    async def fail_at_last() -> None:
        for _ in range(3):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(1000)
        raise OSError("too late")

    with caplog.at_level(logging.ERROR, "lifecycle.scope"):
        with pytest.raises(ReleaseTimeout):
            async with Scope("session", close_timeout=5) as scope:
                scope.push_async_callback(fail_at_last)
        await asyncio.sleep(1)
    (record,) = caplog.records
    assert record.getMessage() == "abandoned release failed"
    assert record.owner == "session"  # type: ignore[attr-defined]


@virtual
async def test_a_release_has_its_time_from_its_own_first_step_on(bubble: Bubble) -> None:
    """Not what the task before it has left, where a task factory has the release begin a step later."""
    bubble.loop.set_task_factory(lambda loop, coro, **options: asyncio.Task(coro, loop=loop, **options))
    released: list[str] = []

    async def release() -> None:
        released.append("callback")

    with pytest.raises(ReleaseTimeout, match="task 'work'"):
        async with Scope(close_timeout=0) as scope:
            child = scope.child()
            child.push_async_callback(release)
            child.start_soon(asyncio.sleep, 10, name="work")
            await asyncio.sleep(1)
    assert released == ["callback"]
