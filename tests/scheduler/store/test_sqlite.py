"""The SQLite store: its file, its thread, its owners, its queries."""

from __future__ import annotations

import asyncio
import fcntl
import multiprocessing
import os
import re
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from lifecycle.scheduler import JobStatus, StoreError
from lifecycle.scheduler._store.filters import JobFilter
from lifecycle.scheduler._store.limits import LimitKey
from lifecycle.scheduler._store.records import Ending, NewJob, NewRun
from lifecycle.scheduler._store.schedule_records import NewSchedule
from lifecycle.scheduler._store.sqlite import claiming, locks, operations, owners
from lifecycle.scheduler._store.sqlite.files import connect
from lifecycle.scheduler._store.sqlite.locks import Doubts, OwnerLock, is_alive, lock_path
from lifecycle.scheduler._store.sqlite.outside import StoreFile
from lifecycle.scheduler._store.sqlite.schema import APPLICATION_ID, VERSION
from lifecycle.scheduler._store.sqlite.store import SqliteStore
from lifecycle.scheduler._store.sqlite.thread import SqliteThread


async def opened(path: Path) -> SqliteStore:
    """Return an open store."""
    store = SqliteStore(path)
    await store.open()
    return store


@pytest.mark.asyncio
async def test_what_is_acknowledged_is_on_disk_for_others(tmp_path: Path) -> None:
    """Write-ahead log, synchronous=FULL, and committed before the caller goes on."""
    store = await opened(tmp_path / "jobs.sqlite")
    number = await store.add_job(NewJob("a", "call", payload={"handler": "x", "args": []}))
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite")) as db:
        assert db.execute("SELECT id, state, payload FROM jobs").fetchall() == [
            (number, "pending", '{"handler":"x","args":[]}')
        ]
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert store._writer is not None
    assert await store._writer.run(lambda db: db.execute("PRAGMA synchronous").fetchone()[0]) == 2
    await store.aclose()
    await store.aclose()
    assert [path.name for path in tmp_path.iterdir()] == ["jobs.sqlite"]


@pytest.mark.asyncio
async def test_many_operations_share_one_commit(tmp_path: Path) -> None:
    """What waits while the disk is busy goes into the next transaction together."""
    store = await opened(tmp_path / "jobs.sqlite")
    begun: list[str] = []
    assert store._writer is not None
    await store._writer.run(lambda db: db.set_trace_callback(begun.append))
    async with anyio.create_task_group() as group:
        for number in range(500):
            group.start_soon(store.add_job, NewJob(f"job{number}", "call"))
    assert len(await store.jobs(JobFilter())) == 500
    assert sum(statement == "COMMIT" for statement in begun) < 250  # about ten on an idle machine
    await store.aclose()


@pytest.mark.asyncio
async def test_an_operation_that_fails_does_not_take_the_others_of_its_batch_along(tmp_path: Path) -> None:
    """The batch is rolled back, and every operation gets its own transaction."""
    store = await opened(tmp_path / "jobs.sqlite")
    answers: dict[int, Any] = {}

    async def one(number: int) -> None:
        try:
            answers[number] = await store._write(lambda db: insert(db, number))
        except Exception as error:
            answers[number] = error

    def insert(db: sqlite3.Connection, number: int) -> int:
        operations.insert_job(db, NewJob(f"job{number}", "call"), None, 1, 0.0)
        if number == 7:
            raise ValueError("my own fault")
        if number == 8:
            db.execute("INSERT INTO nowhere VALUES (1)")
        return number

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(one, number)
    assert isinstance(answers.pop(7), ValueError)
    assert isinstance(answers.pop(8), StoreError)
    assert answers == {number: number for number in range(20) if number not in (7, 8)}
    await store.aclose()
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite")) as db:
        names = {name for (name,) in db.execute("SELECT name FROM jobs")}
    assert names == {f"job{number}" for number in range(20) if number not in (7, 8)}


@pytest.mark.asyncio
async def test_a_waiter_that_leaves_disturbs_nobody(tmp_path: Path) -> None:
    """Its operation is done or not, the thread goes on, and the store closes."""
    store = await opened(tmp_path / "jobs.sqlite")
    tasks = [asyncio.ensure_future(store.add_job(NewJob(f"job{number}", "call"))) for number in range(50)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, int) for result in results[1::2])
    assert await store.add_job(NewJob("last", "call")) > 0
    await store.aclose()


