"""Jobs that wait for jobs: they hold no worker meanwhile, and no more of them run than there are workers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.scheduler import Job, JobStatus, Scheduler, handler
from lifecycle.testing import Bubble, run_virtual

from ...loops import virtual
from ..tools import flow_of
from .handlers import Make, account_of

PARENTS: dict[str, Any] = {"scheduler": None, "active": 0, "most": 0, "begun": 0, "most begun": 0}


@contextmanager
def active() -> Iterator[None]:
    """Count the jobs that do something, and not those that wait for others."""
    PARENTS["active"] += 1
    PARENTS["most"] = max(PARENTS["most"], PARENTS["active"])
    try:
        yield
    finally:
        PARENTS["active"] -= 1


@handler("test.child")
async def child(number: int) -> int:
    """Take a moment."""
    with active():
        await anyio.sleep(0.001)
    return number * number


@handler("test.parent")
async def parent(children: int, depth: int) -> int:
    """Submit jobs, which may be parents themselves, and wait for them one after the other."""
    PARENTS["begun"] += 1
    PARENTS["most begun"] = max(PARENTS["most begun"], PARENTS["begun"])
    scheduler = PARENTS["scheduler"]
    with active():
        await anyio.sleep(0.001)
        work = (child, (3,)) if depth == 0 else (parent, (children, depth - 1))
        jobs = [await scheduler.submit(work[0], *work[1]) for _ in range(children)]
    results = [(await job.wait()).unwrap() for job in jobs]
    with active():
        await anyio.sleep(0.001)
    PARENTS["begun"] -= 1
    return sum(results)


@contextmanager
def parents_of(scheduler: Scheduler) -> Iterator[None]:
    """Let the parents submit to *scheduler*."""
    PARENTS.update({"scheduler": scheduler, "active": 0, "most": 0, "begun": 0, "most begun": 0})
    yield
    PARENTS["scheduler"] = None


@pytest.mark.asyncio
@pytest.mark.parametrize("workers", [1, 2])
async def test_parents_do_not_keep_their_children_waiting(make: Make, workers: int) -> None:
    """However deep they wait for each other, and never do more of them anything than there are workers."""
    async with make(workers=workers) as scheduler:
        with parents_of(scheduler), anyio.fail_after(30):
            job = await scheduler.submit(parent, 3, 3)
            assert (await job.wait()).unwrap() == 3**4 * 9
        assert PARENTS["most"] == workers
        assert scheduler.statistics().running == 0


@pytest.mark.asyncio
async def test_what_has_begun_is_finished_before_more_begins(make: Make) -> None:
    """Of many parents that wait in the store only so many begin as there are workers, and what was taken ahead."""
    async with make(workers=2) as scheduler:
        with parents_of(scheduler), anyio.fail_after(30):
            jobs = [await scheduler.submit(parent, 2, 0) for _ in range(40)]
            assert [(await job.wait()).unwrap() for job in jobs] == [18] * 40
        assert PARENTS["most"] == 2
        assert PARENTS["most begun"] <= 6 or scheduler._store.durable


@pytest.mark.asyncio
async def test_a_job_may_wait_for_a_run(make: Make) -> None:
    """Of a flow in the same scheduler, whose only worker it has lent."""
    flow = flow_of("[blocks.a]\nsleep = 0\n[blocks.b]\nneeds = ['a']\nsleep = 0")

    async def runs_it() -> str:
        return (await (await PARENTS["scheduler"].submit(flow)).wait()).status.value

    handler("test.runs_it")(runs_it)
    async with make(workers=1) as scheduler:
        with parents_of(scheduler), anyio.fail_after(10):
            assert (await (await scheduler.submit(runs_it)).wait()).unwrap() == "succeeded"


@pytest.mark.asyncio
async def test_a_child_may_be_tried_again(make: Make) -> None:
    """Its parent waits for its last attempt, and holds no worker in between either."""
    tries: list[int] = []

    async def fails_twice() -> int:
        tries.append(len(tries))
        if len(tries) < 3:
            raise ValueError
        return len(tries)

    async def waits_for_it() -> Any:
        job = await PARENTS["scheduler"].submit(fails_twice, retries=5, backoff=(0.01, 0.01))
        return (await job.wait()).unwrap()

    handler("test.fails_twice")(fails_twice)
    handler("test.waits_for_it")(waits_for_it)
    async with make(workers=1) as scheduler:
        with parents_of(scheduler), anyio.fail_after(10):
            assert (await (await scheduler.submit(waits_for_it)).wait()).unwrap() == 3


@virtual
async def test_the_statistics_tell_who_waits(bubble: Bubble) -> None:
    """A job that waits for another one runs, and is counted as one that waits as well."""
    release = anyio.Event()

    async def waits(job: Job) -> None:
        await job.wait()

    async with Scheduler(workers=2) as scheduler:
        last = await scheduler.submit(release.wait)
        first = await scheduler.submit(waits, last)
        await scheduler.submit(waits, last)
        await anyio.sleep(0.001)
        statistics = scheduler.statistics()
        assert (statistics.running, statistics.waiting) == (3, 2)
        release.set()
        await first.wait()
        await scheduler.drain()
        assert scheduler.statistics().waiting == 0


@virtual
async def test_a_job_has_its_worker_again_before_it_goes_on(bubble: Bubble) -> None:
    """Before those that have waited in the line for longer, but for one, which begins when the child ends."""
    order: list[str] = []

    async def note(name: str) -> None:
        order.append(name)
        await anyio.sleep(1)

    async with Scheduler(workers=1) as scheduler:

        async def waits() -> None:
            job = await scheduler.submit(note, "child")
            for name in "ab":
                await scheduler.submit(note, name)
            await job.wait()
            await note("parent")

        await scheduler.submit(waits)
        await scheduler.drain()
    assert order == ["child", "a", "parent", "b"]


@virtual
async def test_a_job_with_several_tasks_holds_no_worker_while_one_of_them_waits(bubble: Bubble) -> None:
    """It needs one again when none of them waits any more."""
    async with Scheduler(workers=1) as scheduler:

        async def waits() -> int:
            jobs = [await scheduler.submit(anyio.sleep, seconds) for seconds in (1, 2, 3)]
            done = 0
            for outcome in asyncio.as_completed([job.wait() for job in jobs]):
                await outcome
                done += 1
            return done

        assert (await (await scheduler.submit(waits)).wait()).unwrap() == 3
        assert bubble.clock.now == 6
        await account_of(scheduler)


@virtual
async def test_a_wait_that_is_cancelled_goes_on_at_once(bubble: Bubble) -> None:
    """A timeout in a job does not wait for a worker; nor does the cancellation of a job."""
    ends: list[float] = []

    async with Scheduler(workers=2) as scheduler:
        forever = await scheduler.submit(anyio.sleep_forever)

        async def gives_up(cancelled: bool) -> None:
            try:
                with anyio.move_on_after(5):
                    await forever.wait()
            finally:
                ends.append(bubble.clock.now)
            assert not cancelled

        job = await scheduler.submit(gives_up, False)
        other = await scheduler.submit(gives_up, True, timeout=2)
        third = await scheduler.submit(gives_up, True)
        await anyio.sleep(1)
        await third.cancel()
        assert [(await one.wait()).status for one in (job, other, third)] == [
            JobStatus.SUCCEEDED, JobStatus.TIMED_OUT, JobStatus.CANCELLED
        ]  # fmt: skip
        assert ends == [1, 2, 5]
        assert scheduler.statistics().running == 1
        await forever.cancel()
        assert (await (await scheduler.submit(anyio.sleep, 0)).wait()).succeeded


@virtual
async def test_jobs_that_wait_for_each_other_are_named(bubble: Bubble, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody can help them but a cancellation, and they do not stop the others."""
    jobs: dict[str, Job] = {}

    async def waits(name: str) -> None:
        await anyio.sleep(0.1)
        await jobs[name].wait()

    async with Scheduler(workers=1, cancel_timeout=1) as scheduler:
        for own, other in [("a", "b"), ("b", "c"), ("c", "a"), ("self", "self")]:
            jobs[own] = await scheduler.submit(waits, other, name=own)
        await anyio.sleep(1)
        assert (await (await scheduler.submit(anyio.sleep, 1)).wait()).succeeded
        for job in jobs.values():
            await job.cancel()
    circles = [record.jobs for record in caplog.records if record.msg == "jobs wait for each other"]  # type: ignore[attr-defined]
    assert circles == ["c -> a -> b -> c", "self -> self"]


