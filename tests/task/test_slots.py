"""Slots: limits, the line, and that no slot and no place in line is ever lost."""

import asyncio
import contextlib
from typing import Any

import anyio
import pytest

from lifecycle import ManagerFull, OwnerClosed, TaskHandle, TaskManager, TaskStatus
from lifecycle._ground.waking import MANY
from lifecycle._task.slots import Slots
from lifecycle.testing import Bubble, explore_cancellation, explore_schedules

from ..loops import LOOPS, on_every_loop, run_on, some_turns, virtual


async def hold(seconds: float = 1.0) -> None:
    """Hold a slot for a while."""
    await asyncio.sleep(seconds)


def foreign_cancel() -> None:
    """Cancel every other task of the loop, whoever owns it."""
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()


# Arguments


def test_a_limit_below_nothing_is_refused() -> None:
    """ValueError, at once, from the constructor and from the attribute, which keeps its value."""
    with pytest.raises(ValueError, match="limit must be at least 0 or None, got -1"):
        TaskManager(limit=-1)
    manager = TaskManager(limit=3)
    with pytest.raises(ValueError):
        manager.limit = -1
    assert manager.limit == 3


@pytest.mark.parametrize("limit", [1.0, "1", True])
def test_a_limit_that_is_no_whole_number_is_refused(limit: Any) -> None:
    """TypeError for floats, strings and booleans; for pending_limit as well, where 0 is allowed."""
    with pytest.raises(TypeError, match="limit must be a whole number or None"):
        TaskManager(limit=limit)
    with pytest.raises(TypeError, match="pending_limit must be a whole number or None"):
        TaskManager(pending_limit=limit)
    with pytest.raises(ValueError, match="pending_limit must be at least 0"):
        TaskManager(pending_limit=-1)
    with pytest.raises(TypeError):
        TaskManager().limit = limit
    TaskManager(pending_limit=0)


# The limit


@on_every_loop
def test_never_more_than_the_limit(new_loop: Any) -> None:
    """A hundred tasks, three at a time, on every loop; all of them run."""
    running = most = done = 0

    async def work() -> None:
        nonlocal running, most, done
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        done += 1

    async def main() -> None:
        async with TaskManager(limit=3) as manager:
            for _ in range(50):
                manager.start_soon(work)
                await manager.spawn(work)
            manager._check_invariants()

    run_on(new_loop, main())
    assert (most, done) == (3, 100)


@virtual
async def test_the_limit_may_change_at_any_time(bubble: Bubble) -> None:
    """Higher: waiting tasks start at once. Lower: nobody is hurt, nobody starts. None: everybody starts."""
    async with TaskManager(limit=1) as manager:
        for n in range(10):
            manager.start_soon(hold, n + 1.0)

        def running() -> int:
            manager._check_invariants()
            return manager.statistics().running

        assert running() == 1
        manager.limit = 4
        assert running() == 4
        manager.limit = 2
        assert running() == 4
        await asyncio.sleep(2.5)  # the first two have ended: still no slot is free
        assert running() == 2
        await asyncio.sleep(1)  # the third has ended, and the fifth has begun
        assert (running(), manager.statistics().pending) == (2, 5)
        manager.limit = None
        assert (running(), manager.limit) == (7, None)


@virtual
async def test_a_manager_without_a_limit_can_be_given_one(bubble: Bubble) -> None:
    """What runs counts from then on."""
    async with TaskManager() as manager:
        for _ in range(2):
            manager.start_soon(hold)
        await asyncio.sleep(0.5)
        manager.limit = 3
        last = [manager.start_soon(hold) for _ in range(2)]
        assert [handle.status for handle in last] == [TaskStatus.PENDING] * 2
        assert manager.statistics().pending == 1
        await last[1]
        assert bubble.clock.time() == 2.0


# The line


@virtual
async def test_first_come_first_served_whichever_way_they_came(bubble: Bubble) -> None:
    """Queued tasks and waiting callers stand in one line; nobody overtakes."""
    order: list[int] = []

    async def work(n: int) -> None:
        order.append(n)
        await asyncio.sleep(1)

    async with TaskManager(limit=1) as manager:
        callers = []
        for n in range(0, 10, 2):
            manager.start_soon(work, n)
            callers.append(asyncio.create_task(manager.spawn(work, n + 1)))
            await asyncio.sleep(0)
        await asyncio.gather(*callers)
    assert order == list(range(10))


