"""How many runs of a flow go on at once: in all stores alike, beside what may begin, wait, or is refused."""

from __future__ import annotations

import random
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from lifecycle.scheduler import JobStatus, RunConflict
from lifecycle.scheduler._store.memory.store import MemoryStore
from lifecycle.scheduler._store.pace import OVERLAPS, Bound, Overlap
from lifecycle.scheduler._store.protocol import Store
from lifecycle.scheduler._store.records import Ending, NewJob, NewRun, flow_key
from lifecycle.scheduler._store.run_records import RunFilter
from lifecycle.scheduler._store.sqlite import locks
from lifecycle.scheduler._store.sqlite.store import SqliteStore

from ..stores import Address, NewAddress, check, more_often_in_a_file, store_at

pytestmark = pytest.mark.asyncio

SERVED = (flow_key("f", "d"),)
OK = Ending(JobStatus.SUCCEEDED, result=1)
JOBS = (
    NewJob("a", "call"),
    NewJob("b", "call", ("a",)),
    NewJob("repair", "call", ("b",), when="failure"),
    NewJob("clean", "call", ("b", "repair"), when="always"),
)


def a_run(bound: Bound, params: str = "{}") -> NewRun:
    """Return a run of a flow that cleans up."""
    return NewRun("f", "f.toml", "d", params, JOBS, bound)


async def going(store: Store) -> list[int]:
    """Return the numbers of the runs that have been let in and have not ended."""
    wanted = RunFilter(statuses=frozenset({JobStatus.RUNNING, JobStatus.INTERRUPTED}))
    return [run.id for run in await store.runs(wanted)]


async def waiting(store: Store) -> list[int]:
    """Return the numbers of the runs that wait."""
    return [run.id for run in await store.runs(RunFilter(statuses=frozenset({JobStatus.PENDING})))]


async def submit(store: Store, bound: Bound) -> tuple[bool, bool] | None:
    """Submit a run; return whether it waits, or None when it was refused, beside those that go on."""
    before = await going(store)
    try:
        opened = await store.open_run(a_run(bound), resume=False, fresh=False)
    except RunConflict as conflict:
        return None if list(conflict.run_ids) == before else (False, False)
    assert opened.waits is (opened.run_id in await waiting(store))
    return (opened.waits, True)


@pytest.mark.parametrize("overlap", OVERLAPS)
@pytest.mark.parametrize(("kind", "seed"), more_often_in_a_file(range(5), 1))
async def test_no_more_go_on_than_may_whatever_ends_and_is_cancelled(
    new_address: NewAddress, kind: str, overlap: Overlap, seed: int
) -> None:
    """Never more at once, none waits while there is room, those that wait begin in their order, and all end at last."""
    chance = random.Random(f"{overlap} {seed}")
    durable = new_address(kind)
    assert durable is not None
    limit = chance.randrange(1, 4)
    bound = Bound(limit, overlap)
    kept, memory = store_at(durable), MemoryStore()
    both: tuple[Store, Store] = (kept, memory)
    for one in both:
        await one.open()
    for step in range(70):
        what = chance.random() if step < 50 else 0.6
        before, waited = await going(kept), await waiting(kept)
        if what < 0.4:
            told = [await submit(one, bound) for one in both]
            assert told[0] == told[1]
            assert (told[0] is None) is (overlap == "skip" and len(before) >= limit)
        elif what < 0.85:
            ending = OK if chance.random() < 0.7 else Ending(JobStatus.FAILED, error="no", failed=True)
            taken = [(await one.claim(2, time.time())).jobs for one in both]
            assert [job[:4] for job in taken[0]] == [job[:4] for job in taken[1]]
            assert {job.run_id for job in taken[0]} <= set(before)
            for one, claims in zip(both, taken, strict=True):
                for claimed in claims:
                    await one.finish(claimed.id, claimed.attempt, ending, time.time())
        elif before or waited:
            run = chance.choice([*before, *waited])
            for one in both:
                await one.cancel_run(run, "no", time.time())
        assert await going(kept) == await going(memory)
        assert await waiting(kept) == await waiting(memory)
        assert len(await going(kept)) <= limit
        assert not await waiting(kept) or len(await going(kept)) == limit
        begun = [run for run in waited if run not in await waiting(kept)]
        assert begun == waited[: len(begun)] or what >= 0.85 or overlap == "cancel_running"
        assert overlap != "skip" or not await waiting(kept)
        assert overlap != "cancel_running" or len(await waiting(kept)) <= 1
        check(durable)
        for run in before:
            if run not in await going(memory):
                memory.forget(run)
    assert await going(kept) == await waiting(kept) == []
    for one in both:
        await one.aclose()
    check(durable)


