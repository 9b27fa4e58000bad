"""Steps that run anyway: after a failure, whatever happened, and at the very end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from lifecycle.scheduler import Flow, FlowRun, JobRecord, JobStatus, RunOutcome, Scheduler, handler

from ..stores import Address
from ..tools import flow_of, problems_of

pytestmark = pytest.mark.asyncio

seen: dict[str, Any] = {}


async def note(name: str, value: Any = None) -> str:
    """Note what a step was given."""
    seen[name] = value
    return name


async def fail(text: str = "no") -> None:
    """Fail."""
    raise ValueError(text)


@handler("anyway.nothing")
async def nothing() -> None:
    """Do nothing."""


async def hold() -> None:
    """Take for ever."""
    await anyio.sleep_forever()


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    """Begin with an empty note."""
    seen.clear()


@pytest.fixture
def store(address: Address | None) -> Address | None:
    """A store of each kind."""
    return address


def of(text: str) -> Flow:
    """Return a flow with these handlers."""
    return flow_of(text, note=note, fail=fail, hold=hold, nothing=nothing)


async def run(text: str, store: Address | None) -> tuple[str, dict[str, str]]:
    """Run a flow and return how it ended, and how each of its jobs."""
    async with Scheduler(store) as scheduler:
        return await end(scheduler, await scheduler.submit(of(text)))


async def end(scheduler: Scheduler, running: FlowRun) -> tuple[str, dict[str, str]]:
    """Return how a run has ended, and how each of its jobs: everybody who asks is told the same."""
    outcome = await running.wait()
    record = await scheduler.runs.show(running.id)
    if record is not None:  # in memory it is forgotten
        assert record.status is outcome.status is (await scheduler.runs.wait(running.id)).status
        assert await scheduler.runs.list(status=outcome.status) == [record]
        assert await scheduler.runs.list(status=set(JobStatus) - {outcome.status}) == []
    return told(outcome)


def told(outcome: RunOutcome) -> tuple[str, dict[str, str]]:
    """Return how a run has ended, and how each of its jobs."""
    return outcome.status.value, {job.name: job.status.value for job in outcome.jobs}


MAKE = """
[blocks.make]
call = "{make}"
[blocks.use]
needs = ["make"]
call = "note"
args = ["use", "${{blocks.make.output}}"]
[blocks.tell]
when = "failure"
needs = ["use"]
call = "note"
args = ["tell", "${{blocks.make.status}}: ${{blocks.make.error}}"]
[blocks.clean]
when = "always"
needs = ["use"]
call = "note"
args = ["clean", "${{blocks.use.status}}"]
"""


async def test_a_step_for_failures_runs_when_something_above_it_failed(store: Address | None) -> None:
    """Not only right above it; and the run is a failed one, whatever cleaned up after it."""
    status, jobs = await run(MAKE.format(make="fail"), store)
    assert status == "failed"
    assert jobs == {"make": "failed", "use": "cancelled", "tell": "succeeded", "clean": "succeeded"}
    assert seen == {"tell": "failed: blocks.make: ValueError: no", "clean": "cancelled"}


async def test_a_step_for_failures_is_skipped_when_nothing_failed(store: Address | None) -> None:
    """Which is no failure of the run."""
    status, jobs = await run(MAKE.format(make="nothing"), store)
    assert status == "succeeded"
    assert jobs == {"make": "succeeded", "use": "succeeded", "tell": "skipped", "clean": "succeeded"}
    assert seen == {"use": None, "clean": "succeeded"}


async def test_what_needs_a_step_that_was_not_needed_runs(store: Address | None) -> None:
    """It had nothing to do, and stands in nobody's way; a failure further up is seen through it."""
    text = """
    [blocks.a]
    call = "{a}"
    args = ["a"]
    [blocks.repair]
    when = "failure"
    needs = ["a"]
    call = "note"
    args = ["repair"]
    [blocks.go_on]
    needs = ["repair"]
    call = "note"
    args = ["go on"]
    [blocks.tell]
    when = "failure"
    needs = ["go_on"]
    call = "note"
    args = ["tell"]
    """
    assert (await run(text.format(a="note"), store))[1] == {
        "a": "succeeded", "repair": "skipped", "go_on": "succeeded", "tell": "skipped"
    }  # fmt: skip
    status, jobs = await run(text.format(a="fail"), None)
    assert (status, set(jobs.values())) == ("failed", {"failed", "succeeded"})


