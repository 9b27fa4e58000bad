"""The scheduler, embedded: both stores, real jobs."""

from __future__ import annotations

import asyncio
import functools
import gc
import sqlite3
import sys
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
import pytest_asyncio

from lifecycle import OwnerClosed
from lifecycle.scheduler import (
    Context,
    Event,
    HandlerError,
    JobFailed,
    JobStatus,
    RunConflict,
    Scheduler,
    handler,
)
from lifecycle.scheduler._work.handlers import HandlerTable, registered_handlers

from ..tools import flow_of

pytestmark = pytest.mark.asyncio

Make = Callable[..., Scheduler]


@pytest_asyncio.fixture(params=["memory", "sqlite"])
async def make(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Make]:
    """Make schedulers on one store of each kind; afterwards no task, no thread and no file of theirs is left."""
    threads = set(threading.enumerate())
    store = None if request.param == "memory" else tmp_path / "jobs.sqlite"
    yield functools.partial(Scheduler, store)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    ours = [thread.name for thread in set(threading.enumerate()) - threads if "AnyIO" not in thread.name]
    assert ours == []
    assert list(tmp_path.glob("*owner*")) == []


@handler("test.add")
def add(x: int, y: int = 1) -> int:
    """Add, in a worker thread."""
    return x + y


@handler("test.add_async")
async def add_async(x: int, y: int = 1) -> int:
    """Add, in the loop."""
    await anyio.sleep(0)
    return x + y


@handler("test.anything")
async def anything(value: Any) -> Any:
    """Return what it is given."""
    return value


@handler("test.fail")
def fail(message: str) -> None:
    """Fail."""
    raise ValueError(message)


@handler("test.wait")
async def wait_for_ever() -> None:
    """Wait until cancelled."""
    await anyio.sleep_forever()


released: set[str] = set()


@handler("test.held")
async def held() -> None:
    """Take until the test says so."""
    while not released:
        await anyio.sleep(0.001)


@handler("test.context")
async def use_context(context: Context) -> list[Any]:
    """Log, progress, and what the context knows."""
    context.log("one\nline")
    context.progress(1, 2)
    context.check()
    return [context.job, context.attempt, context.stopping, context.block]


calls: list[str] = []


@handler("test.note")
async def note(name: str) -> str:
    """Note that it was called."""
    calls.append(name)
    return name


@pytest.fixture(autouse=True)
def no_calls() -> None:
    """Begin every test with an empty note."""
    calls.clear()


async def test_functions_and_names_are_run_with_their_arguments(make: Make) -> None:
    """Async functions in the loop, plain ones in a thread, handlers by name."""
    async with make() as scheduler:
        jobs = [
            await scheduler.submit(add, 1, 2),
            await scheduler.submit(add_async, 1),
            await scheduler.submit("test.add", 5),
        ]
        outcomes = [await job.wait() for job in jobs]
    assert [outcome.result for outcome in outcomes] == [3, 2, 6]
    assert {outcome.status for outcome in outcomes} == {JobStatus.SUCCEEDED}
    assert [outcome.unwrap() for outcome in outcomes] == [3, 2, 6]
    assert jobs[0].outcome is outcomes[0]


async def test_the_most_urgent_job_is_run_first(make: Make) -> None:
    """Priority decides among those that wait; equal ones come in order."""
    async with make(workers=1) as scheduler:
        blocker = await scheduler.submit(wait_for_ever, priority=99)
        jobs = [
            await scheduler.submit(note, name, priority=priority)
            for name, priority in [("low", -5), ("a", 0), ("high", 7), ("b", 0)]
        ]
        await blocker.cancel()
        for job in jobs:
            await job.wait()
    assert calls == ["high", "a", "b", "low"]


