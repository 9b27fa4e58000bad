"""What of an attempt reaches beyond it: which one it is, whether its job goes on, what is done once it has ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from lifecycle.scheduler import Context, JobStatus, Scheduler, handler
from lifecycle.scheduler._engine import afterwards
from lifecycle.scheduler._work.beyond import Beyond
from lifecycle.scheduler._work.shared import Shared

from ..stores import Address, rows_at
from ..tools import flow_of
from . import beyond as program
from .beyond import LEDGER, OPEN, beyond_of, noted, until
from .handlers import Make, add_async, wait_for_ever

pytestmark = pytest.mark.asyncio

kept: list[Beyond] = []
gates: dict[str, anyio.Event] = {}


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin with nothing noted, and closed."""
    kept.clear()
    gates.clear()
    monkeypatch.setenv(LEDGER, str(tmp_path / "ledger"))


def open_all(tmp_path: Path) -> None:
    """Let the jobs come to their end."""
    (tmp_path / OPEN).touch()


@handler("beyond.keep")
async def keep(fail: int, context: Context) -> None:
    """Keep what reaches beyond the attempt, and fail so often."""
    kept.append(beyond_of(context))
    if len(kept) <= fail:
        raise ValueError("it failed")


@handler("beyond.after")
async def after_it(name: str, context: Context) -> None:
    """Have the test's function called afterwards."""
    beyond_of(context).afterwards(todo[name])


todo: dict[str, Callable[[], Awaitable[object]]] = {}


async def test_an_attempt_knows_what_it_is(make: Make) -> None:
    """Of which store, run and job, submitted when, and which of its attempts."""
    async with make() as scheduler:
        job = await scheduler.submit(keep, 1, retries=1, backoff=(0.01, 0.01), name="once more")
        await job.wait()
        first, second = kept
        assert first.store == second.store == scheduler._store.identity
        assert {one.durable for one in kept} == {scheduler._store.durable}
        assert {(one.job, one.job_name, one.run) for one in kept} == {(job.id, "once more", None)}
        assert [(one.attempt, one.first) for one in kept] == [(1, 1), (2, 2)]
        record = await scheduler.job(job.id)  # one in memory is forgotten, and its number never given again
        assert {one.created for one in kept} == {0.0 if record is None else record.created}
        assert (record is not None) == first.durable
        assert not any(one.resumes() for one in kept)


async def test_a_block_knows_it_as_well(make: Make) -> None:
    """By its frame, under the number of its run."""
    flow = flow_of('name = "f"\n[blocks.a]\ncall = "beyond.keep"\nargs = [0]\n', beyond__keep=keep)
    async with make() as scheduler:
        run = await scheduler.submit(flow)
        assert (await run.wait()).succeeded
        assert [(one.run, one.job_name, one.attempt, one.first) for one in kept] == [(run.id, "a", 1, 1)]


async def test_what_was_asked_for_is_done_when_the_end_is_in_the_store(make: Make) -> None:
    """Once for each attempt whose end is: also of one that failed and is tried again."""
    seen: list[tuple[int, str, int]] = []

    async with make() as scheduler:

        @handler("beyond.look")
        async def look(ending: str, context: Context) -> None:
            beyond = beyond_of(context)

            async def after() -> None:
                record = await scheduler.job(beyond.job)
                status = "gone" if record is None else record.status.value
                seen.append((beyond.attempt, status, 0 if record is None else record.failures))

            beyond.afterwards(after)
            beyond.afterwards(after)
            if ending == "fails":
                raise ValueError("it failed")
            if ending != "ends":
                await anyio.sleep_forever()

        jobs = {
            "ends": await scheduler.submit(look, "ends"),
            "fails": await scheduler.submit(look, "fails", retries=1, backoff=(0.2, 0.2)),
            "late": await scheduler.submit(look, "late", timeout=0.01),
            "cancelled": await scheduler.submit(look, "cancelled"),
        }
        while not scheduler.statistics().running:
            await anyio.sleep(0.001)
        for name, status in (("ends", "succeeded"), ("fails", "failed"), ("late", "timed_out")):
            assert (await jobs[name].wait()).status.value == status
        await jobs["cancelled"].cancel()
        assert (await jobs["cancelled"].wait()).status is JobStatus.CANCELLED
    ends = ["gone"] * 4 if not scheduler._store.durable else ["succeeded", "failed", "timed_out", "cancelled"]
    expected = [(1, ends[0], 0), (1, "pending", 1), (2, ends[1], 2), (1, ends[2], 1), (1, ends[3], 0)]
    if not scheduler._store.durable:
        expected = [(attempt, status, 0 if status == "gone" else count) for attempt, status, count in expected]
    assert sorted(seen) == sorted(expected * 2)


