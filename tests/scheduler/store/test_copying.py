"""Copying a store: from each kind to each, everything under the same numbers, or nothing."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from lifecycle import Rate
from lifecycle.scheduler import JobConflict, JobStatus, Scheduler, StoreError, handler
from lifecycle.scheduler._ground.values import to_json
from lifecycle.scheduler._store import copying
from lifecycle.scheduler._store.choice import copy_store, open_outside, open_upkeep
from lifecycle.scheduler._store.pace import Bound
from lifecycle.scheduler._store.postgres.address import Address
from lifecycle.scheduler._store.postgres.said import job_said, run_said
from lifecycle.scheduler._store.postgres.work import work_of
from lifecycle.scheduler._store.protocol import Store
from lifecycle.scheduler._store.records import Ending, NewJob, NewRun
from lifecycle.scheduler._store.terms import Terms

from ...postgres import Postgres
from ...postgres.wire import ask
from ..stores import store_at
from ..tools import flow_of

Place = Path | Address


@handler("copying.echo")
async def echo(value: Any) -> Any:
    """Return what it is given."""
    return value


@handler("copying.fail")
async def fail() -> None:
    """Fail."""
    raise ValueError("no \u00fc good")


@handler("copying.hold")
async def hold() -> None:
    """Run until it is stopped."""
    await anyio.sleep_forever()


FLOW = flow_of(
    """
    name = "pair"
    max_instances = 2
    overlap = "queue"
    [blocks.a]
    call = "copying.echo"
    args = [1]
    [blocks.b]
    needs = [{block = "a", may_fail = true}]
    retries = 1
    backoff = [0.01, 0.02]
    call = "copying.fail"
    [blocks.c]
    when = "failure"
    needs = ["b"]
    sleep = 0
    """,
    copying__echo=echo,
    copying__fail=fail,
)


OPEN: list[int] = []


@handler("copying.wait")
async def wait_once() -> None:
    """Run until it is stopped, as long as it is not open."""
    if not OPEN:
        await anyio.sleep_forever()


UNFINISHED = flow_of(
    'name = "unfinished"\n[blocks.a]\ncall = "copying.wait"\n[blocks.b]\nneeds = ["a"]\nsleep = 0\n',
    copying__wait=wait_once,
)


class Places:
    """Makes empty stores of both kinds."""

    def __init__(self, directory: Path, postgres: Postgres, stack: ExitStack) -> None:
        self._directory = directory
        self._postgres = postgres
        self._stack = stack
        self._made = 0

    def new(self, kind: str) -> Place:
        """Return a new place."""
        self._made += 1
        if kind == "sqlite":
            return self._directory / f"{self._made}.db"
        url = self._stack.enter_context(self._postgres.database())
        # It was made from another one, and is the same store.
        ask(url, "UPDATE lifecycle.facts SET value = md5(random()::text) WHERE name = 'token'")
        return Address.parse(url)


@pytest.fixture
def places(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Places]:
    """Empty stores of both kinds."""
    with ExitStack() as stack:
        yield Places(tmp_path, request.getfixturevalue("postgres"), stack)


def scheduler_on(place: Place, **settings: Any) -> Scheduler:
    """Return a scheduler that works on a store."""
    return Scheduler(place.revealed if isinstance(place, Address) else place, workers=2, **settings)


def fill(place: Place) -> None:
    """Leave some of everything; the last job of all is gone."""
    anyio.run(_fill, place)
    with closing(open_outside(place)) as store:
        store.submit(NewJob("untaken", "call", payload={"handler": "copying.else", "args": []}, queue="slow"))
    anyio.run(_one_job, place, "gone")
    assert open_upkeep(place).purge(name="gone") == 1


async def _fill(place: Place) -> None:
    """Leave what has ended in each way, what waits for each thing, schedules and limits."""
    async with scheduler_on(place) as scheduler:
        await (await scheduler.submit(echo, {"a": [1, None, "\u00fc"]}, metadata={"tenant": "x"})).wait()
        failed = await scheduler.submit(fail, retries=1, backoff=(0.01, 0.02))
        await failed.wait()
        await scheduler.submit(echo, 1, needs=[failed], name="not needed")
        await (await scheduler.submit(FLOW)).wait()
        late = await scheduler.submit(echo, 2, delay=3600.0, priority=3, key="k", expires=7200.0, timeout=9.0)
        await scheduler.submit(echo, 3, needs=[late], when="always")
        await scheduler.schedule("calls", echo, 5, fixed_rate=3600.0, jitter=5.0, metadata={"a": 1}, expires=60.0)
        await scheduler.schedule("flows", FLOW, cron="30 2 * * *", timezone="Europe/Berlin", max_instances=1)
        await scheduler.schedule_named("flows").pause()
        await scheduler.limits.set(queue="slow", limit=1, rate=Rate(5, per=60.0, burst=2), weight=2.0)
        await scheduler.limits.pause(handler="copying.fail")


def everything(place: Place) -> list[dict[str, Any]]:
    """Return all that a store knows."""
    return list(open_upkeep(place).export())


def next_number(place: Place) -> int | None:
    """Return the number that the next job gets."""
    with closing(open_outside(place)) as store:
        return store.submit(NewJob("next", "call", payload={"handler": "copying.else", "args": []})).job


KINDS = [("sqlite", "sqlite"), ("sqlite", "postgres"), ("postgres", "sqlite"), ("postgres", "postgres")]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "other"), KINDS)
def test_everything_is_in_the_copy_under_its_number(places: Places, kind: str, other: str) -> None:
    """And it is sound; the next job gets the number that it would have had, whatever was deleted."""
    source, target = places.new(kind), places.new(other)
    fill(source)
    before = everything(source)
    told: list[tuple[int, int]] = []
    copied = copy_store(source, target, progress=lambda done, total: told.append((done, total)))
    assert everything(source) == before
    assert everything(target) == before
    assert open_upkeep(target).check() == ()
    assert open_upkeep(target).facts().jobs == open_upkeep(source).facts().jobs
    jobs = [one for one in before if one["record"] == "job"]
    assert copied.counts == {**copied.counts, "runs": 1, "jobs": len(jobs), "schedules": 2, "limits": 2}
    assert copied.unfinished == sum(one["finished"] is None for one in jobs) == 3
    assert next_number(source) == next_number(target) == max(one["id"] for one in jobs) + 2


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "other"), KINDS)
def test_what_unfinished_jobs_have_elsewhere_is_found_from_the_copy(places: Places, kind: str, other: str) -> None:
    """It is the same store, and knows which attempts were cut off."""
    source, target = places.new(kind), places.new(other)

    async def opened(place: Place) -> Store:
        store = store_at(place.revealed if isinstance(place, Address) else place)
        await store.open()
        await store.adopt_jobs(["copying.echo"])
        return store

    async def begin() -> str:
        store = await opened(source)
        for name in ("failed", "cut off"):
            await store.add_job(NewJob(name, "call", payload={"handler": "copying.echo", "args": [1]}))
        failed, _ = (await store.claim(9, 1e9)).jobs
        assert await store.retry(failed.id, failed.attempt, Ending(JobStatus.FAILED, failed=True), 0.0)
        await store.claim(9, 1e9)
        await store.aclose()
        return store.identity

    async def go_on() -> tuple[str, dict[str, tuple[int, int]]]:
        store = await opened(target)
        claimed = (await store.claim(9, 1e9)).jobs
        await store.aclose()
        return store.identity, {one.name: (one.attempt, one.first) for one in claimed}

    identity = anyio.run(begin)
    copy_store(source, target)
    assert anyio.run(go_on) == (identity, {"failed": (3, 2), "cut off": (2, 1)})
    assert open_upkeep(target).facts().identity == open_upkeep(source).facts().identity == identity


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "other"), KINDS)
def test_a_scheduler_goes_on_with_the_copy(places: Places, kind: str, other: str) -> None:
    """It runs what waits, fires the schedules, and its keys and limits hold."""
    source, target = places.new(kind), places.new(other)
    fill(source)
    copy_store(source, target)

    async def go_on() -> None:
        async with scheduler_on(target) as scheduler:
            await scheduler.serve_flow(FLOW)
            run = await scheduler.schedule_named("flows").trigger()
            assert (await run.wait()).counts() == {"succeeded": 2, "failed": 1}
            call = await scheduler.schedule_named("calls").trigger()
            outcome = await call.wait()
            assert (outcome.result, outcome.status) == (5, JobStatus.SUCCEEDED)
            with pytest.raises(JobConflict):
                await scheduler.submit(echo, 1, key="k")

    async def resumed() -> None:
        async with scheduler_on(target) as scheduler:
            await scheduler.limits.resume(handler="copying.fail")

    anyio.run(resumed)
    with closing(open_outside(target)) as store:
        store.pause_schedule("flows")
    anyio.run(go_on)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "other"), KINDS)
def test_an_unfinished_run_is_resumed_in_the_copy(
    places: Places, kind: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a scheduler that serves its flow; what has not begun follows."""
    source, target = places.new(kind), places.new(other)

    async def begin() -> None:
        async with scheduler_on(source, drain_timeout=0.0) as scheduler:
            await scheduler.submit(UNFINISHED)
            while not scheduler.statistics().running:
                await anyio.sleep(0.01)

    async def go_on() -> None:
        async with scheduler_on(target) as scheduler:
            await scheduler.serve_flow(UNFINISHED)
            with anyio.fail_after(60):
                await scheduler.drain()

    anyio.run(begin)
    copy_store(source, target)
    assert [(job["name"], job["status"]) for job in open_all(target)] == [("a", "interrupted"), ("b", "pending")]
    monkeypatch.setattr(sys.modules[__name__], "OPEN", [1])
    anyio.run(go_on)
    assert [job["status"] for job in open_all(target)] == ["succeeded", "succeeded"]


