"""A handler that kills its process is bounded, and what only ran beside it is not blamed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest

from lifecycle.scheduler import Event, JobStatus, Scheduler, flow_of_table, handler
from lifecycle.scheduler._store.filters import JobFilter
from lifecycle.scheduler._store.protocol import Store
from lifecycle.scheduler._store.records import Claimed, Ending, NewJob, NewRun

from ..stores import Address, let_die, outside_of, store_at


@handler("crashes.fine")
async def fine() -> None:
    """Do nothing."""


async def opened(path: Address, **settings: int | None) -> Store:
    """Return an open store that has taken over what is left."""
    store = store_at(path, **settings)
    await store.open()
    await store.adopt_jobs(["h"])
    return store


def job(name: str, priority: int = 0) -> NewJob:
    """Return a job by itself."""
    return NewJob(name, "call", priority=priority, payload={"handler": "h", "args": []})


async def claimed(store: Store, limit: int = 9) -> Sequence[Claimed]:
    """Return what is begun now."""
    return (await store.claim(limit, 1.0)).jobs


async def crash(path: Address, times: int, **settings: int | None) -> None:
    """Let that many processes die while they run what they can."""
    for _ in range(times):
        store = await opened(path, **settings)
        await claimed(store)
        await let_die(store, path)


async def states(store: Store) -> dict[str, tuple[str, int, str | None]]:
    """Return state, crashes and error of every job by its name."""
    return {job.name: (job.status.value, job.crashes, job.error) for job in await store.jobs(JobFilter())}


@pytest.mark.asyncio
@pytest.mark.parametrize("limit", [1, 2, 3, None])
async def test_a_job_fails_after_so_many_crashes(durable: Address, limit: int | None) -> None:
    """It is not taken over any more; without a bound it always is. Its heir hears of its end."""
    path = durable
    first = await opened(path, max_crashes=limit)
    await first.add_job(job("a"))
    await claimed(first)
    await let_die(first, path)
    await crash(path, (limit or 5) - 1, max_crashes=limit)
    heir = await opened(path, max_crashes=limit)
    if limit is None:
        assert await states(heir) == {"a": ("pending", 5, None)}
    else:
        error = "crashed the process" if limit == 1 else f"crashed the process {limit} times"
        assert await states(heir) == {"a": ("failed", limit, error)}
        (notice,) = await heir.notices()
        assert (notice.name, notice.status, notice.reason) == ("a", JobStatus.FAILED, error)
    assert [job.name for job in await claimed(heir)] == ([] if limit else ["a"])
    await heir.aclose()


@pytest.mark.asyncio
async def test_a_process_that_ends_in_order_is_no_crash(durable: Address) -> None:
    """What it stopped is interrupted, however often."""
    path = durable
    store = await opened(path)
    await store.add_job(job("a"))
    for _ in range(5):
        assert [job.name for job in await claimed(store)] == ["a"]
        await store.aclose()
        store = await opened(path)
    assert await states(store) == {"a": ("pending", 0, None)}
    await store.aclose()


@pytest.mark.asyncio
@pytest.mark.parametrize("guilty", [0, 2, 4])
async def test_the_guilty_one_is_found_and_what_ran_beside_it_is_not_blamed(durable: Address, guilty: int) -> None:
    """With one crash left they run one after the other, so that the one that kills the process is alone then."""
    path = durable
    store = await opened(path)
    names = [f"job{number}" for number in range(5)]
    for name in names:
        await store.add_job(job(name))
    begun: list[list[str]] = []
    for _ in range(50):
        jobs = await claimed(store)
        begun.append([job.name for job in jobs])
        if any(job.name == names[guilty] for job in jobs):
            await let_die(store, path)  # at once: the others had no time
            store = await opened(path)
            continue
        for one in jobs:
            await store.finish(one.id, one.attempt, Ending(JobStatus.SUCCEEDED), 2.0)
        if not jobs:
            break
    ends = await states(store)
    assert ends.pop(names[guilty]) == ("failed", 3, "crashed the process 3 times")
    assert {state for state, _, _ in ends.values()} == {"succeeded"}
    assert begun[:2] == [names, names]
    assert all(len(some) <= 1 for some in begun[2:])
    await store.aclose()


@pytest.mark.asyncio
async def test_what_has_one_crash_left_holds_up_nothing_else(durable: Address) -> None:
    """Others begin beside it, in their order; the next such job begins when it has ended."""
    path = durable
    store = await opened(path)
    for name in ("a", "b", "c"):
        await store.add_job(job(name))
    await claimed(store)
    await let_die(store, path)
    await crash(path, 1)
    store = await opened(path)
    for name in ("x", "y"):
        await store.add_job(job(name))
    await store.add_job(job("first", priority=5))
    a, *others = (await claimed(store, 3))[1:]
    assert (a.name, [job.name for job in others]) == ("a", ["x"])
    assert [job.name for job in await claimed(store)] == ["y"]
    assert await claimed(store) == ()
    await store.finish(a.id, a.attempt, Ending(JobStatus.SUCCEEDED), 2.0)
    assert [job.name for job in await claimed(store)] == ["b"]
    assert await claimed(store) == ()
    await store.aclose()


@pytest.mark.asyncio
async def test_what_needs_a_job_that_crashed_too_often_is_settled_as_for_a_failure(durable: Address) -> None:
    """Its run ends with it, for who serves its flow and for who asks for the run again."""
    path = durable
    flow = flow_of_table({"name": "f", "blocks": {"a": {"call": "crashes.fine"}, "b": {"call": "crashes.fine", "needs": ["a"]}}}, source="f")  # fmt: skip # noqa: E501
    jobs = (NewJob("a", "call"), NewJob("b", "call", ("a",)))
    new = NewRun("f", "f", flow.digest, "{}", jobs)
    store = store_at(path)
    await store.open()
    await store.open_run(new, resume=True, fresh=False)
    await claimed(store)
    await let_die(store, path)
    for _ in range(2):
        store = store_at(path)
        await store.open()
        assert (await store.open_run(new, resume=True, fresh=False)).resumed
        await claimed(store)
        await let_die(store, path)
    events: list[Event] = []
    with anyio.fail_after(30):
        async with Scheduler(path, on_event=events.append) as scheduler:
            outcome = await (await scheduler.submit(flow, resume=True)).wait()
    assert outcome.status is JobStatus.FAILED
    assert {job.name: (job.status.value, job.error) for job in outcome.jobs} == {
        "a": ("failed", "crashed the process 3 times"),
        "b": ("cancelled", "needs 'a', which failed"),
    }


@pytest.mark.asyncio
async def test_a_job_that_crashes_can_be_cancelled_between_two_crashes(durable: Address) -> None:
    """Whether it runs, or waits to be taken over: it is not begun again."""
    path = durable
    store = await opened(path)
    await store.add_job(job("a"))
    await claimed(store)
    await let_die(store, path)
    assert outside_of(path).cancel("a", "enough") is not None
    heir = await opened(path)
    assert await states(heir) == {"a": ("cancelled", 1, "enough")}
    await heir.aclose()


PROGRAM = """
import asyncio, os, sys
from lifecycle.scheduler import Scheduler, handler