async def test_no_more_jobs_run_than_there_are_workers(make: Make) -> None:
    """The bound holds at every moment."""
    running = most = 0

    async def count(index: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await anyio.sleep(0.02)
        running -= 1

    handler("test.count")(count)
    try:
        async with make(workers=3) as scheduler:
            for job in [await scheduler.submit(count, index) for index in range(20)]:
                assert (await job.wait()).succeeded
    finally:
        del registered_handlers()._handlers["test.count"]
    assert most == 3


async def test_a_failing_job_is_tried_again_with_growing_pauses(make: Make) -> None:
    """So often as `retries` says; the outcome tells the attempts and the last error."""
    events: list[Event] = []
    async with make(on_event=events.append) as scheduler:
        job = await scheduler.submit(fail, "no", retries=2, backoff=(0.01, 0.02))
        outcome = await job.wait()
    assert (outcome.status, outcome.attempts) == (JobStatus.FAILED, 3)
    assert outcome.error == "ValueError: no"
    assert isinstance(outcome.exception, ValueError)
    delays = [event.data["delay"] for event in events if event.kind == "job_retrying"]
    assert len(delays) == 2
    assert 0.008 <= delays[0] <= 0.01 <= delays[1] * 1.01 <= 0.0203
    assert [event.kind for event in events] == [
        *["job_started", "job_retrying"] * 2,
        "job_started",
        "job_finished",
    ]
    with pytest.raises(JobFailed, match="failed: ValueError: no") as caught:
        outcome.unwrap()
    assert caught.value.__cause__ is outcome.exception


async def test_a_job_that_takes_too_long_times_out(make: Make) -> None:
    """The timeout is for one attempt, and counts as a failure."""
    async with make() as scheduler:
        job = await scheduler.submit(wait_for_ever, timeout=0.02, retries=1, backoff=(0.0, 0.0))
        outcome = await job.wait()
    assert (outcome.status, outcome.attempts) == (JobStatus.TIMED_OUT, 2)
    assert outcome.error == "took longer than its timeout of 0.02 s"


async def test_queued_delayed_and_running_jobs_can_be_cancelled(make: Make) -> None:
    """A cancelled job's outcome says why; a second request finds it ended."""
    async with make(workers=1) as scheduler:
        running = await scheduler.submit(wait_for_ever)
        queued = await scheduler.submit(note, "queued")
        delayed = await scheduler.submit(note, "delayed", delay=60.0)
        while not scheduler.statistics().running:
            await anyio.sleep(0.001)
        for job in (queued, delayed, running):
            assert await job.cancel("not wanted")
            outcome = await job.wait()
            assert (outcome.status, outcome.error) == (JobStatus.CANCELLED, "not wanted")
            assert not await job.cancel()
        assert not await scheduler.cancel(running.id)
        assert not await scheduler.cancel(12_345)
    assert calls == []


async def test_a_delay_is_kept(make: Make) -> None:
    """The job is not started before its time, and soon after it."""
    async with make() as scheduler:
        began = time.monotonic()
        job = await scheduler.submit(note, "late", delay=0.1)
        await job.wait()
        assert 0.09 < time.monotonic() - began < 5


async def test_a_handler_is_given_its_context(make: Make) -> None:
    """Log lines and progress become events; the last are told before the end."""
    events: list[Event] = []
    async with make(on_event=events.append) as scheduler:
        job = await scheduler.submit(use_context, name="mine")
        assert (await job.wait()).result == ["mine", 1, False, "mine"]
    told = [(event.kind, dict(event.data)) for event in events if event.kind in ("job_log", "job_progress")]
    assert told == [("job_log", {"message": "one\\nline"}), ("job_progress", {"done": 1, "total": 2})]
    assert events[-1].kind == "job_finished"


async def test_leaving_lets_running_jobs_end_and_interrupts_the_rest(make: Make) -> None:
    """Within the drain timeout jobs end well; those that take longer are interrupted, as are those that wait."""
    release = anyio.Event()

    async def quick() -> str:
        await release.wait()
        return "ended"

    handler("test.quick")(quick)
    try:
        async with make(workers=2, drain_timeout=0.3) as scheduler:
            ends = await scheduler.submit(quick)
            stuck = await scheduler.submit(wait_for_ever)
            waits = await scheduler.submit(note, "waits")
            while scheduler.statistics().running < 2:
                await anyio.sleep(0.001)
            release.set()
    finally:
        del registered_handlers()._handlers["test.quick"]
    assert (await ends.wait()).result == "ended"
    assert (await stuck.wait()).status is JobStatus.INTERRUPTED
    assert (await waits.wait()).status is JobStatus.INTERRUPTED
    assert calls == []


async def test_a_closed_scheduler_refuses_work(make: Make) -> None:
    """Before and after its block there is a clear error."""
    scheduler = make()
    with pytest.raises(OwnerClosed, match="has not been entered"):
        await scheduler.submit(add, 1)
    async with scheduler:
        pass
    with pytest.raises(OwnerClosed, match="is closing or closed"):
        await scheduler.submit(add, 1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"priority": "x"}, "priority: expected an integer"),
        ({"retries": -1}, "retries: expected an integer from 0"),
        ({"delay": -1.0}, "delay: expected 0 or more"),
        ({"timeout": 0}, "timeout: expected more than 0"),
        ({"delay": float("nan")}, "delay: expected 0 or more"),
        ({"backoff": (-1, 1)}, "backoff: expected 0 or more"),
    ],
)
async def test_wrong_settings_are_refused_before_anything_is_written(
    make: Make, settings: dict[str, Any], message: str
) -> None:
    """Each names the setting."""
    async with make() as scheduler:
        with pytest.raises(ValueError, match=message):
            await scheduler.submit(add, 1, **settings)
        with pytest.raises(ValueError, match="missing a required argument: 'x'"):
            await scheduler.submit(add)
        with pytest.raises(LookupError, match=r"unknown handler 'test\.ad'; did you mean 'test\.add'"):
            await scheduler.submit("test.ad")
        with pytest.raises(TypeError, match="expected a function"):
            await scheduler.submit(3)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="workers must be an integer"):
        make(workers=0)