@virtual
async def test_nobody_takes_a_slot_that_is_kept_for_somebody(bubble: Bubble) -> None:
    """A newcomer in the very step in which a waiting caller was given the slot goes to the end of the line."""
    order: list[str] = []

    async def work(name: str) -> None:
        order.append(name)

    async with TaskManager(limit=1) as manager:
        first = manager.start_soon(hold)
        caller = asyncio.create_task(manager.spawn(work, "the caller"))
        await first.wait()
        assert manager.statistics().running == 0
        manager.start_soon(work, "the newcomer")
        manager._check_invariants()
        await caller
    assert order == ["the caller", "the newcomer"]


@virtual
async def test_nobody_takes_a_slot_while_the_line_is_served(bubble: Bubble) -> None:
    """A hook that starts a task while two slots are handed out: it goes behind those that were there before."""
    order: list[str] = []

    async def work(name: str) -> None:
        order.append(name)
        await asyncio.sleep(1)

    class Starter:
        """Starts a task when it sees the first from the line."""

        def before(self, handle: TaskHandle[Any]) -> None:
            """Start it once."""
            if handle.name == "first in line":
                manager.start_soon(work, "newcomer")

    manager = TaskManager(limit=1, hooks=[Starter()])
    async with manager:
        manager.start_soon(work, "running")
        manager.start_soon(work, "first in line", name="first in line")
        manager.start_soon(work, "second in line")
        manager.limit = 3
        await asyncio.sleep(0.5)
        assert order == ["running", "first in line", "second in line"]
        manager._check_invariants()


@virtual
async def test_a_pending_task_that_is_cancelled_leaves_the_line(bubble: Bubble) -> None:
    """It never runs, its coroutine is closed, those behind it move up."""
    async with TaskManager(limit=1) as manager:
        handles = [manager.start_soon(hold) for _ in range(3)]
        assert handles[1].cancel("not needed")
        assert (handles[1].status, handles[1].started_at) == (TaskStatus.CANCELLED, None)
        assert len(manager) == 2
        await handles[2]
        assert bubble.clock.time() == 2.0
        statistics = manager.statistics()
        assert (statistics.discarded, statistics.cancelled, statistics.started) == (1, 0, 2)
        manager._check_invariants()


@virtual
async def test_a_caller_that_is_cancelled_in_line_loses_no_slot(bubble: Bubble) -> None:
    """Natively, by an anyio scope, by a timeout, and when its coroutine is closed: the next in line is served."""

    async def gives_up_natively() -> None:
        await manager.spawn(hold)

    async def gives_up_by_scope() -> None:
        with anyio.move_on_after(0.5):
            await manager.spawn(hold)

    async def gives_up_by_timeout() -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                await manager.spawn(hold)

    async with TaskManager(limit=1) as manager:
        manager.start_soon(hold)
        tasks = [asyncio.create_task(way()) for way in (gives_up_natively, gives_up_by_scope, gives_up_by_timeout)]
        forgotten = manager.spawn(hold)
        forgotten.send(None)
        last = asyncio.create_task(manager.spawn(hold))
        await asyncio.sleep(0.4)
        assert manager._slots.waiting == 5
        tasks[0].cancel()
        forgotten.close()
        await asyncio.sleep(0.2)
        assert manager._slots.waiting == 1
        await (await last)
        assert bubble.clock.time() == 2.0
        assert manager.statistics().accepted == 2


@virtual
async def test_a_caller_that_is_cancelled_with_its_slot_hands_it_on(bubble: Bubble) -> None:
    """The slot was granted, and the caller is cancelled before its next step: the next in line gets it."""
    async with TaskManager(limit=1) as manager:
        first = manager.start_soon(hold)
        caller = asyncio.create_task(manager.spawn(hold))
        await asyncio.sleep(0)
        second = manager.start_soon(hold)
        await first.wait()  # in this step the slot is the caller's
        assert manager.statistics().running == 0
        caller.cancel()
        await asyncio.sleep(0)
        assert caller.cancelled()
        assert manager.statistics().running == 1
        await second


async def producers_beside_a_line(bubble: Bubble) -> None:
    """Three callers and three queued tasks share two slots; the account closes at the end."""
    manager = bubble.state.manager = TaskManager("jobs", limit=2, on_error=lambda handle, error: None)
    async with manager, asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(manager.spawn(hold))
            manager.start_soon(hold)
            await asyncio.sleep(0.1)


def account_closes(bubble: Bubble) -> bool:
    """Whether nothing is running, waiting or granted."""
    manager = getattr(bubble.state, "manager", None)
    if manager is None:
        return True
    manager._check_invariants()
    return len(manager) == manager._slots.waiting == manager._slots._granted == 0