def test_what_a_schedule_submits_is_read_back_as_it_was() -> None:
    """From the form in which a database keeps it: a job, and a run with all that its jobs may say."""
    plain = NewJob("a", "call", payload={"handler": "h", "args": [1]})
    rich = NewJob(
        *("b", "call", ("a",), 3, 1.5, 2, (0.5, 7.0), 9.0, {"handler": "h"}, "slow", "failure", ("a",)),
        Terms(lifetime=60.0, metadata={"x": "\u00fc"}),
    )
    run = NewRun("flow", "flow.toml", "digest", '{"n":1}', (plain, rich), Bound(2, "queue"))
    for work, said in ((plain, job_said(plain)), (rich, job_said(rich)), (run, run_said(run))):
        assert work_of(json.loads(to_json(said))) == work


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "other"), KINDS)
def test_while_a_scheduler_works_on_it_only_a_live_copy_is_made(places: Places, kind: str, other: str) -> None:
    """In that, what runs is interrupted; a scheduler on the copy runs it anew, and the first one goes on.

    It is another store, which leaves alone what the first one's jobs have elsewhere.
    """
    source, target = places.new(kind), places.new(other)

    async def live() -> None:
        async with scheduler_on(source, name="busy", drain_timeout=0.0) as scheduler:
            job = await scheduler.submit(hold)
            while not scheduler.statistics().running:
                await anyio.sleep(0.01)
            with pytest.raises(StoreError, match=r"scheduler 'busy' \(process .*\) works on it: what it does from now"):
                await anyio.to_thread.run_sync(lambda: copy_store(source, target))
            await anyio.to_thread.run_sync(lambda: copy_store(source, target, live=True))
            (record,) = await anyio.to_thread.run_sync(open_all, target)
            assert (record["id"], record["status"], record["attempts"]) == (job.id, "interrupted", 1)
            assert record["crashes"] == 0
            async with scheduler_on(target, drain_timeout=0.0) as other_one:
                while not other_one.statistics().running:
                    await anyio.sleep(0.01)

    anyio.run(live)
    assert len({open_upkeep(place).facts().identity for place in (source, target)}) == 2


