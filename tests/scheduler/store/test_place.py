"""A store is its file: by every name, as long as it lies where it was opened."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from lifecycle.scheduler import Scheduler, StoreError, handler
from lifecycle.scheduler._store.filters import JobFilter
from lifecycle.scheduler._store.records import NewJob
from lifecycle.scheduler._store.sqlite import locks, open_files, owners, place
from lifecycle.scheduler._store.sqlite.files import connect
from lifecycle.scheduler._store.sqlite.locks import is_alive
from lifecycle.scheduler._store.sqlite.outside import StoreFile
from lifecycle.scheduler._store.sqlite.place import Place, log_of
from lifecycle.scheduler._store.sqlite.store import SqliteStore

pytestmark = pytest.mark.asyncio


@handler("place.hold")
async def hold() -> None:
    """Run until it is stopped."""
    await anyio.sleep_forever()


@handler("place.fine")
async def fine() -> None:
    """Do nothing."""


async def a_store(path: Path) -> SqliteStore:
    """Return an open store with one job that runs."""
    store = SqliteStore(path)
    await store.open()
    await store.add_job(NewJob("a", "call", payload={"handler": "h", "args": []}))
    assert (await store.claim(1, 1.0)).jobs
    return store


@pytest.mark.parametrize("which", ["file", "directory", "chain"])
async def test_an_owner_is_seen_through_every_symbolic_link(tmp_path: Path, which: str) -> None:
    """Its job is not taken from it, whichever name another process uses; the file's own name finds it as well."""
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    if which == "directory":
        link.symlink_to(real)
    else:
        link.mkdir()
        target = Path("../real/jobs.sqlite")
        if which == "chain":
            (tmp_path / "between").symlink_to("real/jobs.sqlite")
            target = Path("../between")
        (link / "jobs.sqlite").symlink_to(target)
    names = [real / "jobs.sqlite", link / "jobs.sqlite"]
    for mine, other in (names, reversed(names)):
        store = await a_store(mine)
        assert [job.status.value for job in StoreFile(other).jobs()] == ["running"]
        second = SqliteStore(other)
        await second.open()
        assert await second.adopt_jobs(["h"]) == 0
        assert [job.status.value for job in await second.jobs(JobFilter())] == ["running"]
        await second.aclose()
        await store.aclose()
        assert sorted(path.name for path in real.iterdir()) == ["jobs.sqlite"]
        (real / "jobs.sqlite").unlink()


async def test_a_file_with_two_names_is_refused(tmp_path: Path) -> None:
    """Each would have its own log; nothing is touched."""
    path, other = tmp_path / "jobs.sqlite", tmp_path / "other.sqlite"
    connect(path, "x").close()
    os.link(path, other)
    for name in (path, other):
        with pytest.raises(StoreError, match="2 names"):
            StoreFile(name).jobs()
        with pytest.raises(StoreError, match="2 names"):
            async with Scheduler(name):
                pass
    assert sorted(file.name for file in tmp_path.iterdir()) == ["jobs.sqlite", "other.sqlite"]