def test_no_interruption_loses_a_slot() -> None:
    """Each task and caller, struck at each point in each way."""
    report = explore_cancellation(producers_beside_a_line, invariants=[account_closes], budget=600)
    report.assert_clean()
    assert report.runs > 200


def test_no_order_of_steps_loses_a_slot() -> None:
    """In two hundred orders of the ready tasks."""
    explore_schedules(producers_beside_a_line, invariants=[account_closes], runs=200).assert_clean()


@pytest.mark.parametrize("new_loop", LOOPS.values(), ids=LOOPS)
def test_a_task_cancelled_from_outside_before_its_first_step_gives_its_slot_back(new_loop: Any) -> None:
    """Nobody asks for it and nobody waits: the next task starts by itself."""

    async def main() -> None:
        async with TaskManager(limit=1) as manager:
            lost = manager.start_soon(hold)
            foreign_cancel()
            following = manager.start_soon(hold, 0.0)
            async with asyncio.timeout(1):
                while not following.done():
                    await asyncio.sleep(0.001)
            assert lost.status is TaskStatus.CANCELLED

    run_on(new_loop, main())


# Over the limit


@virtual
async def test_a_line_that_is_full_refuses(bubble: Bubble) -> None:
    """WouldBlock, the function is not called, the coroutine is closed; callers that wait count as well."""
    called = []

    def make() -> Any:
        called.append(1)
        return hold()

    async with TaskManager("jobs", limit=1, pending_limit=2) as manager:
        manager.start_soon(hold)
        manager.start_soon(hold)
        caller = asyncio.create_task(manager.spawn(hold))
        await asyncio.sleep(0)
        with pytest.raises(ManagerFull, match=r"'jobs' has 2 tasks waiting.*task 'late' was refused"):
            manager.start_soon(make, name="late")
        assert not called
        coro = hold()
        with pytest.raises(anyio.WouldBlock):
            manager.create_task(coro)
        assert coro.cr_frame is None
        with pytest.raises(ManagerFull):
            await manager.start(hold)
        assert manager.statistics().rejected == 3
        await (await caller)
        manager._check_invariants()


@virtual
async def test_no_waiting_at_all(bubble: Bubble) -> None:
    """pending_limit=0 takes work for free slots only."""
    async with TaskManager(limit=2, pending_limit=0) as manager:
        manager.start_soon(hold)
        manager.start_soon(hold)
        with pytest.raises(ManagerFull):
            manager.start_soon(hold)
        await asyncio.sleep(1.5)
        manager.start_soon(hold)


@virtual
async def test_closing_wakes_those_who_wait_for_a_slot(bubble: Bubble) -> None:
    """They are refused at once; what stands in line already still runs."""
    manager = TaskManager(limit=1)
    manager.start_soon(hold)
    queued = manager.start_soon(hold)
    callers = [asyncio.create_task(manager.spawn(hold)) for _ in range(3)]
    await asyncio.sleep(0.5)
    callers[0].cancel()
    manager.close()
    callers[1].cancel()
    results = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError, asyncio.CancelledError, OwnerClosed]
    assert bubble.clock.time() == 0.5
    assert (await manager.aclose()).finished == 2
    assert queued.status is TaskStatus.FINISHED
    assert manager._slots._granted == 0


# A slot while the coroutine is made


@virtual
async def test_a_function_that_starts_a_task_itself_does_not_break_the_limit(bubble: Bubble) -> None:
    """spawn() keeps its slot while the function makes the coroutine, whatever the function does."""

    def starts_another() -> Any:
        manager.start_soon(hold)
        return hold()

    async with TaskManager(limit=1) as manager:
        for _ in range(2):
            await manager.spawn(starts_another)
            assert manager.statistics().running == 1
            manager._check_invariants()


@virtual
async def test_a_function_that_raises_gives_its_slot_back(bubble: Bubble) -> None:
    """spawn() raises the error, counts nothing, and the next in line is served."""

    def broken() -> Any:
        raise LookupError("no coroutine today")

    async with TaskManager(limit=1) as manager:
        with pytest.raises(LookupError):
            await manager.spawn(broken)
        assert manager.statistics().accepted == 0
        manager.start_soon(hold)
        caller = asyncio.create_task(manager.spawn(broken))
        await asyncio.sleep(0)
        last = manager.start_soon(hold)
        with pytest.raises(LookupError):
            await caller
        assert await last is None


