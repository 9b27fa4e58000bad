"""The durable store: one SQLite file, one thread that writes with group commit, one connection that reads."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio

from ..._ground.errors import StoreBusy, StoreError
from ..._ground.limits import LONGEST_WAIT
from ..admission import Admitted
from ..crashes import MAX_CRASHES
from ..filters import JobFilter
from ..lanes import Shares
from ..limit_record import LimitRecord
from ..limits import Limit, LimitKey
from ..messages import Notice, Report
from ..pace import Bound
from ..patience import LOCK_SLICE, LONGEST, Trouble
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
from ..waiting import LeftWork
from . import admission, again, claiming, entering, operations, owners, schedules, views, waiting
from .agenda import Agenda
from .clock import ClockWatch
from .crashes import held_back
from .faults import Fault, fault_of
from .files import connect, explain
from .listing import list_jobs, list_runs
from .locks import DOUBTED_EVERY, Doubts, OwnerLock
from .place import Place
from .succession import Succession
from .sweeping import Sweeper
from .thread import Operation, SqliteThread
from .upkeep import SqliteUpkeep

T = TypeVar("T")


class SqliteStore:
    """Keeps jobs in an SQLite file: write-ahead log, ``synchronous=FULL``, nothing acknowledged before it is on disk.

    A method without a docstring does what `Store` says.

    Args:
        path: the file; made when it is not there.
        name: what this owner is called, for messages.
        retention: how long what has ended is kept.
        patience: seconds for which faults are waited for that may pass; None for ever.
        max_crashes: crashes of its process after which a job has failed; None for never.
    """

    durable = True
    shared = False
    identity = ""  # before it is opened

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        name: str = "scheduler",
        retention: Retention | None = None,
        patience: float | None = LONGEST,
        max_crashes: int | None = MAX_CRASHES,
    ) -> None:
        self._place = Place(path)
        self._shown = self._place.shown
        self._name = name
        self._patience = patience
        self._max_crashes = max_crashes
        self._tell: Callable[[Trouble], object] = lambda trouble: None
        # None before it is registered and once it leaves: what the writer gets then has no owner, and is taken over.
        self._owner: int | None = None
        self._leaving = False  # then the writer's thread must not register it again, as it does when others bury it
        self._shares = Shares()
        self._agenda = Agenda()
        self._clock = ClockWatch()
        self._succession: Succession | None = None
        self._sweeper = Sweeper(retention or Retention())
        self._lock: OwnerLock | None = None
        self._doubts = Doubts()
        self._writer: SqliteThread | None = None
        self._reader: SqliteThread | None = None

    async def open(self) -> None:
        """Open the file, bring it up to date, and register as an owner.

        Cancellation: `aclose` releases what had been opened.

        Raises:
            StoreError: it cannot be opened, is not a database of this package, or is of a newer version.
        """
        self._place.check()
        self._writer = SqliteThread(
            partial(connect, self.path, self._shown, wait=LOCK_SLICE),
            "BEGIN IMMEDIATE",
            "lifecycle-store-writer",
            self._shown,
            rolled_back=self._after_rollback,
            verify=self._verify,
            patience=self._patience,
            tell=self._tell,
        )
        await self._opened(self._writer)
        self.identity = await self._write(views.identity)
        while self._owner is None:
            self._owner = await self._enter()
        self._reader = SqliteThread(
            partial(connect, self.path, self._shown, mode="ro", wait=LOCK_SLICE),
            "BEGIN",
            "lifecycle-store-reader",
            self._shown,
            patience=self._patience,
            tell=self._tell,
        )
        await self._opened(self._reader)

    @property
    def path(self) -> Path:
        """The file, whatever name it was given by."""
        return self._place.path

    @property
    def failure(self) -> StoreError | None:
        threads = (self._writer, self._reader)
        return next((thread.failure for thread in threads if thread is not None and thread.failure is not None), None)

    def watch(self, tell: Callable[[Trouble], object]) -> None:
        self._tell = tell

    def attend(self, look: Callable[[], object], stop: Callable[[int, int, str], object]) -> None:
        """Do nothing: a file tells nobody that it was changed."""

    def _verify(self) -> None:
        self._place.verify()
        if self._lock is not None:
            self._lock.keep()

    async def aclose(self) -> None:
        """Mark what still runs as interrupted, give up the ownership and close. Idempotent.

        Cancellation: the threads end nevertheless.

        Raises:
            StoreError: the last transaction failed; the next process that opens the file completes the clean-up.
        """
        retired = False
        try:
            owner, self._owner = None if self._leaving else self._owner, None
            self._leaving = True
            if owner is not None and self._writer is not None:
                self._writer.hurry()
                await self._write(lambda db: owners.retire(db, owner), patient=True)
            retired = True
        finally:
            for thread in (self._reader, self._writer):
                if thread is not None:
                    await thread.aclose()
            if self._lock is not None and retired:
                self._lock.release()
            elif self._lock is not None:
                self._lock.close()  # its file stays, as a killed process leaves it: so this owner is known to be dead

    async def add_job(self, job: NewJob) -> int:
        return await self._write(lambda db: operations.insert_job(db, job, None, self._owner, time.time()))

    async def admit_job(self, job: NewJob) -> Admitted:
        return await self._change_due(lambda db: admission.admit(db, job, self._owner, time.time()))

    async def open_run(self, run: NewRun, *, resume: bool, fresh: bool) -> OpenedRun:
        opened = await self._write(
            lambda db: entering.open_run(
                db,
                self.path,
                run,
                self._owner,
                time.time(),
                resume=resume,
                fresh=fresh,
                doubts=self._doubts,
                max_crashes=self._max_crashes,
            )
        )
        if opened.resumed:
            self._clock.recheck()
        return opened

    async def adopt_jobs(self, handlers: Collection[str]) -> int:
        if self._succession is None:
            self._succession = Succession(self.path, self._doubts, self._max_crashes, self._name)
        return await self._write(lambda db: owners.adopt_jobs(db, self._owner, handlers, self._max_crashes))

    async def adopt_runs(self, flow: str, digest: str) -> LeftRuns:
        self._clock.recheck()
        return await self._write(lambda db: owners.adopt_runs(db, self._owner, flow, digest, self._max_crashes))

    async def run(self, run_id: int) -> StoredRun | None:
        return await self._read(lambda db: views.run(db, run_id), patient=True)

    async def claim(self, limit: int, now: float) -> Claims:
        return await self._write(lambda db: self._claimed(db, self._owner, limit, now))

    def _claimed(self, db: sqlite3.Connection, owner: int | None, limit: int, now: float) -> Claims:
        return claiming.claim(db, owner, limit, now, self._shares, held_back(db, owner, self._max_crashes))

    async def take(self, room: Callable[[], int], known: Callable[[], Collection[str]]) -> Sequence[Claimed]:
        claim = partial(self._claim, room, known)
        return (await self._answer(lambda: self._opened_one(self._writer).run_standing(claim)))[0]

    def _claim(
        self, room: Callable[[], int], known: Callable[[], Collection[str]], db: sqlite3.Connection
    ) -> tuple[tuple[Sequence[Claimed], ...], float]:
        """Look at everything that is due, and start attempts for which there is room; the answer is in a tuple.

        It stands in the writer's thread and is tried at the end of every transaction: what a job's end makes room for,
        and what has just been submitted, is claimed by the commit that makes it durable.
        """
        owner, now = self._owner, time.time()
        if owner is None or self._lock is None or self._leaving:
            return (), LONGEST_WAIT
        owner = self._owner = owners.still_registered(db, owner, self._lock.token, self._name, now)
        if self._succession is not None and self._succession.look(db, owner, known):
            self._clock.recheck()
        if self._clock.look(db, owner, now):
            self._agenda.touch()
        if self._agenda.look(db, owner, known, now):
            return ((),), 0.0
        self._sweeper.turn(db, now)
        wait = min(self._agenda.next_look_in(now), self._sweeper.next_look_in(now), self._clock.next_look_in())
        if self._succession is not None:
            wait = min(wait, self._succession.next_look_in())
        if (limit := room()) <= 0:
            return (), wait
        jobs, next_due = self._claimed(db, owner, limit, now)
        return (jobs,) if jobs else (), wait if next_due is None else min(wait, max(0.0, next_due - now))

    def _after_rollback(self) -> None:
        """Do again what was rolled back."""
        self._agenda.after_rollback()
        self._clock.after_rollback()
        if self._succession is not None:
            self._succession.after_rollback()

    def look_again(self) -> None:
        if self._writer is not None:
            self._writer.try_standing()

    async def give_back(self, jobs: Sequence[Claimed], now: float) -> Collection[int]:
        attempts = [(claimed.id, claimed.attempt) for claimed in jobs]
        return await self._write(lambda db: claiming.give_back(db, attempts, now), patient=True)

    async def finish(self, job_id: int, attempt: int, ending: Ending, now: float) -> Settled:
        return await self._write(
            lambda db: operations.finish(db, job_id, attempt, ending, now, delay_begins=self._agenda.touch),
            patient=True,
        )

    async def retry(self, job_id: int, attempt: int, ending: Ending, due: float) -> bool:
        return await self._write(lambda db: operations.retry(db, job_id, attempt, ending, due), patient=True)

    async def report(self, reports: Sequence[Report]) -> None:
        await self._write(lambda db: operations.report(db, reports))

    async def revive_jobs(self, jobs: Collection[int], known: Collection[str], *, force: bool) -> Revived:
        return await self._write(
            lambda db: again.revive_jobs(db, jobs, force=force, by=self._owner, known=known, now=time.time())
        )

    async def revive_run(self, run_id: int, known: Collection[str]) -> Revived | None:
        return await self._write(lambda db: again.revive_run(db, run_id, by=self._owner, known=known, now=time.time()))

    async def cancel(self, job_id: int, reason: str, now: float) -> Cancelling:
        return await self._change_due(lambda db: operations.cancel(db, job_id, reason, now, self._owner))

    async def cancel_run(self, run_id: int, reason: str, now: float) -> tuple[Settled, tuple[int, ...]]:
        return await self._change_due(lambda db: operations.cancel_run(db, run_id, reason, now, self._owner))

    async def set_priority(self, job_id: int, priority: int) -> bool:
        return await self._write(lambda db: operations.set_priority(db, job_id, priority))

    async def put_ahead(self, job_id: int, of: int) -> None:
        await self._write(lambda db: operations.put_ahead(db, job_id, of))

    async def outputs(self, run_id: int, names: Collection[str]) -> Outputs:
        texts = await self._read(lambda db: operations.outputs(db, run_id, names), patient=True)
        return {name: None if text is None else json.loads(text) for name, text in texts.items()}

    async def fates(self, run_id: int, names: Collection[str]) -> Mapping[str, tuple[str, str | None]]:
        return await self._read(partial(operations.fates, run=run_id, names=names), patient=True)

    async def notices(self) -> Sequence[Notice]:
        found = await self._read(lambda db: operations.notices(db, self._owner), patient=True)
        if found:
            await self._write(lambda db: operations.forget_notices(db, self._owner, found[-1].id), patient=True)
        stopped = [notice for notice in found if notice.status.final or notice.status is JobStatus.RUNNING]
        if len(stopped) < len(found):  # some wait: they are ours already, or for whoever knows how
            if self._succession is not None:
                self._succession.look_at_once()
            self.look_again()
        return stopped

    async def jobs_of(self, run_id: int) -> Sequence[JobRecord]:
        return await self._read(lambda db: views.jobs_of(db, run_id), patient=True)

    async def unfinished(self, limit: int) -> Sequence[str]:
        return await self._read(lambda db: views.unfinished(db, self._owner, limit), patient=True)

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

    async def put_schedule(self, new: NewSchedule) -> ScheduleRecord:
        return await self._change_due(lambda db: schedules.put(db, new, time.time()))

    async def schedule(self, name: str) -> ScheduleRecord | None:
        return await self._read(lambda db: schedules.record(db, name))

    async def schedules(self) -> Sequence[ScheduleRecord]:
        return await self._read(schedules.records)

    async def remove_schedule(self, name: str) -> bool:
        return await self._write(lambda db: schedules.remove(db, name))

    async def pause_schedule(self, name: str) -> bool:
        return await self._write(lambda db: schedules.pause(db, name))

    async def resume_schedule(self, name: str) -> bool:
        return await self._change_due(lambda db: schedules.resume(db, name, time.time()))

    async def bound_schedule(self, name: str, bound: Bound) -> bool:
        return await self._change_due(lambda db: schedules.set_bound(db, name, bound))

    async def trigger_schedule(self, name: str, flows: Collection[str] = ()) -> Submitted | None:
        return await self._write(lambda db: schedules.trigger(db, name, flows, self._owner, time.time()))

    async def limits(self) -> Sequence[LimitRecord]:
        return await self._read(claiming.limit_records)

    async def put_limit(self, new: Limit) -> None:
        await self._write(lambda db: claiming.put_limit(db, new))

    async def pause(self, key: LimitKey, *, paused: bool) -> bool:
        return await self._write(lambda db: claiming.pause(db, key, paused=paused))

    def upkeep(self) -> SqliteUpkeep:
        return SqliteUpkeep(self.path)

    def forget(self, run_id: int) -> None:
        """Do nothing: what is finished stays in the file."""

    async def _enter(self) -> int | None:
        """Register; None when that has to be tried again."""
        try:
            lock = self._lock = OwnerLock(self.path)
        except BlockingIOError:  # another process looks at its file, which takes a moment
            return None
        except OSError as error:
            raise StoreError(explain(self._shown, error)) from error
        number = await self._write(lambda db: self._registered(db, lock, os.getpid(), time.time()))
        if number is None:
            self._lock = None
            lock.release()
            if self._doubts:
                await anyio.sleep(DOUBTED_EVERY)
        return number

    def _registered(self, db: sqlite3.Connection, lock: OwnerLock, pid: int, now: float) -> int | None:
        number = owners.enter(db, self.path, lock, pid, self._name, now, self._doubts)
        self._place.remember()  # all files are there by now
        return number

    async def _opened(self, thread: SqliteThread) -> None:
        await self._answer(thread.open)

    async def _write(self, operation: Operation[T], *, patient: bool = False) -> T:
        return await self._answer(lambda: self._opened_one(self._writer).run(operation, patient=patient))

    async def _change_due(self, operation: Operation[T]) -> T:
        """Write what may change when a schedule is due."""

        def change(db: sqlite3.Connection) -> T:
            result = operation(db)
            self._agenda.touch()
            return result

        return await self._write(change)

    async def _read(self, operation: Operation[T], *, patient: bool = False) -> T:
        return await self._answer(lambda: self._opened_one(self._reader).run(operation, patient=patient))

    async def _answer(self, ask: Callable[[], Awaitable[T]]) -> T:
        try:
            return await ask()
        except StoreError:
            raise  # the very object, however many get it: it is one failure
        except OverflowError as error:
            raise LookupError("no job, run or schedule has a number of more than 64 bits") from error
        except (sqlite3.Error, OSError) as error:
            raise self._refused(error) from error

    def _opened_one(self, thread: SqliteThread | None) -> SqliteThread:
        if thread is None:
            raise StoreError(f"{self._shown}: the store is not open")
        return thread

    def _refused(self, error: Exception) -> StoreError:
        return (StoreBusy if fault_of(error) is Fault.PASSING else StoreError)(explain(self._shown, error))
