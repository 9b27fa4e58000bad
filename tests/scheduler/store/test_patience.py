"""Faults that may pass are waited for: what has ended is recorded, new work is refused, and the end is one error."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import anyio
import pytest

from lifecycle.scheduler import Event, Scheduler, StoreBusy, StoreError, handler
from lifecycle.scheduler._store import patience
from lifecycle.scheduler._store.patience import Patience, Trouble
from lifecycle.scheduler._store.sqlite.faults import Fault, fault_of
from lifecycle.scheduler._store.sqlite.outside import StoreFile
from lifecycle.scheduler._store.sqlite.store import SqliteStore


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it refuse and tell soon."""
    monkeypatch.setattr(patience, "LOCK_TIMEOUT", 0.3)
    monkeypatch.setattr(patience, "TOLD_AFTER", (0.1, 0.2))


@handler("patience.wait")
async def wait(seconds: float) -> float:
    """Take so long."""
    await anyio.sleep(seconds)
    return seconds


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the database locked as another process does."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=30.0)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


async def full(scheduler: Scheduler, room: bool) -> None:
    """Let the disk of a scheduler's store be full, or give it room."""
    store = scheduler._store
    assert isinstance(store, SqliteStore)
    assert store._writer is not None
    now = await store._writer.run(lambda db: db.execute("PRAGMA page_count").fetchone()[0])
    await store._writer.run(lambda db: db.execute(f"PRAGMA max_page_count = {now + (1 << 20 if room else 0)}"))


@pytest.mark.asyncio
async def test_a_locked_store_refuses_new_work_and_records_what_ends_when_it_is_free(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The scheduler lives on; log, statistics and events say why nothing begins."""
    events: list[Event] = []
    async with Scheduler(tmp_path / "jobs.sqlite", on_event=events.append) as scheduler:
        job = await scheduler.submit(wait, 0.2)
        with locked(tmp_path / "jobs.sqlite"), anyio.fail_after(30):
            with pytest.raises(StoreBusy, match=r"locked by another process.*nothing was written"):
                await scheduler.submit(wait, 0.0, name="refused")
            with pytest.raises(StoreBusy):
                await job.cancel()
            assert scheduler.statistics().waiting_for_store > 0.2
            assert not job.done
            assert [seen.name for seen in await scheduler.jobs()] == ["patience.wait"], "it can be looked at"
        assert (await job.wait()).result == 0.2
        assert (await (await scheduler.submit(wait, 0.0)).wait()).succeeded
        assert scheduler.statistics().waiting_for_store == 0.0
        assert [seen.name for seen in await scheduler.jobs()] == ["patience.wait"] * 2
    kinds = [event.kind for event in events if event.kind.startswith("store_")]
    assert kinds == ["store_waiting", "store_waiting", "store_recovered"]
    said = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert said == ["store cannot be written"] * 2 + ["store can be written again"]


@pytest.mark.asyncio
async def test_a_full_disk_is_waited_for(tmp_path: Path) -> None:
    """What does not fit is refused, nothing of it is there, and it goes on by itself when there is room."""
    async with Scheduler(tmp_path / "jobs.sqlite") as scheduler:
        await full(scheduler, room=False)
        with anyio.fail_after(30), pytest.raises(StoreBusy, match="disk is full"):
            while True:
                await scheduler.submit(wait, 0.0, name="x" * 200)
        assert scheduler._store.failure is None
        await full(scheduler, room=True)
        assert (await (await scheduler.submit(wait, 0.0)).wait()).succeeded


@pytest.mark.asyncio
@pytest.mark.parametrize("busy", [False, True])
async def test_the_end_of_all_patience_is_one_error(tmp_path: Path, busy: bool) -> None:
    """Also where the body, a job and the scheduler itself have all met it."""
    path = tmp_path / "jobs.sqlite"
    with locked_later(path) as lock, pytest.raises(StoreError) as caught, anyio.fail_after(30):
        async with Scheduler(path, store_patience=0.25) as scheduler:
            await scheduler.submit(wait, 0.1)
            lock.execute("BEGIN IMMEDIATE")
            if busy:
                await scheduler.submit(wait, 0.0)
            await anyio.sleep_forever()
    assert type(caught.value) is StoreError
    assert "locked by another process" in str(caught.value)


@contextmanager
def locked_later(path: Path) -> Iterator[sqlite3.Connection]:
    """Return a connection that can lock the database."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        yield other


@pytest.mark.asyncio
@pytest.mark.parametrize("refused", [False, True])
async def test_closing_does_not_wait_for_a_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, refused: bool
) -> None:
    """The next one that opens the store completes what is left; a refusal that ended the block is raised alone."""
    monkeypatch.setattr(patience, "AT_THE_END", 0.1)
    path = tmp_path / "jobs.sqlite"
    with locked_later(path) as lock, anyio.fail_after(30), pytest.raises(StoreBusy) if refused else nullcontext():
        async with Scheduler(path, drain_timeout=0.0) as scheduler:
            await scheduler.submit(wait, 600.0)
            await until(scheduler, "running", 1)  # or the lock may come before it has begun
            lock.execute("BEGIN IMMEDIATE")
            if refused:
                await scheduler.submit(wait, 0.0)
    assert [record.message for record in caplog.records][-1] == "store left as it is"
    assert [(job.status.value, job.attempts) for job in StoreFile(path).jobs()] == [("interrupted", 1)]
    async with Scheduler(path, drain_timeout=0.0) as heir:
        with anyio.fail_after(30):
            await until(heir, "running", 2)


async def until(scheduler: Scheduler, status: str, attempts: int) -> None:
    """Wait until the one job of a scheduler is in this state."""
    while [(job.status.value, job.attempts) for job in await scheduler.jobs()] != [(status, attempts)]:
        await anyio.sleep(0.001)


def test_what_it_tells_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """After one second, after ten, and then once a minute."""
    now = 0.0
    monkeypatch.setattr(patience, "TOLD_AFTER", (1.0, 10.0))
    monkeypatch.setattr(patience.time, "monotonic", lambda: now)
    told: list[Trouble] = []
    waiting = Patience(300.0, told.append)
    for tenth in range(3_000):
        now = tenth / 10
        waiting.meet("locked")
        assert not waiting.exhausted
    assert [round(trouble.seconds) for trouble in told] == [1, 10, 60, 120, 180, 240]
    waiting.passed()
    assert told[-1].over
    waiting.passed()
    assert len(told) == 7
    waiting.meet("locked")
    waiting.passed()
    assert len(told) == 7, "one that nobody was told of need not be taken back"


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        (sqlite3.SQLITE_BUSY, Fault.PASSING),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, Fault.PASSING),
        (sqlite3.SQLITE_FULL, Fault.PASSING),
        (sqlite3.SQLITE_IOERR_FSYNC, Fault.FINAL),
        (sqlite3.SQLITE_CORRUPT, Fault.FINAL),
        (sqlite3.SQLITE_CONSTRAINT_UNIQUE, Fault.OWN),
        (None, Fault.OWN),
    ],
)
def test_what_a_fault_means(code: int | None, fault: Fault) -> None:
    """What may pass, what is the end, and what is the operation's own."""
    error: Any = sqlite3.OperationalError("x")
    if code is not None:
        error.sqlite_errorcode = code
    assert fault_of(error) is fault