def open_all(place: Place) -> list[dict[str, Any]]:
    """Return the jobs of a store."""
    return [one for one in everything(place) if one["record"] == "job"]


@pytest.mark.parametrize("other", ["sqlite", "postgres"])
def test_what_was_to_be_stopped_is_not_begun_again(places: Places, other: str) -> None:
    """It was cancelled while it ran, and its process has died: it has ended, and what needs it does not run."""
    source, target = places.new("sqlite"), places.new(other)

    async def two() -> None:
        async with scheduler_on(source) as scheduler:
            first = await scheduler.submit(echo, 1, delay=3600.0)
            await scheduler.submit(echo, 2, needs=[first])

    anyio.run(two)
    with closing(sqlite3.connect(str(source))) as db:
        db.execute("UPDATE jobs SET state = 'interrupted', attempt = 1, due = 0, cancel = 'enough' WHERE id = 1")
        db.commit()
    copy_store(source, target)
    assert [(job["status"], job["error"]) for job in open_all(target)] == [
        ("cancelled", "enough"),
        ("cancelled", "needs 'copying.echo', which was cancelled"),
    ]
    assert open_upkeep(target).check() == ()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_store_that_is_not_empty_is_not_filled(places: Places, kind: str) -> None:
    """Nor is one on which a scheduler works; both stay as they are."""
    source, target = places.new("sqlite"), places.new(kind)
    for place in (source, target):
        anyio.run(_one_job, place)
    before = everything(target)
    with pytest.raises(StoreError, match="is not empty, there is 1 job; nothing was copied"):
        copy_store(source, target)
    assert everything(target) == before
    empty = places.new(kind)

    async def busy() -> None:
        async with scheduler_on(empty, name="busy"):
            with pytest.raises(StoreError, match=r"scheduler 'busy' .* works on it: it has to be empty"):
                await anyio.to_thread.run_sync(lambda: copy_store(source, empty))

    anyio.run(busy)
    copy_store(source, empty)  # it has left, and the store is empty still
    assert everything(empty) == everything(source)


