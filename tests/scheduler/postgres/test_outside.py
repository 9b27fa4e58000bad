"""Looking at a database and after it from outside: what differs from a file, since there is a server in between."""

from __future__ import annotations

import math
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import pytest

from lifecycle.scheduler import JobStatus, Scheduler, StoreError, handler
from lifecycle.scheduler._store.filters import JobFilter
from lifecycle.scheduler._store.postgres import visiting
from lifecycle.scheduler._store.postgres.address import Address
from lifecycle.scheduler._store.postgres.checking import _RULES
from lifecycle.scheduler._store.postgres.outside import PostgresOutside
from lifecycle.scheduler._store.postgres.upkeep import PostgresUpkeep
from lifecycle.scheduler._store.records import NewJob
from lifecycle.scheduler._store.run_records import RunFilter

from ...postgres import Postgres
from ...postgres.wire import ask
from ..tools import flow_of

T = TypeVar("T")


@handler("outside.echo")
async def echo(value: int = 0) -> int:
    """Return what it is given."""
    return value


@handler("outside.hold")
async def hold() -> None:
    """Run until it is stopped."""
    await anyio.sleep_forever()


FLOW = flow_of('name = "two"\n[blocks.a]\nsleep = 0\n[blocks.b]\nneeds = ["a"]\nsleep = 0\n')


@pytest.fixture
def outside(database: str) -> Iterator[PostgresOutside]:
    """An empty store, seen from outside."""
    with closing(PostgresOutside(Address.parse(database))) as store:
        yield store


@pytest.fixture
def upkeep(database: str) -> PostgresUpkeep:
    """What looks after the same store."""
    return PostgresUpkeep(Address.parse(database))


def job(name: str = "job", handler: str = "outside.other") -> NewJob:
    """Return a job that no scheduler here knows, unless told otherwise."""
    return NewJob(name, "call", payload={"handler": handler, "args": []})


async def apart(question: Callable[[], T]) -> T:
    """Ask from a thread, as another process would."""
    return await anyio.to_thread.run_sync(question)


def test_a_running_job_is_stopped_by_its_scheduler(database: str, outside: PostgresOutside) -> None:
    """Which is told at once, and sends the outcome; another scheduler's job is seen to be taken."""

    async def stop() -> None:
        async with Scheduler(database, name="busy") as scheduler:
            held = await scheduler.submit(hold)
            while not scheduler.statistics().running:
                await anyio.sleep(0.01)
            assert await apart(outside.alive)
            assert await apart(lambda: outside.untaken([held.id])) == {}
            found = await apart(lambda: outside.cancel("outside.hold", "enough"))
            assert found is not None
            number, cancelling = found
            assert (number, cancelling.before, cancelling.settled) == (held.id, JobStatus.RUNNING, None)
            outcome = await held.wait()
            assert (outcome.status, outcome.error) == (JobStatus.CANCELLED, "enough")
        assert not await apart(outside.alive)

    anyio.run(stop)


def test_a_job_that_is_submitted_is_run_at_once(database: str, outside: PostgresOutside) -> None:
    """By a scheduler that knows its handler; for others it is said what is missing."""

    async def submit() -> None:
        async with Scheduler(database):
            done = await apart(lambda: outside.submit(job(handler="outside.echo")))
            left = await apart(lambda: outside.submit(job()))
            assert done.job is not None
            assert left.job is not None
            while not (ended := await apart(lambda: outside.ended_jobs([done.job or 0, 99]))).get(done.job):
                await anyio.sleep(0.01)
            assert ended[99] is None
            assert await apart(lambda: outside.untaken([done.job or 0, left.job or 0])) == {
                left.job: "a scheduler that has its handler 'outside.other'; none of those that live does"
            }

    anyio.run(submit)
    with closing(outside):
        assert list(outside.untaken([1, 2]).values()) == [
            "a scheduler that has its handler 'outside.other'; none lives"
        ]


