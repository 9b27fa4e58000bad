"""Virtual time: what jumps, what waits, what is an error, and that two runs are equal."""

import asyncio
import signal
import sys
import threading
import time
from typing import Any

import anyio
import anyio.to_thread
import pytest

from lifecycle._ground import trace
from lifecycle.testing import Bubble, DeadlockError, LeakError, LivelockError, explore_cancellation, run_virtual


def test_time_jumps_when_everything_is_blocked() -> None:
    """A day of sleeping, of both libraries, takes no real time and exact virtual time."""

    async def scenario(bubble: Bubble) -> float:
        await asyncio.sleep(3600)
        await anyio.sleep(82800)
        return bubble.clock.time()

    began = time.monotonic()
    assert run_virtual(scenario) == 86400
    assert time.monotonic() - began < 60


def test_timeouts_fire_in_virtual_time() -> None:
    """asyncio.timeout, wait_for and anyio deadlines fire at their instant."""

    async def scenario(bubble: Bubble) -> list[float]:
        at = []
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await asyncio.sleep(10)
        at.append(bubble.clock.time())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.sleep(10), 3)
        at.append(bubble.clock.time())
        with anyio.move_on_after(4):
            await anyio.sleep_forever()
        at.append(bubble.clock.time())
        return at

    assert run_virtual(scenario) == [2, 5, 9]


def test_a_deadlock_names_every_task_and_where_it_waits() -> None:
    """Two tasks waiting for each other are an error with a dump, at once."""

    async def scenario(bubble: Bubble) -> None:
        event = asyncio.Event()

        async def follower() -> None:
            await event.wait()

        bubble.state.task = asyncio.create_task(follower(), name="follower")
        await event.wait()

    with pytest.raises(DeadlockError, match="every task is blocked") as caught:
        run_virtual(scenario)
    assert "task 'follower'" in caught.value.dump
    assert "Event.wait" in caught.value.dump
    assert "test_run_virtual.py" in caught.value.dump


def test_a_livelock_is_an_error() -> None:
    """A loop that never blocks ends with the step budget."""

    async def scenario(bubble: Bubble) -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(LivelockError, match="1000 steps"):
        run_virtual(scenario, max_steps=1000)


def test_a_cancellation_that_is_sent_every_turn_does_not_hold_the_clock() -> None:
    """anyio re-sends to a task that cannot take it; the shielded sleep still ends."""

    async def scenario(bubble: Bubble) -> float:
        async def stubborn() -> None:
            future = asyncio.ensure_future(asyncio.sleep(10))
            while not future.done():
                try:
                    await asyncio.shield(future)
                except asyncio.CancelledError:
                    continue

        with anyio.CancelScope() as scope:
            scope.cancel()
            await stubborn()
        return bubble.clock.time()

    assert run_virtual(scenario) == 10


def test_threads_are_waited_for() -> None:
    """Worker threads of asyncio and anyio are the outside world: no deadlock, no jump past them."""

    async def scenario(bubble: Bubble) -> Any:
        async with asyncio.timeout(30):
            one = await asyncio.to_thread(lambda: time.sleep(0.02) or 1)
            two = await anyio.to_thread.run_sync(lambda: time.sleep(0.02) or 2)
        await asyncio.sleep(100)
        return one, two, bubble.clock.time()

    assert run_virtual(scenario) == (1, 2, 100)


def test_a_thread_that_is_idle_does_not_hold_the_clock() -> None:
    """The loop waits for nothing of it; it may look on for as long as it likes."""
    over = threading.Event()

    async def scenario(bubble: Bubble) -> bool:
        watcher = threading.Thread(target=over.wait)
        watcher.idle = True  # type: ignore[attr-defined]
        watcher.start()
        began = time.monotonic()
        await asyncio.sleep(3600)
        over.set()
        return time.monotonic() - began < 4  # not even the patience that a busy thread gets

    assert run_virtual(scenario)


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_equal_runs_take_equal_steps(seed: int | None) -> None:
    """Tasks in asyncio's and anyio's sets are cancelled in the same order in every run."""

    async def scenario(bubble: Bubble) -> tuple[int, ...]:
        order: list[int] = []

        async def member(number: int) -> None:
            try:
                await asyncio.sleep(100)
            finally:
                order.append(number)

        async def fails() -> None:
            raise ValueError

        with pytest.raises(BaseExceptionGroup):
            async with asyncio.TaskGroup() as group:
                for number in range(10):
                    group.create_task(member(number))
                await asyncio.sleep(1)
                group.create_task(fails())
        async with anyio.create_task_group() as nested:
            for number in range(10):
                nested.start_soon(member, number)
            await asyncio.sleep(1)
            nested.cancel_scope.cancel()
        return (*order, bubble.loop.trace)

    assert len({run_virtual(scenario, seed=seed) for _ in range(50)}) == 1