@handler("kills")
async def kills():
    await asyncio.sleep(0.05)
    os._exit(7)

@handler("innocent")
async def innocent():
    await asyncio.sleep(0.1)

async def main():
    async with Scheduler(sys.argv[1], workers=4) as scheduler:
        if sys.argv[2] == "first":
            for name in ("innocent", "kills", "innocent", "innocent"):
                await scheduler.submit(name)
        await scheduler.drain()
        for job in await scheduler.jobs():
            print(job.name, job.status.value, job.error)

asyncio.run(main())
"""


@pytest.mark.slow
def test_a_process_that_kills_itself_again_and_again_comes_to_an_end(tmp_path: Path) -> None:
    """Started by a supervisor each time: the third crash is the last, and all others are done."""
    (tmp_path / "program.py").write_text(PROGRAM)
    ended: list[tuple[int, str]] = []
    for start in ("first", *["again"] * 5):
        command = [sys.executable, "program.py", "jobs.sqlite", start]
        process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        ended.append((process.returncode, process.stdout))
        if process.returncode == 0:
            break
    assert [code for code, _ in ended] == [7, 7, 7, 0]
    assert ended[-1][1].splitlines() == [
        "innocent succeeded None",
        "kills failed crashed the process 3 times",
        "innocent succeeded None",
        "innocent succeeded None",
    ]