async def _one_job(place: Place, name: str = "one") -> None:
    async with scheduler_on(place) as scheduler:
        await (await scheduler.submit(echo, 1, name=name)).wait()


@pytest.mark.parametrize("other", ["sqlite", "postgres", "empty file"])
def test_a_copy_that_fails_leaves_nothing(places: Places, other: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However far it was: no file, or a store as empty as it was."""
    source, target = places.new("sqlite"), places.new(other.replace("empty file", "sqlite"))
    fill(source)
    if other == "empty file":
        anyio.run(_nothing, target)
    monkeypatch.setattr(copying._Counting, "STEP", 1)

    def stop(done: int, total: int) -> None:
        if done == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy_store(source, target, progress=stop)
    if other == "sqlite":
        assert [path.name for path in Path(str(target)).parent.iterdir()] == [Path(str(source)).name]
    else:
        assert everything(target) == []


async def _nothing(place: Place) -> None:
    async with scheduler_on(place):
        pass


def test_a_scheduler_that_comes_meanwhile_is_noticed(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has begun to work on what was copied: nothing is."""
    source, target = places.new("postgres"), places.new("sqlite")
    assert isinstance(source, Address)
    anyio.run(_one_job, source)
    monkeypatch.setattr(copying._Counting, "STEP", 1)
    with pytest.raises(StoreError, match=r"scheduler 'late' .* on elsewhere.* works on it"):
        copy_store(
            source,
            target,
            progress=lambda done, total: ask(source.revealed, "SELECT lifecycle.enter('late', 'elsewhere', 7, 60.0)"),
        )
    assert not Path(str(target)).exists()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_nobody_reads_the_copy_who_may_not_read_the_store(places: Places, kind: str) -> None:
    """Of a server, only its owner reads the file."""
    source, target = places.new(kind), places.new("sqlite")
    anyio.run(_one_job, source)
    if isinstance(source, Path):
        source.chmod(0o640)
    copy_store(source, target)
    assert os.stat(str(target)).st_mode & 0o777 == (0o640 if kind == "sqlite" else 0o600)


def test_a_file_with_nothing_in_it_is_as_good_as_none(tmp_path: Path) -> None:
    """Such as one of ``mktemp``; one with something in it is not replaced."""
    anyio.run(_one_job, tmp_path / "one.db")
    (tmp_path / "new.db").touch()
    copy_store(tmp_path / "one.db", tmp_path / "new.db")
    assert everything(tmp_path / "new.db") == everything(tmp_path / "one.db")
    (tmp_path / "text").write_text("text")
    with pytest.raises(StoreError, match="is not an SQLite database"):
        copy_store(tmp_path / "one.db", tmp_path / "text")
    assert (tmp_path / "text").read_text() == "text"


def test_what_cannot_be_copied_is_told(tmp_path: Path) -> None:
    """And nothing is made."""
    with pytest.raises(StoreError, match=r"none\.db: there is no such file"):
        copy_store(tmp_path / "none.db", tmp_path / "new.db")
    anyio.run(_one_job, tmp_path / "one.db")
    with pytest.raises(StoreError, match="there is no directory"):
        copy_store(tmp_path / "one.db", tmp_path / "none" / "new.db")
    with pytest.raises(StoreError, match=r"not empty|locked"):
        copy_store(tmp_path / "one.db", tmp_path / "one.db")
    with pytest.raises(StoreError, match=r"Connect call failed|refused"):
        copy_store(tmp_path / "one.db", Address.parse("postgresql://me@127.0.0.1:1/none"))
    assert {path.name for path in tmp_path.iterdir()} == {"one.db"}
    json.dumps(everything(tmp_path / "one.db"))