ALLOWED = """
[blocks.a]
call = "fail"
[blocks.b]
needs = [{{block = "a", may_fail = true}}]
call = "note"
args = ["b", "${{blocks.a.status}}"]
{more}
"""


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ("", "succeeded"),
        ("[blocks.c]\nneeds = ['a']\nsleep = 0", "failed"),  # needs it to succeed
        ("[blocks.c]\nneeds = ['a']\nwhen = 'always'\nsleep = 0", "succeeded"),
        ("[finally.c]\nsleep = 0", "succeeded"),
        ("[finally.c]\nwhen = 'success'\nsleep = 0", "succeeded"),
        ("[blocks.c]\ncall = 'fail'", "failed"),  # fails by itself
    ],
)
async def test_a_failure_that_is_allowed_is_no_failure_of_the_run(
    store: Address | None, more: str, status: str
) -> None:
    """If some block says so and none needs it to succeed; it is seen in the counts."""
    ended, jobs = await run(ALLOWED.format(more=more), store)
    assert ended == status
    assert (jobs["a"], jobs["b"]) == ("failed", "succeeded")
    assert seen["b"] == "failed"
    if "c" in jobs and status == "succeeded":
        assert jobs["c"] == "succeeded"


async def test_a_cancellation_is_not_allowed_where_a_failure_is(store: Address | None) -> None:
    """What was cancelled by hand makes no run succeed; what tolerates it runs."""
    text = ALLOWED.format(more="").replace('call = "fail"', 'call = "hold"')
    async with Scheduler(store) as scheduler:
        running = await scheduler.submit(of(text))
        await scheduler.cancel((await until_it_runs(scheduler, running, "a")).id)
        assert await end(scheduler, running) == ("failed", {"a": "cancelled", "b": "succeeded"})


async def until_it_runs(scheduler: Scheduler, running: FlowRun, name: str) -> JobRecord:
    """Return a job of a run as soon as it runs."""
    while True:
        for job in await scheduler.jobs(run=running.id, status=JobStatus.RUNNING):
            if job.name == name:
                return job
        await anyio.sleep(0.001)


FINALLY = """
[blocks.a]
call = "{a}"
[blocks.b]
needs = ["a"]
sleep = 0
[blocks.long]
sleep = {long}
[finally.release]
call = "note"
args = ["release", "${{run.status}}: ${{blocks.a.status}}, ${{blocks.b.status}}, ${{blocks.long.status}}"]
[finally.tell]
when = "failure"
needs = ["release"]
call = "note"
args = ["tell", "${{blocks.release.output}}"]
[finally.praise]
when = "success"
call = "note"
args = ["praise"]
"""


async def test_finally_runs_after_everything_else(store: Address | None) -> None:
    """Also after what nothing needs; and knows how it all ended."""
    status, jobs = await run(FINALLY.format(a="fail", long=0.05), store)
    assert status == "failed"
    assert seen == {"release": "failed: failed, cancelled, succeeded", "tell": "release"}
    assert jobs["praise"] == "cancelled"


async def test_finally_of_a_run_that_went_well(store: Address | None) -> None:
    """What is for failures is skipped."""
    status, jobs = await run(FINALLY.format(a="nothing", long=0), store)
    assert status == "succeeded"
    assert jobs["tell"] == "skipped"
    assert seen == {"release": "succeeded: succeeded, succeeded, succeeded", "praise": None}


async def test_a_cancelled_run_cleans_up(store: Address | None) -> None:
    """The first request stops all but what runs always; the run is a cancelled one."""
    async with Scheduler(store) as scheduler:
        running = await scheduler.submit(of(FINALLY.format(a="hold", long=60)))
        await until_it_runs(scheduler, running, "a")
        assert await running.cancel()
        status, jobs = await end(scheduler, running)
    assert status == "cancelled"
    assert seen == {"release": "cancelled: cancelled, cancelled, cancelled"}
    assert jobs == {
        "a": "cancelled", "b": "cancelled", "long": "cancelled", "release": "succeeded", "tell": "cancelled",
        "praise": "cancelled",
    }  # fmt: skip


async def test_a_second_request_stops_what_runs_always_as_well(store: Address | None) -> None:
    """Also what has not begun."""
    text = "[blocks.a]\ncall = 'hold'\n[finally.b]\ncall = 'hold'\n[finally.c]\nneeds = ['b']\nsleep = 0"
    async with Scheduler(store) as scheduler:
        running = await scheduler.submit(of(text))
        for name in "ab":
            await until_it_runs(scheduler, running, name)
            assert not running.done
            await running.cancel()
        assert await end(scheduler, running) == ("cancelled", dict.fromkeys("abc", "cancelled"))


