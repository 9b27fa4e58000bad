"""QueueAlarm and RunAlarm: tasks that wait or run for too long, one timer for all, nothing left afterwards."""

import asyncio
import weakref
from contextlib import suppress
from typing import Any

import pytest

from lifecycle import TaskHandle, TaskManager, TaskStatus
from lifecycle._manager.overdue import Overdue
from lifecycle.hooks import QueueAlarm, RunAlarm
from lifecycle.testing import Bubble, explore_cancellation

from ..collection import without_collection
from ..loops import on_every_loop, run_on, virtual


async def work(seconds: float) -> None:
    """Work for a while."""
    await asyncio.sleep(seconds)


def timers_of(bubble: Bubble, alarm: Overdue) -> int:
    """Return how many timers of the loop are the alarm's."""
    return sum(getattr(timer._callback, "__self__", None) is alarm for timer in bubble.loop.live_timers())


@pytest.mark.parametrize("alarm_type", [QueueAlarm, RunAlarm])
def test_the_time_is_checked(alarm_type: type[Overdue]) -> None:
    """More than 0 and finite."""
    for wrong in (0, -1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="seconds must be"):
            alarm_type(wrong, print)
    for no_number in ("1", True):
        with pytest.raises(TypeError, match="seconds must be"):
            alarm_type(no_number, print)  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        alarm_type(None, print)  # type: ignore[arg-type]
    assert repr(alarm_type(1.5, print)) == f"<{alarm_type.__name__} 1.5 s>"


@virtual
async def test_a_run_alarm_tells_of_each_task_that_runs_too_long_once(bubble: Bubble) -> None:
    """At its own time, and not of those that have ended; the time begins with the slot."""
    told: list[tuple[str, float]] = []
    alarm = RunAlarm(2, lambda handle: told.append((handle.name, bubble.clock.time())))
    async with TaskManager(limit=3, hooks=[alarm]) as manager:
        manager.start_soon(work, 9, name="first")
        await asyncio.sleep(0.5)
        manager.start_soon(work, 1, name="quick")
        manager.start_soon(work, 9, name="second")
        manager.start_soon(work, 3, name="queued until 1.5")
        assert len(alarm) == 3
        await manager.drain()
    assert told == [("first", 2.0), ("second", 2.5), ("queued until 1.5", 3.5)]
    assert alarm.alarms == 3
    assert len(alarm) == 0


@virtual
async def test_a_run_alarm_may_be_a_time_limit(bubble: Bubble) -> None:
    """handle.cancel() in it ends the task, with the reason."""
    alarm = RunAlarm(2, lambda handle: handle.cancel("took too long"))
    async with TaskManager(hooks=[alarm]) as manager:
        handle = manager.start_soon(work, 9)
        await handle.wait()
    assert (handle.status, handle.cancel_reason, bubble.clock.time()) == (TaskStatus.CANCELLED, "took too long", 2.0)


@virtual
async def test_a_queue_alarm_tells_of_each_task_that_waits_too_long(bubble: Bubble) -> None:
    """Those that got their slot, or were dropped in time, are none of its business."""
    told: list[tuple[str, float]] = []

    def drop(handle: TaskHandle[Any]) -> None:
        told.append((handle.name, bubble.clock.time()))
        handle.cancel("waited too long")

    alarm = QueueAlarm(2, drop)
    async with TaskManager(limit=1, hooks=[alarm]) as manager:
        manager.start_soon(work, 1, name="at once")
        manager.start_soon(work, 3, name="served in time")
        manager.start_soon(work, 1, name="dropped").cancel()
        late = [manager.start_soon(work, 1, name=f"late {n}") for n in range(2)]
        await asyncio.sleep(2.5)
        manager.start_soon(work, 1, name="waits from 2.5 to 4")
    assert told == [("late 0", 2.0), ("late 1", 2.0)]
    assert all(handle.cancel_reason == "waited too long" for handle in late)
    assert manager.statistics().discarded == 3


@virtual
async def test_one_timer_serves_all(bubble: Bubble) -> None:
    """However many tasks are watched, and in whichever order they end; none is left when nobody is."""
    alarm = RunAlarm(5, print)
    async with TaskManager(hooks=[alarm]) as manager:
        for n in range(100):
            manager.start_soon(work, 1 + (n * 37 % 100) / 50)
            await asyncio.sleep(0.01)
            assert timers_of(bubble, alarm) == 1
        await manager.drain()
        assert (timers_of(bubble, alarm), len(alarm)) == (0, 0)
        manager.start_soon(work, 1)
        assert timers_of(bubble, alarm) == 1


