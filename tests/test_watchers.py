"""Hooks and handlers of errors that raise what they should not: the owner goes on all the same."""

from __future__ import annotations

import asyncio
import logging
from asyncio import CancelledError
from typing import Any

import pytest

from lifecycle import Scope, TaskHandle, TaskManager, fixed_rate, run
from lifecycle.hooks import QueueAlarm, RunAlarm
from lifecycle.testing import Bubble

from .loops import on_every_loop, run_on, virtual


class Own(BaseException):
    """An error of the user's that is no Exception."""


class Rude:
    """Raises the same in every moment, and does not even let itself be shown."""

    def __init__(self, error: type[BaseException]) -> None:
        self._error = error

    def _raise(self, *args: object) -> None:
        raise self._error("rude")

    queued = before = after = rejected = _raise

    def __repr__(self) -> str:
        raise self._error("not even shown") if issubclass(self._error, Exception) else ValueError


RUDE = [CancelledError, Own, LookupError]


@pytest.mark.parametrize("error", RUDE)
@on_every_loop
def test_whatever_a_hook_raises_the_queue_moves_on(new_loop: Any, error: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Every task runs, every slot comes back, and each failure is logged."""
    caplog.set_level(logging.ERROR)
    ran = []

    async def work(number: int) -> None:
        await asyncio.sleep(0)
        ran.append(number)

    async def main() -> None:
        async with TaskManager("mail", limit=1, hooks=[Rude(error)]) as manager:
            for number in range(5):
                manager.start_soon(work, number)
            await manager.drain()
        manager._check_invariants()

    run_on(new_loop, main())
    assert ran == [0, 1, 2, 3, 4]
    assert set(caplog.messages) == {"hook failed"}
    assert len(caplog.messages) == 5 + 5 + 4


@pytest.mark.parametrize("error", RUDE)
def test_whatever_on_error_raises_the_queue_moves_on(error: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The error of the task is logged then, beside that of the handler."""
    caplog.set_level(logging.ERROR)

    def rude(handle: TaskHandle[Any], failure: BaseException) -> None:
        raise error("rude")

    async def fail() -> None:
        raise OSError("task")

    @virtual
    async def check(bubble: Bubble) -> None:
        async with TaskManager(limit=1, on_error=rude) as manager:
            handles = [manager.start_soon(fail) for _ in range(3)]
            await manager.drain()
            assert all(handle.done() for handle in handles)
        manager._check_invariants()

    check()
    assert caplog.messages == ["on_error failed", "background task failed"] * 3


@pytest.mark.parametrize("error", RUDE)
@pytest.mark.parametrize("alarm", [QueueAlarm, RunAlarm])
def test_whatever_an_alarm_raises_the_others_are_reported(
    alarm: Any, error: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """All that are overdue at once."""
    caplog.set_level(logging.ERROR)
    reported: list[int] = []

    def rude(handle: TaskHandle[Any]) -> None:
        raise error("rude")

    @virtual
    async def check(bubble: Bubble) -> None:
        watch = alarm(1.0, rude)
        async with TaskManager(limit=3, hooks=[watch]) as manager:
            for _ in range(6):
                manager.start_soon(asyncio.sleep, 5)
            await asyncio.sleep(2)
            assert watch.alarms == 3
        reported.append(watch.alarms)

    check()
    assert caplog.messages == ["on_alarm failed"] * reported[0]


@pytest.mark.parametrize("error", RUDE)
def test_whatever_the_hook_of_a_timer_raises_the_timer_goes_on(error: Any, caplog: pytest.LogCaptureFixture) -> None:
    """After each run, and where runs were missed; other hooks are called as well."""
    caplog.set_level(logging.ERROR)
    seen: list[str] = []

    class After:
        def after(self, run: Any) -> None:
            seen.append("after")
            raise error("rude")

        def missed(self, *facts: object) -> None:
            seen.append("missed")
            raise error("rude")

    async def busy() -> None:
        await asyncio.sleep(2.5)

    @virtual
    async def check(bubble: Bubble) -> None:
        timer = fixed_rate(busy, 1, hooks=[After(), After()], max_runs=2)
        async with Scope() as scope:
            await scope.start_soon(timer)
        assert timer.statistics().finished == 2

    check()
    assert seen.count("after") == 4
    assert seen.count("missed") == 2
    assert caplog.messages == ["hook failed"] * 6


@virtual
async def test_a_cancellation_during_a_hook_reaches_the_timer(bubble: Bubble, caplog: pytest.LogCaptureFixture) -> None:
    """One from outside is no failure of the hook; the hooks after it are called all the same."""
    seen: list[str] = []

    class Slow:
        async def after(self, run: Any) -> None:
            try:
                await asyncio.sleep(10)
            finally:
                seen.append("slow")

    class Last:
        def after(self, run: Any) -> None:
            seen.append("last")

    async def body() -> None:
        pass

    timer = fixed_rate(body, 1, hooks=[Slow(), Last()])
    async with Scope() as scope:
        handle = scope.start_soon(timer)
        await asyncio.sleep(0.5)
        handle.cancel()
        await handle.wait()
        assert asyncio.get_running_loop().time() == pytest.approx(0.5)
    assert seen == ["slow", "last"]
    assert timer.statistics().cancelled == 1
    assert caplog.messages == []


@pytest.mark.parametrize("place", ["hook", "on_error"])
def test_a_hook_that_ends_the_process_does_so(place: str) -> None:
    """``SystemExit`` is no failure: it ends the run, after the step that it was raised in."""
    ended = []

    def leave(*args: object) -> None:
        raise SystemExit(3)

    class Leaving:
        after = staticmethod(leave)

    async def fail() -> None:
        raise OSError("task")

    async def main() -> None:
        hooks = [Leaving()] if place == "hook" else []
        async with TaskManager(limit=1, hooks=hooks, on_error=leave if place == "on_error" else None) as manager:
            manager.start_soon(fail)
            try:
                await asyncio.sleep(60)
            finally:
                ended.append("main")

    with pytest.raises(SystemExit) as caught:
        run(main)
    assert caught.value.code == 3
    assert ended == ["main"]


def test_an_asynchronous_hook_is_refused_where_nobody_would_await_it() -> None:
    """It would never have run."""

    class After:
        async def after(self, handle: TaskHandle[Any]) -> None:
            raise AssertionError

    class Missed:
        async def missed(self, timer: str, due: float, count: int) -> None:
            raise AssertionError

    async def body() -> None:
        pass

    async def on_error(handle: TaskHandle[Any], error: BaseException) -> None:
        raise AssertionError

    with pytest.raises(TypeError, match="the hook after must be a synchronous function"):
        TaskManager(hooks=[After()])
    with pytest.raises(TypeError, match="on_error must be a synchronous function"):
        TaskManager(on_error=on_error)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="the hook missed must be a synchronous function"):
        fixed_rate(body, 1, hooks=[Missed()])