def test_a_seed_changes_the_order_and_repeats_it() -> None:
    """Different seeds explore different orders."""

    async def scenario(bubble: Bubble) -> tuple[int, ...]:
        order: list[int] = []

        async def member(number: int) -> None:
            await asyncio.sleep(0)
            order.append(number)

        async with asyncio.TaskGroup() as group:
            for number in range(5):
                group.create_task(member(number))
        return tuple(order)

    assert run_virtual(scenario) == (0, 1, 2, 3, 4)
    assert len({run_virtual(scenario, seed=seed) for seed in range(20)}) > 10


def test_wait_all_blocked_lets_no_time_pass() -> None:
    """It returns when the others wait, at the same instant."""

    async def scenario(bubble: Bubble) -> None:
        reached: list[str] = []

        async def other() -> None:
            for _ in range(5):
                await asyncio.sleep(0)
            reached.append("blocked")
            await asyncio.sleep(10)

        task = asyncio.create_task(other())
        await bubble.wait_all_blocked()
        assert reached == ["blocked"]
        assert bubble.clock.time() == 0
        await task

    run_virtual(scenario)


def test_leftovers_fail_the_run_and_are_named() -> None:
    """A task, a timer, a ledger entry and an unhandled callback error are each reported with their site."""

    async def scenario(bubble: Bubble) -> None:
        bubble.state.task = asyncio.create_task(asyncio.sleep(5), name="forgotten")
        asyncio.get_running_loop().call_later(7, print)
        bubble.ledger.acquire("socket", owner="client")
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)

    with pytest.raises(LeakError) as caught:
        run_virtual(scenario)
    text = str(caught.value)
    for part in (
        "'forgotten'",
        "timer at 7 s",
        "'client / socket'",
        "ZeroDivisionError",
        "test_run_virtual.py",
    ):
        assert part in text
    assert run_virtual(scenario, check=False) is None


def test_the_error_of_a_scenario_comes_out_as_it_is() -> None:
    """What the scenario raises is raised, and nothing of its loop stays."""

    async def scenario(bubble: Bubble) -> None:
        bubble.state.task = asyncio.create_task(asyncio.sleep(5))
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run_virtual(scenario)
    assert trace.sink is None


def test_signals_can_be_delivered() -> None:
    """A handler set on the virtual loop is called without a real signal."""

    async def scenario(bubble: Bubble) -> None:
        got = asyncio.Event()
        bubble.loop.add_signal_handler(signal.SIGTERM, got.set)
        bubble.loop.deliver_signal(signal.SIGTERM)
        await got.wait()

    run_virtual(scenario)


def test_real_io_where_asked_for() -> None:
    """Sockets and a subprocess work with io=True, timers around them included."""

    async def scenario(bubble: Bubble) -> bytes:
        await asyncio.sleep(1000)
        async with asyncio.timeout(20):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", "print('from outside')", stdout=asyncio.subprocess.PIPE
            )
            out, _ = await process.communicate()
        return out

    assert run_virtual(scenario, io=True) == b"from outside\n"


def test_without_io_a_descriptor_is_refused_with_a_word() -> None:
    """The loop without descriptors says what to do."""

    async def scenario(bubble: Bubble) -> None:
        with pytest.raises(RuntimeError, match="pass io=True"):
            asyncio.get_running_loop().add_reader(0, print)

    run_virtual(scenario)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")
def test_eager_tasks_keep_their_numbers() -> None:
    """asyncio's eager factory is replaced by the numbered one."""

    async def scenario(bubble: Bubble) -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)
        ran: list[int] = []

        async def child() -> None:
            ran.append(1)

        task = loop.create_task(child())
        assert ran == [1]
        assert hasattr(task, "number")
        await task
        loop.set_task_factory(None)
        await loop.create_task(child(), name="named")

    run_virtual(scenario)


def test_a_task_that_could_not_be_made_is_no_task() -> None:
    """What create_task refuses is not in the loop's account, though the error keeps the half-made task alive."""

    async def scenario(bubble: Bubble) -> BaseException:
        with pytest.raises(TypeError) as refused:
            asyncio.get_running_loop().create_task("no coroutine")  # type: ignore[arg-type]
        assert [task.get_name() for task in bubble.loop.live_tasks()] == ["main"]
        await asyncio.sleep(1)
        return refused.value

    assert isinstance(run_virtual(scenario), TypeError)
    explore_cancellation(scenario).assert_clean()
