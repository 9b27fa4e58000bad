"""Looking at a PostgreSQL database and changing it from outside, as the command line does: no scheduler."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence

from ..._ground.limits import LOG_CHARACTERS
from ..._ground.text import one_line, shorten
from ..admission import Admitted
from ..filters import JobFilter
from ..limit_record import LimitRecord
from ..limits import Limit, LimitKey
from ..outside import Retried, number_in, retried
from ..pace import Bound
from ..records import Cancelling, JobRecord, NewJob
from ..revival import Revived
from ..run_records import RunFilter, RunRecord
from ..schedule_records import ScheduleRecord
from . import views
from .address import Address
from .connections import Connection
from .heard import admitted_of, cancelled_run_of, cancelling_of, revived_of
from .limits import COUNTED, limit_records
from .listing import list_jobs, list_runs
from .said import admission_said, limit_said, storable
from .schedules import due_after_pause, schedule_of
from .visiting import Visits
from .waiting import others_of


class PostgresOutside:
    """A store in a PostgreSQL database that schedulers of other processes may be working on.

    A method does what `OutsideStore` says, as one transaction. It blocks, in an event loop of its own.

    Args:
        address: where the database is.
    """

    def __init__(self, address: Address) -> None:
        self._visits = Visits(address)

    def close(self) -> None:
        """Close the connection. Idempotent."""
        self._visits.close()

    # Jobs and runs

    def jobs(self, wanted: JobFilter | None = None) -> Sequence[JobRecord]:
        return self._visits.look(lambda db: list_jobs(db, wanted or JobFilter()))

    def show(self, job: str) -> JobRecord | None:
        async def look(db: Connection) -> JobRecord | None:
            number = await _numbered(db, job)
            return None if number is None else await views.job(db, number)

        return self._visits.look(look)

    def cancel(self, job: str, reason: str) -> tuple[int, Cancelling] | None:
        number = self._unended(job)
        if number is None:
            return None
        cancelling = cancelling_of(self._visits.change(do="cancel", id=number, reason=_kept(reason)))
        return (number, cancelling) if cancelling.found else None

    def cancel_run(self, run: int, reason: str) -> tuple[int, int] | None:
        said = self._visits.change(do="cancel_run", id=run, reason=_kept(reason))
        if said is None:
            return None
        settled, running = cancelled_run_of(said)
        return len(settled.skipped), len(running)

    def retry(self, jobs: Sequence[str], *, force: bool) -> Sequence[Retried]:
        async def look(db: Connection) -> dict[str, int | None]:
            return {job: await _numbered(db, job) for job in jobs}

        numbers = self._visits.look(look)
        asked = [number for number in numbers.values() if number is not None]
        revived = revived_of(self._visits.change(do="revive_jobs", ids=asked, names=[], force=force))
        return [retried(job, number, revived) for job, number in numbers.items()]

    def submit(self, new: NewJob) -> Admitted:
        return admitted_of(self._visits.change(do="admit", job=admission_said(new)))

    def set_priority(self, job: str, priority: int) -> tuple[int, bool] | None:
        number = self._unended(job)
        if number is None or self.show(str(number)) is None:
            return None
        return number, self._visits.change(do="set_priority", id=number, priority=priority)

    def retry_run(self, run: int) -> Revived | None:
        said = self._visits.change(do="revive_run", id=run, names=[])
        return None if said is None else revived_of(said)

    def untaken(self, jobs: Collection[int]) -> dict[int, str]:
        """Return what those of these jobs wait for that no scheduler that lives can run, by number."""

        async def look(db: Connection) -> dict[int, str]:
            others = await others_of(db)
            rows = await db.fetch(
                "SELECT id FROM lifecycle.jobs WHERE id = ANY($1) AND finished IS NULL AND doer <> ALL($2)",
                list(jobs),
                list(others.known),
            )
            records = await views.whole_jobs(db, [row[0] for row in rows], others)
            return {number: record.waits_for for number, record in records.items() if record.waits_for}

        return self._visits.look(look)

    def unfinished_jobs(self, run: int) -> Sequence[int]:
        async def look(db: Connection) -> list[int]:
            query = "SELECT id FROM lifecycle.jobs WHERE run = $1 AND finished IS NULL ORDER BY id"
            return [row[0] for row in await db.fetch(query, run)]

        return self._visits.look(look)

    def alive(self) -> bool:
        async def look(db: Connection) -> bool:
            return (await others_of(db)).any_alive

        return self._visits.look(look)

    def ended_jobs(self, jobs: Collection[int]) -> Mapping[int, JobRecord | None]:
        return self._visits.look(lambda db: views.ended_jobs(db, jobs))

    def runs(self, wanted: RunFilter) -> Sequence[RunRecord]:
        return self._visits.look(lambda db: list_runs(db, wanted))

    def run(self, run: int) -> RunRecord | None:
        return next(iter(self.runs(RunFilter(run=run, limit=1))), None)

    def ended_runs(self, runs: Collection[int]) -> Mapping[int, RunRecord | None]:
        async def look(db: Connection) -> dict[int, RunRecord | None]:
            ended = await views.ended_runs(db, runs)
            return {run: next(iter(await list_runs(db, RunFilter(run=run, limit=1))), None) for run in ended}

        return self._visits.look(look)

    # Schedules and limits

    def schedules(self) -> Sequence[ScheduleRecord]:
        rows = self._visits.look(lambda db: db.fetchval("SELECT lifecycle.schedule_records(NULL)"))
        return [schedule_of(row) for row in json.loads(rows)]

    def pause_schedule(self, name: str) -> bool:
        return bool(self._visits.change(do="pause_schedule", name=name))

    def resume_schedule(self, name: str) -> bool:
        async def look(db: Connection) -> tuple[str | None, float]:
            query = "SELECT (SELECT to_jsonb(s) FROM lifecycle.schedules AS s WHERE name = $1), lifecycle.clock()"
            row = await db.fetchrow(query, name)
            return row[0], row[1]

        row, now = self._visits.look(look)
        if row is None:
            return False
        due = due_after_pause(json.loads(row), now)
        return bool(self._visits.change(do="resume_schedule", name=name, due=due))

    def remove_schedule(self, name: str) -> bool:
        return bool(self._visits.change(do="remove_schedule", name=name))

    def bound_schedule(self, name: str, bound: Bound) -> bool:
        return bool(self._visits.change(do="bound_schedule", name=name, **bound._asdict()))

    def trigger_schedule(self, name: str) -> bool:
        return bool(self._visits.change(do="request_run", name=name))

    def limits(self) -> Sequence[LimitRecord]:
        facts = self._visits.look(lambda db: db.fetchval("SELECT lifecycle.limit_facts($1)", COUNTED))
        return limit_records(json.loads(facts))

    def put_limit(self, new: Limit) -> None:
        self._visits.change(do="put_limit", limit=limit_said(new))

    def pause(self, key: LimitKey, *, paused: bool) -> bool:
        return bool(self._visits.change(do="pause_limit", kind=key.kind, name=key.name, paused=paused))

    def _unended(self, job: str) -> int | None:
        """Return the number of a job, by its number or as the newest of its name that has not ended, or the newest."""

        async def look(db: Connection) -> int | None:
            number = number_in(job)
            if number is None:
                number = await views.newest_of(db, job, unended=True) or await views.newest_of(db, job)
            return number

        return self._visits.look(look)


async def _numbered(db: Connection, job: str) -> int | None:
    number = number_in(job)
    return await views.newest_of(db, job) if number is None else number


def _kept(reason: str) -> str:
    return storable(one_line(shorten(reason, LOG_CHARACTERS)))