@pytest.fixture
def make(address: Address | None) -> Store:
    """A store of each kind, not open."""
    return store_at(address)


async def serve(store: Store) -> None:
    """Let a store know the flow, as a scheduler does that waits for work."""
    with anyio.move_on_after(0.2):
        await store.take(lambda: 0, lambda: SERVED)


async def take(store: Store) -> list[str]:
    """Claim what is ready, and return the runs and names; all of it runs from then on."""
    return [f"{job.run_id}{job.name}" for job in (await store.claim(99, time.time())).jobs]


async def test_a_run_that_replaces_begins_when_the_cleaning_of_the_other_has_ended(make: Store) -> None:
    """Also when a third one comes while it cleans up: that would end the cleaning if it were cancelled once more."""
    store, bound = make, Bound(1, "cancel_running")
    await store.open()
    await store.open_run(a_run(bound), resume=False, fresh=False)
    assert await take(store) == ["1a"]
    for _ in range(3):
        assert (await store.open_run(a_run(bound), resume=False, fresh=False)).waits
    assert await waiting(store) == [4]
    stopped = Ending(JobStatus.CANCELLED, error="stopped")
    await store.finish(1, 1, stopped, time.time())
    (repair,) = (await store.claim(9, time.time())).jobs
    assert (repair.run_id, repair.name) == (1, "clean")
    await store.open_run(a_run(bound), resume=False, fresh=False)
    await store.finish(repair.id, 1, OK, time.time())
    assert await take(store) == ["5a"]
    await store.aclose()


async def test_one_more_replaces_one_also_while_another_one_ends(make: Store) -> None:
    """What is being cancelled already makes the room for whichever is the newest; the others go on."""
    store, bound = make, Bound(2, "cancel_running")
    await store.open()
    for _ in range(2):
        await store.open_run(a_run(bound), resume=False, fresh=False)
    assert await take(store) == ["1a", "2a"]
    for _ in range(3):
        await store.open_run(a_run(bound), resume=False, fresh=False)
    assert (await going(store), await waiting(store)) == ([1, 2], [5])
    cancelled = [(run := await store.run(number)) is not None and run.cancelled for number in (1, 2)]
    assert cancelled == [True, False]
    await store.aclose()


async def test_a_single_job_of_a_run_that_waits_is_cancelled_and_what_needs_it_decided(make: Store) -> None:
    """At once, and not when the run begins; then it goes on with what is left."""
    store, bound = make, Bound(1, "queue")
    await store.open()
    await serve(store)
    for _ in range(2):
        await store.open_run(a_run(bound), resume=False, fresh=False)
    jobs = {job.name: job for job in await store.jobs_of(2)}
    assert {job.waits_for for job in jobs.values()} == {"run 1 of its flow to end"}
    settled = (await store.cancel(jobs["a"].id, "no", time.time())).settled
    assert settled is not None
    assert [skip.name for skip in settled.skipped] == ["b"]
    assert await take(store) == ["1a"]
    await store.cancel_run(1, "no", time.time())
    await store.finish(1, 1, Ending(JobStatus.CANCELLED, error="no"), time.time())
    (cleaning,) = (await store.claim(9, time.time())).jobs
    await store.finish(cleaning.id, 1, OK, time.time())
    assert await take(store) == ["2repair"]
    await store.aclose()


