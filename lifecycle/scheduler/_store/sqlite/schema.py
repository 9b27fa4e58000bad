"""The tables of the SQLite store, their version, and how an older file is brought up to date."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from ..._ground.errors import StoreError
from .locks import is_alive

APPLICATION_ID: Final = 0x4C69_6645
"""Stands in the header of our files: "LifE". Another program's database is not touched."""

_FIRST: Final = (
    """
    CREATE TABLE owners (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        token TEXT NOT NULL,      -- the end of the name of its lock file
        pid INTEGER NOT NULL,
        name TEXT NOT NULL,
        started REAL NOT NULL
    )""",
    """
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        flow TEXT NOT NULL,
        source TEXT NOT NULL,
        digest TEXT NOT NULL,
        params TEXT NOT NULL,
        owner INTEGER,
        jobs INTEGER NOT NULL,
        unfinished INTEGER NOT NULL,
        created REAL NOT NULL,
        finished REAL
    )""",
    "CREATE INDEX runs_unfinished ON runs (flow) WHERE finished IS NULL",
    """
    CREATE TABLE jobs (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        run INTEGER,
        name TEXT NOT NULL,
        kind TEXT NOT NULL,
        state TEXT NOT NULL,
        owner INTEGER,            -- who may run it, or runs it
        priority INTEGER NOT NULL,
        unmet INTEGER NOT NULL,   -- needs that have not succeeded yet
        delay REAL NOT NULL,
        due REAL NOT NULL,        -- 0, or the wall-clock time before which it does not start
        attempt INTEGER NOT NULL DEFAULT 0,
        failures INTEGER NOT NULL DEFAULT 0,
        retries INTEGER NOT NULL,
        backoff_first REAL NOT NULL,
        backoff_longest REAL NOT NULL,
        timeout REAL,
        payload TEXT,
        cancel TEXT,              -- the reason, from the moment that somebody wants it stopped
        result TEXT,
        error TEXT,
        trace TEXT,
        log TEXT,
        seconds REAL,
        created REAL NOT NULL,
        started REAL,
        finished REAL
    )""",
    "CREATE UNIQUE INDEX jobs_by_name ON jobs (run, name) WHERE run IS NOT NULL",
    # Each index is over exactly what one query asks, in the same words: SQLite uses a partial index only when the
    # query's conditions imply the index's, and `state IN (...)` does not imply `state = 'pending'`.
    """
    CREATE INDEX jobs_ready ON jobs (owner, priority DESC, id)
        WHERE state = 'pending' AND unmet = 0 AND due = 0""",
    "CREATE INDEX jobs_due ON jobs (owner, due) WHERE state = 'pending' AND unmet = 0 AND due > 0",
    "CREATE INDEX jobs_running ON jobs (owner) WHERE state = 'running'",
    "CREATE TABLE needs (needed INTEGER, job INTEGER, PRIMARY KEY (needed, job)) WITHOUT ROWID",
    "CREATE INDEX needs_of ON needs (job)",
    """
    CREATE TABLE notices (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        owner INTEGER NOT NULL,
        job INTEGER NOT NULL
    )""",
    "CREATE INDEX notices_for ON notices (owner)",
)

_SCHEDULES: Final = (
    """
    CREATE TABLE schedules (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        kind TEXT NOT NULL,
        rule TEXT NOT NULL,
        timezone TEXT,
        missed TEXT NOT NULL,
        misfire_grace REAL,
        handler TEXT NOT NULL,
        job TEXT NOT NULL,        -- the settings and the payload of its jobs
        paused INTEGER NOT NULL DEFAULT 0,
        anchor REAL NOT NULL,     -- the wall-clock time at which a fixed rate began
        next_due REAL,
        last_due REAL,
        last_job INTEGER,
        runs INTEGER NOT NULL DEFAULT 0,
        missed_runs INTEGER NOT NULL DEFAULT 0
    )""",
    "CREATE INDEX schedules_due ON schedules (next_due) WHERE paused = 0 AND next_due IS NOT NULL",
    "ALTER TABLE jobs ADD COLUMN schedule INTEGER",
    "ALTER TABLE jobs ADD COLUMN scheduled REAL",
    # The database itself refuses a second job for one due time.
    "CREATE UNIQUE INDEX jobs_scheduled ON jobs (schedule, scheduled) WHERE scheduled IS NOT NULL",
)