async def test_a_durable_store_takes_only_what_it_can_find_again(tmp_path: Path) -> None:
    """Functions without a name, and arguments that are no plain data, are refused."""
    async with Scheduler(tmp_path / "jobs.sqlite") as scheduler:
        with pytest.raises(TypeError, match=r"mark it with @handler\(NAME\)"):
            await scheduler.submit(lambda: None)
        with pytest.raises(TypeError, match="has no plain form"):
            await scheduler.submit(anything, object())
        job = await scheduler.submit(add_async, 1, 2)
        assert (await job.wait()).result == 3


async def test_a_result_that_cannot_be_kept_fails_the_job(tmp_path: Path) -> None:
    """The error says whose result it is and what is wrong with it."""

    async def odd() -> object:
        return object()

    async def huge() -> str:
        return "x" * 2_000_000

    with_name = handler("test.odd")(odd), handler("test.huge")(huge)
    try:
        async with Scheduler(tmp_path / "jobs.sqlite") as scheduler:
            outcomes = [await (await scheduler.submit(function)).wait() for function in with_name]
    finally:
        for name in ("test.odd", "test.huge"):
            del registered_handlers()._handlers[name]
    assert "the result of test.odd: a object has no plain form" in str(outcomes[0].error)
    assert "the result of test.huge is larger than 1,048,576 bytes" in str(outcomes[1].error)


async def test_handlers_that_misbehave_fail_their_job_and_nothing_else() -> None:
    """sys.exit(), a stray cancellation, a returned coroutine, an odd BaseException, an error without a message."""

    class Odd(BaseException):
        pass

    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no message")

    async def odd() -> None:
        raise Odd

    async def stray() -> None:
        raise asyncio.CancelledError

    async def swallow() -> str:
        try:
            await anyio.sleep_forever()
        except asyncio.CancelledError:
            return "swallowed"

    def returns_coroutine() -> Any:
        return add_async(1)

    def raise_(error: BaseException) -> None:
        raise error

    async with Scheduler() as scheduler:
        cases: list[tuple[Any, ...]] = [
            (sys.exit, 3), (stray,), (returns_coroutine,), (raise_, Mute()), (raise_, StopIteration()),
            (raise_, asyncio.CancelledError()), (raise_, asyncio.InvalidStateError()), (raise_, Odd()), (odd,),
        ]  # fmt: skip
        outcomes = [await (await scheduler.submit(*case)).wait() for case in cases]
        assert {outcome.status for outcome in outcomes} == {JobStatus.FAILED}
        assert [type(outcome.exception) for outcome in outcomes[:3]] == [HandlerError, HandlerError, TypeError]
        assert "called sys.exit(3)" in str(outcomes[0].error)
        assert "raised a cancellation, but nobody cancelled it" in str(outcomes[1].error)
        assert "declare it with async def" in str(outcomes[2].error)
        assert "raised Odd, which is no Exception" in str(outcomes[-1].error)
        assert "Mute: <its message could not be made" in str(outcomes[3].error)
        job = await scheduler.submit(swallow)
        await anyio.sleep(0.01)
        await job.cancel("stop")
        assert (await job.wait()).status in (JobStatus.CANCELLED, JobStatus.SUCCEEDED)
        assert (await (await scheduler.submit(add_async, 1)).wait()).succeeded