async def test_the_word_of_the_newest_run_counts_for_those_that_wait(make: Store) -> None:
    """A bound that was raised, or is there no more, lets them in, each in its turn."""
    store = make
    await store.open()
    for limit in (1, 1, 1, 2):
        await store.open_run(a_run(Bound(limit, "queue")), resume=False, fresh=False)
    assert (await going(store), await waiting(store)) == ([1, 2], [3, 4])
    free = await store.open_run(a_run(Bound()), resume=False, fresh=False)
    assert (await going(store), await waiting(store)) == ([1, 2, 3, 4, free.run_id], [])
    await store.aclose()


async def crash(path: Path, store: SqliteStore) -> None:
    """End a store as a kill does: its lock is free, and nothing was written."""
    store._owner = None
    await store.aclose()


async def test_what_a_process_leaves_counts_and_what_waits_has_to_be_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupted run goes on before others begin; one that waits and nobody has takes no place of theirs."""
    monkeypatch.setattr(locks, "DOUBT", 0.1)  # its lock file is gone, and nobody makes it anew
    path, bound = tmp_path / "jobs.sqlite", Bound(1, "queue")
    dead, alive = SqliteStore(path), SqliteStore(path)
    await dead.open()
    await alive.open()
    for store in (dead, dead, alive):
        await store.open_run(a_run(bound), resume=False, fresh=False)
    assert await take(dead) == ["1a"]
    await crash(path, dead)
    third = SqliteStore(path)
    await third.open()
    assert await take(alive) == []
    (_, _, last) = await third.runs(RunFilter())
    assert last.waits_for == "run 1 of its flow to end; no scheduler works on 1"
    await alive.cancel_run(1, "no", time.time())  # its cleaning waits for somebody who knows the flow
    assert await going(alive) == [1]
    await alive.cancel_run(1, "no", time.time())
    assert (await going(alive), await waiting(alive)) == ([3], [2])
    await third.adopt_runs("f", "d")
    assert await take(alive) == ["3a"]
    assert await take(third) == []
    await alive.cancel_run(3, "no", time.time())
    await alive.cancel_run(3, "no", time.time())
    with closing(sqlite3.connect(path)) as db:
        number, attempt = db.execute("SELECT id, attempt FROM jobs WHERE run = 3 AND state = 'running'").fetchone()
    await alive.finish(number, attempt, Ending(JobStatus.CANCELLED, error="no"), time.time())
    assert await take(third) == ["2a"]
    await third.aclose()
    await alive.aclose()


@pytest.mark.parametrize("overlap", OVERLAPS)
async def test_a_run_that_is_tried_again_counts_like_a_new_one(durable: Address, overlap: Overlap) -> None:
    """It is refused beside others, waits for them, or takes their place; by itself it begins at once."""
    store, bound = store_at(durable), Bound(1, overlap)
    await store.open()
    await store.open_run(a_run(bound), resume=False, fresh=False)
    await store.cancel_run(1, "no", time.time())
    await store.cancel_run(1, "no", time.time())
    revived = await store.revive_run(1, SERVED)
    assert revived is not None
    assert len(revived.jobs) == 4
    assert await take(store) == ["1a"]
    await store.finish(1, 1, Ending(JobStatus.FAILED, error="no", failed=True), time.time())
    for name in ("repair", "clean"):
        (job,) = (await store.claim(9, time.time())).jobs
        assert job.name == name
        await store.finish(job.id, job.attempt, OK, time.time())
    await store.open_run(a_run(bound), resume=False, fresh=False)
    revived = await store.revive_run(1, SERVED)
    assert revived is not None
    if overlap == "skip":
        why = "run 2 of flow 'f' goes on, and its max_instances is 1; wait for it, or cancel it"
        assert set(revived.refused.values()) == {why}
        assert await going(store) == [2]
        assert await take(store) == ["2a"]
    elif overlap == "queue":
        assert (await going(store), await waiting(store)) == ([2], [1])
        assert await take(store) == ["2a"]
        await store.cancel_run(2, "no", time.time())
        await store.cancel_run(2, "no", time.time())
        await store.finish(5, 1, OK, time.time())
        assert await take(store) == ["1a"]
    else:
        (clean,) = (await store.claim(9, time.time())).jobs
        assert (clean.run_id, clean.name) == (2, "clean")
        await store.finish(clean.id, 1, OK, time.time())
        assert await take(store) == ["1a"]
    check(durable)
    await store.aclose()