@pytest.mark.asyncio
async def test_the_loop_is_not_blocked_while_the_database_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process holds the lock: our loop goes on, our operation waits in its thread and then succeeds."""
    insert, threads = operations.insert_job, set()

    def noting(*args: Any) -> int:
        threads.add(threading.get_ident())
        return insert(*args)

    monkeypatch.setattr(operations, "insert_job", noting)
    store = await opened(tmp_path / "jobs.sqlite")
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        task = asyncio.ensure_future(store.add_job(NewJob("a", "call")))
        began = time.monotonic()
        for _ in range(20):
            await asyncio.sleep(0.005)
        assert time.monotonic() - began > 0.1
        assert not task.done()
        other.execute("COMMIT")
    assert await task > 0
    assert threads
    assert threading.get_ident() not in threads
    await store.aclose()


@pytest.mark.asyncio
async def test_a_thread_without_a_connection_ends(tmp_path: Path) -> None:
    """An opening that fails leaves no thread; closing what never opened is nothing."""

    def refuse() -> sqlite3.Connection:
        raise sqlite3.OperationalError("no")

    thread = SqliteThread(refuse, "BEGIN", "test-thread")
    await thread.aclose()
    with pytest.raises(sqlite3.OperationalError, match="no"):
        await thread.open()
    await thread.aclose()
    assert "test-thread" not in {one.name for one in threading.enumerate()}
    with pytest.raises(sqlite3.ProgrammingError):
        await thread.run(lambda db: None)


PLANS = {
    "claim": (claiming.NEXT_IN_QUEUE, "jobs_ready"),
    "claim by handler": (claiming.NEXT_OF_HANDLER, "jobs_ready_by_handler"),
    "promote": (
        "UPDATE jobs SET due = 0 WHERE owner = ? AND state = 'pending' AND unmet = 0 AND due > 0 AND due <= ?",
        "jobs_due",
    ),
    "next due": (
        "SELECT min(due) FROM jobs WHERE owner = ? AND state = 'pending' AND unmet = 0 AND due > 0",
        "jobs_due",
    ),
    "retire": (
        "UPDATE jobs SET state = 'interrupted' WHERE owner = ? AND state = 'running'",
        "jobs_running",
    ),
    "waits for others": (
        "SELECT 1 FROM jobs WHERE owner = ? AND run IS NULL AND state = 'pending' AND unmet > 0",
        "jobs_waiting (owner=? AND run=?)",
    ),
    "output": ("SELECT result FROM jobs WHERE run = ? AND name = ? AND state = 'succeeded'", "jobs_by_name"),
    "notices": ("SELECT id FROM notices WHERE owner = ?", "notices_for"),
}


@pytest.mark.parametrize("query", PLANS)
@pytest.mark.asyncio
async def test_the_queries_of_the_hot_path_use_their_index(tmp_path: Path, query: str) -> None:
    """A partial index is used only when the query says the same words; a scan would grow with the history."""
    with closing(connect(tmp_path / "jobs.sqlite", "jobs.sqlite")) as db:
        statement, index = PLANS[query]
        claiming.pause(db, LimitKey("handler", "x"), paused=True)
        plain = re.sub(r":[a-z]+", "?", statement)
        plan = " ".join(row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {plain}", (1,) * plain.count("?")))
    assert index in plan, plan
    assert "SCAN" not in plan
    assert "TEMP B-TREE" not in plan


@pytest.mark.asyncio
async def test_claiming_stays_fast_behind_a_long_history(tmp_path: Path) -> None:
    """Twenty thousand ended jobs cost the next claim nothing."""
    with closing(connect(tmp_path / "jobs.sqlite", "jobs.sqlite")) as db:
        db.execute("BEGIN")
        for number in range(20_000):
            operations.insert_job(db, NewJob(f"job{number}", "call"), None, 1, 0.0)
        db.execute("UPDATE jobs SET state = 'succeeded', owner = NULL")
        operations.insert_job(db, NewJob("next", "call"), None, 1, 0.0)
        steps = 0

        def count() -> None:
            nonlocal steps
            steps += 1

        db.set_progress_handler(count, 10)
        assert [claimed.name for claimed in claiming.claim(db, 1, 10, 1.0).jobs] == ["next"]
        db.set_progress_handler(None, 0)
        db.execute("ROLLBACK")
    assert steps < 50  # of ten virtual machine instructions each


@pytest.mark.asyncio
async def test_an_owner_lives_as_long_as_its_lock(tmp_path: Path) -> None:
    """Also when two look at the same time; a missing file is a dead owner."""
    database = tmp_path / "jobs.sqlite"
    lock = OwnerLock(database)
    assert is_alive(database, lock.token)
    assert not is_alive(database, "somebody-else")
    lock.close()  # as the end of the process does
    assert lock_path(database, lock.token).exists()
    assert not is_alive(database, lock.token)
    second = OwnerLock(database)
    second.release()
    second.release()
    assert not lock_path(database, second.token).exists()


def _hold(ready: Any, done: Any) -> None:
    ready.set()
    done.wait(20)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.asyncio
async def test_a_forked_child_does_not_keep_its_dead_parent_alive(tmp_path: Path) -> None:
    """A handler may fork; the lock is the parent's alone."""
    lock = OwnerLock(tmp_path / "jobs.sqlite")
    context = multiprocessing.get_context("fork")
    ready, done = context.Event(), context.Event()
    child = context.Process(target=_hold, args=(ready, done))
    child.start()
    try:
        assert ready.wait(20)
        assert is_alive(tmp_path / "jobs.sqlite", lock.token)
        lock.close()
        assert not is_alive(tmp_path / "jobs.sqlite", lock.token)
    finally:
        done.set()
        child.join(20)
        child.close()


