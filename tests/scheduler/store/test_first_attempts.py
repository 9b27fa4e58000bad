"""By what work elsewhere is found again: which store, which job, and which of its attempts were cut off."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from lifecycle.scheduler import JobStatus
from lifecycle.scheduler._store.protocol import Store
from lifecycle.scheduler._store.records import Claimed, Ending, NewJob, NewRun
from lifecycle.scheduler._store.sqlite.upkeep import SqliteUpkeep
from lifecycle.scheduler._store.terms import Terms

from ..stores import Address, let_die, rows_at, store_at

pytestmark = pytest.mark.asyncio

OK = Ending(JobStatus.SUCCEEDED)
BAD = Ending(JobStatus.FAILED, error="it failed", failed=True)
PAYLOAD = {"handler": "h", "args": []}
A_JOB = NewJob("a", "call", retries=9, payload=PAYLOAD)


async def opened(address: Address) -> Store:
    """Return an open store that takes over what a dead one has left."""
    store = store_at(address, max_crashes=None)
    await store.open()
    await store.adopt_jobs(["h"])
    return store


async def claim(store: Store) -> Claimed:
    """Return the attempt that begins now."""
    (claimed,) = (await store.claim(9, time.time())).jobs
    return claimed


def numbers(claimed: Claimed) -> tuple[int, int]:
    """Return the number of an attempt, and of the first one."""
    return claimed.attempt, claimed.first


async def test_a_recorded_failure_makes_the_next_attempt_the_first(store: Store) -> None:
    """Each time; one that is given back has not been."""
    await store.add_job(A_JOB)
    for number in (1, 2, 3):
        claimed = await claim(store)
        await store.give_back([claimed], time.time())
        claimed = await claim(store)
        assert numbers(claimed) == (number, number)
        assert await store.retry(claimed.id, claimed.attempt, BAD, 0.0)
    assert numbers(await claim(store)) == (4, 4)


async def test_an_end_that_is_not_accepted_changes_nothing(store: Store) -> None:
    """Of an attempt that is not the job's any more, or that was to be stopped."""
    number = await store.add_job(A_JOB)
    assert await store.retry(number, (await claim(store)).attempt, BAD, 0.0)
    claimed = await claim(store)
    assert not await store.retry(number, 1, BAD, 0.0)
    await store.give_back([claimed], time.time())
    assert numbers(await claim(store)) == (2, 2)


async def test_of_jobs_that_begin_together_each_has_its_own(store: Store) -> None:
    """Those that have never ended beside those that have."""
    jobs = [await store.add_job(A_JOB._replace(name=name, priority=-place)) for place, name in enumerate("abc")]
    b = (await store.claim(2, time.time())).jobs[1]
    assert await store.retry(b.id, b.attempt, BAD, 0.0)
    others = (await store.claim(9, time.time())).jobs
    assert {one.id: numbers(one) for one in others} == {jobs[1]: (2, 2), jobs[2]: (1, 1)}


async def test_again_by_hand_the_next_attempt_is_the_first(durable: Address) -> None:
    """Of one that failed, also after it was cut off; of one that never began, the first is the first."""
    store = await opened(durable)
    number = await store.add_job(A_JOB)
    await claim(store)
    await let_die(store, durable)
    store = await opened(durable)
    claimed = await claim(store)
    assert numbers(claimed) == (2, 1)
    await store.finish(number, claimed.attempt, BAD, time.time())
    await store.revive_jobs([number], ["h"], force=False)
    assert numbers(await claim(store)) == (3, 3)
    unbegun = await store.add_job(A_JOB)
    await store.cancel(unbegun, "why", time.time())
    await store.revive_jobs([unbegun], ["h"], force=False)
    assert numbers(await claim(store)) == (1, 1)
    await store.aclose()


async def test_a_step_of_a_run_again_by_hand(store: Store) -> None:
    """In memory too: its attempts go on counting."""
    run = NewRun("f", "f.toml", "d", "{}", (A_JOB._replace(payload=None), NewJob("lasts", "call", priority=-1)))
    opened = await store.open_run(run, resume=False, fresh=False)
    a = (await store.claim(1, time.time())).jobs[0]
    await store.finish(a.id, a.attempt, BAD, time.time())
    await store.revive_jobs([a.id], [f"flow:f@{run.digest}"], force=False)
    assert numbers((await store.claim(1, time.time())).jobs[0]) == (2, 2)
    assert opened.jobs == 2


@pytest.mark.parametrize("how", ["killed", "closed"])
async def test_attempts_that_were_cut_off_do_not_count(durable: Address, how: str) -> None:
    """By a crash, or the close of their scheduler, however often; before and after one that has ended."""
    store = await opened(durable)
    number = await store.add_job(A_JOB)

    async def cut_off(store: Store) -> Store:
        await (let_die(store, durable) if how == "killed" else store.aclose())
        return await opened(durable)

    for attempt in (1, 2, 3):
        assert numbers(await claim(store)) == (attempt, 1)
        store = await cut_off(store)
    assert numbers(await claim(store)) == (4, 1)
    assert await store.retry(number, 4, BAD, 0.0)
    store = await cut_off(store)
    for attempt in (5, 6):
        assert numbers(await claim(store)) == (attempt, 5)
        store = await cut_off(store)
    await store.aclose()


