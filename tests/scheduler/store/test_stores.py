"""What every store does: one contract, the same tests."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.scheduler import JobStatus, RunConflict
from lifecycle.scheduler._store.admission import Admitted
from lifecycle.scheduler._store.protocol import Store
from lifecycle.scheduler._store.records import Ending, NewJob, NewRun
from lifecycle.scheduler._store.terms import Terms

from ..stores import EVERYWHERE, Address, Fresh, NewAddress, store_at

pytestmark = pytest.mark.asyncio

OK = Ending(JobStatus.SUCCEEDED, result={"x": 1}, seconds=0.5)
BAD = Ending(JobStatus.FAILED, error="it failed", trace="where", log="a\nb", failed=True)
INTERRUPTED = Ending(JobStatus.INTERRUPTED)


@pytest.fixture(params=EVERYWHERE)
def address(request: pytest.FixtureRequest, new_address: NewAddress) -> Address | None:
    """The address of a new store of each kind."""
    return new_address(request.param)


def a_run(*jobs: NewJob, digest: str = "d", params: str = "{}") -> NewRun:
    """Return a run of a flow with these jobs."""
    return NewRun("f", "f.toml", digest, params, jobs)


def job(name: str, *needs: str, **settings: Any) -> NewJob:
    """Return a job."""
    return NewJob(name, "call", needs, **settings)


async def names_of_claims(store: Store, limit: int = 100) -> list[str]:
    """Claim and return the names in order."""
    return [claimed.name for claimed in (await store.claim(limit, time.time())).jobs]


async def statuses(store: Store, run_id: int) -> dict[str, str]:
    """Return the status of each job of a run."""
    return {record.name: record.status.value for record in await store.jobs_of(run_id)}


async def test_the_most_urgent_is_first_and_equal_ones_come_in_order(store: Store) -> None:
    """Higher priority first; within one priority first come first served."""
    for name, priority in [("a", 0), ("b", 5), ("c", -1), ("d", 5), ("e", 0)]:
        await store.add_job(job(name, priority=priority))
    assert await names_of_claims(store, 3) == ["b", "d", "a"]
    assert await names_of_claims(store, 0) == []
    assert await names_of_claims(store) == ["e", "c"]
    assert await names_of_claims(store) == []


async def test_a_delayed_job_waits_and_the_next_due_time_is_told(store: Store) -> None:
    """A delay is kept as a wall-clock time."""
    before = time.time()
    await store.add_job(job("later", delay=50.0, priority=9))
    await store.add_job(job("now"))
    claims = await store.claim(9, before)
    assert [claimed.name for claimed in claims.jobs] == ["now"]
    assert claims.next_due is not None
    assert before + 49 < claims.next_due < time.time() + 51
    claims = await store.claim(9, claims.next_due)
    assert [claimed.name for claimed in claims.jobs] == ["later"]
    assert claims.next_due is None


async def test_needs_are_kept(store: Store) -> None:
    """A job is ready when the last of those that it needs has succeeded."""
    run = await store.open_run(
        a_run(job("a"), job("b"), job("c", "a", "b"), job("d", "c", delay=0.0)), resume=False, fresh=False
    )
    a, b = (await store.claim(9, time.time())).jobs
    assert (a.name, b.name) == ("a", "b")
    await store.finish(a.id, a.attempt, OK, time.time())
    assert await names_of_claims(store) == []
    settled = await store.finish(b.id, b.attempt, OK, time.time())
    assert (settled.accepted, settled.run_finished, settled.skipped) == (True, False, ())
    (c,) = (await store.claim(9, time.time())).jobs
    assert c.name == "c"
    await store.finish(c.id, c.attempt, OK, time.time())
    (d,) = (await store.claim(9, time.time())).jobs
    assert (await store.finish(d.id, d.attempt, OK, time.time())).run_finished
    assert await statuses(store, run.run_id) == dict.fromkeys("abcd", "succeeded")


async def test_the_delay_of_a_job_with_needs_begins_when_they_are_met(store: Store) -> None:
    """The delay counts from the moment at which the job could start."""
    await store.open_run(a_run(job("a"), job("b", "a", delay=30.0)), resume=False, fresh=False)
    (a,) = (await store.claim(9, time.time())).jobs
    await store.finish(a.id, a.attempt, OK, 1_000_000_000.0)
    claims = await store.claim(9, 1_000_000_029.0)
    assert claims.jobs == ()
    assert claims.next_due == 1_000_000_030.0
    assert [claimed.name for claimed in (await store.claim(9, 1_000_000_030.0)).jobs] == ["b"]


@pytest.mark.parametrize(
    ("status", "reason"), [("failed", "which failed"), ("timed_out", "which timed out"), ("cancelled", "was cancelled")]
)
async def test_what_needs_a_job_that_did_not_succeed_is_cancelled(store: Store, status: str, reason: str) -> None:
    """Each as soon as all that it needs has ended, with a reason that names the cause; the others go on."""
    run = await store.open_run(
        a_run(job("a"), job("b", "a"), job("c", "b"), job("d", "a", "x"), job("x")), resume=False, fresh=False
    )
    a = (await store.claim(1, time.time())).jobs[0]
    settled = await store.finish(a.id, a.attempt, Ending(JobStatus(status), error="e"), time.time())
    assert [skipped.name for skipped in settled.skipped] == ["b", "c"]
    assert all("needs 'a'" in skipped.reason and reason in skipped.reason for skipped in settled.skipped)
    assert not settled.run_finished
    (x,) = (await store.claim(9, time.time())).jobs
    settled = await store.finish(x.id, x.attempt, OK, time.time())
    assert settled.run_finished
    assert [(skipped.name, "needs 'a'" in skipped.reason) for skipped in settled.skipped] == [("d", True)]
    found = await statuses(store, run.run_id)
    assert found == {"a": status, "b": "cancelled", "c": "cancelled", "d": "cancelled", "x": "succeeded"}
    errors = {record.name: record.error for record in await store.jobs_of(run.run_id)}
    assert "needs 'a'" in (errors["c"] or "")


async def test_only_the_current_attempt_can_end_a_job(store: Store) -> None:
    """Results are fenced: an attempt that lost its job neither ends nor overwrites it."""
    number = await store.add_job(job("a", retries=3))
    (first,) = (await store.claim(9, time.time())).jobs
    assert first.attempt == 1
    assert await store.retry(number, 1, BAD, time.time() - 1)
    assert not await store.retry(number, 1, BAD, time.time() - 1)
    assert not (await store.finish(number, 1, OK, time.time())).accepted
    (second,) = (await store.claim(9, time.time())).jobs
    assert (second.attempt, second.failures) == (2, 1)
    assert not (await store.finish(number, 1, BAD, time.time())).accepted
    assert (await store.finish(number, 2, OK, time.time())).accepted
    assert not (await store.finish(number, 2, BAD, time.time())).accepted


async def test_a_retry_waits_until_it_is_due(store: Store) -> None:
    """The due time is kept in the store, and told with the claims."""
    number = await store.add_job(job("a", retries=1))
    (claimed,) = (await store.claim(9, 100.0)).jobs
    await store.retry(number, claimed.attempt, BAD, 200.0)
    assert (await store.claim(9, 199.0)).next_due == 200.0
    record = await store.job(number)
    assert record is not None
    assert (record.status, record.due, record.failures, record.error) == (JobStatus.PENDING, 200.0, 1, "it failed")
    assert len((await store.claim(9, 200.0)).jobs) == 1


async def test_a_waiting_job_is_cancelled_at_once_and_a_running_one_is_not(store: Store) -> None:
    """A running job has to be stopped by whoever runs it; one that has ended stays as it is."""
    waiting = await store.add_job(job("waiting", priority=-1))
    delayed = await store.add_job(job("delayed", delay=99.0))
    running = await store.add_job(job("running"))
    (claimed,) = (await store.claim(1, time.time())).jobs
    assert claimed.id == running
    for number in (waiting, delayed):
        cancelling = await store.cancel(number, "why", time.time())
        assert cancelling.before is JobStatus.PENDING
        assert cancelling.settled is not None
    cancelling = await store.cancel(running, "why", time.time())
    assert (cancelling.before, cancelling.settled) == (JobStatus.RUNNING, None)
    assert not (await store.cancel(99_999, "why", time.time())).found
    assert await names_of_claims(store) == []
    assert (await store.claim(9, time.time() + 1_000)).jobs == ()


async def test_a_whole_run_is_cancelled(store: Store) -> None:
    """What waits is cancelled, what runs is named, and the run is finished when that has ended."""
    run = await store.open_run(a_run(job("a"), job("b"), job("c", "a")), resume=False, fresh=False)
    (a,) = (await store.claim(1, time.time())).jobs
    settled, running = await store.cancel_run(run.run_id, "why", time.time())
    assert [skipped.name for skipped in settled.skipped] == ["b", "c"]
    assert running == (a.id,)
    assert not settled.run_finished
    assert (await store.finish(a.id, a.attempt, Ending(JobStatus.CANCELLED, error="why"), time.time())).run_finished
    assert set((await statuses(store, run.run_id)).values()) == {"cancelled"}


async def test_outputs_of_jobs_that_succeeded_are_found_by_name(store: Store) -> None:
    """Other names are left out; None is an output too."""
    run = await store.open_run(a_run(job("a"), job("b"), job("c")), resume=False, fresh=False)
    a, b, _ = (await store.claim(9, time.time())).jobs
    await store.finish(a.id, a.attempt, Ending(JobStatus.SUCCEEDED, result=[1, {"x": None}]), time.time())
    await store.finish(b.id, b.attempt, Ending(JobStatus.SUCCEEDED, result=None), time.time())
    assert await store.outputs(run.run_id, ["a", "b", "c"]) == {"a": [1, {"x": None}], "b": None}
    assert await store.outputs(run.run_id, ["a"]) == {"a": [1, {"x": None}]}


async def test_the_same_flow_twice_at_the_same_time_is_refused_only_when_resuming(store: Store) -> None:
    """Two runs side by side have to be wanted."""
    await store.open_run(a_run(job("a")), resume=True, fresh=False)
    with pytest.raises(RunConflict, match=r"f\.toml: "):
        await store.open_run(a_run(job("a")), resume=True, fresh=False)
    other = await store.open_run(a_run(job("a"), params='{"x":1}'), resume=True, fresh=False)
    second = await store.open_run(a_run(job("a")), resume=False, fresh=False)
    assert {other.resumed, second.resumed} == {False}


OPEN = ("pending", "running")


class Program(NamedTuple):
    """A graph of jobs, and what happens to them.

    Attributes:
        needs: for each job those that it needs, and of each whether it may fail.
        when: when each runs.
        priorities: how urgent each is.
        steps: what happens.
    """

    needs: list[dict[int, bool]]
    when: list[str]
    priorities: list[int]
    steps: list[tuple[str, int]]


class Model:
    """A slow and simple store: what the real ones must agree with."""

    def __init__(self, program: Program) -> None:
        self.needs, self.when, self.priorities, _ = program
        self.status = ["pending"] * len(self.needs)
        self.cancelled = False

    def ready(self) -> list[int]:
        """Return the numbers of the ready jobs, the most urgent first."""
        ready = [
            number
            for number, status in enumerate(self.status)
            if status == "pending" and all(self.status[needed] not in OPEN for needed in self.needs[number])
        ]
        return sorted(ready, key=lambda number: (-self.priorities[number], number))

    def end(self, number: int, status: str) -> None:
        """End a job, and skip those that are not to run any more."""
        self.status[number] = status
        while skipped := [other for other in self.ready() if self.skipped(other)]:
            self.status[skipped[0]] = self.skipped(skipped[0]) or ""

    def skipped(self, number: int) -> str | None:
        """Return how a job that is ready ends without running, None when it is to run."""
        if self.when[number] == "failure":
            return None if self.trouble_above(number) else "skipped"
        blocks = any(not self.good(needed) for needed, may_fail in self.needs[number].items() if not may_fail)
        return "cancelled" if blocks and self.when[number] == "success" else None

    def good(self, number: int) -> bool:
        """Return whether a job has ended well."""
        return self.status[number] in ("succeeded", "skipped")

    def trouble_above(self, number: int) -> bool:
        """Return whether something that a job needs, directly or further up, did not end well."""
        return any(not self.good(needed) or self.trouble_above(needed) for needed in self.needs[number])

    def cancel_run(self) -> None:
        """Cancel what does not run; what runs always at the second time only."""
        spared = () if self.cancelled else ("always",)
        self.cancelled = True
        unwanted = [
            number
            for number, status in enumerate(self.status)
            if status == "pending" and self.when[number] not in spared
        ]
        for number in unwanted:
            self.status[number] = "cancelled"


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Return a random graph of needs, priorities, and steps."""
    count = draw(st.integers(1, 12))
    needs = [
        draw(st.dictionaries(st.integers(0, number - 1), st.booleans(), max_size=3)) if number else {}
        for number in range(count)
    ]
    # A step for failures that needs nothing is refused when a flow is read.
    kinds = [["success", "failure", "always"] if above else ["success", "always"] for above in needs]
    when = [draw(st.sampled_from(kind)) for kind in kinds]
    priorities = draw(st.lists(st.integers(-2, 2), min_size=count, max_size=count))
    ends = st.sampled_from(["claim", "claim", "succeeded", "failed", "timed_out", "cancel", "cancel run"])
    return Program(needs, when, priorities, draw(st.lists(st.tuples(ends, st.integers(0, 11)), max_size=40)))


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@settings(max_examples=100, deadline=None)
@given(program=programs())
async def test_any_graph_is_run_as_the_model_says(kind: str, program: Program, fresh: Fresh) -> None:
    """Random needs, priorities, ends and cancellations: the same jobs are ready in the same order, at every step."""
    await _run(fresh(kind), program)


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(program=programs())
async def test_any_graph_is_run_on_postgres_as_the_model_says(program: Program, fresh: Fresh) -> None:
    """The same, less often: each step goes to a server and back."""
    await _run(fresh("postgres"), program)


