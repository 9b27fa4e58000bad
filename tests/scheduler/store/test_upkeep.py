"""Upkeep of an SQLite store: facts, check, purge, vacuum, backup, export; also while a scheduler works on it."""

from __future__ import annotations

import os
import sqlite3
import sys
from contextlib import closing
from functools import partial
from pathlib import Path

import anyio
import pytest

from lifecycle.scheduler import Scheduler, StoreError, handler
from lifecycle.scheduler._store.limits import Limit, LimitKey
from lifecycle.scheduler._store.sqlite.outside import StoreFile
from lifecycle.scheduler._store.sqlite.partial import partial_beside
from lifecycle.scheduler._store.sqlite.upkeep import SqliteUpkeep

from ..tools import flow_of


@handler("upkeep.fine")
async def fine(x: int = 0) -> int:
    """Succeed."""
    return x


@handler("upkeep.bad")
async def bad() -> None:
    """Fail."""
    raise ValueError("no")


FLOW = flow_of(
    """
    name = "pair"
    [blocks.a]
    sleep = 0
    [blocks.b]
    needs = ["a"]
    call = "upkeep.bad"
    """,
    upkeep__bad=bad,
)


async def fill(path: Path) -> None:
    """Leave three jobs that succeeded, one that failed, a run that failed, and a job that waits."""
    async with Scheduler(path) as scheduler:
        for number in range(3):
            await (await scheduler.submit(fine, number)).wait()
        await (await scheduler.submit(bad)).wait()
        await (await scheduler.submit(FLOW)).wait()
        await scheduler.submit(fine, delay=3600.0)


@pytest.fixture
def store(tmp_path: Path) -> SqliteUpkeep:
    """A store with some of everything that no scheduler works on."""
    anyio.run(fill, tmp_path / "jobs.sqlite")
    return SqliteUpkeep(tmp_path / "jobs.sqlite")


def names(path: Path) -> list[str]:
    """Return the names of the jobs in a store, in the order of their coming."""
    with closing(sqlite3.connect(path)) as db:
        return [name for (name,) in db.execute("SELECT name FROM jobs ORDER BY id")]


def test_facts_say_what_a_store_holds(store: SqliteUpkeep) -> None:
    """Counts by state, of every state, and that nobody works on it."""
    facts = store.facts()
    assert {state: count for state, count in facts.jobs.items() if count} == {"pending": 1, "succeeded": 4, "failed": 2}
    assert (facts.runs, facts.unfinished_runs, facts.schedules, facts.owners) == (1, 0, 0, ())
    assert facts.size > 0 <= facts.free


@pytest.mark.asyncio
async def test_facts_name_the_schedulers_that_work_on_it(tmp_path: Path) -> None:
    """From the program itself, and from outside."""
    async with Scheduler(tmp_path / "jobs.sqlite", name="mine") as scheduler:
        inside, outside = await scheduler.upkeep.facts(), SqliteUpkeep(tmp_path / "jobs.sqlite").facts()
        assert [owner.name for owner in inside.owners] == [owner.name for owner in outside.owners] == ["mine"]


@pytest.mark.parametrize(
    ("settings", "left"),
    [
        ({}, ["upkeep.fine"]),
        ({"dry_run": True}, None),
        ({"older_than": 3600.0}, None),
        ({"succeeded": True}, ["upkeep.bad", "a", "b", "upkeep.fine"]),
        ({"name": "upkeep.fine"}, ["upkeep.bad", "a", "b", "upkeep.fine"]),
        ({"name": "pair"}, ["upkeep.fine"] * 3 + ["upkeep.bad", "upkeep.fine"]),
        ({"name": "a"}, None),  # a job of a run goes with its run
        ({"keep": 0}, ["upkeep.fine"]),
        ({"keep": 2}, ["a", "b", "upkeep.fine"]),  # the run has a job among the newest two: all of it stays
        ({"keep": 3}, ["a", "b", "upkeep.fine"]),
        ({"keep": 100}, None),
    ],
)
def test_a_purge_deletes_what_has_ended(
    store: SqliteUpkeep, tmp_path: Path, settings: dict[str, object], left: list[str] | None
) -> None:
    """As wide as it is told, runs as a whole, and never what has not ended."""
    before = names(tmp_path / "jobs.sqlite")
    after = before if left is None else left
    deleted = store.purge(**settings)  # type: ignore[arg-type]
    assert names(tmp_path / "jobs.sqlite") == after
    assert deleted == len(before) - (len(after) if not settings.get("dry_run") else 1)
    assert store.check() == ()
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite")) as db:
        runs = 1 if "a" in after else 0
        assert db.execute("SELECT count(*) FROM runs").fetchone() == (runs,)
        assert db.execute("SELECT count(*) FROM needs").fetchone() == (runs,)