@virtual
async def test_a_long_line_of_eager_tasks_does_not_nest(bubble: Bubble) -> None:
    """Each ends in its first step and makes room for the next: thousands of them, one after the other."""

    async def quick() -> None:
        pass

    async with TaskManager(limit=1, eager=True) as manager:
        manager.start_soon(hold)
        for _ in range(5000):
            manager.start_soon(quick)
        assert (await manager.drain()).finished == 5001


@virtual
async def test_a_queued_task_that_cannot_be_started_hurts_nobody(
    bubble: Bubble, caplog: pytest.LogCaptureFixture
) -> None:
    """Its sender is gone: it is logged and counts as cancelled; the task whose end made room is not disturbed."""

    refusing = False

    def factory(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Any:
        if refusing:
            raise RuntimeError("no more tasks")
        return asyncio.Task(coro, loop=loop, **options)

    bubble.loop.set_task_factory(factory)
    async with TaskManager(limit=1) as manager:
        manager.start_soon(hold)
        refused = manager.start_soon(hold, name="refused")
        behind = manager.start_soon(hold)
        await asyncio.sleep(0.5)
        refusing = True
        manager.limit = 2
        assert refused.status is TaskStatus.CANCELLED
        assert behind.status is TaskStatus.CANCELLED
        assert "task could not be started" in caplog.text
        with pytest.raises(RuntimeError, match="no more tasks"):
            manager.start_soon(hold)
        refusing = False
        assert await manager.start_soon(hold) is None
        manager._check_invariants()


# On its own


@virtual
async def test_a_waiting_caller_may_be_cancelled_between_two_servings(bubble: Bubble) -> None:
    """A place whose caller was cancelled, and has not noticed yet, is passed over."""
    running: set[Any] = {1}
    slots = Slots(running, 1)
    waiting = [asyncio.create_task(slots.wait_for_slot()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    running.clear()
    slots.serve()
    assert slots.waiting == 1
    await asyncio.sleep(0)
    assert [task.done() for task in waiting] == [True, True, False]
    waiting[2].cancel()
    slots.dismiss()
    slots.take()
    await asyncio.sleep(0)
    assert slots.waiting == slots._granted == 0


@pytest.mark.parametrize("end", ["more room", "close"])
@virtual
async def test_a_crowd_goes_on_in_parts(bubble: Bubble, end: str) -> None:
    """So that no step takes long; tasks in line and callers that wait, in one order."""
    manager = TaskManager(limit=1)
    begun: list[int] = []

    async def work(number: int) -> None:
        begun.append(number)

    manager.start_soon(asyncio.sleep, 1)
    crowd = [asyncio.create_task(manager.spawn(work, number)) for number in range(0, 3 * MANY, 2)]
    await some_turns()
    for number in range(1, 3 * MANY, 2):
        manager.start_soon(work, number)
    if end == "close":
        manager.close()
    else:
        manager.limit = None
    assert manager._slots.waiting == 2 * MANY
    await asyncio.wait(crowd, timeout=60)
    await manager.aclose()
    if end == "close":
        assert all(isinstance(task.exception(), OwnerClosed) for task in crowd)
        assert begun == list(range(1, 3 * MANY, 2))
    else:
        assert sorted(begun) == list(range(3 * MANY))
    manager._check_invariants()


def test_a_caller_that_a_closed_loop_has_left_in_line_gets_no_slot() -> None:
    """It would keep it for ever."""
    manager = TaskManager(limit=0)

    async def spawn() -> None:
        await (await manager.spawn(asyncio.sleep, 0))

    loop = asyncio.new_event_loop()
    coro = spawn()
    loop.create_task(coro)._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.run_until_complete(some_turns())
    loop.close()

    async def use() -> None:
        manager.limit = 1
        async with asyncio.timeout(60):
            await spawn()

    asyncio.run(use())
    coro.close()
    assert manager._slots._granted == 0


def test_who_does_not_stand_in_line_cannot_leave_it() -> None:
    """leave() says so."""

    class Owner:
        """Owns nothing."""

        _clock = staticmethod(float)

    coro = hold()
    handle: TaskHandle[None] = TaskHandle(Owner(), coro, "absent")  # type: ignore[arg-type]
    slots = Slots(set(), 1)
    assert not slots.leave(handle)
    slots.enqueue(handle, None)
    assert slots.queued_tasks() == [handle]
    assert slots.leave(handle)
    assert slots.queued == 0
    coro.close()
