"""The store in a PostgreSQL database: any number of schedulers on any number of machines share it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from ..._ground.checks import check_integer
from ..._ground.errors import StoreBusy, StoreError
from ..admission import Admitted
from ..crashes import MAX_CRASHES
from ..filters import JobFilter
from ..lease import LEASE, check_lease
from ..limit_record import LimitRecord
from ..limits import Limit, LimitKey
from ..messages import Notice, Report
from ..pace import Bound
from ..patience import LONGEST, Trouble
from ..records import (
    Cancelling,
    Claimed,
    Claims,
    Ending,
    JobRecord,
    JobStatus,
    LeftRuns,
    NewJob,
    NewRun,
    OpenedRun,
    Outputs,
    Settled,
    StoredRun,
)
from ..retention import Retention
from ..revival import Revived
from ..run_records import RunFilter, RunRecord
from ..schedule_records import NewSchedule, ScheduleRecord, Submitted
from ..upkeep import StoreUpkeep
from ..waiting import LeftWork
from . import views, waiting
from .address import Address
from .connections import Connection, refused
from .driver import load_driver
from .faults import Fault, explain, fault_of
from .heard import (
    admitted_of,
    cancelled_run_of,
    cancelling_of,
    claimed_of,
    opened_of,
    revived_of,
    settled_of,
)
from .limits import COUNTED, limit_records
from .listing import list_jobs, list_runs
from .said import admission_said, ending_said, is_plain, job_said, limit_said, report_said, run_said, storable
from .schedules import due_after_pause, schedule_of, schedule_said, submitted_of
from .session import Session, Settings
from .upkeep import PostgresUpkeep
from .wishes import Kind, Released

T = TypeVar("T")

CONNECTIONS: Final = 3
"""Connections beside the lifeline: one for turns, the others for looking."""


_MOST_CRASHES: Final = 2**31 - 1
"""What the database can count."""


class PostgresStore:
    """Keeps jobs in a PostgreSQL database; each transaction is one statement, by functions in the database.

    A method without a docstring does what `Store` says.

    Args:
        address: of the database, ``postgresql://user@host/database``; the password may come from ``PGPASSWORD``, or a
            password file.
        name: what this scheduler is called, for messages.
        retention: how long what has ended is kept.
        patience: seconds for which faults are waited for that may pass; None for ever.
        max_crashes: crashes of its process after which a job has failed; None for never.
        lease: seconds for which it is taken for alive when it is not heard of; what it runs is then run by another. At
            least 1.
        connections: connections to the database at most, beside the one that listens.

    Raises:
        TypeError, ValueError: it is no address, or an argument is out of its range.
    """

    durable = True
    shared = True
    identity = ""  # before it is opened

    def __init__(
        self,
        address: str,
        *,
        name: str = "scheduler",
        retention: Retention | None = None,
        patience: float | None = LONGEST,
        max_crashes: int | None = MAX_CRASHES,
        lease: float = LEASE,
        connections: int = CONNECTIONS,
    ) -> None:
        check_lease(lease)
        check_integer(connections, "connections", 1)
        self._settings = Settings(
            Address.parse(address),
            name,
            retention or Retention(),
            patience,
            None if max_crashes is None else min(max_crashes, _MOST_CRASHES),
            lease,
            connections,
        )
        self._shown = self._settings.address.shown
        self._tell: Callable[[Trouble], object] = lambda trouble: None
        self._attend: Callable[[], object] = lambda: None
        self._stop: Callable[[int, int, str], object] = lambda job, attempt, reason: None
        self._session: Session | None = None
        self._failure: StoreError | None = None

    # Its life

    async def open(self) -> None:
        """Connect, make or bring up to date the schema, and register as an owner.

        Cancellation: `aclose` releases what had been opened.

        Raises:
            StoreError: the database cannot be reached or used, or the schema is of a newer version.
        """
        load_driver()
        self._session = Session(self._settings, self._tell, self._attend, self._stop)
        await self._answer(self._session.open)
        self.identity = await self._read(views.identity, patient=True)

    @property
    def failure(self) -> StoreError | None:
        return self._failure if self._session is None else self._session.failure

    def watch(self, tell: Callable[[Trouble], object]) -> None:
        self._tell = tell

    def attend(self, look: Callable[[], object], stop: Callable[[int, int, str], object]) -> None:
        self._attend, self._stop = look, stop

    async def aclose(self) -> None:
        """Mark what still runs as interrupted, give up the ownership and close. Idempotent.

        Cancellation: the thread ends nevertheless.

        Raises:
            StoreError: the database could not be told; the others know it when the lease is over.
        """
        session, self._session = self._session, None
        if session is not None:
            self._failure = session.failure
            await self._answer(session.aclose)

    # Work

    async def add_job(self, job: NewJob) -> int:
        if is_plain(job):
            number: int = await self._wish("plain", job_said(job))
            return number
        return (await self.admit_job(job)).job or 0

    async def admit_job(self, job: NewJob) -> Admitted:
        if is_plain(job):
            return Admitted(await self._wish("plain", job_said(job)))
        said = {"do": "admit", "job": admission_said(job)}
        terms = job.terms
        return admitted_of(await self._wish("other", said, alone=terms is not None and bool(terms.needs)))

    async def adopt_jobs(self, handlers: Collection[str]) -> int:
        self._opened().adopt()
        said = {"do": "adopt", "names": sorted(handlers), "max_crashes": self._settings.max_crashes}
        adopted: int = await self._wish("other", said, alone=True)
        return adopted

    async def open_run(self, run: NewRun, *, resume: bool, fresh: bool) -> OpenedRun:
        said = {"do": "open_run", "run": run_said(run), "resume": resume, "fresh": fresh}
        return opened_of(await self._wish("other", {**said, "max_crashes": self._settings.max_crashes}, alone=fresh))

    async def adopt_runs(self, flow: str, digest: str) -> LeftRuns:
        left = await self._read(partial(_orphans, flow=flow), patient=True)
        ours = tuple(run for run, version in left if version == digest)
        for run in ours:
            said = {"do": "adopt_run", "id": run, "max_crashes": self._settings.max_crashes}
            await self._wish("other", said, alone=True)
        return LeftRuns(ours, tuple(run for run, version in left if version != digest))

    async def run(self, run_id: int) -> StoredRun | None:
        return await self._read(lambda db: views.run(db, run_id), patient=True)

    async def claim(self, limit: int, now: float) -> Claims:
        claims = await self._answer(lambda: self._opened().claim(limit, now))
        looks = [at for at in (claims["next_due"], claims.get("next_at")) if at is not None]
        return Claims(tuple(claimed_of(claims)), min(looks, default=None))

    async def take(self, room: Callable[[], int], known: Callable[[], Collection[str]]) -> Sequence[Claimed]:
        return await self._answer(lambda: self._opened().take(room, known))

    def look_again(self) -> None:
        if self._session is not None:
            self._session.look()

    async def give_back(self, jobs: Sequence[Claimed], now: float) -> Collection[int]:
        attempts = [(claimed.id, claimed.attempt) for claimed in jobs]
        said = {"do": "give_back", "attempts": attempts}
        given: list[int] = await self._wish("other", said, now, patient=True, released=partial(_given, dict(attempts)))
        return given

    async def finish(self, job_id: int, attempt: int, ending: Ending, now: float) -> Settled:
        said, one = ending_said(job_id, attempt, ending), [(job_id, attempt)]
        return settled_of(await self._wish("ending", said, now, patient=True, job=job_id, released=lambda _: one))

    async def retry(self, job_id: int, attempt: int, ending: Ending, due: float) -> bool:
        said = {**ending_said(job_id, attempt, ending), "do": "retry", "due": self._opened().by_its_clock(due)}
        released = partial(_if_done, (job_id, attempt))
        done: bool = await self._wish("other", said, patient=True, job=job_id, released=released)
        return done

    async def report(self, reports: Sequence[Report]) -> None:
        for report in reports[:-1]:
            self._opened().wish("other", {"do": "report", **report_said(report)})
        if reports:
            await self._wish("other", {"do": "report", **report_said(reports[-1])})

    async def revive_jobs(self, jobs: Collection[int], known: Collection[str], *, force: bool) -> Revived:
        said = {"do": "revive_jobs", "ids": list(jobs), "names": sorted(known), "force": force}
        return revived_of(await self._wish("other", said, alone=True))

    async def revive_run(self, run_id: int, known: Collection[str]) -> Revived | None:
        said = {"do": "revive_run", "id": run_id, "names": sorted(known)}
        revived = await self._wish("other", said, alone=True)
        return None if revived is None else revived_of(revived)

    async def cancel(self, job_id: int, reason: str, now: float) -> Cancelling:
        said = {"do": "cancel", "id": job_id, "reason": storable(reason)}
        return cancelling_of(await self._wish("other", said, now, alone=True))

    async def cancel_run(self, run_id: int, reason: str, now: float) -> tuple[Settled, tuple[int, ...]]:
        said = {"do": "cancel_run", "id": run_id, "reason": storable(reason)}
        return cancelled_run_of(await self._wish("other", said, now, alone=True))

    async def set_priority(self, job_id: int, priority: int) -> bool:
        said = {"do": "set_priority", "id": job_id, "priority": priority}
        waits: bool = await self._wish("other", said, alone=True)
        return waits

    async def put_ahead(self, job_id: int, of: int) -> None:
        await self._wish("other", {"do": "put_ahead", "id": job_id, "of": of}, alone=True)

    # Looking

    async def outputs(self, run_id: int, names: Collection[str]) -> Outputs:
        return await self._read(lambda db: views.outputs(db, run_id, names), patient=True)

    async def fates(self, run_id: int, names: Collection[str]) -> Mapping[str, tuple[str, str | None]]:
        return await self._read(lambda db: views.fates(db, run_id, names), patient=True)

    async def notices(self) -> Sequence[Notice]:
        session = self._opened()
        if lost := session.lost():
            return lost
        owner = session.owner.known
        if owner is None:
            return []
        found = await self._read(lambda db: views.notices(db, owner), patient=True)
        if found:
            await self._wish("other", {"do": "forget_notices", "last": found[-1].id}, patient=True)
        stopped = [notice for notice in found if notice.status.final or notice.status is JobStatus.RUNNING]
        if len(stopped) < len(found):
            self.look_again()
        return stopped

    async def jobs_of(self, run_id: int) -> Sequence[JobRecord]:
        return await self._read(lambda db: views.jobs_of(db, run_id), patient=True)

    async def unfinished(self, limit: int) -> Sequence[str]:
        owner = self._opened().owner.known or 0
        return await self._read(lambda db: views.unfinished(db, owner, limit), patient=True)

    async def left_work(self) -> LeftWork:
        return await self._read(waiting.left_work, patient=True)

    async def job(self, job_id: int) -> JobRecord | None:
        return await self._read(lambda db: views.job(db, job_id))

    async def jobs(self, wanted: JobFilter) -> Sequence[JobRecord]:
        return await self._read(lambda db: list_jobs(db, wanted))

    async def ended_jobs(self, jobs: Collection[int]) -> Mapping[int, JobRecord | None]:
        return await self._read(lambda db: views.ended_jobs(db, jobs), patient=True)

    async def highest_job(self) -> int:
        return await self._read(views.highest_job, patient=True)

    async def runs(self, wanted: RunFilter) -> Sequence[RunRecord]:
        return await self._read(lambda db: list_runs(db, wanted))

    async def ended_runs(self, runs: Collection[int]) -> Collection[int]:
        return await self._read(lambda db: views.ended_runs(db, runs), patient=True)

    # Schedules and limits

    async def put_schedule(self, new: NewSchedule) -> ScheduleRecord:
        said = {"do": "put_schedule", "schedule": schedule_said(new, self._opened().now())}
        record = schedule_of(await self._wish("other", said, alone=True))
        self._opened().look_at_schedules()
        return record

    async def schedule(self, name: str) -> ScheduleRecord | None:
        return next(iter(await self._schedules(name)), None)

    async def schedules(self) -> Sequence[ScheduleRecord]:
        return await self._schedules(None)

    async def _schedules(self, name: str | None) -> Sequence[ScheduleRecord]:
        rows = await self._read(lambda db: db.fetchval("SELECT lifecycle.schedule_records($1)", name))
        return [schedule_of(row) for row in json.loads(rows)]

    async def remove_schedule(self, name: str) -> bool:
        return await self._change_schedule({"do": "remove_schedule", "name": name})

    async def pause_schedule(self, name: str) -> bool:
        return await self._change_schedule({"do": "pause_schedule", "name": name})

    async def resume_schedule(self, name: str) -> bool:
        row = await self._read(
            lambda db: db.fetchval("SELECT to_jsonb(schedules) FROM lifecycle.schedules WHERE name = $1", name)
        )
        if row is None:
            return False
        due = due_after_pause(json.loads(row), self._opened().now())
        return await self._change_schedule({"do": "resume_schedule", "name": name, "due": due})

    async def bound_schedule(self, name: str, bound: Bound) -> bool:
        return await self._change_schedule({"do": "bound_schedule", "name": name, **bound._asdict()})

    async def _change_schedule(self, said: dict[str, Any]) -> bool:
        found: bool = await self._wish("other", said, alone=True)
        self._opened().look_at_schedules()
        return found

    async def trigger_schedule(self, name: str, flows: Collection[str] = ()) -> Submitted | None:
        said = {"do": "trigger_schedule", "name": name, "flows": list(flows)}
        return submitted_of(await self._wish("other", said, alone=True))

    async def limits(self) -> Sequence[LimitRecord]:
        facts = await self._read(lambda db: db.fetchval("SELECT lifecycle.limit_facts($1)", COUNTED))
        return limit_records(json.loads(facts))

    async def put_limit(self, new: Limit) -> None:
        await self._wish("other", {"do": "put_limit", "limit": limit_said(new)}, alone=True)

    async def pause(self, key: LimitKey, *, paused: bool) -> bool:
        said = {"do": "pause_limit", "kind": key.kind, "name": key.name, "paused": paused}
        changed: bool = await self._wish("other", said, alone=True)
        return changed

    def upkeep(self) -> StoreUpkeep:
        return PostgresUpkeep(self._settings.address)

    def forget(self, run_id: int) -> None:
        """Do nothing: what is finished stays in the database."""

    # What it is made of

    def _opened(self) -> Session:
        if self._session is None:
            raise StoreError(f"{self._shown}: the store is not open")
        return self._session

    async def _wish(self, kind: Kind, said: dict[str, Any], now: float | None = None, **how: Any) -> Any:
        return await self._answer(lambda: self._opened().wish(kind, said, now, **how))

    async def _read(self, question: Callable[[Connection], Awaitable[T]], *, patient: bool = False) -> T:
        return await self._answer(lambda: self._opened().read(question, patient=patient))

    async def _answer(self, ask: Callable[[], Awaitable[T]]) -> T:
        try:
            return await ask()
        except StoreError:
            raise  # the very object, however many get it: it is one failure
        except Exception as error:
            if type(error).__module__.startswith("asyncpg") or isinstance(error, OSError):
                raise self._refused(error) from error
            raise

    def _refused(self, error: Exception) -> Exception:
        if getattr(error, "sqlstate", None) == "22003" or "out of int64 range" in str(error):
            return LookupError("no job, run or schedule has a number of more than 64 bits")
        if fault_of(error) is Fault.PASSING:
            return StoreBusy(explain(self._shown, error))
        return refused(self._settings.address, error)


def _if_done(attempt: tuple[int, int], done: bool) -> Released:
    return [attempt] if done else []


def _given(attempts: Mapping[int, int], jobs: Collection[int]) -> Released:
    return [(job, attempts[job]) for job in jobs]


async def _orphans(db: Connection, flow: str) -> list[tuple[int, str]]:
    rows = await db.fetch(
        "SELECT id, digest FROM lifecycle.runs WHERE flow = $1 AND finished IS NULL AND owner IS NULL ORDER BY id", flow
    )
    return [(row[0], row[1]) for row in rows]