@pytest.mark.asyncio
async def test_a_run_that_goes_on_is_not_purged(tmp_path: Path) -> None:
    """Its jobs that have ended have outputs that the others need."""
    flow = flow_of('name = "long"\n[blocks.a]\nsleep = 0\n[blocks.b]\nneeds = ["a"]\nsleep = 3600')
    async with Scheduler(tmp_path / "jobs.sqlite", drain_timeout=0.0) as scheduler:
        run = await scheduler.submit(flow)
        with anyio.fail_after(20):
            while [job.status.value for job in await scheduler.jobs(run=run.id)] != ["succeeded", "running"]:
                await anyio.sleep(0.01)
        assert await scheduler.upkeep.purge() == 0
        await run.cancel()
        await run.wait()
        assert await scheduler.upkeep.purge() == 2


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("UPDATE runs SET unfinished = 1, finished = NULL", "run 1 says that 1 of its jobs"),
        ("UPDATE runs SET finished = NULL", "run 1 has 0 jobs to end"),
        ("DELETE FROM runs", "is of run 1, which is not there"),
        ("UPDATE jobs SET state = 'running', owner = NULL WHERE state = 'pending'", "runs, and nobody runs it"),
        ("UPDATE jobs SET finished = NULL WHERE state = 'failed'", "is failed, and its own end says otherwise"),
        ("UPDATE ended SET jobs = 9 WHERE state = 'failed'", "9 jobs are counted as failed, and 2 are"),
        ("UPDATE jobs SET owner = 99 WHERE state = 'pending'", "belongs to scheduler 99"),
        ("UPDATE jobs SET unmet = 5 WHERE state = 'pending'", "5 others, and it does for 0"),
    ],
)
def test_a_check_finds_what_does_not_fit(store: SqliteUpkeep, tmp_path: Path, damage: str, said: str) -> None:
    """Rows that contradict each other, each named."""
    assert store.check() == ()
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite")) as db, db:
        db.execute(damage)
    assert any(said in line for line in store.check())


def test_a_check_finds_a_damaged_file(store: SqliteUpkeep, tmp_path: Path) -> None:
    """Pages that were overwritten."""
    path = tmp_path / "jobs.sqlite"
    with path.open("r+b") as file:
        file.seek(8 * 4096)
        file.write(b"\xff" * 4096)
    problems: tuple[str, ...] = ()
    try:
        problems = store.check()
    except StoreError as error:
        problems = (str(error),)
    assert problems
    assert all("damaged" in line or "malformed" in line or "not a database" in line for line in problems)


@pytest.mark.asyncio
async def test_a_backup_while_it_works_is_a_store_of_one_moment(tmp_path: Path) -> None:
    """Nothing half done, none of the partial file left, and a scheduler goes on with it as after a kill."""
    path, copies = tmp_path / "jobs.sqlite", [tmp_path / f"copy{number}.sqlite" for number in range(5)]
    async with Scheduler(path) as scheduler, anyio.create_task_group() as group:

        async def work() -> None:
            while True:
                await (await scheduler.submit(fine, 1)).wait()

        for _ in range(4):
            group.start_soon(work)
        await scheduler.submit(fine, delay=3600.0)
        for copy in copies:
            assert await scheduler.upkeep.backup(copy) > 0
        group.cancel_scope.cancel()
    assert sorted(it.name for it in tmp_path.iterdir()) == sorted(["jobs.sqlite", *(copy.name for copy in copies)])
    for copy in copies:
        assert SqliteUpkeep(copy).check() == ()
    async with Scheduler(copies[-1]) as scheduler:
        assert (await (await scheduler.submit(fine, 2)).wait()).result == 2
        assert SqliteUpkeep(copies[-1]).facts().jobs["pending"] == 1
    assert SqliteUpkeep(path).check() == ()


