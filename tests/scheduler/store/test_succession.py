"""Owners of one file that end while others live: their jobs go on."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from lifecycle.scheduler import Scheduler, handler
from lifecycle.scheduler._store.records import NewJob, NewRun, flow_key
from lifecycle.scheduler._store.schedule_records import NewSchedule
from lifecycle.scheduler._store.sqlite import succession
from lifecycle.scheduler._store.sqlite.store import SqliteStore

pytestmark = pytest.mark.asyncio

KNOWN = NewJob("known", "call", payload={"handler": "succession.tick", "args": []})
UNKNOWN = NewJob("unknown", "call", payload={"handler": "another", "args": []})
HANDLERS = ["succession.tick"]


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often."""
    monkeypatch.setattr(succession, "INTERVAL", 0.02)


@handler("succession.tick")
async def tick() -> None:
    """Be done."""


async def opened(path: Path) -> SqliteStore:
    """Return an open store that takes over what others leave."""
    store = SqliteStore(path)
    await store.open()
    await store.adopt_jobs(HANDLERS)
    return store


@pytest.mark.parametrize("how", ["killed", "closed"])
async def test_a_living_owner_takes_over_what_another_leaves(tmp_path: Path, how: str) -> None:
    """What waited and what ran, if its handler is known; the lock file of a killed one is removed."""
    path = tmp_path / "jobs.sqlite"
    other, heir = await opened(path), await opened(path)
    for job in (KNOWN, UNKNOWN, KNOWN):
        await other.add_job(job)
    await other.claim(1, 1.0)
    taking = asyncio.ensure_future(heir.take(lambda: 9, lambda: HANDLERS))
    await anyio.sleep(0.2)
    assert not taking.done(), "nothing is taken away from the living"
    if how == "closed":
        await other.aclose()
    else:
        assert other._lock is not None
        other._lock.close()  # as the end of the process does
    with anyio.fail_after(20):
        claimed = await taking
    assert [(job.name, job.attempt) for job in claimed] == [("known", 2), ("known", 1)]
    assert len(list(tmp_path.glob("*owner*"))) == 1
    await other.aclose()
    await heir.aclose()


async def test_a_living_owner_takes_over_the_runs_of_flows_that_it_serves(tmp_path: Path) -> None:
    """In the version that it has; those of others wait for somebody who has them."""
    path = tmp_path / "jobs.sqlite"
    other, heir = await opened(path), await opened(path)
    for flow, digest in [("served", "d"), ("served", "older"), ("unknown", "d")]:
        run = NewRun(flow, "f.toml", digest, "{}", (NewJob("a", "call"), NewJob("b", "call", ("a",))))
        await other.open_run(run, resume=False, fresh=False)
    await other.claim(1, 1.0)
    assert other._lock is not None
    other._lock.close()
    with anyio.fail_after(20):
        (claimed,) = await heir.take(lambda: 9, lambda: [flow_key("served", "d")])
    assert (claimed.name, claimed.run_id, claimed.attempt) == ("a", 1, 2)
    with closing(sqlite3.connect(path)) as db:
        owned = db.execute("SELECT DISTINCT run, owner IS NOT NULL FROM jobs ORDER BY run").fetchall()
        assert owned == [(1, 1), (2, 0), (3, 0)]
        assert db.execute("SELECT id, owner IS NOT NULL FROM runs ORDER BY id").fetchall() == owned
    await other.aclose()
    await heir.aclose()


async def test_an_owner_never_takes_itself_for_dead(tmp_path: Path) -> None:
    """Although somebody has removed its lock file: what it runs would be begun a second time beside itself."""
    path = tmp_path / "jobs.sqlite"
    store, other = await opened(path), await opened(path)
    number = await store.add_job(KNOWN)
    with anyio.fail_after(20):
        await store.take(lambda: 9, lambda: HANDLERS)
    assert store._lock is not None
    store._lock.path.unlink()
    assert other._lock is not None
    other._lock.close()
    taking = asyncio.ensure_future(store.take(lambda: 9, lambda: HANDLERS))
    await anyio.sleep(0.2)
    assert not taking.done()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT id, state, attempt FROM jobs").fetchall() == [(number, "running", 1)]
        assert db.execute("SELECT count(*) FROM owners").fetchone() == (1,), "the other one is buried"
    taking.cancel()
    await other.aclose()
    await store.aclose()


async def test_a_delay_goes_on_whose_run_was_lost_with_its_owner(tmp_path: Path) -> None:
    """The next run of a schedule waits for the end of the last: it must not wait for a dead process."""
    path = tmp_path / "jobs.sqlite"
    other, heir = await opened(path), await opened(path)
    await other.put_schedule(NewSchedule("s", "fixed_delay", "0.01", None, "coalesce", None, KNOWN, HANDLERS[0]))
    with anyio.fail_after(20):
        (lost,) = await other.take(lambda: 1, lambda: HANDLERS)
        assert other._lock is not None
        other._lock.close()
        (again,) = await heir.take(lambda: 1, lambda: HANDLERS)
    assert (again.id, again.attempt) == (lost.id, 2)
    await other.aclose()
    await heir.aclose()


async def test_a_scheduler_that_does_not_adopt_takes_nothing_over(tmp_path: Path) -> None:
    """Neither at its start nor later."""
    path = tmp_path / "jobs.sqlite"
    async with Scheduler(path, adopt=False):
        other = await opened(path)
        await other.add_job(KNOWN)
        await other.aclose()
        await anyio.sleep(0.2)
        with closing(sqlite3.connect(path)) as db:
            assert db.execute("SELECT state, owner FROM jobs").fetchall() == [("pending", None)]