@pytest.mark.asyncio
async def test_what_a_dead_owner_left_is_found_and_what_a_living_one_has_is_not(tmp_path: Path) -> None:
    """Its attempts are interrupted, its runs can be taken over; the living one's are left alone."""
    path = tmp_path / "jobs.sqlite"
    dead, alive = await opened(path), await opened(path)
    run = NewRun("f", "f.toml", "d", "{}", (NewJob("a", "call"), NewJob("b", "call")))
    other = NewRun("g", "g.toml", "d", "{}", (NewJob("c", "call"),))
    opened_run = await dead.open_run(run, resume=True, fresh=False)
    await alive.open_run(other, resume=True, fresh=False)
    (a, _), (c,) = (await dead.claim(9, 1.0)).jobs, (await alive.claim(9, 1.0)).jobs
    assert dead._lock is not None
    dead._lock.close()  # it was killed, as far as others can see
    third = await opened(path)
    assert {job.name: job.status.value for job in StoreFile(path).jobs()} == {
        "a": "interrupted", "b": "interrupted", "c": "running",
    }  # fmt: skip
    again = await third.open_run(run, resume=True, fresh=False)
    assert (again.run_id, again.resumed, again.unfinished) == (opened_run.run_id, True, 2)
    claims = (await third.claim(9, 1.0)).jobs
    assert [(claimed.name, claimed.attempt, claimed.failures) for claimed in claims] == [("a", 2, 0), ("b", 2, 0)]
    # The one that was thought dead comes back: it can neither end nor overwrite what is not its own any more.
    late = Ending(JobStatus.FAILED, error="late")
    assert not (await dead.finish(a.id, a.attempt, late, 2.0)).accepted
    assert (await third.finish(a.id, 2, Ending(JobStatus.SUCCEEDED, 1), 2.0)).accepted
    assert (await alive.finish(c.id, c.attempt, Ending(JobStatus.SUCCEEDED, 1), 2.0)).run_finished
    for store in (alive, third, dead):
        await store.aclose()
    assert [file.name for file in tmp_path.iterdir()] == ["jobs.sqlite"]


@pytest.mark.asyncio
async def test_closing_interrupts_what_runs_and_releases_what_waits(tmp_path: Path) -> None:
    """Nobody owns anything afterwards."""
    path = tmp_path / "jobs.sqlite"
    store = await opened(path)
    for name in ("a", "b"):
        await store.add_job(NewJob(name, "call"))
    await store.claim(1, 1.0)
    await store.aclose()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT name, state, owner FROM jobs").fetchall() == [
            ("a", "interrupted", None), ("b", "pending", None),
        ]  # fmt: skip
        assert db.execute("SELECT count(*) FROM owners").fetchone() == (0,)


