"""Finalizing: in tasks of the registry, bounded in number and in time, and never outrun by those who remove."""

import asyncio
import logging
import time
from typing import Any

import pytest

from lifecycle import Registry, ReleaseTimeout
from lifecycle.testing import Bubble, run_virtual

from ..collection import without_collection
from ..loops import on_every_loop, run_on


def test_what_is_to_be_finalized_does_not_grow_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that replaces many values leaves the crew time in proportion; most of all would be left otherwise.

    The crew goes by the clock; here by that of the processor, which stands still while other processes have it, and
    without the collections of all that earlier tests have left.
    """
    monkeypatch.setattr("lifecycle._registry.finalizing.perf_counter", time.thread_time)
    each_step = 1000

    async def end(value: int) -> None:
        """End nothing."""

    async def main() -> None:
        async with Registry[int, int](finalizer=end) as registry:
            for number in range(100_000 // each_step):
                for key in range(each_step):
                    registry.put(key, number)
                await asyncio.sleep(0)
            assert registry.statistics().pending_close < 30_000
            registry._check_invariants()

    with without_collection():
        run_on(asyncio.new_event_loop, main())


def test_finalizers_run_together_in_tasks_of_the_registry() -> None:
    """Neither the caller's cancellation nor its timeouts reach them, and one slow one does not hold the others."""

    async def scenario(bubble: Bubble) -> None:
        ended = []

        async def end(seconds: float) -> None:
            await asyncio.sleep(seconds)
            ended.append(seconds)

        async with Registry[int, float](finalizer=end) as registry:
            for number, seconds in enumerate((5.0, 1.0, 2.0)):
                registry.put(number, seconds)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await registry.clear()
            registry.put(3, 0.1)
            registry.discard(3)
            await asyncio.sleep(10)
            assert ended == [0.1, 1.0, 2.0, 5.0]

    run_virtual(scenario)


def test_many_finalizers_are_bounded() -> None:
    """However many values leave at once, few finalizers are suspended at the same time, and all are run."""

    async def scenario(bubble: Bubble) -> None:
        now = most = total = 0

        async def end(number: int) -> None:
            nonlocal now, most, total
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.1)
            now -= 1
            total += 1

        async with Registry[int, int](finalizer=end) as registry:
            for number in range(200):
                registry.put(number, number)
            await registry.clear()
            assert 2 <= most <= 16
            assert total == 200

    run_virtual(scenario)


def test_a_failing_finalizer_is_logged_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    """While the registry is open no task waits for it, so the log gets it; synchronous ones as well."""

    async def scenario(bubble: Bubble) -> None:
        def fails(value: int) -> None:
            raise OSError("gone already")

        async with Registry[str, int]("odd", finalizer=fails) as registry:
            registration = registry.put("a", 1)
            registry.discard("a")
            await registration.closed()
            assert registry.statistics().close_errors == 1

    with caplog.at_level(logging.ERROR, "lifecycle.registry"):
        run_virtual(scenario)
    (record,) = caplog.records
    assert record.getMessage() == "finalizer failed"
    assert (record.__dict__["owner"], record.__dict__["key"]) == ("odd", "'a'")


@pytest.mark.parametrize("stubborn", [False, True])
def test_a_finalizer_that_takes_too_long_is_ended(stubborn: bool) -> None:
    """It is cancelled, or abandoned if it ignores that twice; the next ones are run, and the error names the key."""

    async def scenario(bubble: Bubble) -> None:
        ended = []

        async def end(value: str) -> None:
            while value == "hangs":
                try:
                    await asyncio.sleep(20)
                    return
                except asyncio.CancelledError:
                    if not stubborn:
                        raise
            ended.append(value)

        registry = Registry[str, str](finalizer=end, close_timeout=2.0)
        for value in ("first", "hangs", "last"):
            registry.put(value, value)
        with pytest.raises(
            ReleaseTimeout, match=r"releasing 'hangs' of registry 'registry' took longer than 2 s"
        ) as caught:
            await registry.aclose()
        assert caught.value.abandoned == stubborn
        assert ended == ["first", "last"]
        assert bubble.clock.now == (5.0 if stubborn else 2.0)
        registry._check_invariants()
        await asyncio.sleep(60)

    run_virtual(scenario)


@pytest.mark.parametrize("through", ["itself", "a task", "a close"])
@on_every_loop
def test_a_finalizer_does_not_wait_for_its_own_end(new_loop: Any, through: str) -> None:
    """Neither by itself nor through another task; everybody else does."""
    order: list[str] = []

    async def main() -> None:
        async def wait_for_itself(_: str) -> None:
            if through == "itself":
                await registration.closed()
            elif through == "a task":
                await asyncio.create_task(registration.closed())
            else:
                async with Registry[str, str]("inner", finalizer=lambda _: registration.closed()) as inner:
                    inner.put("a", "value")
            order.append("finalized")

        async with Registry[str, str](finalizer=wait_for_itself, close_timeout=None) as registry:
            registration = registry.put("a", "value")
            registration.remove()
            await registration.closed()
            order.append("closed")

    run_on(new_loop, main())
    assert order == ["finalized", "closed"]