def test_a_backup_replaces_a_file_only_when_told(store: SqliteUpkeep, tmp_path: Path) -> None:
    """And never the store itself; a target that cannot be written is one clear error."""
    (tmp_path / "there").write_text("precious")
    with pytest.raises(FileExistsError):
        store.backup(tmp_path / "there")
    assert (tmp_path / "there").read_text() == "precious"
    (tmp_path / "link").symlink_to(tmp_path / "jobs.sqlite")
    for way in (
        tmp_path / "jobs.sqlite",
        tmp_path / "link",
        tmp_path / "jobs.sqlite-wal",
        tmp_path / "jobs.sqlite-shm",
    ):
        with pytest.raises(FileExistsError):
            store.backup(way, overwrite=True)
    assert store.backup(tmp_path / "there", overwrite=True) > 0
    with pytest.raises(StoreError, match=r"none/copy: the copy cannot be written: there is no directory .*none"):
        store.backup(tmp_path / "none" / "copy")
    os.mkfifo(tmp_path / "pipe")
    for way in (tmp_path / "pipe", tmp_path):  # or /dev/null
        with pytest.raises(FileExistsError, match="is no file, and is not replaced by one"):
            store.backup(way, overwrite=True)
    assert (tmp_path / "pipe").is_fifo()
    assert not list(tmp_path.glob("*partial*"))


def a_log_that_was_left(path: Path) -> None:
    """Give a store a log that nobody has brought into it, as a process does that is killed."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE more AS SELECT * FROM jobs")
        kept = {end: (path.with_name(path.name + end)).read_bytes() for end in ("", "-wal")}
    for end, content in kept.items():
        path.with_name(path.name + end).write_bytes(content)


@pytest.mark.parametrize("was", ["a store", "gone", "no database"])
def test_a_backup_is_whole_where_a_killed_process_has_left_its_log(
    store: SqliteUpkeep, tmp_path: Path, was: str
) -> None:
    """SQLite would play that log over the copy."""
    target = tmp_path / "copy.sqlite"
    store.backup(target)
    a_log_that_was_left(target)
    if was == "gone":
        target.unlink()
    elif was == "no database":
        target.write_text("something else, and long enough to be looked at as if it were a header of a database" * 9)
    store.backup(target, overwrite=True)
    copy = SqliteUpkeep(target)
    assert copy.check() == ()
    assert copy.facts().jobs == store.facts().jobs
    assert not target.with_name("copy.sqlite-wal").exists()


def test_a_copy_in_the_place_of_a_store_whose_log_is_there_is_refused(store: SqliteUpkeep, tmp_path: Path) -> None:
    """Before anything has read that log; without it, the copy is whole."""
    path = tmp_path / "jobs.sqlite"
    store.backup(tmp_path / "copy.sqlite")
    a_log_that_was_left(path)
    (tmp_path / "copy.sqlite").replace(path)
    content = path.read_bytes()

    async def begin() -> None:
        async with Scheduler(path):
            pass

    for use in (lambda: SqliteUpkeep(path).check(), lambda: anyio.run(begin)):
        with pytest.raises(StoreError, match=r"jobs.sqlite-wal beside it belongs to another file.*remove"):
            use()
    assert path.read_bytes() == content
    for end in ("-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
    assert SqliteUpkeep(path).check() == ()
    anyio.run(begin)


@pytest.mark.asyncio
async def test_a_backup_does_not_replace_a_file_that_is_in_use(tmp_path: Path) -> None:
    """Its scheduler would lose what it works on."""
    async with Scheduler(tmp_path / "a.sqlite") as one, Scheduler(tmp_path / "b.sqlite") as other:
        with pytest.raises(FileExistsError, match="another process works on this file"):
            await one.upkeep.backup(tmp_path / "b.sqlite", overwrite=True)
        await (await other.submit(fine)).wait()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.sqlite", "b.sqlite"]


@pytest.mark.asyncio
async def test_a_copy_is_for_no_more_readers_than_the_store(tmp_path: Path) -> None:
    """Arguments and results are in both."""
    async with Scheduler(tmp_path / "jobs.sqlite") as scheduler:
        (tmp_path / "jobs.sqlite").chmod(0o640)
        await scheduler.upkeep.backup(tmp_path / "copy.sqlite")
    assert (tmp_path / "copy.sqlite").stat().st_mode & 0o777 == 0o640


@pytest.mark.asyncio
async def test_several_copies_to_one_target_do_not_touch_each_other(tmp_path: Path) -> None:
    """The last one stays, and nothing else beside it."""
    async with Scheduler(tmp_path / "jobs.sqlite") as scheduler, anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(partial(scheduler.upkeep.backup, tmp_path / "copy.sqlite", overwrite=True))
    assert SqliteUpkeep(tmp_path / "copy.sqlite").check() == ()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.sqlite", "jobs.sqlite"]


@pytest.mark.asyncio
async def test_what_a_killed_copy_has_left_is_removed_by_the_next(tmp_path: Path) -> None:
    """But what is being written stays. In a container every process has the same number."""
    target = tmp_path / "copy.sqlite"
    code = f"""
