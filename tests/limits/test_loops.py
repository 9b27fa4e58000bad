"""A limiter in several loops: one at a time, whatever their clocks say; one that is gone leaves nothing in the way."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from typing import Any

from lifecycle import Limiter, Rate, WrongLoop, limit_by
from lifecycle.testing import Bubble, run_virtual

from ..loops import on_every_loop, run_on, some_turns


async def in_thread(call: Callable[[], object]) -> BaseException | None:
    """Return what *call* raises in another thread, while the loop goes on."""
    met: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:
            met.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    while thread.is_alive():
        await asyncio.sleep(0.001)
    return met[0] if met else None


@on_every_loop
def test_another_thread_is_refused(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Whoever waited there could not be woken from here; whether anybody waits or not, and nothing has happened."""
    limiter = Limiter(1, name="requests")

    async def enter() -> None:
        async with limiter.hold():
            raise AssertionError

    def change() -> None:
        limiter.limit = 2

    async def main() -> None:
        async with limiter.hold():
            for waiting in (False, True):
                task = asyncio.create_task(enter()) if waiting else None
                await some_turns()
                for call in (lambda: asyncio.run(enter()), limiter.try_hold().__enter__, limiter.close, change):
                    error = await in_thread(call)
                    assert isinstance(error, WrongLoop), (call, error)
                    assert "limiter 'requests'" in str(error)
                statistics = limiter.statistics()
                assert (statistics.state, statistics.limit, statistics.held) == ("open", 1, 1)
                assert (statistics.asked, statistics.waiting) == (1 + waiting, int(waiting))
            assert task is not None
            task.cancel()
            await some_turns()

    run_on(new_loop, main())


async def wait_of(limiter: Limiter, key: object) -> float:
    """Return the seconds that it takes to be let in."""
    now = asyncio.get_running_loop().time
    begun = now()
    async with limiter.hold(key):
        return now() - begun


@on_every_loop
def test_a_rate_goes_on_by_the_clock_of_each_loop(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Which in a test may begin anywhere: what is left of an interval is left, and no more."""
    for limiter in (
        Limiter(rate=Rate(1, per=100.0), limit_by=limit_by(str, limit=1)),
        Limiter(limit_by=limit_by(str, rate=Rate(1, per=100.0))),
    ):
        waits: list[float] = []

        async def once(bubble: Bubble | None, limiter: Limiter = limiter, waits: list[float] = waits) -> None:
            waits.append(await wait_of(limiter, "a"))
            if bubble is not None:
                await asyncio.sleep(200.0)

        run_on(new_loop, once(None))
        for _ in range(2):
            run_virtual(once)
        assert 50 < waits[1] <= 100.001
        assert max(waits[0], waits[2]) < 50


def test_a_pause_from_before_there_is_a_loop_counts() -> None:
    """From the call on."""
    limiter = Limiter()
    limiter.pause(100.0)
    waits: list[float] = []

    async def once(_: Any) -> None:
        async with limiter.hold():
            waits.append(asyncio.get_running_loop().time())

    run_virtual(once)
    (wait,) = waits
    assert 50 < wait <= 100.001


def test_what_was_left_waiting_in_a_closed_loop_is_collected_without_a_word() -> None:
    """Before somebody enters in another loop, and after."""
    for early in (True, False):
        limiter = Limiter(1)

        async def enter(limiter: Limiter = limiter) -> str:
            async with limiter.hold():
                return "in"

        loop = asyncio.new_event_loop()
        held = limiter.hold()
        loop.run_until_complete(held.__aenter__())
        coros = [enter() for _ in range(3)]
        for coro in coros:
            loop.create_task(coro)._log_destroy_pending = False  # type: ignore[attr-defined]
        loop.run_until_complete(some_turns())
        loop.close()
        del loop
        if not early:
            held._leave()
            assert asyncio.run(enter()) == "in"
        for coro in coros:
            coro.close()
        gc.collect()
        held._leave()
        assert asyncio.run(enter()) == "in"
        assert (limiter.statistics().held, limiter.statistics().waiting) == (0, 0)
        limiter._turns._check_invariants()