@pytest.mark.parametrize("how", ["cancelled", "late", "block late", "stopped"])
async def test_only_what_is_interrupted_goes_on_later(make: Make, tmp_path: Path, how: str) -> None:
    """And nothing does where the store does not outlive its scheduler; then nothing is done afterwards."""
    timeout = {"late": "timeout = 0.2"}.get(how, "")
    inner = {"block late": ", timeout = 0.2"}.get(how, "")
    flow = flow_of(
        f'name = "f"\n[blocks.a]\n{timeout}\nsequence = [{{call = "beyond.work", args = ["a"]{inner}}}]',
        beyond__work=program.work,
    )
    async with make(drain_timeout=0.0) as scheduler:
        run = await scheduler.submit(flow)
        await until(lambda: bool(noted("begin")))
        if how == "cancelled":
            await run.cancel()
        if how != "stopped":
            await run.wait()
    resumes = how == "stopped" and scheduler._store.durable
    assert noted("end") == [f"a 1 {resumes}"]
    assert noted("after") == ([] if how == "stopped" else ["a 1"])


@pytest.mark.parametrize("how", ["cancelled", "late"])
async def test_what_was_ended_for_good_does_not_go_on_because_it_is_stopped_as_well(make: Make, how: str) -> None:
    """The scheduler closes while its releases run: what they have begun to remove is not wanted again."""
    told: list[bool] = []
    releasing = anyio.Event()

    @handler("beyond.slow")
    async def slow(context: Context) -> None:
        beyond = beyond_of(context)

        async def release() -> None:
            told.append(beyond.resumes())
            releasing.set()
            await until(lambda: scheduler._life.engine is not None and attempt.stopped())
            told.append(beyond.resumes())

        context.scope.push_async_callback(release)
        await anyio.sleep_forever()

    async with make(drain_timeout=0.0) as scheduler:
        job = await scheduler.submit(slow, timeout=0.05 if how == "late" else None)
        await until(lambda: scheduler.statistics().running == 1)
        assert scheduler._life.engine is not None
        attempt = scheduler._life.engine.running[job.id]
        if how == "cancelled":
            await job.cancel()
        await releasing.wait()
    assert told == [False, False]


async def test_what_was_interrupted_goes_on_as_the_same(durable: Address, tmp_path: Path) -> None:
    """The next attempt knows which was the first; what that asked for is not done, what this one asks for is."""
    async with Scheduler(durable, drain_timeout=0.0) as scheduler:
        await scheduler.submit(program.work, "a")
        await until(lambda: len(noted("begin")) == 1)
    async with Scheduler(durable, drain_timeout=0.0):
        await until(lambda: len(noted("begin")) == 2)
    open_all(tmp_path)
    async with Scheduler(durable) as scheduler:
        await until(lambda: bool(noted("after")))
    store = scheduler._store.identity
    assert noted("begin") == [f"a {attempt} 1 {store}" for attempt in (1, 2, 3)]
    assert noted("after") == ["a 3"]


async def test_again_by_hand_begins_anew(durable: Address, tmp_path: Path) -> None:
    """What the attempts before have had elsewhere is not this one's."""
    open_all(tmp_path)
    async with Scheduler(durable) as scheduler:
        job = await scheduler.submit(program.work, "a")
        await job.wait()
        await (await scheduler.retry(job.id, force=True)).wait()
    assert [line.split()[1:3] for line in noted("begin")] == [["1", "1"], ["2", "2"]]
    assert noted("after") == ["a 1", "a 2"]