@virtual
async def test_a_task_that_outlives_its_job_lends_nothing(bubble: Bubble) -> None:
    """It waits as any other task does."""
    stray: list[asyncio.Task[Any]] = []

    async with Scheduler(workers=2) as scheduler:
        last = await scheduler.submit(anyio.sleep, 15)

        async def leaves(first: float) -> None:
            async def waits() -> None:
                await anyio.sleep(first)
                await last.wait()

            stray.append(asyncio.create_task(waits()))
            await anyio.sleep(1)

        for first in (0, 2):  # one waits already when its job ends
            assert (await (await scheduler.submit(leaves, first)).wait()).succeeded
        assert (scheduler.statistics().running, scheduler.statistics().waiting) == (1, 0)
        await asyncio.wait(stray)
        assert bubble.clock.now == 15
        assert scheduler.statistics().waiting == 0
        assert (await (await scheduler.submit(anyio.sleep, 0)).wait()).succeeded


@virtual
async def test_a_job_that_ends_while_its_task_comes_back_takes_no_worker_with_it(bubble: Bubble) -> None:
    """The task that it has left behind does not get one in its place, which nobody would give back."""
    stray: list[asyncio.Task[Any]] = []

    async with Scheduler(workers=1) as scheduler:

        async def leaves() -> None:
            awaited = await scheduler.submit(anyio.sleep, 1)
            stray.append(asyncio.create_task(awaited.wait()))
            await anyio.sleep(2)  # meanwhile another job has the worker

        jobs = [await scheduler.submit(leaves), await scheduler.submit(anyio.sleep, 5)]
        jobs.append(await scheduler.submit(anyio.sleep, 1))
        with anyio.fail_after(60):
            for job in jobs:
                assert (await job.wait()).succeeded
            await stray[0]
        assert bubble.clock.now == 7
        assert (scheduler.statistics().running, scheduler.statistics().waiting) == (0, 0)