async def test_a_run_that_was_cancelled_goes_on_cleaning_after_a_restart(durable: Address) -> None:
    """What runs always was interrupted, and is what is left of the run."""
    text = "[blocks.a]\ncall = 'hold'\n[blocks.b]\nneeds = ['a']\nsleep = 0\n[finally.c]\ncall = 'note'\nargs = ['c']"
    slow = text.replace("call = 'note'\nargs = ['c']", "call = 'note'\nargs = ['c']\ndelay = 0.2")
    async with Scheduler(durable, drain_timeout=0) as scheduler:
        running = await scheduler.submit(of(slow))
        await until_it_runs(scheduler, running, "a")
        await running.cancel()
    assert running.outcome is not None
    assert running.outcome.status is JobStatus.INTERRUPTED
    async with Scheduler(durable) as scheduler:
        again = await scheduler.submit(of(slow), resume=True)
        assert again.resumed
        assert told(await again.wait()) == ("cancelled", {"a": "cancelled", "b": "cancelled", "c": "succeeded"})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[blocks.a]\nsleep=0\nwhen='sometimes'", "blocks.a.when: expected one of 'always', 'failure', 'success'"),
        ("[blocks.a]\nsleep=0\nwhen='failure'", "blocks.a.when: a step for failures needs the blocks"),
        ("[blocks.a]\nsleep=0\n[blocks.b]\nsleep=0\nneeds='a'", "got 'a'; write needs = ['a']"),
        ("[blocks.a]\nsleep=0\n[blocks.b]\nsleep=0\nneeds=[{blok='a'}]", "[0].blok: unknown key; did you mean 'block'"),
        ("[blocks.a]\nsleep=0\n[blocks.b]\nsleep=0\nneeds=[{may_fail=true}]", "needs[0].block: missing"),
        ("[blocks.a]\nsleep=0\n[blocks.b]\nsleep=0\nneeds=[3]", "blocks.b.needs[0]: expected a name, or {block"),
        ("[blocks.a]\nsleep=0\n[blocks.b]\nsleep=0\nneeds=['a', {block='a'}]", "the name 'a' is used twice"),
        ("[blocks.a]\nsleep=0\n[finally.a]\nsleep=0", "finally.a: the name 'a' is used in [blocks] as well"),
        ("[blocks.a]\nsleep=0\nneeds=['f']\n[finally.f]\nsleep=0", "block 'f' of [finally] runs after all blocks"),
        ("[blocks.a]\nshell=['echo', '${run.status}']", "the run is known only in the blocks of [finally]"),
        ("[blocks.a]\nsleep=0\n[blocks.b]\nshell=['echo', '${blocks.a.status}']", "block 'a' is not in needs"),
        ("[blocks.a]\nsequence=[{sleep=0, when='always'}]", "only a top-level block can have this key"),
        ("[finally.a]\nsleep=0\n[blocks]", "expected at least one block, [blocks.NAME]"),
    ],
)  # fmt: skip
async def test_what_is_not_right_is_named_with_its_place(text: str, problem: str) -> None:
    """Before anything runs."""
    problems = problems_of(text)
    assert any(problem in line for line in problems), problems


async def test_what_needs_a_job_from_outside_changes_nothing_for_its_run(store: Address | None) -> None:
    """That a job may fail is said in its flow; that one of no run needs it to succeed is that one's affair."""
    text = """
        [blocks.first]
        call = "fail"
        delay = 0.2
        [blocks.after]
        needs = [{block = "first", may_fail = true}]
        call = "nothing"
        """
    async with Scheduler(store) as scheduler:
        running = await scheduler.submit(of(text))
        first = next(job.id for job in await scheduler.jobs() if job.name == "first")
        outside = await scheduler.submit(nothing, needs=[first])
        assert await end(scheduler, running) == ("succeeded", {"first": "failed", "after": "succeeded"})
        assert (await outside.wait()).status is JobStatus.CANCELLED


async def test_too_many_pairs_of_blocks_and_last_blocks_are_refused() -> None:
    """Each of the one needs each of the other: the store would be held for minutes by one flow."""

    def many(blocks: int, last: int) -> str:
        names = [*(f"blocks.b{number}" for number in range(blocks)), *(f"finally.z{number}" for number in range(last))]
        return "".join(f"[{name}]\nsleep = 0\n" for name in names)

    (problem,) = problems_of(many(1_001, 500))
    assert problem.startswith("flow.toml: finally: 500 blocks after 1,001 others are 500,500 needs, more than 500,000")
    assert problems_of(many(1_000, 20)) == []


async def test_a_subflow_has_no_steps_that_run_anyway(tmp_path: Path) -> None:
    """It runs inside one job, whose end is its end."""
    (tmp_path / "sub.toml").write_text("[blocks.a]\nsleep = 0\n[finally.b]\nsleep = 0")
    with pytest.raises(ValueError, match=r"sub.toml has 'finally', 'when' or 'may_fail'"):
        flow_of("[blocks.a]\nsubflow = 'sub.toml'", directory=tmp_path)