async def test_an_attempt_that_has_lost_its_job_does_nothing_afterwards(
    durable: Address, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its end is not accepted: the one that has the job is to do it."""
    async with Scheduler(durable) as scheduler:
        job = await scheduler.submit(program.work, "a")
        await until(lambda: bool(noted("begin")))
        rows_at(durable, f"UPDATE jobs SET attempt = 7 WHERE id = {job.id} RETURNING id")
        with caplog.at_level(logging.WARNING, "lifecycle.scheduler"):
            open_all(tmp_path)
            await until(lambda: "result of a lost attempt dropped" in caplog.text)
        rows_at(durable, f"UPDATE jobs SET attempt = 1 WHERE id = {job.id} RETURNING id")
    assert noted("after") == []


async def test_errors_are_logged_and_the_others_are_done(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """With the job and its attempt; also of what takes too long."""
    done: list[str] = []

    async def fails() -> None:
        raise OSError("the cluster is away")

    async def hangs() -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
        await anyio.sleep_forever()

    async def ends() -> None:
        done.append("ends")

    todo.update(fails=fails, hangs=hangs, ends=ends)
    with pytest.MonkeyPatch.context() as patch, caplog.at_level(logging.WARNING, "lifecycle.scheduler"):
        patch.setattr(afterwards, "AFTERWARDS", 0.01)
        async with make() as scheduler:
            jobs = [await scheduler.submit(after_it, name) for name in ("fails", "hangs", "ends")]
            for job in jobs:
                assert (await job.wait()).succeeded
    assert done == ["ends"]
    failed = [record for record in caplog.records if "to follow the end of a job has failed" in record.message]
    assert {record.id for record in failed} == {jobs[0].id, jobs[1].id}
    assert {(record.job, record.attempt, record.owner) for record in failed} == {("beyond.after", 1, "scheduler")}
    assert "the cluster is away" in caplog.text


async def test_no_more_is_done_at_once_than_there_are_workers() -> None:
    """The others wait; all of it is done."""
    at_once, most, done = 0, 0, 0
    gate = anyio.Event()

    async def counted() -> None:
        nonlocal at_once, most, done
        at_once += 1
        most = max(most, at_once)
        await gate.wait()
        at_once -= 1
        done += 1

    todo["counted"] = counted
    async with Scheduler(workers=3) as scheduler:
        for job in [await scheduler.submit(after_it, "counted") for _ in range(10)]:
            await job.wait()
        await until(lambda: at_once == 3)
        gate.set()
    assert (most, done) == (3, 10)


async def test_it_is_done_before_what_jobs_share_is_left(make: Make) -> None:
    """And that before the store is closed."""
    told: list[str] = []

    @asynccontextmanager
    async def client() -> AsyncIterator[str]:
        told.append("enter")
        yield "client"
        await scheduler._store.unfinished(1)  # it is open still
        told.append("leave")

    @handler("beyond.share")
    async def share(context: Context) -> None:
        shared = context._job.shared
        assert isinstance(shared, Shared)
        assert await shared.get("client", client) == "client"

        async def after() -> None:
            for _ in range(10):
                await anyio.sleep(0)
            told.append(f"after with {shared.peek('client')}")

        beyond_of(context).afterwards(after)

    async with make() as scheduler:
        for job in [await scheduler.submit(share) for _ in range(3)]:
            await job.wait()
    assert told == ["enter", *["after with client"] * 3, "leave"]


async def test_who_hurries_the_close_does_not_wait_for_it(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """It is stopped, which is logged, although a job was still drained; nothing more is begun."""
    begun = anyio.Event()

    async def hangs() -> None:
        begun.set()
        await anyio.sleep_forever()

    todo["hangs"] = hangs

    async def body(scheduler: Scheduler) -> None:
        async with scheduler:
            for job in [await scheduler.submit(after_it, "hangs") for _ in range(2)]:
                await job.wait()
            await begun.wait()
            await scheduler.submit(wait_for_ever)
            await until(lambda: scheduler.statistics().running == 1)

    with pytest.MonkeyPatch.context() as patch, caplog.at_level(logging.WARNING, "lifecycle.scheduler"):
        patch.setattr(afterwards, "DRAIN", None)
        scheduler = make(workers=1, drain_timeout=None, close_timeout=None)
        task = asyncio.ensure_future(body(scheduler))
        await until(lambda: scheduler._life.state.name == "CLOSING")
        task.cancel()
        await asyncio.wait([task], timeout=30.0)
        assert task.cancelled()
    messages = [record.message for record in caplog.records]
    assert "what was to follow the end of a job was stopped" in messages


async def test_what_is_asked_for_later_is_done_at_once(make: Make) -> None:
    """By a release that was abandoned, or what has kept the context: the end is recorded already."""
    done = anyio.Event()

    async def after() -> None:
        done.set()

    async with make() as scheduler:
        await (await scheduler.submit(keep, 0)).wait()
        kept[0].afterwards(after)
        await done.wait()
        with pytest.raises(TypeError):
            kept[0].afterwards(None)  # type: ignore[arg-type]


async def test_which_jobs_have_ended(make: Make) -> None:
    """Those that are gone have; of those that never were nothing is known."""
    async with make() as scheduler:
        job = await scheduler.submit(keep, 0)
        waits = await scheduler.submit(add_async, 1, delay=3600.0)
        await job.wait()
        asked, unknown = [job.id, waits.id, waits.id + 1, 0, -1, 2**70], dict.fromkeys((waits.id + 1, 0, -1, 2**70))
        assert await kept[0].ended(asked) == {job.id: True, waits.id: False, **unknown}
        await waits.cancel()
        assert await kept[0].ended([waits.id]) == {waits.id: True}
        if scheduler._store.durable:
            await scheduler.upkeep.purge()
            assert await kept[0].ended(asked) == {job.id: True, waits.id: True, **unknown}


async def test_a_plain_handler_pays_nothing(make: Make) -> None:
    """Nothing of it is made for one that could not use it."""
    made: list[object] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Beyond, "__init__", lambda *args: made.append(args))
        async with make() as scheduler:
            assert (await (await scheduler.submit(add_async, 1)).wait()).result == 2
    assert made == []
