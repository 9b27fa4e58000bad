"""Jobs that have ended wait again by hand: in all stores alike, whatever ended before, and every count stays right."""

from __future__ import annotations

import random
import time
from functools import partial

import pytest

from lifecycle.scheduler import JobStatus
from lifecycle.scheduler._store.memory.store import MemoryStore
from lifecycle.scheduler._store.pace import Bound
from lifecycle.scheduler._store.protocol import Store
from lifecycle.scheduler._store.records import Ending, NewJob, NewRun, flow_key
from lifecycle.scheduler._store.revival import NOTES, Revived
from lifecycle.scheduler._store.run_records import RunFilter
from lifecycle.scheduler._store.sqlite import again, claiming, entering, operations

from ..stores import Address, NewAddress, check, more_often_in_a_file, rows_at, store_at
from .test_costs import MakeFile, new_file, steps

__all__ = ["new_file"]

pytestmark = pytest.mark.asyncio

SERVED = (flow_key("f", "d"),)
OK = Ending(JobStatus.SUCCEEDED, result=1)
BAD = Ending(JobStatus.FAILED, error="it failed", failed=True)
STOPPED = Ending(JobStatus.CANCELLED, error="stopped")
LATE = Ending(JobStatus.TIMED_OUT, error="late", failed=True)


async def open_run(store: Store, *jobs: NewJob) -> dict[str, int]:
    """Store a run with these jobs, and one that goes on, so that none is forgotten; return their numbers."""
    run = NewRun("f", "f", "d", "{}", (*jobs, NewJob("lasts", "call")))
    opened = await store.open_run(run, resume=False, fresh=False)
    return {job.name: job.id for job in await store.jobs_of(opened.run_id)}


async def end(store: Store, **endings: Ending) -> None:
    """Claim whatever is ready, end what is named, and give the others back."""
    claims = (await store.claim(1_000, time.time())).jobs
    ended = [claimed for claimed in claims if claimed.name in endings]
    await store.give_back([claimed for claimed in claims if claimed not in ended], 1.0)
    for claimed in ended:
        settled = await store.finish(claimed.id, claimed.attempt, endings[claimed.name], time.time())
        assert settled.accepted
    assert {claimed.name for claimed in ended} == endings.keys()


async def states(store: Store, run: int = 1) -> dict[str, str]:
    """Return the state of each job of a run."""
    return {job.name: job.status.value for job in await store.jobs_of(run)}


async def test_what_was_skipped_because_of_a_job_waits_again_with_it(store: Store) -> None:
    """However far below; attempts go on counting, failures begin anew, and nothing else changes."""
    jobs = await open_run(
        store,
        NewJob("a", "call", retries=3),
        NewJob("b", "call", ("a",)),
        NewJob("c", "call", ("b",)),
        NewJob("apart", "call"),
    )
    await end(store, a=BAD, apart=OK)
    assert await states(store) == {
        "a": "failed", "b": "cancelled", "c": "cancelled", "apart": "succeeded", "lasts": "pending",
    }  # fmt: skip
    revived = await store.revive_jobs([jobs["a"]], SERVED, force=False)
    assert (revived.jobs, revived.skipped, dict(revived.refused), revived.missing) == ((jobs["a"],), 2, {}, ())
    assert set(revived.ours) == {jobs["a"], jobs["b"], jobs["c"]}
    assert await states(store) == {
        "a": "pending", "b": "pending", "c": "pending", "apart": "succeeded", "lasts": "pending",
    }  # fmt: skip
    waiting = await store.job(jobs["a"])
    assert waiting is not None
    assert (waiting.error, waiting.failures, waiting.attempts, waiting.due) == ("it failed", 0, 1, None)
    [first] = [claimed for claimed in (await store.claim(9, time.time())).jobs if claimed.name == "a"]
    assert (first.attempt, first.failures) == (2, 0)
    assert not (await store.finish(first.id, 1, OK, time.time())).accepted, "the attempt before cannot end it"
    assert (await store.finish(first.id, 2, OK, time.time())).accepted
    await end(store, b=OK)
    await end(store, c=OK)
    record = await store.job(jobs["a"])
    if record is not None:
        assert record.error is None
        assert record.log is not None
        assert record.log.endswith("again by hand; it had failed in attempt 1: it failed")


async def test_a_job_that_needs_two_waits_until_both_wait_again(store: Store) -> None:
    """One of them alone would leave it waiting for ever."""
    jobs = await open_run(store, NewJob("a", "call"), NewJob("b", "call"), NewJob("both", "call", ("a", "b")))
    await end(store, a=BAD, b=LATE)
    alone = await store.revive_jobs([jobs["both"]], SERVED, force=False)
    assert dict(alone.refused) == {jobs["both"]: "it needs 'a', which failed; try that again too, or the whole run"}
    assert (await store.revive_jobs([jobs["a"]], SERVED, force=False)).skipped == 0
    assert (await states(store))["both"] == "cancelled"
    assert (await store.revive_jobs([jobs["b"]], SERVED, force=False)).skipped == 1
    await end(store, a=OK, b=OK)
    await end(store, both=OK)