async def test_again_by_hand_what_has_crashed_too_often_is_taken_up(durable: Address) -> None:
    """None of its attempts has recorded an end: what one of them has begun elsewhere may still be there."""
    store = await opened(durable)
    number = await store.add_job(A_JOB)
    await claim(store)
    await let_die(store, durable)
    store = store_at(durable, max_crashes=1)
    await store.open()
    await store.adopt_jobs(["h"])
    record = await store.job(number)
    assert record is not None
    assert record.status is JobStatus.FAILED
    await store.revive_jobs([number], ["h"], force=False)
    assert numbers(await claim(store)) == (2, 1)
    await store.aclose()


async def test_again_by_hand_what_was_cancelled_while_nobody_worked_on_it_is_taken_up(durable: Address) -> None:
    """Nobody has ended what it had begun."""
    store = await opened(durable)
    number = await store.add_job(A_JOB)
    claimed = await claim(store)
    await store.give_back([claimed], time.time())
    assert numbers(await claim(store)) == (1, 1)
    await store.aclose()
    store = await opened(durable)
    await store.cancel(number, "why", time.time())
    await store.revive_jobs([number], ["h"], force=False)
    assert numbers(await claim(store)) == (2, 1)
    await store.aclose()


async def test_what_travels_with_a_job_is_not_mixed_up(store: Store) -> None:
    """All that an attempt is told is at its place, beside the first attempt."""
    metadata = {"who": "me"}
    new = A_JOB._replace(timeout=7.0, backoff=(1.0, 2.0), terms=Terms(metadata=metadata, expires=4e9))
    await store.admit_job(new)
    for attempt in (1, 2):
        claimed = await claim(store)
        assert claimed.payload == PAYLOAD
        assert (claimed.backoff, claimed.timeout, claimed.expires) == ((1.0, 2.0), 7.0, 4e9)
        assert (dict(claimed.metadata or {}), numbers(claimed)) == (metadata, (attempt, attempt))
        assert await store.retry(claimed.id, claimed.attempt, BAD, 0.0)


# Which store


async def test_a_store_is_the_same_for_ever(durable: Address) -> None:
    """For whoever opens it; others are others."""
    first, second = store_at(durable), store_at(durable)
    await first.open()
    await second.open()
    assert re.fullmatch("[0-9a-f]{10}", first.identity)
    assert first.identity == second.identity
    for store in (first, second):
        await store.aclose()
    again = store_at(durable)
    await again.open()
    assert again.identity == first.identity
    await again.aclose()


async def test_stores_in_memory_are_all_different() -> None:
    """None of them outlives its scheduler."""
    identities = {store_at(None).identity for _ in range(20)}
    assert len(identities) == 20
    assert all(re.fullmatch("[0-9a-f]{10}", identity) for identity in identities)


async def test_a_backup_is_the_same_store(tmp_path: Path) -> None:
    """It may have to stand in for it: what its unfinished jobs have elsewhere is found from there."""
    store = await opened(tmp_path / "jobs.sqlite")
    SqliteUpkeep(tmp_path / "jobs.sqlite").backup(tmp_path / "copy.sqlite")
    await store.aclose()
    copy = await opened(tmp_path / "copy.sqlite")
    assert copy.identity == store.identity
    await copy.aclose()
    other = await opened(tmp_path / "other.sqlite")
    assert other.identity != store.identity
    await other.aclose()


# Which jobs there have been


async def test_the_highest_number_of_a_job_stays_when_that_is_gone(store: Store) -> None:
    """What was deleted after its end can be told from what has never been."""
    assert await store.highest_job() == 0
    numbers = [await store.add_job(A_JOB) for _ in range(3)]
    assert await store.highest_job() == max(numbers)
    for claimed in (await store.claim(9, time.time())).jobs:
        await store.finish(claimed.id, claimed.attempt, OK, time.time())
    assert await store.highest_job() == max(numbers)


async def test_the_highest_number_outlives_a_purge(durable: Address) -> None:
    """Also when nothing is left, and the store is opened again."""
    store = await opened(durable)
    number = await store.add_job(A_JOB)
    claimed = await claim(store)
    await store.finish(number, claimed.attempt, OK, time.time())
    rows_at(durable, "DELETE FROM jobs RETURNING id")
    await store.aclose()
    store = await opened(durable)
    assert await store.highest_job() == number
    assert dict(await store.ended_jobs([number, number + 1])) == {number: None, number + 1: None}
    await store.aclose()