async def test_a_file_that_is_mounted_alone_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its log would lie in a directory that goes with the container."""
    path = tmp_path / "jobs.sqlite"
    monkeypatch.setattr(place, "_mount_points", lambda: frozenset({str(path)}))
    with pytest.raises(StoreError, match="mounted alone"):
        Place(path).check()
    Place(tmp_path / "else.sqlite").check()


async def test_the_mount_points_are_read() -> None:
    """Whatever else is mounted, the root is."""
    assert not Path("/proc/self/mountinfo").exists() or "/" in place._mount_points()


# While it is in use


def delete(path: Path) -> None:
    """Delete the file and what lies beside it."""
    for file in path.parent.glob("jobs.sqlite*"):
        file.unlink()


def replace(path: Path) -> None:
    """Move another store over it."""
    other = path.with_name("other.sqlite")
    connect(other, "x").close()
    other.replace(path)


def move(path: Path) -> None:
    """Move its directory."""
    path.parent.rename(path.parent.with_name("elsewhere"))


def begin_anew(path: Path) -> None:
    """Delete it, and let another process make a new one."""
    delete(path)
    connect(path, "x").close()


FATES: dict[str, Callable[[Path], object]] = {
    "deleted": delete,
    "only the file deleted": Path.unlink,
    "replaced": replace,
    "begun anew": begin_anew,
    "directory moved": move,
    "directory deleted": lambda path: shutil.rmtree(path.parent),
    "log deleted": lambda path: path.with_name("jobs.sqlite-wal").unlink(),
    "index of the log deleted": lambda path: path.with_name("jobs.sqlite-shm").unlink(),
}


@pytest.mark.parametrize("fate", FATES)
async def test_nothing_is_acknowledged_into_a_file_that_is_gone(tmp_path: Path, fate: str) -> None:
    """The first that is submitted afterwards is refused, and the scheduler ends with that one error."""
    path = tmp_path / "in" / "jobs.sqlite"
    path.parent.mkdir()
    with pytest.raises(StoreError, match="while it was in use") as caught, anyio.fail_after(30):
        async with Scheduler(path) as scheduler:
            await scheduler.submit(hold)
            await (await scheduler.submit(fine)).wait()
            FATES[fate](path)
            await scheduler.submit(fine)
            raise AssertionError("it was acknowledged")
    assert str(path) in str(caught.value)
    if path.exists() and "log" not in fate:
        assert StoreFile(path).jobs() == [], "nothing of it is in the store that is there now"
    elif (moved := tmp_path / "elsewhere" / "jobs.sqlite").exists():
        assert len(StoreFile(moved).jobs()) >= 2, "all that was acknowledged is in the file that was moved"


async def test_a_file_that_is_moved_alone_has_all_that_was_acknowledged(tmp_path: Path) -> None:
    """Also what was in the log only, which stays behind, empty."""
    path, moved = tmp_path / "jobs.sqlite", tmp_path / "moved.sqlite"
    with pytest.raises(StoreError, match="deleted or moved"):
        async with Scheduler(path) as scheduler:
            for _ in range(5):
                await scheduler.submit(fine, delay=600.0)
            path.rename(moved)
            await scheduler.submit(fine)
    assert len(StoreFile(moved).jobs()) >= 5


@pytest.mark.parametrize("fate", ["deleted", "replaced", "directory moved"])
async def test_an_idle_scheduler_notices_within_seconds(tmp_path: Path, fate: str) -> None:
    """Nobody submits anything: it ends nevertheless."""
    path = tmp_path / "in" / "jobs.sqlite"
    path.parent.mkdir()
    with pytest.raises(StoreError, match="while it was in use"), anyio.fail_after(30):
        async with Scheduler(path):
            FATES[fate](path)
            await anyio.sleep_forever()


async def test_a_link_that_is_pointed_elsewhere_means_another_store(tmp_path: Path) -> None:
    """What is at that name now is not what was opened."""
    link = tmp_path / "link.sqlite"
    link.symlink_to("jobs.sqlite")
    connect(tmp_path / "other.sqlite", "x").close()
    with pytest.raises(StoreError, match="while it was in use"), anyio.fail_after(30):
        async with Scheduler(link) as scheduler:
            link.unlink()
            link.symlink_to("other.sqlite")
            await scheduler.submit(fine)


async def test_a_store_that_is_replaced_while_it_is_opened_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection that reads would have another file than the one that writes."""
    path = tmp_path / "jobs.sqlite"
    connect(path, "x").close()
    remember = Place.remember

    def too_late(self: Place) -> None:
        replace(path)
        remember(self)

    monkeypatch.setattr(Place, "remember", too_late)
    with pytest.raises(StoreError, match="was replaced"):
        async with Scheduler(path):
            pass


async def test_a_directory_that_was_moved_is_used_by_another_process_without_theft(tmp_path: Path) -> None:
    """The locks have moved along: who opens the store there sees that its owner lives, until that has ended."""
    path, moved = tmp_path / "in" / "jobs.sqlite", tmp_path / "elsewhere" / "jobs.sqlite"
    path.parent.mkdir()
    store = await a_store(path)
    move(path)
    assert [job.status.value for job in StoreFile(moved).jobs()] == ["running"]
    with pytest.raises(StoreError):
        await store.add_job(NewJob("b", "call"))
    with pytest.raises(StoreError):
        await store.aclose()
    assert [(job.name, job.status.value) for job in StoreFile(moved).jobs()][:1] == [("a", "interrupted")]


# The locks of the owners