async def test_a_step_that_was_not_needed_does_not_free_what_needs_it(store: Store) -> None:
    """It held nobody up, so that what else did not succeed still does."""
    step = NewJob("step", "call", ("good",), when="failure")
    jobs = await open_run(
        store, NewJob("good", "call"), NewJob("bad", "call"), step, NewJob("both", "call", ("bad", "step"))
    )
    await end(store, good=OK, bad=BAD)
    assert (await states(store))["step"] == "skipped"
    revived = await store.revive_jobs([jobs["step"], jobs["both"]], SERVED, force=False)
    assert revived.jobs == (jobs["step"],)
    assert dict(revived.refused) == {jobs["both"]: "it needs 'bad', which failed; try that again too, or the whole run"}


async def test_one_that_nothing_holds_up_any_more_waits_again_once(store: Store) -> None:
    """Although two that it needs wait again, one of which may fail: every count goes up once."""
    both = NewJob("both", "call", ("a", "b"), tolerates=("b",))
    needs_x = NewJob("needs x", "call", ("both", "x"))
    jobs = await open_run(store, NewJob("a", "call"), NewJob("b", "call", ("a",)), both, NewJob("x", "call"), needs_x)
    await end(store, a=BAD, x=BAD)
    assert (await store.revive_jobs([jobs["a"]], SERVED, force=False)).skipped == 2
    assert (await states(store))["needs x"] == "cancelled"
    run = await store.run(1)
    assert run is not None
    assert run.opened.unfinished == 4, "a, b, both, and the one that lasts"


async def test_what_was_cancelled_by_somebody_waits_again_only_when_asked_for(store: Store) -> None:
    """With its job, or with the whole run, which keeps what has succeeded."""
    jobs = await open_run(store, NewJob("a", "call"), NewJob("b", "call", ("a",)), NewJob("done", "call"))
    await store.cancel(jobs["b"], "not wanted", time.time())
    await end(store, a=BAD, done=OK)
    assert (await store.revive_jobs([jobs["a"]], SERVED, force=False)).skipped == 0
    assert (await states(store))["b"] == "cancelled"
    await end(store, a=STOPPED)
    revived = await store.revive_run(1, SERVED)
    assert revived is not None
    assert (revived.jobs, dict(revived.refused)) == ((jobs["a"], jobs["b"]), {})
    assert await states(store) == {"a": "pending", "b": "pending", "done": "succeeded", "lasts": "pending"}
    assert await store.revive_run(99, SERVED) is None
    nothing = await store.revive_run(1, SERVED)
    assert nothing is not None
    assert nothing.jobs == ()


async def test_what_cannot_wait_again_is_refused_by_itself(store: Store) -> None:
    """With the reason; the others of the same request are not."""
    jobs = await open_run(store, NewJob("a", "call"), NewJob("done", "call"), NewJob("runs", "call"))
    await end(store, a=BAD, done=OK)
    await store.claim(1, time.time())
    revived = await store.revive_jobs([99, jobs["done"], jobs["runs"], jobs["lasts"], jobs["a"]], SERVED, force=False)
    assert revived.jobs == (jobs["a"],)
    assert revived.missing == (99,)
    assert dict(revived.refused) == {
        jobs["done"]: "it has succeeded, and is only repeated when that is forced",
        jobs["runs"]: "it has not ended: it is running",
        jobs["lasts"]: "it has not ended: it is pending",
    }
    forced = await store.revive_jobs([jobs["done"], jobs["runs"]], SERVED, force=True)
    assert (forced.jobs, list(forced.refused)) == ((jobs["done"],), [jobs["runs"]])


async def test_what_needs_a_job_that_is_repeated_waits_for_it(store: Store) -> None:
    """Unless it runs or has run already."""
    jobs = await open_run(
        store,
        NewJob("a", "call"),
        NewJob("done", "call", ("a",)),
        NewJob("waits", "call", ("a",), delay=50.0),
        NewJob("ready", "call", ("a",)),
    )
    await end(store, a=OK)
    await end(store, done=OK)
    assert (await store.revive_jobs([jobs["a"]], SERVED, force=True)).jobs == (jobs["a"],)
    assert {claimed.name for claimed in (await store.claim(9, time.time() + 99)).jobs} == {"a", "lasts"}
    await store.finish(jobs["a"], 2, OK, time.time())
    assert {claimed.name for claimed in (await store.claim(9, time.time() + 99)).jobs} == {"waits", "ready"}


