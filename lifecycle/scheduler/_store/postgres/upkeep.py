"""Keeping a store in a PostgreSQL database in shape: looking, checking, deleting what has ended, writing it out."""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from contextlib import closing
from typing import Any, Final

from ..._ground.errors import StoreError
from ..records import JobStatus
from ..store_facts import StoreFacts
from ..upkeep import check_purge
from .address import Address
from .checking import problems
from .connections import Connection, fetch_committed
from .limits import COUNTED, limit_records
from .schedules import schedule_of
from .schema import check_version
from .views import identity, whole_jobs
from .visiting import Visits
from .waiting import living, others_of

TABLES: Final = ("facts", "owners", "turns", "runs", "jobs", "needs", "notices", "schedules", "limits")

_ROWS: Final = 500
"""Jobs that are deleted in one transaction, and rows that an export has in memory."""


class PostgresUpkeep:
    """Looks after a store in a PostgreSQL database, as an operator does, from any process; schedulers go on meanwhile.

    Each call blocks, in an event loop and with a connection of its own.

    Args:
        address: where the database is.
    """

    def __init__(self, address: Address) -> None:
        self._address = address

    def facts(self) -> StoreFacts:
        """Return what the store holds.

        Raises:
            StoreError: it cannot be read.
        """

        async def look(db: Connection) -> StoreFacts:
            version = await check_version(db, self._address.shown)
            size = await db.fetchval(
                """
                SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class
                WHERE relnamespace = 'lifecycle'::regnamespace AND relkind = 'r'"""
            )
            counts = dict(map(tuple, await db.fetch("SELECT state, count(*) FROM lifecycle.jobs GROUP BY state")))
            runs, unfinished, scheduled = await db.fetchrow(
                """
                SELECT count(*), count(*) - count(finished), (SELECT count(*) FROM lifecycle.schedules)
                FROM lifecycle.runs"""
            )
            return StoreFacts(
                path=self._address.shown,
                identity=await identity(db),
                version=version,
                size=size,
                free=None,
                jobs={status.value: counts.get(status.value, 0) for status in JobStatus},
                runs=runs,
                unfinished_runs=unfinished,
                schedules=scheduled,
                owners=tuple(await living(db)),
            )

        with closing(Visits(self._address)) as visits:
            return visits.look(look)

    def check(self) -> tuple[str, ...]:
        """Return what its rows say of each other that is wrong, one line each; nothing when it is sound.

        Whether the files of the server are sound, its own tools say: ``pg_amcheck``, and checksums.

        Raises:
            StoreError: it cannot be read at all.
        """
        with closing(Visits(self._address)) as visits:
            return visits.look(problems)

    def purge(
        self,
        *,
        older_than: float = 0.0,
        keep: int | None = None,
        name: str | None = None,
        succeeded: bool = False,
        dry_run: bool = False,
    ) -> int:
        check_purge(older_than, keep, name)

        async def purge() -> int:
            db = await visits.connection()
            newest, now = await db.fetchrow("SELECT coalesce(max(id), 0), lifecycle.clock() FROM lifecycle.jobs")
            wanted = (newest - (keep or 0), now - older_than, name, succeeded, _ROWS, dry_run)
            deleted = 0
            last: int | None = 0
            while last is not None:
                said = await fetch_committed(db, "SELECT lifecycle.purge($1, $2, $3, $4, $5, $6, $7)", last, *wanted)
                found = json.loads(said)
                last = found["last"]
                deleted += found["found"]
            return deleted

        with closing(Visits(self._address)) as visits:
            return visits.run(purge)

    def vacuum(self) -> tuple[int, int]:
        """Give back what is free in the tables, and count them anew; return their bytes before and after.

        Raises:
            StoreError: the tables belong to another user of the database, or it cannot be used.
        """
        refused: list[str] = []

        async def vacuum() -> None:
            db = await visits.connection()
            db.add_log_listener(lambda _, message: refused.append(message.message))
            for table in TABLES:
                await db.execute(f"VACUUM (ANALYZE) lifecycle.{table}")

        before = self.facts().size
        with closing(Visits(self._address)) as visits:
            visits.run(vacuum)
        if refused:
            raise StoreError(f"{self._address}: not everything was vacuumed: {refused[0]}")
        return before, self.facts().size

    def backup(self, target: str | os.PathLike[str], *, overwrite: bool = False) -> int:
        """Refuse: a file is no backup of a server.

        Raises:
            StoreError: always; it says what does it.
        """
        raise StoreError(
            f"{self._address}: a database on a server is backed up with its own tools, such as "
            "pg_dump --schema=lifecycle; `lifecycle store copy` copies it into an SQLite file"
        )

    def export(self) -> Generator[dict[str, Any], None, None]:
        """Return everything that the store knows, as it is at one moment, one table after the other.

        First runs, then jobs with result, log and traceback, then schedules and limits; the key ``record`` says which.

        Raises:
            StoreError: the store cannot be read.
        """
        with closing(Visits(self._address)) as visits:
            db: Connection = visits.run(visits.connection)
            visits.run(lambda: db.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"))
            for query, of_rows in ((_RUNS, _runs), (_JOBS, _jobs)):
                last = 0
                while rows := visits.run(lambda query=query, last=last: db.fetch(query, last, _ROWS)):  # type: ignore[misc]
                    last = rows[-1][0]
                    yield from visits.run(lambda of_rows=of_rows, rows=rows: of_rows(db, rows))  # type: ignore[misc]
            schedules = visits.run(lambda: db.fetchval("SELECT lifecycle.schedule_records(NULL)"))
            for row in json.loads(schedules):
                yield {"record": "schedule", **schedule_of(row).to_dict()}
            facts = visits.run(lambda: db.fetchval("SELECT lifecycle.limit_facts($1)", COUNTED))
            for limit in limit_records(json.loads(facts)):
                yield {"record": "limit", **limit.to_dict()}


_RUNS: Final = """
    SELECT id, flow, source, digest, params, jobs, created, finished FROM lifecycle.runs
    WHERE id > $1 ORDER BY id LIMIT $2"""
_JOBS: Final = "SELECT id FROM lifecycle.jobs WHERE id > $1 ORDER BY id LIMIT $2"


async def _runs(db: Connection, rows: Any) -> list[dict[str, Any]]:
    return [{"record": "run", **row, "params": json.loads(row["params"])} for row in map(dict, rows)]


async def _jobs(db: Connection, rows: Any) -> list[dict[str, Any]]:
    records = await whole_jobs(db, [row[0] for row in rows], await others_of(db))
    return [{"record": "job", **record.to_dict()} for record in records.values()]
