"""Whose a timer is: the context its runs get, and the owners that run, stop and report it."""

import asyncio
import contextvars
import functools
import sys

import anyio
import pytest
import uvloop

from lifecycle import Scope, TaskManager, fixed_rate
from lifecycle.testing import Bubble, run_virtual

from .journal import Journal, Recorder, nothing

request: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="none")


def test_13_each_run_has_a_fresh_copy_of_the_context_of_the_start() -> None:
    """What the starter had set is seen, what a run sets is not seen by the next."""

    async def scenario(bubble: Bubble) -> None:
        seen = []

        async def body() -> None:
            seen.append(request.get())
            request.set("changed by a run")
            await asyncio.sleep(1.5)

        class Hook:
            def missed(self, timer: str, due: float, count: int) -> None:
                request.set("changed by a hook in the timer's own task")

        request.set("of the starter")
        async with Scope() as scope:
            handle = scope.start_soon(fixed_rate(body, 1, max_runs=3, hooks=[Hook()]))
            request.set("changed by the starter")
            await handle
        assert seen == ["of the starter"] * 3

    run_virtual(scenario)


def test_13_any_owner_runs_a_timer() -> None:
    """A scope, a task manager, an asyncio task, anyio and asyncio groups: it ends with them and leaves nothing."""

    async def scenario(bubble: Bubble) -> None:
        journal = Journal(bubble, *[0.7] * 100)
        timer = fixed_rate(journal, 1, max_instances=2)
        async with Scope() as scope:
            scope.start_soon(timer)
            await asyncio.sleep(2.5)
        async with TaskManager(drain_timeout=0) as manager:
            manager.start_soon(timer)
            await asyncio.sleep(2.5)
        task = asyncio.create_task(timer())
        await asyncio.sleep(2.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with anyio.create_task_group() as group:
            group.start_soon(timer)
            await asyncio.sleep(2.5)
            group.cancel_scope.cancel()
        async with asyncio.TaskGroup() as native:
            native.create_task(timer())
            await asyncio.sleep(2.5)
            timer.stop()
        assert len(journal.began) == 15
        timer._check_invariants()

    run_virtual(scenario)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop", "eager"])
def test_13_on_every_loop(loop: str) -> None:
    """In real time: runs, a timeout, a stop and an end by the owner, on uvloop and under an eager task factory too."""

    async def main() -> None:
        if loop == "eager":
            asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
        before = asyncio.all_tasks()
        late = fixed_rate(functools.partial(asyncio.sleep, 10), 0.02, run_timeout=0.01, max_runs=2)
        ended = fixed_rate(functools.partial(asyncio.sleep, 10), 10)
        stopped = fixed_rate(nothing, 0.005)
        async with anyio.create_task_group() as group, asyncio.timeout(10), Scope() as scope:
            group.start_soon(stopped)
            scope.start_soon(ended)
            await scope.start_soon(late)
            stopped.stop()
        assert late.statistics().timed_out == 2
        assert ended.statistics().cancelled == 1
        assert stopped.statistics().finished > 1
        await asyncio.sleep(0)
        assert asyncio.all_tasks() - before == set()

    if loop == "eager" and sys.version_info < (3, 12):
        pytest.skip("asyncio has eager tasks since 3.12")
    factory = uvloop.new_event_loop if loop == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


def test_13_a_run_may_cancel_the_owner_of_its_timer() -> None:
    """It is cancelled with the rest of what the owner has."""

    async def scenario(bubble: Bubble) -> None:
        scope = Scope()

        async def body() -> None:
            scope.cancel()
            await asyncio.sleep(10)

        timer = fixed_rate(body, 1)
        await scope.start_soon(timer).wait()
        await scope.aclose()
        assert bubble.clock.now == 0
        assert timer.statistics().cancelled == 1

    run_virtual(scenario)


@pytest.mark.parametrize("owner_type", [Scope, TaskManager])
def test_13_a_run_may_close_the_owner_of_its_timer(owner_type: type[Scope | TaskManager]) -> None:
    """G7 for what an owner's task owns: no deadlock, no stall, and the run goes on to its end."""

    async def scenario(bubble: Bubble) -> None:
        owner = owner_type()
        closed = []

        async def body() -> None:
            await owner.aclose()
            closed.append(bubble.clock.now)

        await owner.start_soon(fixed_rate(body, 1)).wait()
        await bubble.wait_all_blocked()
        assert closed == [0]

    run_virtual(scenario)


def test_13_a_closing_task_manager_stops_its_timers() -> None:
    """A timer never ends by itself: the manager has to stop it, and to drain only its current run."""

    async def scenario(bubble: Bubble) -> None:
        journal = Journal(bubble, 3)
        manager = TaskManager(drain_timeout=10)
        manager.start_soon(fixed_rate(journal, 60))
        await asyncio.sleep(1)
        report = await manager.aclose()
        assert report.clean
        assert journal.ended == [3]
        assert bubble.clock.now == 3

    run_virtual(scenario)


def test_13_bodies_that_are_equal_or_unhashable_are_kept_apart() -> None:
    """One record per run, never keyed by what a user hands in: case A of the casebook."""

    class Body:
        __hash__ = None  # type: ignore[assignment]

        def __init__(self) -> None:
            self.runs = 0

        def __eq__(self, other: object) -> bool:
            return True

        async def __call__(self) -> None:
            self.runs += 1
            await asyncio.sleep(1.5)

    async def scenario(bubble: Bubble) -> None:
        bodies = [Body(), Body()]
        timers = [fixed_rate(body, 1, max_instances=2, hooks=[Recorder()]) for body in bodies]
        async with Scope() as scope:
            for timer in timers:
                scope.start_soon(timer)
            await asyncio.sleep(4.2)
        assert [body.runs for body in bodies] == [5, 5]
        for timer in timers:
            timer._check_invariants()
            assert timer.statistics().running == 0

    run_virtual(scenario)


def test_13_an_owner_names_the_task_after_the_timer() -> None:
    """And the timer after its function, a partial's included."""

    async def scenario(bubble: Bubble) -> None:
        async with Scope() as scope:
            assert scope.start_soon(fixed_rate(nothing, 1, name="heartbeat")).name == "heartbeat"
            assert scope.start_soon(fixed_rate(nothing, 1)).name == "nothing"
            assert scope.start_soon(fixed_rate(functools.partial(asyncio.sleep, 0), 1)).name == "sleep"
            assert scope.start_soon(fixed_rate(Journal(bubble), 1)).name == "Journal"

    run_virtual(scenario)


def test_13_a_refused_timer_can_be_started_elsewhere() -> None:
    """An owner that was closed takes nothing away."""

    async def scenario(bubble: Bubble) -> None:
        timer = fixed_rate(nothing, 1, max_runs=1)
        closed = Scope()
        await closed.aclose()
        with pytest.raises(anyio.ClosedResourceError):
            closed.start_soon(timer)
        with pytest.raises(anyio.ClosedResourceError):
            closed.create_task(timer())
        async with Scope() as scope:
            await scope.start_soon(timer)

    run_virtual(scenario)