@pytest.mark.parametrize("ends_first", [True, False])
async def test_what_runs_goes_on_and_waits_for_what_is_repeated_only_to_begin_anew(
    store: Store, ends_first: bool
) -> None:
    """Whether that ends before or after: it waits neither for ever nor for nothing."""
    jobs = await open_run(store, NewJob("a", "call"), NewJob("b", "call", ("a",), tolerates=("a",)))
    await end(store, a=BAD)
    [b] = [claimed for claimed in (await store.claim(9, time.time())).jobs if claimed.name == "b"]
    assert (await store.revive_jobs([jobs["a"]], SERVED, force=False)).jobs == (jobs["a"],)
    if ends_first:
        await end(store, a=BAD)
        await store.give_back([b], 1.0)
    else:
        await store.give_back([b], 1.0)
        ready = (await store.claim(9, time.time())).jobs
        assert "b" not in [claimed.name for claimed in ready]
        await store.give_back(ready, 1.0)
        await end(store, a=BAD)
    await end(store, b=OK)


async def test_notes_are_bounded_and_nothing_else_grows(durable: Address) -> None:
    """A job that is tried again and again keeps the newest of them."""
    store = store_at(durable)
    await store.open()
    number = await store.add_job(NewJob("a", "call", payload={"handler": "h"}))
    for _ in range(NOTES + 5):
        await end(store, a=BAD)
        assert (await store.revive_jobs([number], ("h",), force=False)).ours == (number,)
    record = await store.job(number)
    assert record is not None
    assert record.log is not None
    assert len(record.log.splitlines()) == NOTES
    assert f"it had failed in attempt {NOTES + 5}" in record.log
    await store.aclose()


async def test_a_twin_that_has_not_ended_is_not_doubled(durable: Address) -> None:
    """Of jobs with one key one at most has not ended, also when both are asked for."""
    store = store_at(durable)
    await store.open()
    numbers = [await store.add_job(NewJob(name, "call", payload={"handler": "h"})) for name in "ab"]
    await end(store, a=BAD, b=BAD)
    rows_at(durable, "UPDATE jobs SET key = 'one'")
    revived = await store.revive_jobs(numbers, ("h",), force=False)
    assert revived.jobs == (numbers[0],)
    assert dict(revived.refused) == {numbers[1]: f"job {numbers[0]}, which has the same key, has not ended"}
    await store.aclose()


async def test_a_run_whose_jobs_are_deleted_is_refused(durable: Address) -> None:
    """It might need their outputs."""
    store = store_at(durable)
    await store.open()
    jobs = await open_run(store, NewJob("a", "call"), NewJob("b", "call", ("a",)))
    await end(store, a=OK, lasts=OK)
    await end(store, b=BAD)
    rows_at(durable, f"DELETE FROM jobs WHERE id = {jobs['a']}")
    revived = await store.revive_jobs([jobs["b"]], SERVED, force=False)
    assert dict(revived.refused) == {jobs["b"]: "jobs of its run have been deleted, which it may need; begin a new run"}
    await store.aclose()


async def test_a_run_that_is_replaced_by_one_that_is_opened_again_ends(durable: Address) -> None:
    """Also when jobs of both were to wait again: they are counted before they are cancelled."""
    store = store_at(durable)
    await store.open()
    for jobs in ([NewJob("a", "call")], [NewJob("b", "call"), NewJob("c", "call", delay=60.0)]):
        run = NewRun("f", "f", "d", "{}", tuple(jobs), Bound(1, "cancel_running"))
        await store.open_run(run, resume=False, fresh=False)
        await end(store, **{jobs[0].name: BAD})
    revived = await store.revive_jobs([1, 2], SERVED, force=False)
    assert (revived.jobs, dict(revived.refused)) == ((1, 2), {})
    assert {**await states(store, 1), **await states(store, 2)} == {"a": "pending", "b": "cancelled", "c": "cancelled"}
    assert [run.finished is None for run in await store.runs(RunFilter())] == [True, False]
    await store.aclose()


async def test_what_is_above_a_step_that_cleans_up_now_is_refused(store: Store) -> None:
    """It would go on beside what puts in order what it does; afterwards both wait again, one after the other."""
    clean = NewJob("clean", "call", ("b",), when="always")
    jobs = await open_run(store, NewJob("a", "call"), NewJob("b", "call", ("a",)), clean)
    await end(store, a=BAD)
    cleaning = next(job for job in (await store.claim(9, time.time())).jobs if job.name == "clean")
    revived = await store.revive_jobs([jobs["a"]], SERVED, force=False)
    assert (revived.jobs, list(revived.refused)) == ((), [jobs["a"]])
    assert "the step 'clean'" in revived.refused[jobs["a"]]
    await store.finish(cleaning.id, cleaning.attempt, OK, time.time())
    revived = await store.revive_jobs([jobs["a"]], SERVED, force=False)
    assert (revived.jobs, revived.skipped) == ((jobs["a"],), 2)
    assert "clean" not in [job.name for job in (await store.claim(9, time.time())).jobs]