@virtual
async def test_on_alarm_may_fail(bubble: Bubble, caplog: pytest.LogCaptureFixture) -> None:
    """The error is logged, the other tasks are told of, the manager goes on."""

    def fails(handle: TaskHandle[Any]) -> None:
        raise LookupError(handle.name)

    alarm = RunAlarm(1, fails)
    async with TaskManager("mail", hooks=[alarm]) as manager:
        for n in range(2):
            manager.start_soon(work, 3, name=f"task {n}")
    assert [record.getMessage() for record in caplog.records] == ["on_alarm failed"] * 2
    assert [(vars(record)["owner"], vars(record)["task"]) for record in caplog.records] == [
        ("mail", "task 0"),
        ("mail", "task 1"),
    ]
    assert alarm.alarms == 2


@virtual
async def test_on_alarm_may_start_a_task(bubble: Bubble) -> None:
    """Which is watched in its turn, by the one timer."""

    def replace(handle: TaskHandle[Any]) -> None:
        handle.cancel()
        if alarm.alarms < 3:
            manager.start_soon(work, 9)
        assert timers_of(bubble, alarm) <= 1

    alarm = RunAlarm(2, replace)
    manager = TaskManager(hooks=[alarm])
    manager.start_soon(work, 9)
    manager.start_soon(work, 9)
    await asyncio.sleep(2.5)
    assert timers_of(bubble, alarm) == 1
    await manager.drain()
    assert (alarm.alarms, bubble.clock.time()) == (4, 4.0)
    await manager.aclose()


@virtual
async def test_tasks_that_are_abandoned_are_still_watched(bubble: Bubble) -> None:
    """They still run; when they end, nothing is left."""
    may_end = asyncio.Event()
    told: list[str] = []

    async def stubborn() -> None:
        while not may_end.is_set():
            with suppress(asyncio.CancelledError):
                await may_end.wait()

    alarm = RunAlarm(5, lambda handle: told.append(handle.name))
    manager = TaskManager(drain_timeout=1, cancel_timeout=1, hooks=[alarm])
    handle = manager.start_soon(stubborn, name="stubborn")
    assert len((await manager.aclose()).abandoned) == 1
    await asyncio.sleep(4)
    assert told == ["stubborn"]
    may_end.set()
    await handle.wait()


@on_every_loop
def test_alarms_keep_nothing_alive(new_loop: Any) -> None:
    """On every loop: when the manager has closed, handles and tasks are gone at once."""
    told: list[str] = []

    async def main() -> None:
        alarms = [QueueAlarm(0.02, lambda handle: told.append("queue")), RunAlarm(0.02, lambda handle: handle.cancel())]
        async with TaskManager(limit=1, hooks=alarms) as manager:
            gone = [weakref.ref(manager.start_soon(work, 0.001 if n % 2 else 1)) for n in range(4)]
        await asyncio.sleep(0.001)
        assert [ref() for ref in gone] == [None] * 4
        assert [len(alarm) for alarm in alarms] == [0, 0]
        assert [alarm._timer for alarm in alarms] == [None, None]

    with without_collection():
        run_on(new_loop, main())
    assert told


async def watched_work(bubble: Bubble) -> None:
    """Tasks that wait and run too long, under both alarms."""
    alarms = [QueueAlarm(0.5, lambda handle: handle.cancel()), RunAlarm(1.5, lambda handle: handle.cancel())]
    bubble.state.alarms = alarms
    async with TaskManager(limit=2, hooks=alarms) as manager:
        for n in range(5):
            manager.start_soon(work, n % 3)


def nobody_is_watched(bubble: Bubble) -> bool:
    """Whether the alarms are at rest."""
    return all(len(alarm) == 0 and alarm._timer is None for alarm in getattr(bubble.state, "alarms", ()))


def test_no_interruption_leaves_an_alarm_set() -> None:
    """Each task, struck at each point in each way."""
    explore_cancellation(watched_work, invariants=[nobody_is_watched]).assert_clean()
