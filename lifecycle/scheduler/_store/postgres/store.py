"""The store in a PostgreSQL database: any number of schedulers on any number of machines share it."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import anyio

from lifecycle import Pool, Scope

from ..._ground.bridge import Bridge, Reply
from ..._ground.checks import check_seconds
from ..._ground.errors import StoreBusy, StoreError
from ..._ground.values import to_json
from ..admission import Admitted
from ..crashes import MAX_CRASHES
from ..filters import JobFilter
from ..limit_record import LimitRecord
from ..limits import Limit, LimitKey
from ..messages import Notice, Report
from ..pace import Bound
from ..patience import LONGEST, Patience, Trouble
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
from .agenda import Agenda
from .chores import Chores
from .connections import Connection, close_connection, open_connection, refused
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
from .lifeline import Lifeline
from .limits import COUNTED, limit_records
from .listing import list_jobs, list_runs
from .said import admission_said, ending_said, is_plain, job_said, limit_said, report_said, run_said, storable
from .schedules import due_after_pause, schedule_of, schedule_said, submitted_of
from .schema import bring_up_to_date
from .thread import LoopThread
from .turns import PAUSES, TURN, TURN_TIMEOUT, Owner, Standing, Turns
from .wishes import Kind, Wish

T = TypeVar("T")

LEASE: Final = 15.0
"""Seconds for which a scheduler is taken for alive that is not heard of."""

CONNECTIONS: Final = 3
"""Connections beside the lifeline: one for turns, the others for looking."""

LOST: Final = "it was taken over: its scheduler had not been heard of for its lease"


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
        self.address = Address.parse(address)
        check_seconds(lease, "lease")
        if lease < 1.0:
            raise ValueError(f"lease must be at least 1 second, got {lease}")
        self._shown = self.address.shown
        self._name = name
        self._longest = patience
        self._max_crashes = max_crashes
        self._lease = lease
        self._connections = connections
        self._chores = Chores(retention or Retention(), max_crashes)
        self._tell: Callable[[Trouble], object] = lambda trouble: None
        self._attend: Callable[[], object] = lambda: None
        self._skew = 0.0  # seconds by which the clock of the database is ahead of ours
        self._prepared = True
        self._lost: list[Notice] = []
        self._thread: LoopThread | None = None
        self._outer: Bridge | None = None
        self._left = False
        # These are made in the thread, and used there.
        self._patience = Patience(patience)
        self._owner = Owner(self._enter, self._note_lost)
        self._turns: Turns | None = None
        self._pool: Pool[Connection] | None = None
        self._lifeline: Lifeline | None = None
        self._agenda: Agenda | None = None
        self._clock = 0.0  # what the clock of the database has shown last

    # Its life

    async def open(self) -> None:
        """Connect, make or bring up to date the schema, and register as an owner.

        Cancellation: `aclose` releases what had been opened.

        Raises:
            StoreError: the database cannot be reached or used, or the schema is of a newer version.
        """
        load_driver()
        self._outer = Bridge()
        self._patience = Patience(self._longest, lambda trouble: self._call_out(self._tell, trouble))
        self._thread = LoopThread(self._serve, self._fail, "lifecycle-store")
        await self._answer(self._thread.open)

    async def _serve(self, scope: Scope) -> None:
        """Open everything, in the thread."""
        self._pool = await scope.enter_async_context(
            Pool(
                self._connected,
                close_connection,
                max_size=self._connections,
                max_idle=60.0,
                max_lifetime=3600.0,
                name=f"connections to {self._shown}",
            )
        )
        self._turns = Turns(
            self._send_turn,
            self._find_missed,
            self._owner,
            self._patience,
            shown=self._shown,
            now=self._now,
            settings=lambda: {"max_crashes": self._max_crashes},
            internal=self._chores.wanted,
        )
        self._agenda = Agenda(self._reading, self._turns.ask, self._now)
        self._chores.attach(self._turns, self._agenda, self._now)
        self._lifeline = Lifeline(
            self._connected,
            lambda: self._owner.known,
            self._lease,
            heard=self._hear,
            beaten=self._note_beat,
            silent=self._hang_up,
        )
        await self._reading(lambda db: bring_up_to_date(db, self._shown))
        await self._reading(lambda db: self._owner.number())
        scope.start_soon(self._turns.run, name="turns")
        scope.start_soon(self._lifeline.run, name="lifeline")
        scope.start_soon(self._agenda.run, name="agenda")

    def _fail(self, error: BaseException) -> None:
        """Refuse everything from now on: what does the work has failed, which is a fault of ours."""
        if self._turns is not None:
            failure = StoreError(f"{self._shown}: {explain(type(error).__name__, error)}")
            failure.__cause__ = error
            self._turns.drop(failure)

    @property
    def failure(self) -> StoreError | None:
        return None if self._turns is None else self._turns.failure

    def watch(self, tell: Callable[[Trouble], object]) -> None:
        self._tell = tell

    def attend(self, look: Callable[[], object]) -> None:
        self._attend = look

    async def aclose(self) -> None:
        """Mark what still runs as interrupted, give up the ownership and close. Idempotent.

        Cancellation: the thread ends nevertheless.

        Raises:
            StoreError: the database could not be told; the others know it when the lease is over.
        """
        thread, self._thread = self._thread, None
        if thread is None:
            return
        try:
            turns = self._turns
            if turns is not None and thread.running and self._owner.known is not None and turns.failure is None:
                thread.call(turns.hurry)
                await self._answer(lambda: self._ask(thread, "other", {"do": "leave"}, alone=True, patient=True))
        finally:
            await thread.aclose()

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
        self._chores.adopts = True
        said = {"do": "adopt", "names": sorted(handlers), "max_crashes": self._max_crashes}
        adopted: int = await self._wish("other", said, alone=True)
        return adopted

    async def open_run(self, run: NewRun, *, resume: bool, fresh: bool) -> OpenedRun:
        said = {"do": "open_run", "run": run_said(run), "resume": resume, "fresh": fresh}
        return opened_of(await self._wish("other", {**said, "max_crashes": self._max_crashes}, alone=fresh))

    async def adopt_runs(self, flow: str, digest: str) -> LeftRuns:
        left = await self._read(partial(_orphans, flow=flow), patient=True)
        ours = tuple(run for run, version in left if version == digest)
        for run in ours:
            said = {"do": "adopt_run", "id": run, "max_crashes": self._max_crashes}
            await self._wish("other", said, alone=True)
        return LeftRuns(ours, tuple(run for run, version in left if version != digest))

    async def run(self, run_id: int) -> StoredRun | None:
        return await self._read(lambda db: views.run(db, run_id), patient=True)

    async def claim(self, limit: int, now: float) -> Claims:
        return await self._answer(lambda: self._opened().run(lambda: self._claim(limit, now)))

    async def _claim(self, limit: int, now: float) -> Claims:
        owner = await self._owner.number()
        asked = {"room": limit, "everything": True, "max_crashes": self._max_crashes, "now": now}
        arguments = (owner, 0, False, [], None, None, None, to_json(asked))
        claims = await self._turns_now().claim(arguments)
        looks = [at for at in (claims["next_due"], claims.get("next_at")) if at is not None]
        return Claims(tuple(map(claimed_of, claims["jobs"])), min(looks, default=None))

    async def take(self, room: Callable[[], int], known: Callable[[], Collection[str]]) -> Sequence[Claimed]:
        thread = self._opened()
        reply: Reply[Sequence[Claimed]] = Reply()
        standing = Standing(
            room, known, partial(self._call_out, reply.give), partial(self._call_out, reply.fail)
        )
        thread.call(lambda: self._turns_now().stand(standing))
        return await self._answer(lambda: reply)

    def look_again(self) -> None:
        if self._thread is not None and self._turns is not None:
            self._thread.call(self._turns.look)

    async def give_back(self, jobs: Sequence[Claimed], now: float) -> Collection[int]:
        attempts = [[claimed.id, claimed.attempt] for claimed in jobs]
        given: list[int] = await self._wish("other", {"do": "give_back", "attempts": attempts}, now, patient=True)
        self._forget(given)
        return given

    async def finish(self, job_id: int, attempt: int, ending: Ending, now: float) -> Settled:
        said = ending_said(job_id, attempt, ending)
        settled = settled_of(await self._wish("ending", said, now, patient=True))
        self._forget([job_id])
        return settled

    async def retry(self, job_id: int, attempt: int, ending: Ending, due: float) -> bool:
        said = {**ending_said(job_id, attempt, ending), "do": "retry", "due": due + self._skew}
        done: bool = await self._wish("other", said, patient=True)
        if done:
            self._forget([job_id])
        return done

    async def report(self, reports: Sequence[Report]) -> None:
        for report in reports[:-1]:
            self._ask(self._opened(), "other", {"do": "report", **report_said(report)})
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
        lost, self._lost = self._lost, []
        owner = self._owner.known
        if owner is None:
            return lost
        found = await self._read(lambda db: views.notices(db, owner), patient=True)
        if found:
            await self._wish("other", {"do": "forget_notices", "last": found[-1].id}, patient=True)
        stopped = [notice for notice in found if notice.status.final or notice.status is JobStatus.RUNNING]
        if len(stopped) < len(found):
            self.look_again()
        return [*lost, *stopped]

    async def jobs_of(self, run_id: int) -> Sequence[JobRecord]:
        return await self._read(lambda db: views.jobs_of(db, run_id), patient=True)

    async def unfinished(self, limit: int) -> Sequence[str]:
        owner = self._owner.known
        return await self._read(lambda db: views.unfinished(db, owner or 0, limit), patient=True)

    async def left_work(self) -> LeftWork:
        return await self._read(waiting.left_work, patient=True)

    async def job(self, job_id: int) -> JobRecord | None:
        return await self._read(lambda db: views.job(db, job_id))

    async def jobs(self, wanted: JobFilter) -> Sequence[JobRecord]:
        return await self._read(lambda db: list_jobs(db, wanted))

    async def ended_jobs(self, jobs: Collection[int]) -> Mapping[int, JobRecord | None]:
        return await self._read(lambda db: views.ended_jobs(db, jobs), patient=True)

    async def runs(self, wanted: RunFilter) -> Sequence[RunRecord]:
        return await self._read(lambda db: list_runs(db, wanted))

    async def ended_runs(self, runs: Collection[int]) -> Collection[int]:
        return await self._read(lambda db: views.ended_runs(db, runs), patient=True)

    # Schedules and limits

    async def put_schedule(self, new: NewSchedule) -> ScheduleRecord:
        said = {"do": "put_schedule", "schedule": schedule_said(new, self._now())}
        record = schedule_of(await self._wish("other", said, alone=True))
        self._touch_agenda()
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
        due = due_after_pause(json.loads(row), self._now())
        return await self._change_schedule({"do": "resume_schedule", "name": name, "due": due})

    async def bound_schedule(self, name: str, bound: Bound) -> bool:
        return await self._change_schedule({"do": "bound_schedule", "name": name, **bound._asdict()})

    async def _change_schedule(self, said: dict[str, Any]) -> bool:
        found: bool = await self._wish("other", said, alone=True)
        self._touch_agenda()
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
        raise NotImplementedError

    def forget(self, run_id: int) -> None:
        """Do nothing: what is finished stays in the database."""

    # From the loop of the jobs into the thread

    def _opened(self) -> LoopThread:
        if self._thread is None or self._turns is None:
            raise StoreError(f"{self._shown}: the store is not open")
        return self._thread

    async def _wish(
        self, kind: Kind, said: dict[str, Any], now: float | None = None, *, alone: bool = False, patient: bool = False
    ) -> Any:
        return await self._answer(
            lambda: self._ask(self._opened(), kind, said, now, alone=alone, patient=patient)
        )

    def _ask(
        self,
        thread: LoopThread,
        kind: Kind,
        said: dict[str, Any],
        now: float | None = None,
        *,
        alone: bool = False,
        patient: bool = False,
    ) -> Awaitable[Any]:
        """Have a wish granted with the next turn; *now* is by our clock."""
        reply: Reply[Any] = Reply()
        moment = (time.time() if now is None else now) + self._skew
        wish = Wish(
            kind,
            to_json({**said, "now": moment}),
            partial(self._call_out, reply.give),
            partial(self._call_out, reply.fail),
            alone,
            patient,
        )
        thread.call(lambda: self._turns_now().ask(wish))
        return reply

    def _touch_agenda(self) -> None:
        if self._thread is not None and self._agenda is not None:
            self._thread.call(self._agenda.touch)

    def _forget(self, jobs: Collection[int]) -> None:
        """Note that attempts have ended."""
        if self._thread is not None and self._turns is not None:
            running = self._turns.running
            self._thread.call(lambda: [running.pop(job, None) for job in jobs])

    async def _read(self, question: Callable[[Connection], Awaitable[T]], *, patient: bool = False) -> T:
        return await self._answer(lambda: self._opened().run(lambda: self._reading(question, patient=patient)))

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
        state = getattr(error, "sqlstate", None)
        if state == "22003" or "out of int64 range" in str(error):
            return LookupError("no job, run or schedule has a number of more than 64 bits")
        if fault_of(error) is Fault.PASSING:
            return StoreBusy(explain(self._shown, error))
        return refused(self.address, error)

    def _call_out(self, function: Callable[..., object], *args: Any) -> None:
        """Have a function called in the loop of the jobs."""
        if self._outer is not None:
            self._outer.call(function, *args)

    # In the thread

    def _turns_now(self) -> Turns:
        assert self._turns is not None
        return self._turns

    def _now(self) -> float:
        """Return the time by the clock of the database."""
        return time.time() + self._skew

    async def _connected(self) -> Connection:
        return await open_connection(self.address, f"lifecycle {self._name}"[:63], prepared=self._prepared)

    async def _enter(self) -> int:
        assert self._pool is not None
        async with self._pool.acquire() as db:
            began = time.time()
            number, clock = await db.fetchrow(
                "SELECT lifecycle.enter($1, $2, $3, $4), lifecycle.clock()",
                storable(self._name),
                socket.gethostname(),
                os.getpid(),
                self._lease,
            )
            self._note_clock(clock, began, time.time())
            return int(number)

    def _note_clock(self, clock: float, began: float, ended: float) -> None:
        """Note how far the clocks are apart, where that is more than the way there and back."""
        skew = clock - (began + ended) / 2
        self._skew = skew if abs(skew) > 0.25 + (ended - began) / 2 else 0.0

    def _note_lost(self, running: dict[int, int]) -> None:
        for job in running:
            self._lost.append(Notice(0, job, None, str(job), LOST, JobStatus.RUNNING, False))
        self._chores.begin_anew()
        self._call_out(self._attend)

    async def _send_turn(self, arguments: tuple[Any, ...], sent: Callable[[], object]) -> str:
        assert self._pool is not None
        failure: Exception | None = None
        async with self._pool.acquire() as db:
            sent()
            try:
                text: str = await db.fetchval(TURN, *arguments, timeout=TURN_TIMEOUT)
            except Exception as error:
                if fault_of(error) is Fault.PASSING:
                    raise  # which makes an end of the connection
                failure = error
        if failure is not None:
            raise failure
        return text

    async def _find_missed(self, known: Collection[int]) -> list[Claimed]:
        owner, ids = self._owner.known, list(known)
        text = await self._reading(lambda db: db.fetchval("SELECT lifecycle.missed($1, $2)", owner, ids))
        return [claimed_of(row) for row in json.loads(text)]

    async def _reading(self, question: Callable[[Connection], Awaitable[T]], *, patient: bool = False) -> T:
        """Ask a question, again and again while there is a fault that may pass."""
        assert self._pool is not None
        tries = 0
        while True:
            try:
                async with self._pool.acquire() as db:
                    answer = await question(db)
            except Exception as error:
                fault = fault_of(error)
                if isinstance(error, StoreError) or fault not in (Fault.PASSING, Fault.AGAIN):
                    raise
                self._patience.meet(explain(self._shown, error))
                if self._patience.exhausted or (self._patience.refuses and not patient):
                    raise
                await anyio.sleep(PAUSES[min(tries, len(PAUSES) - 1)])
                tries += 1
            else:
                return answer

    def _hear(self, message: str) -> None:
        """Act on a message of others, or on an empty one: something may have been missed."""
        what, _, whom = message.partition(" ")
        assert self._agenda is not None
        if what in ("work", ""):
            self._turns_now().look()
            self._agenda.hint()
        if what == "schedule":
            self._agenda.touch()
        if what in ("run", "") or whom == str(self._owner.known):
            self._call_out(self._attend)

    def _note_beat(self, answer: dict[str, Any], took: float) -> None:
        ended = time.time()
        self._note_clock(answer["clock"], ended - took, ended)
        if answer["clock"] < self._clock and self._agenda is not None:
            self._agenda.note_clock_set_back()
        self._clock = answer["clock"]
        if not answer["registered"]:
            self._turns_now().look()  # the next turn finds it out as well
        if answer["dead"]:
            self._chores.bury = True
            self._turns_now().look()

    def _hang_up(self) -> None:
        """Give up the connections: there has been no answer for too long."""


async def _orphans(db: Connection, flow: str) -> list[tuple[int, str]]:
    rows = await db.fetch(
        "SELECT id, digest FROM lifecycle.runs WHERE flow = $1 AND finished IS NULL AND owner IS NULL ORDER BY id", flow
    )
    return [(row[0], row[1]) for row in rows]