def test_a_connection_that_was_lost_is_opened_anew(database: str, outside: PostgresOutside) -> None:
    """For a look; of a change it cannot be told whether it was done."""
    outside.submit(job())
    _end_connections(database)
    assert len(outside.jobs()) == 1
    _end_connections(database)
    with pytest.raises(StoreError, match="it is not known whether it was done"):
        outside.submit(job())
    outside.submit(job())
    assert len(outside.jobs(JobFilter())) == 2


def _end_connections(database: str) -> None:
    ask(database, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND application_name LIKE 'lifecycle%'")  # fmt: skip
    while ask(database, "SELECT 1 FROM pg_stat_activity WHERE datname = current_database()"
              " AND pid <> pg_backend_pid() AND application_name LIKE 'lifecycle%'"):  # fmt: skip
        pass


def test_a_server_that_is_started_again_is_waited_for(own_server: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """By who had reached it before: such as one that waits until a job has ended. Else it is told at once."""
    with own_server.database() as url, closing(PostgresOutside(Address.parse(url))) as store:
        store.submit(job())
        own_server.stop()
        monkeypatch.setattr(visiting, "PATIENCE", math.inf)
        with pytest.raises(StoreError, match=r"No such file|refused"):
            _jobs_of(Address.parse(url))()
        starting = threading.Thread(target=own_server.start)
        starting.start()
        assert len(store.jobs()) == 1
        starting.join()
        own_server.stop()
        monkeypatch.setattr(visiting, "PATIENCE", 0.0)
        with pytest.raises(StoreError, match=r"No such file|refused|closed"):
            store.jobs()
        own_server.start()


def test_closed_twice_and_used_again(outside: PostgresOutside) -> None:
    """It opens what it needs."""
    outside.submit(job())
    outside.close()
    outside.close()
    assert len(outside.jobs()) == 1


def test_a_database_without_a_store_is_told(postgres: Postgres) -> None:
    """Nothing is made in it; nor is one that is not there, or a server that does not answer."""
    with postgres.database() as url:
        ask(url, "DROP SCHEMA lifecycle CASCADE")
        address = Address.parse(url)
        for question in (PostgresUpkeep(address).facts, PostgresUpkeep(address).check, _jobs_of(address)):
            with pytest.raises(StoreError, match="there is no store in the database; a scheduler makes it"):
                question()
        assert ask(url, "SELECT count(*) FROM pg_namespace WHERE nspname = 'lifecycle'") == [(0,)]
    nowhere = Address.parse(postgres.url("not_there"))
    with pytest.raises(StoreError, match='database "not_there" does not exist'):
        _jobs_of(nowhere)()
    silent = Address.parse("postgresql://me@127.0.0.1:1/none")
    with pytest.raises(StoreError, match=r"^postgresql://me@127\.0\.0\.1:1/none: "):
        _jobs_of(silent)()


def _jobs_of(address: Address) -> Callable[[], Any]:
    def jobs() -> Any:
        with closing(PostgresOutside(address)) as store:
            return store.jobs()

    return jobs


def test_the_facts_name_machines(database: str, upkeep: PostgresUpkeep) -> None:
    """And count what there is."""

    async def look() -> None:
        async with Scheduler(database, name="one") as scheduler:
            await (await scheduler.submit(FLOW)).wait()
            facts = await scheduler.upkeep.facts()
            assert [(owner.name, owner.pid, owner.host) for owner in facts.owners] == [
                ("one", os.getpid(), socket.gethostname())
            ]
            assert (facts.runs, facts.unfinished_runs, facts.jobs["succeeded"], facts.free) == (1, 0, 2, None)
            assert facts.size > 8_192

    anyio.run(look)
    assert (upkeep.facts().owners, upkeep.facts().path) == ((), str(Address.parse(database)))


BROKEN = [
    ("UPDATE runs SET unfinished = 1", ["run 1 says that 1 of its jobs have not ended, and 0 have not"]),
    ("UPDATE runs SET finished = NULL", ["run 1 has 0 jobs to end, and its own end says otherwise"]),
    ("DELETE FROM runs", ["job 1 is of run 1, which is not there", "job 2 is of run 1, which is not there"]),
    ("UPDATE jobs SET unmet = 2 WHERE id = 3", ["job 3 says that it waits for 2 others, and it does for 0"]),
    ("UPDATE jobs SET state = 'running' WHERE id = 3", ["job 3 (job) runs, and nobody runs it"]),
    ("UPDATE jobs SET state = 'pending' WHERE id = 1", ["job 1 is pending, and its own end says otherwise"]),
    ("UPDATE jobs SET owner = 9 WHERE id = 3", ["job 3 is pending, and scheduler 9 runs it"]),
    ("UPDATE jobs SET owner = 9 WHERE id = 3", ["job 3 belongs to scheduler 9, which is not there"]),
]


def test_a_check_finds_what_does_not_fit(database: str, outside: PostgresOutside, upkeep: PostgresUpkeep) -> None:
    """Each of its rules; a store that was used is sound."""

    async def use() -> None:
        async with Scheduler(database) as scheduler:
            await (await scheduler.submit(FLOW)).wait()

    anyio.run(use)
    outside.submit(job())
    assert upkeep.check() == ()
    assert len(BROKEN) == len(_RULES)
    for damage, lines in BROKEN:
        ask(database, f"CREATE TABLE kept_runs AS TABLE lifecycle.runs; CREATE TABLE kept_jobs AS TABLE lifecycle.jobs;"
            f"SET search_path TO lifecycle; {damage}")  # fmt: skip
        assert set(lines) <= set(upkeep.check()), damage
        ask(database, "TRUNCATE lifecycle.runs, lifecycle.jobs; INSERT INTO lifecycle.runs TABLE kept_runs;"
            "INSERT INTO lifecycle.jobs TABLE kept_jobs; DROP TABLE kept_runs, kept_jobs")  # fmt: skip
    assert upkeep.check() == ()


def test_a_purge_leaves_runs_that_go_on(database: str, outside: PostgresOutside, upkeep: PostgresUpkeep) -> None:
    """A run goes as a whole or stays; in more than one step when there is much."""

    async def use() -> None:
        async with Scheduler(database) as scheduler:
            await (await scheduler.submit(FLOW)).wait()
            jobs = [await scheduler.submit(echo, number, name="many") for number in range(3)]
            for one in jobs:
                await one.wait()

    anyio.run(use)
    ask(database, "UPDATE lifecycle.runs SET finished = NULL")
    assert upkeep.purge(older_than=3600.0) == 0
    assert upkeep.purge(dry_run=True) == upkeep.purge(name="many") == 3
    assert [record.name for record in outside.jobs()] == ["a", "b"]
    ask(database, "UPDATE lifecycle.runs SET finished = 1.0")
    assert upkeep.purge(keep=1) == 0  # of the run, the newest job stays
    assert upkeep.purge() == 2
    assert outside.runs(RunFilter()) == []


def test_a_backup_is_left_to_the_server(upkeep: PostgresUpkeep) -> None:
    """The error names what does it."""
    with pytest.raises(StoreError, match=r"pg_dump --schema=lifecycle; `lifecycle store copy`"):
        upkeep.backup("copy.db")


def test_a_vacuum_by_a_stranger_is_told(database: str, upkeep: PostgresUpkeep) -> None:
    """The server itself only warns."""
    assert upkeep.vacuum()[1] > 0
    ask(database, "CREATE ROLE guest LOGIN; GRANT USAGE ON SCHEMA lifecycle TO guest;"
        "GRANT SELECT ON ALL TABLES IN SCHEMA lifecycle TO guest")  # fmt: skip
    try:
        guest = PostgresUpkeep(Address.parse(database.replace("postgres@", "guest@")))
        with pytest.raises(StoreError, match=r"not everything was vacuumed: .*facts"):
            guest.vacuum()
    finally:
        ask(database, "DROP OWNED BY guest; DROP ROLE guest")