@pytest.mark.asyncio
async def test_a_living_owner_does_not_bury_itself(tmp_path: Path) -> None:
    """Somebody has removed its lock file, and it opens a run: what it runs goes on, and it is still an owner."""
    store = await opened(tmp_path / "jobs.sqlite")
    await store.add_job(NewJob("a", "call"))
    (claimed,) = (await store.claim(1, 1.0)).jobs
    assert store._lock is not None
    store._lock.path.unlink()
    await store.open_run(NewRun("f", "f.toml", "d", "{}", (NewJob("b", "call"),)), resume=True, fresh=False)
    assert (await store.finish(claimed.id, 1, Ending(JobStatus.SUCCEEDED, 1), 2.0)).accepted
    assert [job.name for job in (await store.claim(1, 1.0)).jobs] == ["b"]
    await store.aclose()


@pytest.mark.asyncio
async def test_what_is_put_in_while_the_store_closes_is_not_lost(tmp_path: Path) -> None:
    """It waits for another process's lock while the owner leaves: the next owner takes it over."""
    path = tmp_path / "jobs.sqlite"
    store = await opened(path)
    payload = {"handler": "h", "args": []}
    await store.put_schedule(
        NewSchedule("s", "fixed_rate", "0.01", None, "burst", None, NewJob("s", "call", payload=payload), "h")
    )
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        taking = asyncio.ensure_future(store.take(lambda: 1, lambda: ["h"]))
        adding = asyncio.ensure_future(store.add_job(NewJob("a", "call", payload=payload)))
        await asyncio.sleep(0.05)
        closing_it = asyncio.ensure_future(store.aclose())
        await asyncio.sleep(0.05)
        other.execute("COMMIT")
    number = await adding
    await closing_it
    taking.cancel()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT DISTINCT owner FROM jobs").fetchall() == [(None,)]
    heir = await opened(path)
    await heir.adopt_jobs(["h"])
    assert number in {claimed.id for claimed in (await heir.claim(99, time.time())).jobs}
    await heir.aclose()


@pytest.mark.asyncio
async def test_notices_are_told_once_and_leave_nothing(tmp_path: Path) -> None:
    """Cancelling from outside: the owner hears of the job and of all that it takes along."""
    path = tmp_path / "jobs.sqlite"
    store = await opened(path)
    jobs = (NewJob("a", "call"), NewJob("b", "call", ("a",)), NewJob("c", "call", ("b",)), NewJob("d", "call"))
    await store.open_run(NewRun("f", "f.toml", "d", "{}", jobs), resume=True, fresh=False)
    await store.claim(1, 1.0)
    file = StoreFile(path)
    assert file.cancel("b", "why") is not None
    assert file.cancel("a", "stop") is not None
    heard = await store.notices()
    running, cancelled = JobStatus.RUNNING, JobStatus.CANCELLED
    assert [(notice.name, notice.status, notice.reason) for notice in heard] == [
        ("b", cancelled, "why"), ("c", cancelled, "needs 'b', which was cancelled"), ("a", running, "stop"),
    ]  # fmt: skip
    assert await store.notices() == []
    file.cancel_run(1, "all")
    assert [(notice.name, notice.status) for notice in await store.notices()] == [("a", running), ("d", cancelled)]
    await store.aclose()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM notices").fetchone() == (0,)


@pytest.mark.asyncio
async def test_a_wish_that_was_met_by_the_attempt_is_not_told_again(tmp_path: Path) -> None:
    """A running job that has ended, in whatever way, needs no notice any more: its end was told already."""
    path = tmp_path / "jobs.sqlite"
    store = await opened(path)
    for name in ("stopped", "done", "failed"):
        await store.add_job(NewJob(name, "call", retries=1))
    stopped, done, failed = (await store.claim(3, 1.0)).jobs
    for claimed in (stopped, done, failed):
        StoreFile(path).cancel(str(claimed.id), "why")
    assert (await store.finish(stopped.id, 1, Ending(JobStatus.CANCELLED, error="why"), 2.0)).accepted
    assert (await store.finish(done.id, 1, Ending(JobStatus.SUCCEEDED, 1), 2.0)).accepted
    assert not await store.retry(failed.id, 1, Ending(JobStatus.FAILED, error="e", failed=True), 2.0), "it is unwanted"
    assert (await store.finish(failed.id, 1, Ending(JobStatus.FAILED, error="e", failed=True), 2.0)).accepted
    assert await store.notices() == []
    await store.aclose()