async def _run(lent: AbstractContextManager[Address | None], program: Program) -> None:
    with lent as address:
        store = store_at(address)
        await store.open()
        try:
            await _compare(store, program)
        finally:
            await store.aclose()


async def _compare(store: Store, program: Program) -> None:
    model = Model(program)
    jobs = [
        job(
            str(number),
            *map(str, sorted(needs)),
            priority=model.priorities[number],
            when=model.when[number],
            tolerates=tuple(str(needed) for needed, may_fail in needs.items() if may_fail),
        )
        for number, needs in enumerate(model.needs)
    ]
    run = await store.open_run(a_run(*jobs), resume=False, fresh=False)
    numbers = {record.name: record.id for record in await store.jobs_of(run.run_id)}
    for what, number in program.steps:
        running = [index for index, status in enumerate(model.status) if status == "running"]
        if what == "claim":
            expected = model.ready()[: number % 4]
            assert await names_of_claims(store, number % 4) == [str(index) for index in expected]
            for index in expected:
                model.status[index] = "running"
        elif what == "cancel":
            index = number % len(jobs)
            await store.cancel(numbers[str(index)], "why", time.time())
            if model.status[index] == "pending":
                model.end(index, "cancelled")
        elif what == "cancel run":
            if any(status in OPEN for status in model.status):
                settled, stopping = await store.cancel_run(run.run_id, "why", time.time())
                spared = ("always",) if not model.cancelled else ()
                assert set(stopping) == {numbers[str(index)] for index in running if model.when[index] not in spared}
                model.cancel_run()
                assert settled.run_finished == all(status not in OPEN for status in model.status)
        elif running:
            index = running[number % len(running)]
            settled = await store.finish(numbers[str(index)], 1, Ending(JobStatus(what)), time.time())
            model.end(index, what)
            assert settled.accepted
            assert settled.run_finished == all(status not in OPEN for status in model.status)
        assert await statuses(store, run.run_id) == {str(index): status for index, status in enumerate(model.status)}