async def test_a_lock_file_that_was_deleted_is_made_anew_and_nothing_is_stolen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process opens the store at that very moment: it waits for a sign of life, and leaves the job alone."""
    monkeypatch.setattr(locks, "KEPT_EVERY", 0.05)
    path = tmp_path / "jobs.sqlite"
    store = await a_store(path)
    taking = anyio.Event()

    async def take() -> None:
        taking.set()
        await store.take(lambda: 0, lambda: ["h"])

    async with anyio.create_task_group() as group:
        group.start_soon(take)
        await taking.wait()
        for file in tmp_path.glob("jobs.sqlite-owner-*"):
            file.unlink()
        assert [job.status.value for job in StoreFile(path).jobs()] == ["running"]
        second = SqliteStore(path)
        await second.open()
        assert await second.adopt_jobs(["h"]) == 0
        assert [job.status.value for job in await second.jobs(JobFilter())] == ["running"]
        assert store._lock is not None
        assert is_alive(path, store._lock.token)
        await second.aclose()
        group.cancel_scope.cancel()
    await store.aclose()
    assert [file.name for file in tmp_path.iterdir()] == ["jobs.sqlite"]


async def test_a_file_in_the_place_of_a_lock_is_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody has copied it back: the owner makes its own again."""
    monkeypatch.setattr(locks, "KEPT_EVERY", 0.0)
    lock = locks.OwnerLock(tmp_path / "jobs.sqlite")
    lock.path.unlink()
    lock.path.touch()
    assert is_alive(tmp_path / "jobs.sqlite", lock.token) is False
    lock.keep()
    assert is_alive(tmp_path / "jobs.sqlite", lock.token)
    before = os.stat(lock.path).st_ino
    lock.keep()
    assert os.stat(lock.path).st_ino == before, "what is there stays"
    lock.release()
    lock.keep()
    assert list(tmp_path.iterdir()) == []


async def test_a_copy_of_a_store_is_free_after_some_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owners have no locks there; what they ran goes on."""
    monkeypatch.setattr(locks, "DOUBT", 0.1)
    store = await a_store(tmp_path / "jobs.sqlite")
    copy = tmp_path / "copy.sqlite"
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite")) as db:
        db.execute("VACUUM INTO ?", (str(copy),))
    heir = SqliteStore(copy)
    await heir.open()
    assert await heir.adopt_jobs(["h"]) == 1
    await heir.aclose()
    await store.aclose()


async def test_who_was_buried_alive_goes_on_as_another_owner(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Somebody deletes lock files faster than they are made: what it ran is another's, and it takes new work."""
    path = tmp_path / "jobs.sqlite"
    async with Scheduler(path, drain_timeout=0.1) as scheduler:  # what it ran is another's, and is cut off
        lost = await scheduler.submit(hold)
        await anyio.sleep(0.05)
        with closing(sqlite3.connect(path)) as db:
            db.execute("UPDATE jobs SET state = 'interrupted', owner = NULL WHERE id = ?", (lost.id,))
            db.execute("DELETE FROM owners")
            db.commit()
        with anyio.fail_after(30):
            assert (await (await scheduler.submit(fine)).wait()).succeeded
        with closing(sqlite3.connect(path)) as db:
            assert db.execute("SELECT count(*) FROM owners").fetchone() == (1,)
        await scheduler.cancel(lost.id)
    assert "taken for dead by another scheduler" in [record.message for record in caplog.records]


async def test_a_doubted_owner_that_others_have_buried_is_waited_for_no_more(tmp_path: Path) -> None:
    """Who opens the store while owners come and go does not wait for one that is gone."""
    path = tmp_path / "jobs.sqlite"
    with closing(connect(path, "x")) as db:
        doubts = locks.Doubts()
        owners.register(db, "gone", 1, "gone", 0.0)
        assert owners.dead_owners(db, path, doubts) == []
        assert doubts
        db.execute("DELETE FROM owners")
        assert owners.dead_owners(db, path, doubts) == []
        assert not doubts


READ_AND_CLOSE = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("SELECT count(*) FROM jobs").fetchone()
db.close()
"""


@pytest.mark.asyncio
async def test_looking_at_the_file_takes_no_lock_from_who_works_on_it(tmp_path: Path) -> None:
    """POSIX drops a process's locks on a file with any descriptor of it that is closed: the log would be taken away."""
    path = tmp_path / "jobs.sqlite"
    async with Scheduler(path) as scheduler:
        await (await scheduler.submit(fine)).wait()
        log = log_of(path)
        before = log.stat().st_ino
        StoreFile(path).jobs()
        await scheduler.upkeep.check()
        async with Scheduler(path):
            pass
        Place(path).check()
        ended = await anyio.run_process([sys.executable, "-c", READ_AND_CLOSE, str(path)])
        assert ended.returncode == 0
        assert log.stat().st_ino == before, "somebody else thought that he was the last one"
        await (await scheduler.submit(fine)).wait()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM jobs WHERE state = 'succeeded'").fetchone() == (2,)
    assert not open_files._open, "nothing is open any more"