async def test_a_sync_handler_is_told_to_stop_and_waited_for() -> None:
    """A thread cannot be ended: cancelled means that it has returned, and a retry never runs beside it."""
    inside = 0
    most = 0
    lock = threading.Lock()

    def slow(context: Context) -> None:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        while not context.stopping:
            time.sleep(0.005)
        time.sleep(0.05)
        with lock:
            inside -= 1

    async with Scheduler() as scheduler:
        job = await scheduler.submit(slow)
        while not inside:
            await anyio.sleep(0.005)
        await job.cancel("stop")
        outcome = await job.wait()
        assert (outcome.status, inside) == (JobStatus.CANCELLED, 0)
        job = await scheduler.submit(slow, timeout=0.05, retries=2, backoff=(0.0, 0.0))
        outcome = await job.wait()
    assert (outcome.status, outcome.attempts, inside, most) == (JobStatus.TIMED_OUT, 3, 0, 1)


async def test_a_thread_that_does_not_stop_is_named_and_not_tried_again() -> None:
    """Nothing runs in its place as long as it runs."""
    release = threading.Event()

    def stubborn() -> None:
        release.wait(20)

    try:
        async with Scheduler(close_timeout=0.2) as scheduler:
            job = await scheduler.submit(stubborn, timeout=0.05, retries=5, backoff=(0.0, 0.0), name="mule")
            outcome = await job.wait()
    finally:
        release.set()
    assert (outcome.status, outcome.attempts) == (JobStatus.TIMED_OUT, 1)
    assert "the thread of handler" in str(outcome.error)
    assert "and still runs" in str(outcome.error)


async def test_what_an_async_handler_acquires_in_its_scope_is_released_with_the_block() -> None:
    """The scope in the context belongs to the block; on every exit its resources are gone before the job has ended."""
    released: list[str] = []

    async def acquires(how: str, context: Context) -> None:
        context.scope.callback(released.append, how)
        if how == "fails":
            raise ValueError(how)
        if how == "waits":
            await anyio.sleep_forever()

    async with Scheduler() as scheduler:
        for how in ("returns", "fails", "waits"):
            job = await scheduler.submit(acquires, how, timeout=0.05)
            await job.wait()
            assert released[-1] == how


async def test_nothing_of_a_job_is_left_in_memory_when_it_has_ended() -> None:
    """Context, attempt and arguments are unreachable after every kind of end (casebook C5, C6)."""

    class Thing:
        pass

    seen: list[weakref.ref[Any]] = []

    async def body(thing: Thing, how: str, context: Context) -> None:
        seen.extend([weakref.ref(thing), weakref.ref(context._job)])
        if how == "fails":
            raise ValueError
        if how == "waits":
            await anyio.sleep_forever()

    async with Scheduler(workers=4) as scheduler:
        for how in ("returns", "fails", "times out", "cancelled") * 5:
            job = await scheduler.submit(
                body, Thing(), "waits" if how in ("times out", "cancelled") else how,
                timeout=0.01 if how == "times out" else None,
            )  # fmt: skip
            if how == "cancelled":
                await anyio.sleep(0.005)
                await job.cancel()
            await job.wait()
            del job
        engine = scheduler._engine
        assert engine is not None
        assert (len(engine.running), len(engine.runs.open), len(engine.store._jobs)) == (0, 0, 0)  # type: ignore[attr-defined]
        await anyio.sleep(0.01)
        gc.collect()
        assert len(seen) == 40
        assert [reference for reference in seen if reference() is not None] == []