async def test_a_job_cannot_replace_one_that_waits_for_what_it_needs(store: Store) -> None:
    """It would begin although that was cancelled: the other had only waited for it to end."""

    async def admit(name: str, **terms: Any) -> Admitted:
        return await store.admit_job(job(name, terms=Terms(key="k", on_twin="replace", **terms)))

    first = (await admit("first")).job
    assert first is not None
    assert await names_of_claims(store) == ["first"]
    second = await admit("second")
    third = await admit("third", needs=(first,))
    assert (third.job, third.twin and third.twin.id) == (None, second.job)
    fourth = await admit("fourth")
    await store.finish(first, 1, Ending(JobStatus.CANCELLED), time.time())
    assert await names_of_claims(store) == ["fourth"]
    assert fourth.job is not None


async def test_that_the_job_which_it_replaces_did_not_succeed_is_no_failure_above(store: Store) -> None:
    """A job that runs because of a failure means one of those that it needs."""
    fine, old = await store.add_job(job("fine")), await store.admit_job(job("old", terms=Terms(key="k")))
    assert await names_of_claims(store) == ["fine", "old"]
    new = job("new", when="failure", terms=Terms(key="k", on_twin="replace", needs=(fine,)))
    admitted = await store.admit_job(new)
    assert admitted.job is not None
    assert old.job is not None
    await store.finish(old.job, 1, Ending(JobStatus.CANCELLED), time.time())
    settled = await store.finish(fine, 1, OK, time.time())
    assert [(skip.id, skip.status) for skip in settled.skipped] == [(admitted.job, JobStatus.SKIPPED)]


async def test_a_key_goes_back_to_who_still_runs_when_its_successor_has_ended(store: Store) -> None:
    """A third job would run beside it: of the two that have had the key one has ended, and the other has not."""

    async def admit(name: str, on_twin: Any = "refuse") -> Admitted:
        return await store.admit_job(job(name, terms=Terms(key="k", on_twin=on_twin)))

    first, second = (await admit("first")).job, None
    assert first is not None
    assert await names_of_claims(store) == ["first"]
    for _ in range(2):
        second = (await admit("second", "replace")).job
        assert second is not None
    assert second is not None
    await store.cancel(second, "why", time.time())
    third = await admit("third")
    assert (third.job, third.twin and third.twin.id) == (None, first)
    fourth = (await admit("fourth", "replace")).job
    assert await names_of_claims(store) == []
    await store.finish(first, 1, Ending(JobStatus.CANCELLED), time.time())
    assert await names_of_claims(store) == ["fourth"]
    assert (await admit("fifth")).twin is not None
    assert fourth is not None
    await store.finish(fourth, 1, OK, time.time())
    assert (await admit("sixth")).twin is None
