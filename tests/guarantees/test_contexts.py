"""G21: a task runs in its submitter's context, taken at submission, whoever made room for it.

Every task here leaves its mark in its context. Whatever starts next in that context, instead of in that of whoever has
submitted it, is seen to do so.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle import TaskGroup, TaskManager, amap, as_completed, create_background_task, fixed_rate, gather, run
from lifecycle.scheduler import Scheduler, handler
from lifecycle.testing import run_virtual

from ..loops import LOOPS, on_every_loop, run_on

#: Who is at work in a context.
who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")

Owner = TaskManager | TaskGroup
Submit = Callable[[Any], Awaitable[Awaitable[str]]]


async def job(*, task_status: Any = None) -> str:
    """Return who has submitted it, and leave its mark."""
    seen = who.get()
    who.set("another task")
    await asyncio.sleep(0.001)
    if task_status is not None:
        task_status.started(seen)
    return seen


async def by_start_soon(owner: Owner) -> Awaitable[str]:
    """Submit with ``start_soon``."""
    return owner.start_soon(job)


async def by_create_task(owner: Owner) -> Awaitable[str]:
    """Submit with ``create_task``."""
    return owner.create_task(job())


async def by_spawn(manager: TaskManager) -> Awaitable[str]:
    """Submit with ``spawn``, which waits for the slot."""
    return await manager.spawn(job)


async def by_start(owner: Owner) -> Awaitable[str]:
    """Submit with ``start``."""
    return asyncio.ensure_future(owner.start(job))


async def in_a_context(owner: Owner) -> Awaitable[str]:
    """Submit with a context that the task shall run in."""
    return owner.create_task(job(), context=contextvars.copy_context())


async def from_a_thread(manager: TaskManager) -> Awaitable[str]:
    """Submit from another thread, with the same context."""
    futures: list[Any] = []
    context = contextvars.copy_context()

    def submit() -> None:
        futures.append(manager.start_soon_threadsafe(job))

    thread = threading.Thread(target=context.run, args=(submit,))
    thread.start()
    thread.join()
    return asyncio.wrap_future(futures[0])


OF_BOTH: list[Submit] = [by_start_soon, by_create_task, by_start, in_a_context]
OF_MANAGERS: list[Submit] = [*OF_BOTH, by_spawn, from_a_thread]
CASES = [(TaskManager, way) for way in OF_MANAGERS] + [(TaskGroup, way) for way in OF_BOTH]


async def three_submitters(owner: Owner, way: Submit) -> list[str]:
    """Submit three tasks, each in a context of its own, and return whom each has seen."""

    async def submits(name: str) -> str:
        who.set(name)
        submitted = await way(owner)
        who.set("its submitter, later")
        return await submitted

    return list(await asyncio.gather(*[submits(f"submitter {number}") for number in range(3)]))


SUBMITTERS = [f"submitter {number}" for number in range(3)]


@on_every_loop
@pytest.mark.parametrize(("kind", "way"), CASES, ids=lambda part: part.__name__)
def test_a_task_in_line_starts_in_its_submitters_context(new_loop: Any, kind: type[Owner], way: Submit) -> None:
    """One slot, three submitters, and every way to submit."""

    async def main() -> list[str]:
        async with kind(limit=1) as owner:
            return await three_submitters(owner, way)

    assert run_on(new_loop, main()) == SUBMITTERS


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="every factory is given a name and a context since 3.14")
@pytest.mark.parametrize(("kind", "way"), [case for case in CASES if case[1] is not in_a_context])
def test_a_task_factory_that_takes_no_context_changes_nothing(kind: type[Owner], way: Submit) -> None:
    """What was taken at submission need not be handed to the factory."""

    async def main() -> list[str]:
        asyncio.get_running_loop().set_task_factory(lambda loop, coro: asyncio.Task(coro, loop=loop))  # type: ignore[arg-type,misc]
        async with kind(limit=1) as owner:
            return await three_submitters(owner, way)

    assert run_on(asyncio.new_event_loop, main()) == SUBMITTERS


@on_every_loop
@pytest.mark.parametrize("way", OF_MANAGERS, ids=lambda way: way.__name__)
def test_hooks_and_eager_steps_see_the_submitters_context_too(new_loop: Any, way: Submit) -> None:
    """``queued``, ``rejected`` and ``before`` belong to the submission, whenever the slot becomes free."""
    seen: list[str] = []

    class Notes:
        def before(self, _: object) -> None:
            seen.append(who.get())

    async def main() -> list[str]:
        async with TaskManager(limit=1, hooks=[Notes()], eager=True) as manager:
            return await three_submitters(manager, way)

    assert run_on(new_loop, main()) == SUBMITTERS
    assert seen == SUBMITTERS


@on_every_loop
def test_the_context_of_a_manager_is_not_that_of_its_submitters(new_loop: Any) -> None:
    """``context=`` of the manager: every task gets a copy of it, in line or not."""

    async def main() -> list[str]:
        who.set("the manager's")
        async with TaskManager(limit=1, context=contextvars.copy_context()) as manager:
            return await three_submitters(manager, by_start_soon)

    assert run_on(new_loop, main()) == ["the manager's"] * 3


@on_every_loop
def test_a_limit_that_is_raised_starts_tasks_in_their_submitters_contexts(new_loop: Any) -> None:
    """Not in that of whoever raises it."""

    async def main() -> list[str]:
        async with TaskManager(limit=1) as manager:
            submitted = asyncio.ensure_future(three_submitters(manager, by_start_soon))
            while len(manager) < 3:
                await asyncio.sleep(0)
            who.set("whoever raises the limit")
            manager.limit = None
            return await submitted

    assert run_on(new_loop, main()) == SUBMITTERS


def jobs() -> Iterator[Awaitable[str]]:
    """Make three jobs, each in the name of another submitter."""
    for name in SUBMITTERS:
        who.set(name)
        yield job()


async def jobs_in_time() -> AsyncIterator[Awaitable[str]]:
    """Make them asynchronously."""
    for made in jobs():
        await asyncio.sleep(0)
        yield made


@on_every_loop
@pytest.mark.parametrize("limit", [1, 2, None])
@pytest.mark.parametrize("make", [jobs, jobs_in_time], ids=lambda make: make.__name__)
def test_functions_with_a_limit_start_what_they_take_where_it_is_made(
    new_loop: Any, make: Callable[[], Any], limit: int | None
) -> None:
    """What an iterable sets before it hands an awaitable out is what that runs in; the consumer changes nothing."""

    async def completed() -> list[str]:
        results = []
        async with as_completed(make(), limit=limit) as ended:
            async for handle in ended:
                who.set("whoever consumes the results")
                results.append(handle.result())
        assert who.get() == "whoever consumes the results"
        return sorted(results)

    async def main() -> None:
        assert await gather(make(), limit=limit) == SUBMITTERS
        assert await completed() == SUBMITTERS

    run_on(new_loop, main())


@on_every_loop
def test_functions_over_a_list_run_in_their_callers_context(new_loop: Any) -> None:
    """``gather`` and ``as_completed`` for every task, ``amap`` for the first call of each of those that it shares."""

    async def one(_: int) -> str:
        return await job()

    async def main() -> None:
        who.set("the caller")
        assert await gather(*[job() for _ in range(3)], limit=1) == ["the caller"] * 3
        assert await amap(one, range(3)) == ["the caller"] * 3
        results = []
        async for handle in as_completed([job() for _ in range(3)], limit=1):
            results.append(handle.result())
            who.set("whoever consumes the results")
        assert results == ["the caller"] * 3

    run_on(new_loop, main())


def test_background_tasks_run_in_their_submitters_context() -> None:
    """Those of the surrounding ``run``."""

    async def submits(name: str) -> str:
        who.set(name)
        return await create_background_task(job())

    async def main() -> list[str]:
        return list(await asyncio.gather(*map(submits, SUBMITTERS)))

    assert run(main) == SUBMITTERS


@on_every_loop
def test_runs_of_a_timer_start_in_the_context_of_its_start(new_loop: Any) -> None:
    """Overlapping ones, those that a trigger begins, and those that the end of another made room for."""
    seen: list[str] = []

    async def beat() -> None:
        seen.append(await job())

    async def main() -> None:
        timer = fixed_rate(beat, 0.001, max_instances=2, max_runs=6)
        async with TaskGroup() as group:
            who.set("whoever starts the timer")
            group.start_soon(timer)
            await asyncio.sleep(0)
            who.set("whoever triggers it")
            timer.trigger()

    run_on(new_loop, main())
    assert seen == ["whoever starts the timer"] * 6


@handler("test.context_left")
async def leave_a_mark() -> str:
    """Do as every job does here, and no longer: such jobs are taken ahead of the workers."""
    seen = who.get()
    who.set("another job")
    return seen


@pytest.mark.parametrize("store", [None, "jobs.sqlite"])
def test_jobs_of_the_scheduler_do_not_see_what_others_have_left(store: str | None, tmp_path: Path) -> None:
    """One worker, many jobs: each begins in the context in which the scheduler was opened."""

    async def main() -> set[Any]:
        who.set("whoever opened it")
        async with Scheduler(store=store and str(tmp_path / store), workers=1) as scheduler:
            submitted = [await scheduler.submit("test.context_left") for _ in range(50)]
            return {(await each.wait()).result for each in submitted}

    assert run_on(asyncio.new_event_loop, main()) == {"whoever opened it"}


# Random programs

programs = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(["start_soon", "create_task", "spawn", "limit"]), st.integers(1, 3)),
    max_size=25,
)


@pytest.mark.parametrize("kind", [TaskManager, TaskGroup], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("factory", [name for name in LOOPS if name != "uvloop"])
@settings(max_examples=30, deadline=None)
@given(steps=programs)
def test_random_programs(kind: type[Owner], factory: str, steps: list[tuple[int, str, int]]) -> None:
    """Four submitters, in turn, in any order and any way, with a limit that changes where it can."""
    told: list[tuple[str, Awaitable[str]]] = []

    async def scenario(bubble: Any) -> None:
        if factory == "eager":
            bubble.loop.set_task_factory(asyncio.eager_task_factory)
        contexts = [contextvars.copy_context() for _ in range(4)]
        async with kind(limit=1) as owner:
            for number, (submitter, way, limit) in enumerate(steps):

                async def submits(name: str = f"step {number}", way: str = way) -> None:
                    who.set(name)
                    ways: dict[str, Submit] = {"start_soon": by_start_soon, "create_task": by_create_task}
                    if kind is TaskManager:
                        ways["spawn"] = by_spawn
                    told.append((name, await ways.get(way, by_start_soon)(owner)))
                    who.set("its submitter, later")

                if way == "limit" and isinstance(owner, TaskManager):
                    who.set("whoever changes the limit")
                    owner.limit = limit
                else:
                    await asyncio.create_task(submits(), context=contexts[submitter])
            for name, submitted in told:
                assert await submitted == name

    run_virtual(scenario)