async def test_what_is_asked_for_and_is_below_another_waits_again_once(store: Store) -> None:
    """A failure that it tolerates leads to it as well; its run would never end."""
    below = NewJob("b", "call", ("a",), tolerates=("a",))
    jobs = await open_run(store, NewJob("a", "call"), below)
    await end(store, a=BAD, lasts=OK)
    await end(store, b=BAD)
    revived = await store.revive_jobs([jobs["a"], jobs["b"]], SERVED, force=False)
    assert (revived.jobs, revived.skipped) == ((jobs["a"], jobs["b"]), 0)
    await end(store, a=OK)
    await end(store, b=OK)
    assert (await store.ended_runs([1])) == [1] or store.durable is False


def random_run(chance: random.Random) -> list[NewJob]:
    """Return jobs of which each may need some before it, whatever has become of those."""
    jobs: list[NewJob] = []
    for number in range(chance.randrange(1, 9)):
        needs = chance.sample([job.name for job in jobs], chance.randrange(0, min(len(jobs), 3) + 1))
        when = chance.choice(("success", "success", "success", "failure", "always")) if needs else "success"
        tolerates = tuple(need for need in needs if chance.random() < 0.2)
        jobs.append(NewJob(f"j{number}", "call", tuple(needs), when=when, tolerates=tolerates))
    return jobs


@pytest.mark.parametrize(("kind", "seed"), more_often_in_a_file(range(6), 1))
async def test_any_program_leaves_both_stores_alike_and_sound(new_address: NewAddress, kind: str, seed: int) -> None:
    """Ends, cancels and repeats in any order: states, refusals and what is ready agree, and each job ends at last."""
    chance = random.Random(seed)
    durable = new_address(kind)
    assert durable is not None
    kept, memory = store_at(durable), MemoryStore()
    both: tuple[Store, Store] = (kept, memory)
    for one in both:
        await one.open()
    for run in range(1, 5):
        jobs = random_run(chance)
        numbers = [await open_run(one, *jobs) for one in both]
        assert numbers[0] == numbers[1]
        for _ in range(25):
            what = chance.random()
            some = chance.choices(sorted(numbers[0].values()), k=chance.randrange(1, 4))
            if what < 0.5:
                ending = chance.choice((OK, BAD, STOPPED, LATE))
                taken = [(await one.claim(2, time.time())).jobs for one in both]
                assert [job.id for job in taken[0]] == [job.id for job in taken[1]]
                for one, claims in zip(both, taken, strict=True):
                    for claimed in claims:
                        if claimed.name == "lasts":
                            await one.give_back([claimed], 1.0)
                        else:
                            await one.finish(claimed.id, claimed.attempt, ending, time.time())
            elif what < 0.65:
                for one in both:
                    if some[0] != numbers[0]["lasts"]:
                        await one.cancel(some[0], "no", time.time())
            elif what < 0.95:
                force = chance.random() < 0.3
                found = [await one.revive_jobs(some, SERVED, force=force) for one in both]
                assert found[0] == found[1]._replace(ours=found[0].ours)
                assert set(found[0].ours) == set(found[1].ours)
            else:
                for one in both:
                    await one.revive_run(run, SERVED)
            assert await states(kept, run) == await states(memory, run)
            check(durable)
    for one in both:
        await one.aclose()


async def test_many_that_were_skipped_cost_in_proportion(new_file: MakeFile) -> None:
    """Ten times as many roots over a job that needs all of them cost ten times as much, not a hundred times."""
    taken = []
    for size in (30, 300):
        db = new_file()
        roots = [NewJob(f"root{number}", "call") for number in range(size)]
        below = [NewJob("below", "call", tuple(root.name for root in roots)), NewJob("last", "call", ("below",))]
        entering.insert_run(db, NewRun("f", "f", "d", "{}", (*roots, *below)), 1, 0.0)
        for claimed in claiming.claim(db, 1, size, 1.0).jobs:
            operations.finish(db, claimed.id, claimed.attempt, BAD, 2.0)
        found: list[Revived | None] = []
        revive = partial(again.revive_run, db, 1, by=1, known=SERVED, now=3.0)
        taken.append(steps(db, lambda found=found, revive=revive: found.append(revive())))  # type: ignore[misc]
        assert found[0] is not None
        assert len(found[0].jobs) == size + 2
    assert taken[1] < 20 * taken[0], taken
