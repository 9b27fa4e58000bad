"""The tables of an SQLite file: an older file is brought up to date, with everything that was in it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from lifecycle.scheduler import StoreError
from lifecycle.scheduler._store.records import NewJob
from lifecycle.scheduler._store.schedule_records import NewSchedule
from lifecycle.scheduler._store.sqlite import schedules
from lifecycle.scheduler._store.sqlite.files import connect
from lifecycle.scheduler._store.sqlite.locks import OwnerLock, lock_path
from lifecycle.scheduler._store.sqlite.schema import APPLICATION_ID, MIGRATIONS, VERSION


def file_of_version(path: Path, version: int) -> sqlite3.Connection:
    """Return a connection to a new file as that version made it."""
    db = sqlite3.connect(path, isolation_level=None)
    for statements in MIGRATIONS[:version]:
        for statement in statements:
            db.execute(statement)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {version}")
    return db


def put_job(db: sqlite3.Connection, state: str) -> None:
    """Store a job as every version could."""
    number = db.execute(
        """
        INSERT INTO jobs (name, kind, state, priority, unmet, delay, due, retries, backoff_first, backoff_longest,
                          payload, created)
        VALUES ('old', 'call', 'pending', 0, 0, 0, 0, 0, 0.1, 10, '{"handler":"h","args":[]}', 1.0)"""
    ).lastrowid
    finished = None if state in ("pending", "interrupted") else 2.0
    db.execute("UPDATE jobs SET state = ?, finished = ? WHERE id = ?", (state, finished, number))


def shape(db: sqlite3.Connection) -> set[tuple[str, str]]:
    """Return what there is in a database: tables, indexes and triggers, with their columns."""
    found = set(db.execute("SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"))
    for table in [name for kind, name in found if kind == "table"]:
        found |= {(table, f"{row[1]} {row[2]}") for row in db.execute(f"PRAGMA table_xinfo({table})")}
    return found


@pytest.mark.parametrize("version", range(1, VERSION))
def test_an_older_file_becomes_what_a_new_one_is(tmp_path: Path, version: int) -> None:
    """Its jobs are there and are counted, and their handlers are known; it takes schedules."""
    states = {"pending": 3, "succeeded": 5, "interrupted": 1}
    with closing(file_of_version(tmp_path / "old.sqlite", version)) as older:
        for state, number in states.items():
            for _ in range(number):
                put_job(older, state)
    with (
        closing(connect(tmp_path / "old.sqlite", "old")) as old,
        closing(connect(tmp_path / "new.sqlite", "new")) as new,
    ):
        assert old.execute("PRAGMA user_version").fetchone() == (VERSION,)
        assert shape(old) == shape(new)
        assert {state: jobs for state, jobs in old.execute("SELECT * FROM counts") if jobs} == states
        assert old.execute("SELECT DISTINCT name, handler, queue, crashes, recorded FROM jobs").fetchall() == [
            ("old", "h", "default", 0, 0)
        ]
        schedules.put(old, NewSchedule("s", "fixed_rate", "9", None, "drop", None, NewJob("s", "call"), "h"), 0.0)
        tokens = [db.execute("SELECT value FROM facts WHERE name = 'token'").fetchone()[0] for db in (old, new)]
    assert len(set(tokens)) == 2, "each store has its own"


def test_a_policy_of_an_older_file_goes_on_under_its_new_name(tmp_path: Path) -> None:
    """What was called skip there is drop."""
    path = tmp_path / "old.sqlite"
    with closing(file_of_version(path, 3)) as older:
        older.execute(
            """
            INSERT INTO schedules (name, kind, rule, missed, handler, job, anchor, next_due)
            VALUES ('s', 'fixed_rate', '9', 'skip', 'h', '["s", "call", 0, 0, [0.1, 10.0], null, null]', 0, 9)"""
        )
    with closing(connect(path, "x")) as db:
        record = schedules.record(db, "s")
        assert record is not None
        assert record.missed == "drop"


def test_a_file_is_not_brought_up_to_date_under_an_older_process(tmp_path: Path) -> None:
    """It would go on by its own rules; once it has ended, or was killed, the file is as good as any older one."""
    path = tmp_path / "old.sqlite"
    living, dead = OwnerLock(path), "0123456789abcdef"
    with closing(file_of_version(path, VERSION - 1)) as db:
        for token in (living.token, dead):
            db.execute("INSERT INTO owners (token, pid, name, started) VALUES (?, 17, 'nights', 1.0)", (token,))
        before = shape(db)
        lock_path(path, dead).touch()
        with pytest.raises(StoreError, match=r"'nights' \(process 17\) of an older lifecycle works on the database"):
            connect(path, "old.sqlite")
        assert shape(db) == before
        assert db.execute("PRAGMA user_version").fetchone() == (VERSION - 1,)
    living.close()
    connect(path, "old.sqlite").close()