@pytest.mark.asyncio
async def test_what_somebody_wanted_to_end_ends_with_its_owner(tmp_path: Path) -> None:
    """The wish was noted, and the process was killed before it could obey: the job is not run again."""
    path = tmp_path / "jobs.sqlite"
    dead = await opened(path)
    for name in ("unwanted", "wanted"):
        await dead.add_job(NewJob(name, "call"))
    await dead.open_run(NewRun("f", "f.toml", "d", "{}", (NewJob("a", "call"), NewJob("b", "call", ("a",)))),
                        resume=True, fresh=False)  # fmt: skip
    unwanted, _, a = (await dead.claim(9, 1.0)).jobs
    assert await dead.cancel(unwanted.id, "not this", 2.0)
    assert await dead.cancel(a.id, "nor that", 2.0)
    assert dead._lock is not None
    dead._lock.close()  # it was killed, as far as others can see
    heir = await opened(path)
    assert {job.name: (job.status.value, job.error) for job in await heir.jobs(JobFilter())} == {
        "unwanted": ("cancelled", "not this"),
        "wanted": ("interrupted", None),
        "a": ("cancelled", "nor that"),
        "b": ("cancelled", "needs 'a', which was cancelled"),
    }
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT unfinished, finished IS NULL FROM runs").fetchall() == [(0, 0)]
    for store in (heir, dead):
        await store.aclose()