import os, pathlib, signal
from lifecycle.scheduler._store.sqlite.partial import partial_beside
target = pathlib.Path({str(target)!r})
with partial_beside(target, pathlib.Path({__file__!r})) as path:
    path.write_text("half of it")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    await anyio.run_process([sys.executable, "-c", code], check=False)
    [left] = tmp_path.iterdir()
    with partial_beside(target, Path(__file__)) as another:
        assert not left.exists()
        async with Scheduler(tmp_path / "jobs.sqlite") as scheduler:
            await scheduler.upkeep.backup(target)
        assert another.exists()
        another.write_bytes(target.read_bytes())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.sqlite", "jobs.sqlite"]


@pytest.mark.asyncio
async def test_a_name_that_is_too_long_is_refused(tmp_path: Path) -> None:
    """With the error that says it of a store, in one line."""
    async with Scheduler(tmp_path / "jobs.sqlite") as scheduler:
        for length in (250, 300):
            with pytest.raises(StoreError, match="File name too long"):
                await scheduler.upkeep.backup(tmp_path / ("x" * length))


@pytest.mark.asyncio
async def test_a_vacuum_gives_room_back_while_a_scheduler_is_open(tmp_path: Path) -> None:
    """The file is smaller afterwards, and the scheduler goes on."""
    async with Scheduler(tmp_path / "jobs.sqlite", keep_jobs=None) as scheduler:
        for job in [await scheduler.submit(fine, number) for number in range(500)]:
            await job.wait()
        await scheduler.upkeep.purge()
        before, after = await scheduler.upkeep.vacuum()
        assert after < before
        assert (await (await scheduler.submit(fine, 7)).wait()).result == 7


def test_an_export_has_every_record(store: SqliteUpkeep, tmp_path: Path) -> None:
    """Runs, then jobs with all that is known of them, then what holds jobs back."""
    StoreFile(tmp_path / "jobs.sqlite").put_limit(Limit(LimitKey("queue", "slow"), at_once=2))
    records = list(store.export())
    assert [record["record"] for record in records] == ["run"] + ["job"] * 7 + ["limit"]
    assert records[-1]["limit"] == 2
    failed = next(record for record in records if record.get("name") == "upkeep.bad")
    assert failed["status"] == "failed"
    assert "ValueError" in failed["trace"]


@pytest.mark.asyncio
async def test_a_store_in_memory_has_no_file_to_look_after() -> None:
    """It says so."""
    async with Scheduler() as scheduler:
        with pytest.raises(StoreError, match="in memory"):
            await scheduler.upkeep.check()


def test_wrong_arguments_delete_nothing(store: SqliteUpkeep, tmp_path: Path) -> None:
    """They are refused before the file is opened."""
    for settings in ({"older_than": -1.0}, {"older_than": None}, {"keep": -1}, {"keep": 1.5}):
        with pytest.raises((TypeError, ValueError)):
            store.purge(**settings)  # type: ignore[arg-type]
    assert len(names(tmp_path / "jobs.sqlite")) == 7