ACTS = st.recursive(
    st.tuples(st.just("sleep"), st.integers(0, 3)),
    lambda inner: (
        st.tuples(st.sampled_from(["submit", "both", "late"]), st.lists(inner, max_size=3))
        | st.tuples(st.just("leave"), st.integers(0, 3), st.lists(inner, max_size=2))
        | st.tuples(st.just("within"), st.integers(0, 3), st.lists(inner, max_size=2))
        | st.tuples(st.just("cancel"), st.integers(0, 3), st.lists(inner, max_size=2))
    ),
    max_leaves=12,
)


async def play(bubble: Bubble, workers: int, program: list[Any]) -> None:
    """Run jobs that submit jobs and wait for them in every way, and check the accounts at the end."""
    working = most = overdue = 0
    stray: list[asyncio.Task[Any]] = []
    async with Scheduler(workers=workers, cancel_timeout=1) as scheduler:

        async def act(what: Any) -> None:
            nonlocal working, most, overdue
            kind, *rest = what
            if kind == "sleep":
                working += 1
                most = max(most, working)
                try:
                    await anyio.sleep(rest[0])
                finally:
                    working -= 1
                return
            jobs = [await scheduler.submit(act, inner, priority=len(rest)) for inner in rest[-1]]
            if kind == "leave":
                stray.extend(asyncio.create_task(job.wait()) for job in jobs)
                await anyio.sleep(rest[0])
                return
            if kind == "both":
                async with anyio.create_task_group() as group:
                    for job in jobs:
                        group.start_soon(job.wait)
                return
            if kind == "late":
                await anyio.sleep(1)
            if kind in ("within", "cancel"):
                overdue += 1
                with anyio.move_on_after(rest[0]):
                    for job in jobs:
                        await job.wait()
                for job in jobs if kind == "cancel" else []:
                    await job.cancel()
            for job in jobs:
                await job.wait()

        first = [await scheduler.submit(act, what) for what in program]
        with anyio.fail_after(1000):
            for job in first:
                assert (await job.wait()).succeeded
            await scheduler.drain()
            await asyncio.gather(*stray)
        engine: Any = scheduler._life.engine
        assert (engine._busy, engine.lending.lent, engine.lending._away, engine.running) == (0, 0, {}, {})
        assert not engine.lending._coming_back
        assert most <= workers + overdue


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3), st.lists(ACTS, min_size=1, max_size=4))
def test_random_families_come_to_an_end(workers: int, program: list[Any]) -> None:
    """Whatever waits for what, in how many tasks and however long: all end, and every worker is free again."""
    run_virtual(lambda bubble: play(bubble, workers, program))


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Keep warnings of what is done on purpose."""
    caplog.set_level(logging.WARNING, "lifecycle.scheduler")