_SCHEDULED_FLOWS: Final = (
    "ALTER TABLE schedules ADD COLUMN last_run INTEGER",
    "ALTER TABLE schedules ADD COLUMN triggered INTEGER NOT NULL DEFAULT 0",  # so often from another process
    "CREATE INDEX schedules_triggered ON schedules (id) WHERE triggered > 0",
    "ALTER TABLE runs ADD COLUMN schedule INTEGER",
    "ALTER TABLE runs ADD COLUMN scheduled REAL",
    # And a second run.
    "CREATE UNIQUE INDEX runs_scheduled ON runs (schedule, scheduled) WHERE scheduled IS NOT NULL",
)

_DROP: Final = ("UPDATE schedules SET missed = 'drop' WHERE missed = 'skip'",)  # a timer's word with another meaning

_FINAL: Final = ("succeeded", "failed", "cancelled", "timed_out", "skipped")
_EVER: Final = "coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'jobs'), 0)"

_OPERATOR: Final = (
    "ALTER TABLE jobs ADD COLUMN crashes INTEGER NOT NULL DEFAULT 0",  # attempts during which its process died
    "CREATE INDEX jobs_suspected ON jobs (owner) WHERE crashes > 0 AND finished IS NULL",
    "ALTER TABLE jobs ADD COLUMN expires REAL",  # the wall-clock time after which it is not begun any more
    "ALTER TABLE jobs ADD COLUMN key TEXT",  # of those that have not ended, one has it
    "ALTER TABLE jobs ADD COLUMN queue TEXT NOT NULL DEFAULT 'default'",
    # Reckoned by the database itself: the payload stays the only place where it is kept.
    "ALTER TABLE jobs ADD COLUMN handler TEXT AS (json_extract(payload, '$.handler'))",
    "ALTER TABLE jobs ADD COLUMN metadata TEXT",  # JSON that travels with it
    "ALTER TABLE jobs ADD COLUMN progress_done REAL",
    "ALTER TABLE jobs ADD COLUMN progress_total REAL",
    "ALTER TABLE jobs ADD COLUMN history TEXT",  # what was done to it by hand, a line each
    "ALTER TABLE jobs ADD COLUMN skipped INTEGER NOT NULL DEFAULT 0",  # because of a job that it needs
    "UPDATE jobs SET skipped = 1 WHERE state = 'cancelled' AND attempt = 0 AND error LIKE 'needs ''%'', which %'",
    "ALTER TABLE jobs ADD COLUMN logged INTEGER NOT NULL DEFAULT 0",  # lines of its log, with those that are gone
    # Whether it runs when what it needs has ended: NULL or 'success', 'failure', 'always'.
    "ALTER TABLE jobs ADD COLUMN when_ TEXT",
    "ALTER TABLE jobs ADD COLUMN blocked TEXT",  # why it will not run on success: a need that may not fail has failed
    "ALTER TABLE jobs ADD COLUMN trouble INTEGER NOT NULL DEFAULT 0",  # whether anything above it did not succeed
    "ALTER TABLE runs ADD COLUMN cancel TEXT",  # the reason, from the moment that the whole run was cancelled
    "ALTER TABLE jobs ADD COLUMN at REAL",  # the wall-clock time that it was asked for, whatever the clock does
    "CREATE UNIQUE INDEX jobs_unique ON jobs (key) WHERE key IS NOT NULL AND finished IS NULL",
    "CREATE INDEX jobs_expiring ON jobs (expires) WHERE expires IS NOT NULL AND state = 'pending'",
    # What no owner has, for the next that knows the handler; a job by itself is seldom in it.
    """
    CREATE INDEX jobs_left ON jobs (handler, priority DESC, id)
        WHERE run IS NULL AND owner IS NULL AND finished IS NULL""",
    # With `jobs_ready` and `jobs_due`, all that an owner has waiting; by run, because what is of none may wait for jobs
    # that another process runs.
    "CREATE INDEX jobs_waiting ON jobs (owner, run) WHERE unmet > 0 AND state = 'pending'",
    "CREATE INDEX jobs_of_name ON jobs (name)",
    "CREATE INDEX jobs_open ON jobs (name) WHERE finished IS NULL",
    # By state and number. One for all that have ended: every change of a job tries the condition of every index.
    # Those that run have `jobs_running`.
    "CREATE INDEX jobs_ended ON jobs (state) WHERE finished IS NOT NULL",
    "CREATE INDEX jobs_pending ON jobs (id) WHERE state = 'pending'",
    "CREATE INDEX jobs_interrupted ON jobs (id) WHERE state = 'interrupted'",
    "CREATE INDEX runs_of_flow ON runs (flow)",
    "ALTER TABLE runs ADD COLUMN max_instances INTEGER",
    "ALTER TABLE runs ADD COLUMN overlap TEXT",
    # Whether it waits for other runs of its flow: for each of its jobs that has not ended that is one more unmet need.
    "ALTER TABLE runs ADD COLUMN held INTEGER NOT NULL DEFAULT 0",
    "DROP INDEX runs_unfinished",
    "CREATE INDEX runs_unfinished ON runs (flow, held) WHERE finished IS NULL",
    "ALTER TABLE needs ADD COLUMN tolerant INTEGER NOT NULL DEFAULT 0",  # it may fail
    "CREATE TABLE facts (name TEXT PRIMARY KEY, value) WITHOUT ROWID",
    "INSERT INTO facts VALUES ('token', lower(hex(randomblob(16))))",  # which store this is, wherever it lies
    # How many jobs are in each state: counted by the database, so that no way to change a job can be forgotten. Only
    # what has ended is, and what is gone, once in the life of a job; the few that run are counted when somebody asks,
    # and what is pending is the rest of all that have ever been put in.
    "CREATE TABLE ended (state TEXT PRIMARY KEY, jobs INTEGER NOT NULL) WITHOUT ROWID",
    *(f"INSERT INTO ended SELECT '{state}', count(*) FROM jobs WHERE state = '{state}'" for state in _FINAL),
    f"INSERT INTO ended SELECT 'gone', {_EVER} - count(*) FROM jobs",
    # Of what says when it ended only: SQLite takes time for a trigger that does nothing, too.
    """
    CREATE TRIGGER count_ended AFTER UPDATE OF finished ON jobs WHEN old.state <> new.state BEGIN
        UPDATE ended SET jobs = jobs + 1 WHERE state = new.state;
        UPDATE ended SET jobs = jobs - 1 WHERE state = old.state;
    END""",
    """
    CREATE TRIGGER count_gone AFTER DELETE ON jobs BEGIN
        UPDATE ended SET jobs = jobs + 1 WHERE state = 'gone';
        UPDATE ended SET jobs = jobs - 1 WHERE state = old.state;
    END""",
    f"""
    CREATE VIEW counts (state, jobs) AS
        WITH alive (state, jobs) AS (
            SELECT 'running', count(*) FROM jobs WHERE state = 'running'
            UNION ALL SELECT 'interrupted', count(*) FROM jobs WHERE state = 'interrupted')
        SELECT state, jobs FROM ended WHERE state <> 'gone'
        UNION ALL SELECT state, jobs FROM alive
        UNION ALL
        SELECT 'pending', {_EVER} - (SELECT sum(jobs) FROM ended) - (SELECT sum(jobs) FROM alive)""",
    "DROP INDEX jobs_ready",
    """
    CREATE INDEX jobs_ready ON jobs (owner, queue, priority DESC, id)
        WHERE state = 'pending' AND unmet = 0 AND due = 0""",
    """
    CREATE TABLE limits (
        kind TEXT NOT NULL,       -- of what: 'queue', 'handler', or 'all'
        name TEXT NOT NULL,
        paused INTEGER NOT NULL,
        at_once INTEGER,
        number INTEGER,           -- so many may begin in so many seconds, and so many at once
        per REAL,
        burst INTEGER,
        weight REAL NOT NULL,     -- of a queue: its share
        whole_at REAL NOT NULL,   -- the wall-clock time at which the rate is whole again
        PRIMARY KEY (kind, name)
    ) WITHOUT ROWID""",
    "ALTER TABLE schedules ADD COLUMN jitter REAL",
    "ALTER TABLE schedules ADD COLUMN starts REAL",
    "ALTER TABLE schedules ADD COLUMN overlap TEXT",
    "ALTER TABLE schedules ADD COLUMN max_instances INTEGER",
    "ALTER TABLE runs ADD COLUMN status TEXT",  # how it ended
    """
    UPDATE runs SET status = CASE
        WHEN EXISTS (SELECT 1 FROM jobs WHERE run = runs.id AND state IN ('failed', 'timed_out')) THEN 'failed'
        WHEN EXISTS (SELECT 1 FROM jobs WHERE run = runs.id AND state = 'cancelled') THEN 'cancelled'
        ELSE 'succeeded' END
    WHERE finished IS NOT NULL""",
    "ALTER TABLE schedules ADD COLUMN ends REAL",
    "ALTER TABLE schedules ADD COLUMN waiting REAL",  # the due time of a run that waits until another has ended
    "ALTER TABLE schedules ADD COLUMN skipped_runs INTEGER NOT NULL DEFAULT 0",
    "CREATE INDEX schedules_waiting ON schedules (id) WHERE waiting IS NOT NULL",
    # What a schedule has submitted and has not ended.
    "CREATE INDEX jobs_of_schedule ON jobs (schedule) WHERE schedule IS NOT NULL AND finished IS NULL",
    "CREATE INDEX runs_of_schedule ON runs (schedule) WHERE schedule IS NOT NULL AND finished IS NULL",
)