async def test_a_pending_job_whose_handle_was_dropped_is_run_all_the_same(make: Make) -> None:
    """Nobody has to hold a handle."""
    async with make(workers=1) as scheduler:
        for number in range(5):
            await scheduler.submit(note, str(number))
        gc.collect()
        last = await scheduler.submit(note, "last")
        await last.wait()
    assert calls == ["0", "1", "2", "3", "4", "last"]


async def test_events_can_be_read_as_they_come(make: Make) -> None:
    """The iterator ends with the scheduler; a slow reader loses the oldest, and is told how many."""
    kinds: list[str] = []

    async def read(scheduler: Scheduler, task_status: anyio.abc.TaskStatus[None]) -> None:
        events = scheduler.events()
        task_status.started()
        kinds.extend([event.kind async for event in events])

    async with anyio.create_task_group() as group, make() as scheduler:
        await group.start(read, scheduler)
        await anyio.sleep(0)
        slow = scheduler.events(buffer=2)
        first = asyncio.ensure_future(anext(slow))
        await anyio.sleep(0)
        for _ in range(3):
            await (await scheduler.submit(add_async, 1)).wait()
        assert (await first).kind == "job_started"
        lost = await anext(slow)
        assert (lost.kind, dict(lost.data)) == ("events_lost", {"count": 3})
        assert [(await anext(slow)).kind for _ in range(2)] == ["job_started", "job_finished"]
        await slow.aclose()  # type: ignore[attr-defined]
    assert kinds == ["job_started", "job_finished"] * 3