@pytest.mark.asyncio
async def test_a_lock_file_that_somebody_looks_at_before_it_is_locked_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who sweeps looks at each lock file with a lock of its own, maybe just before the new owner locks it."""
    looking: list[int] = []
    really_open = os.open

    def looked_at(path: str | Path, flags: int, *mode: int) -> int:
        fd = really_open(path, flags, *mode)
        if flags & os.O_EXCL and not looking:
            looking.append(really_open(path, os.O_RDWR))
            fcntl.flock(looking[0], fcntl.LOCK_SH)
        return fd

    monkeypatch.setattr(os, "open", looked_at)
    store = await opened(tmp_path / "jobs.sqlite")
    assert len(looking) == 1
    os.close(looking[0])
    assert store._lock is not None
    assert is_alive(store.path, store._lock.token)
    await store.aclose()
    assert [file.name for file in tmp_path.iterdir()] == ["jobs.sqlite"]


# Files that are not what they should be


def files_beside(path: Path) -> dict[str, bytes]:
    """Return the files in the directory of a path with their contents, none when it is no directory."""
    if not path.parent.is_dir():
        return {}
    return {file.name: file.read_bytes() for file in path.parent.iterdir() if file.is_file()}


def refusal_of(path: Path) -> str:
    """Return the one line with which a store refuses a file; nothing is changed and nothing left behind."""
    before = files_beside(path)

    async def open_it() -> None:
        store = SqliteStore(path)
        try:
            await store.open()
        finally:
            await store.aclose()

    with pytest.raises(StoreError) as caught:
        asyncio.run(open_it())
    assert files_beside(path) == before
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))
    return str(caught.value)


class TestRefusals:
    """Files that a store refuses, and some that it does not."""

    def test_a_database_of_a_newer_version(self, tmp_path: Path) -> None:
        """It is named, and not touched."""
        path = tmp_path / "jobs.sqlite"
        with closing(connect(path, "x")) as db:
            db.execute(f"PRAGMA user_version = {VERSION + 1}")
        assert f"the database is of version {VERSION + 1}, this lifecycle knows up to {VERSION}" in refusal_of(path)
        with pytest.raises(StoreError, match="is of version"):
            StoreFile(path).jobs()

    def test_a_database_of_another_program(self, tmp_path: Path) -> None:
        """Somebody else's tables are left alone, also when they have no application id."""
        path = tmp_path / "jobs.sqlite"
        with closing(sqlite3.connect(path)) as db:
            db.execute("CREATE TABLE mine (x)")
        assert "is an SQLite database of another program" in refusal_of(path)
        with closing(sqlite3.connect(path)) as db:
            db.execute("DROP TABLE mine")
            db.execute("PRAGMA application_id = 77")
        assert "is an SQLite database of another program" in refusal_of(path)

    def test_a_file_that_is_no_database(self, tmp_path: Path) -> None:
        """A text, or garbage."""
        path = tmp_path / "jobs.sqlite"
        path.write_text("hello, I am no database at all, but a text of some length, " * 50)
        assert "is not an SQLite database" in refusal_of(path)

    def test_a_damaged_database(self, tmp_path: Path) -> None:
        """The pages after the first are overwritten."""
        path = tmp_path / "jobs.sqlite"
        with closing(connect(path, "x")) as db:
            db.execute("PRAGMA journal_mode = DELETE")
        content = bytearray(path.read_bytes())
        content[2_000:] = os.urandom(len(content) - 2_000)
        path.write_bytes(content)
        assert "is damaged" in refusal_of(path)

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            (".", "it is a directory"),
            ("no/where/jobs.sqlite", "there is no directory"),
            ("file/x", "is not a directory"),
        ],
    )
    def test_a_place_where_no_file_can_be(self, tmp_path: Path, name: str, message: str) -> None:
        """The line says what is wrong with the place."""
        (tmp_path / "file").write_text("")
        assert message in refusal_of(tmp_path / name)

    def test_an_empty_file_becomes_a_database(self, tmp_path: Path) -> None:
        """As SQLite has it."""
        path = tmp_path / "jobs.sqlite"
        path.touch()
        with closing(connect(path, "x")) as db:
            assert db.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)

    def test_a_database_that_is_locked_for_long(self, tmp_path: Path) -> None:
        """After the lock timeout it is an error that says so."""
        path = tmp_path / "jobs.sqlite"
        connect(path, "x").close()
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with (
                closing(connect(path, "x", lock_timeout=0.05)) as db,
                pytest.raises(sqlite3.OperationalError) as caught,
            ):
                db.execute("BEGIN IMMEDIATE")
        assert "locked" in str(caught.value)

    def test_two_processes_that_create_it_at_the_same_time(self, tmp_path: Path) -> None:
        """One makes the tables, the other finds them."""
        path = tmp_path / "jobs.sqlite"
        errors: list[BaseException] = []

        def create() -> None:
            try:
                connect(path, "x").close()
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=create) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []

    def test_a_lock_file_whose_process_never_registered_is_removed_at_the_next_opening(self, tmp_path: Path) -> None:
        """Killed between the two: the file would stay for ever. One that is locked is left alone."""
        database = tmp_path / "jobs.sqlite"
        left = OwnerLock(database)
        left.close()
        alive = OwnerLock(database)
        with closing(connect(database, "x")) as db:
            owners.retire_dead_owners(db, database)
            assert owners.enter(db, database, left, 1, "too late", 0.0) is None
        assert not left.path.exists()
        assert alive.path.exists()
        alive.release()

    def test_owners_without_a_file_are_buried_when_they_give_no_sign_of_life(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The store was copied, or somebody has deleted the lock files; a living owner would make its own anew."""
        path = tmp_path / "jobs.sqlite"
        with closing(connect(path, "x")) as db:
            owners.register(db, "gone", 1, "gone", 0.0)
            operations.insert_job(db, NewJob("a", "call"), None, 1, 0.0)
            claiming.claim(db, 1, 1, 1.0)
            doubts = Doubts()
            assert owners.retire_dead_owners(db, path, doubts) == 0
            assert doubts
            monkeypatch.setattr(locks, "DOUBT", 0.0)
            assert owners.retire_dead_owners(db, path, doubts) == 1
            assert not doubts
            assert db.execute("SELECT state FROM jobs").fetchall() == [("interrupted",)]
            assert db.execute("SELECT count(*) FROM owners").fetchone() == (0,)