# The number of the last attempt whose end was recorded: those after it were cut off.
_RECORDED: Final = ("ALTER TABLE jobs ADD COLUMN recorded INTEGER NOT NULL DEFAULT 0",)

MIGRATIONS: Final = (_FIRST, _SCHEDULES, _SCHEDULED_FLOWS, _DROP, _OPERATOR, _RECORDED)
"""What brings a file from version n to n + 1; never changed once released, only added to."""

VERSION: Final = len(MIGRATIONS)


def bring_up_to_date(db: sqlite3.Connection, path: str, file: Path | None = None) -> None:
    """Create the tables in an empty file, or bring an older one to this version, in one transaction.

    Not under a process of the older version: it would go on by its own rules, and not know of what is new. A job that
    needs another one would wait for ever, one that has expired would begin.

    Args:
        db: a connection to it.
        path: what messages call it.
        file: where the locks of its owners lie; None where there can be none.

    Raises:
        StoreError: the file is of another program, of a newer version, or a process of an older one works on it; it
            has not been changed.
    """
    if _checked_version(db, path) == VERSION:
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        # Once more: another process may have done it while this one waited for the lock.
        version = _checked_version(db, path)
        if file is not None and 0 < version < VERSION:
            _check_unused(db, path, file, version)
        for statements in MIGRATIONS[version:]:
            for statement in statements:
                db.execute(statement)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {VERSION}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _check_unused(db: sqlite3.Connection, path: str, file: Path, version: int) -> None:
    for token, pid, name in db.execute("SELECT token, pid, name FROM owners ORDER BY id"):
        if is_alive(file, token):
            raise StoreError(
                f"{path}: scheduler {name!r} (process {pid}) of an older lifecycle works on the database, which is of "
                f"version {version}; end it, then this one brings the database to version {VERSION}"
            )


def check_version(db: sqlite3.Connection, path: str) -> None:
    """Check that a file is ours and of this version, without changing it.

    Raises:
        StoreError: it is not.
    """
    version = _checked_version(db, path)
    if version < VERSION:
        was = f"of version {version}, older than {VERSION}; open it once with a scheduler" if version else "empty"
        raise StoreError(f"{path}: the database is {was}")


def _checked_version(db: sqlite3.Connection, path: str) -> int:
    # In one statement, or another process might make the tables between two.
    application, version, tables = db.execute(
        "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master)"
        " FROM pragma_application_id, pragma_user_version"
    ).fetchone()
    if application != APPLICATION_ID and (application or version or tables):
        raise StoreError(f"{path}: is an SQLite database of another program; give another file")
    if version > VERSION:
        raise StoreError(
            f"{path}: the database is of version {version}, this lifecycle knows up to {VERSION}; "
            "use the newer lifecycle that made it, or another file"
        )
    return int(version)