async def test_a_listener_that_fails_hurts_nobody(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """Its error is logged."""

    def broken(event: Event) -> None:
        raise RuntimeError("listener")

    async with make(on_event=broken) as scheduler:
        assert (await (await scheduler.submit(add_async, 1)).wait()).succeeded
    assert "event listener failed" in caplog.text


async def test_statistics_count_the_ends(make: Make) -> None:
    """Bounded counters, one for each kind of end."""
    async with make() as scheduler:
        for job in [await scheduler.submit(add_async, 1), await scheduler.submit(fail, "x")]:
            await job.wait()
        found = scheduler.statistics()
    assert found.ended == {"succeeded": 1, "failed": 1, "cancelled": 0, "timed_out": 0, "interrupted": 0}
    assert (found.running, found.runs, found.workers) == (0, 0, 8)


async def test_cancelling_the_body_drains_and_passes_the_cancellation_on(make: Make) -> None:
    """The block is left by a cancellation: jobs may end within the drain timeout, then it goes on."""
    ended = anyio.Event()

    async def body() -> None:
        async with make(drain_timeout=5.0) as scheduler:
            await scheduler.submit(note, "drained", delay=0.0)
            job = await scheduler.submit(add_async, 1)
            await job.wait()
            ended.set()
            await anyio.sleep_forever()

    task = asyncio.ensure_future(body())
    await ended.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert calls == ["drained"]


async def test_a_cancellation_while_the_block_is_left_is_passed_on(make: Make) -> None:
    """The body had come to its end; the job that drains is interrupted, and whoever cancelled is not ignored."""
    leaving = anyio.Event()

    async def body() -> None:
        async with make(drain_timeout=60.0) as scheduler:
            await scheduler.submit(wait_for_ever)
            while not scheduler.statistics().running:
                await anyio.sleep(0.001)
            leaving.set()

    task = asyncio.ensure_future(body())
    await leaving.wait()
    await anyio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


FLOW = """
[params]
n = 3
[blocks.a]
call = "test.add"
args = { x = "${params.n}" }
[blocks.b]
needs = ["a"]
foreach = [1, 2, 3]
each = { call = "test.add_async", args = ["${item}", "${blocks.a.output}"] }
[blocks.c]
needs = ["b"]
call = "test.note"
args = ["${blocks.b.output[2]} of run ${run.flow} attempt ${run.attempt}"]
"""


async def test_a_flow_is_run_in_the_order_of_its_needs(make: Make) -> None:
    """Outputs flow from block to block; the outcome lists every job."""
    events: list[Event] = []
    async with make(on_event=events.append) as scheduler:
        run = await scheduler.submit(flow_of(FLOW), params={"n": 4})
        outcome = await run.wait()
        assert scheduler.statistics().runs == 0
    assert outcome.succeeded
    assert [job.name for job in outcome.jobs] == ["a", "b", "c"]
    assert calls == ["8 of run flow attempt 1"]
    assert [events[0].kind, events[-1].kind] == ["run_started", "run_finished"]
    assert dict(outcome.counts()) == {"succeeded": 3}


async def test_a_failed_job_cancels_what_needs_it_and_the_run_fails(make: Make) -> None:
    """The other branches go on to their end."""
    text = """
    [blocks.a]
    call = "test.fail"
    args = ["broken"]
    [blocks.b]
    needs = ["a"]
    sleep = 0
    [blocks.c]
    sleep = 0
    """
    async with make() as scheduler:
        outcome = await (await scheduler.submit(flow_of(text))).wait()
    assert outcome.status is JobStatus.FAILED
    by_name = {job.name: job for job in outcome.jobs}
    assert by_name["a"].error == "blocks.a: ValueError: broken"
    assert by_name["b"].error == "needs 'a', which failed"
    assert by_name["c"].status is JobStatus.SUCCEEDED


async def test_a_run_can_be_cancelled_as_a_whole(make: Make) -> None:
    """What runs is stopped, what waits is not started."""
    async with make(workers=1) as scheduler:
        run = await scheduler.submit(
            flow_of("[blocks.a]\nsleep = 60\n[blocks.b]\nsleep = 60\n[blocks.c]\nneeds=['b']\nsleep=0")
        )
        while not scheduler.statistics().running:
            await anyio.sleep(0.001)
        assert await run.cancel("enough")
        outcome = await run.wait()
        assert not await run.cancel()
    assert outcome.status is JobStatus.CANCELLED
    assert {job.error for job in outcome.jobs} <= {"enough", "needs 'b', which was cancelled"}
    assert {job.status for job in outcome.jobs} == {JobStatus.CANCELLED}


async def test_an_interrupted_run_goes_on_where_it_was(tmp_path: Path) -> None:
    """The same flow and parameters resume it; what had succeeded is not done again, and no retry is burnt."""
    store = tmp_path / "jobs.sqlite"
    text = """
    [params]
    n = 1
    [blocks.first]
    call = "test.note"
    args = ["first"]
    [blocks.second]
    needs = ["first"]
    sequence = [{ call = "test.note", args = ["second"] }, { sleep = "${params.n}" }]
    [blocks.third]
    needs = ["second"]
    call = "test.note"
    args = ["third"]
    """
    flow = flow_of(text)
    async with Scheduler(store, drain_timeout=0.0) as scheduler:
        run = await scheduler.submit(flow, params={"n": 1}, resume=True)
        assert not run.resumed
        while "second" not in calls:
            await anyio.sleep(0.001)
    outcome = await run.wait()
    assert [job.status.value for job in outcome.jobs] == ["succeeded", "interrupted", "pending"]
    assert outcome.status is JobStatus.INTERRUPTED
    calls.clear()
    async with Scheduler(store) as scheduler:
        other = await scheduler.submit(flow, params={"n": 0}, resume=True)
        assert not other.resumed
        await other.wait()
        again = await scheduler.submit(flow, params={"n": 1}, resume=True)
        assert (again.resumed, again.id, again.jobs, again.unfinished) == (True, run.id, 3, 2)
        outcome = await again.wait()
        assert outcome.succeeded
        assert [(job.attempts, job.failures) for job in outcome.jobs] == [(1, 0), (2, 0), (1, 0)]
        new = await scheduler.submit(flow, params={"n": 1}, resume=True)
        assert (new.resumed, new.id > run.id) == (False, True)
        await new.wait()
    assert calls == ["first", "second", "third", "second", "third", "first", "second", "third"]


async def test_a_changed_flow_does_not_continue_an_unfinished_run(tmp_path: Path) -> None:
    """The error says what to do; `fresh` cancels what is left and begins anew."""
    store = tmp_path / "jobs.sqlite"
    async with Scheduler(store, drain_timeout=0.0) as scheduler:
        old = await scheduler.submit(flow_of("[blocks.a]\nsleep = 60"))
    changed = flow_of("[blocks.a]\nsleep = 0")
    async with Scheduler(store) as scheduler:
        with pytest.raises(RunConflict, match=r"the flow has changed since its unfinished run 1 began.*--fresh"):
            await scheduler.submit(changed, resume=True)
        run = await scheduler.submit(changed, resume=True, fresh=True)
        assert not run.resumed
        assert (await run.wait()).succeeded
        records = await scheduler._store.jobs_of(old.id)
    assert [(job.status, job.error) for job in records] == [(JobStatus.CANCELLED, "a fresh run was begun")]


async def test_a_retry_that_is_due_later_survives_a_restart(tmp_path: Path) -> None:
    """The due time is in the store; failures are counted over restarts (casebook C3)."""
    store = tmp_path / "jobs.sqlite"
    flow = flow_of("[blocks.a]\ncall = 'test.fail'\nargs = ['x']\nretries = 1\nbackoff = [0.6, 0.6]")
    async with Scheduler(store) as scheduler:
        run = await scheduler.submit(flow, resume=True)
        while not (await scheduler._store.jobs_of(run.id))[0].due:
            await anyio.sleep(0.01)
    async with Scheduler(store) as scheduler:
        outcome = await (await scheduler.submit(flow, resume=True)).wait()
    assert [(job.attempts, job.failures, job.status.value) for job in outcome.jobs] == [(2, 2, "failed")]


async def test_jobs_by_themselves_are_taken_over_from_a_scheduler_that_was_closed(tmp_path: Path) -> None:
    """Only those whose handler is known here; the others wait for somebody who knows it."""
    store = tmp_path / "jobs.sqlite"
    handler("test.gone")(use_gone)
    async with Scheduler(store, drain_timeout=0.0) as scheduler:
        await scheduler.submit(wait_for_ever, priority=5)
        await scheduler.submit(note, "taken over", delay=0.2)
        gone = await scheduler.submit(use_gone, delay=0.1)
    del registered_handlers()._handlers["test.gone"]
    async with Scheduler(store, drain_timeout=0.0) as scheduler:
        while not calls:
            await anyio.sleep(0.01)
        record = await scheduler._store.job(gone.id)
        assert record is not None
        assert record.status is JobStatus.PENDING
    assert calls == ["taken over"]


async def use_gone() -> None:
    """A handler that the second process does not have."""


async def test_two_schedulers_on_one_store_do_not_take_each_others_jobs(tmp_path: Path) -> None:
    """Each runs what it was given, as long as it lives; a run that is going on cannot be begun twice."""
    store = tmp_path / "jobs.sqlite"
    async with Scheduler(store, name="one") as one, Scheduler(store, name="two") as two:
        waits = await one.submit(wait_for_ever)
        later = await one.submit(note, "one", delay=0.1)
        run = await one.submit(flow_of("[blocks.a]\nsleep = 0.3"), resume=True)
        with pytest.raises(RunConflict, match=r"run 1 of 'flow' with these parameters is being run by process \d+"):
            await two.submit(flow_of("[blocks.a]\nsleep = 0.3"), resume=True)
        await two.submit(note, "two")
        assert (await run.wait()).succeeded
        await later.wait()
        # The other one may cancel: its wish reaches the owner through the store.
        assert await two.cancel(waits.id, "from two")
        outcome = await waits.wait()
    assert (outcome.status, outcome.error) == (JobStatus.CANCELLED, "from two")
    assert sorted(calls) == ["one", "two"]


async def test_a_drain_takes_no_more_jobs_from_the_store(tmp_path: Path) -> None:
    """What has not begun is left as it was: it does not look as if it ran, and no attempt of it is counted."""
    path = tmp_path / "jobs.sqlite"
    released.clear()
    async with Scheduler(path, workers=2, on_event=lambda event: event.kind == "draining" and released.add("")) as one:
        for _ in range(2):
            await one.submit("test.held")
        while one.statistics().running < 2:
            await anyio.sleep(0.001)
        waiting = [(await one.submit("test.held")).id for _ in range(20)]
    with closing(sqlite3.connect(path)) as db:
        states = db.execute("SELECT state, attempt FROM jobs WHERE id >= ?", (waiting[0],)).fetchall()
    assert states == [("pending", 0)] * 20


async def test_a_drain_fires_no_schedule(tmp_path: Path) -> None:
    """What is due meanwhile is left to the next start, and to the schedule's policy for what was missed."""
    path = tmp_path / "jobs.sqlite"
    counts: list[int] = []
    released.clear()

    def count(event: Event) -> None:
        if event.kind == "draining":
            with closing(sqlite3.connect(path)) as db:
                counts.extend(db.execute("SELECT count(*) FROM jobs").fetchone())
            asyncio.get_running_loop().call_later(0.2, released.add, "")

    async with Scheduler(path, on_event=count) as scheduler:
        await scheduler.submit("test.held")
        await scheduler.schedule("often", "test.add", 1, fixed_rate=0.01)
        while scheduler.statistics().ended["succeeded"] < 2:
            await anyio.sleep(0.001)
    with closing(sqlite3.connect(path)) as db:
        (after,) = db.execute("SELECT count(*) FROM jobs").fetchone()
    assert after <= counts[0] + 3, "one may just have been put in"


async def test_a_job_that_is_cancelled_while_it_runs_is_told_and_counted_once(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own scheduler's reconciler does not find the wish again when the job has ended."""
    monkeypatch.setattr("lifecycle.scheduler._engine.engine.RECONCILE_INTERVAL", 0.01)
    told: list[str] = []
    async with make(on_event=lambda event: told.append(event.kind)) as scheduler:
        jobs = [await scheduler.submit(wait_for_ever) for _ in range(3)]
        while scheduler.statistics().running < 3:
            await anyio.sleep(0.001)
        for job in jobs:
            assert await job.cancel("enough")
            await job.wait()
        await anyio.sleep(0.05)
        assert scheduler.statistics().ended["cancelled"] == 3
    assert told.count("job_finished") == 3


async def test_the_reconciler_asks_nothing_while_there_are_no_jobs(tmp_path: Path) -> None:
    """One query per interval for all jobs, and none when nobody cares (casebook C4)."""
    async with Scheduler(tmp_path / "jobs.sqlite") as scheduler:
        asked = 0
        notices = scheduler._store.notices

        async def counted() -> Any:
            nonlocal asked
            asked += 1
            return await notices()

        scheduler._store.notices = counted  # type: ignore[method-assign]
        await anyio.sleep(0.4)
        assert asked == 0
        jobs = [await scheduler.submit(wait_for_ever) for _ in range(5)]
        await anyio.sleep(0.7)
        assert 1 <= asked <= 3
        for job in jobs:
            await job.cancel()
            await job.wait()
        jobs.clear()
        del job
        await anyio.sleep(0.3)
        before = asked
        await anyio.sleep(0.6)
        assert asked <= before + 1


async def test_a_table_of_handlers_can_be_given_with_a_flow(make: Make) -> None:
    """A flow that a program makes brings its handlers along."""

    async def local(value: Any) -> Any:
        return [value]

    flow = flow_of("[blocks.a]\ncall = 'local'\nargs = ['x']", local=local)
    assert isinstance(registered_handlers(), HandlerTable)
    async with make() as scheduler:
        run = await scheduler.submit(flow)
        assert (await run.wait()).succeeded


async def test_many_jobs_from_many_tasks(make: Make) -> None:
    """A thousand submissions at once, each with its own result."""

    async def one(index: int, results: list[Any]) -> None:
        job = await scheduler.submit(add_async, index)
        results[index] = (await job.wait()).result

    results: list[Any] = [None] * 1_000
    async with make(workers=20) as scheduler, anyio.create_task_group() as group:
        for index in range(1_000):
            group.start_soon(one, index, results)
    assert results == [index + 1 for index in range(1_000)]
