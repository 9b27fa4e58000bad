"""Transactions that others' queues have waited for each other in, or for a stranger's, for ever."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter

import asyncpg
import pytest

from lifecycle.scheduler import JobConflict, Scheduler, StoreBusy, flow_of_table

from ...postgres import Postgres, ask
from .tools import connections, ended_well, failing, name_of, named, open_sender, open_several, until, value

pytestmark = pytest.mark.slow

DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"


def test_all_at_once_wait_for_each_other_in_order(database: str) -> None:
    """Four schedulers submit, run, retry, cancel, need, replace, sweep: no deadlock. river#1059, pg-boss#282, #133."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    flow = flow_of_table(
        {"name": "diamond", "blocks": {
            "top": {"call": "pg.value", "args": [1]},
            **{f"m{number}": {"call": "pg.value", "args": [1], "needs": ["top"]} for number in range(6)},
            "end": {"call": "pg.value", "args": [1], "needs": [f"m{number}" for number in range(6)]},
        }}
    )  # fmt: skip

    async def storm(them: list[Scheduler], chance: random.Random) -> None:
        jobs = []
        for number in range(60):
            one, other = chance.sample(them, 2)
            draw = chance.randrange(8)
            if draw < 2:
                jobs.append(await one.submit(value, number, priority=chance.randrange(3), queue=f"q{number % 3}"))
            elif draw == 2:
                jobs.append(await one.submit(failing, "no", retries=1, backoff=(0.0, 0.0)))
            elif draw == 3 and jobs:
                needed = chance.sample(jobs, min(len(jobs), 3))
                with contextlib.suppress(LookupError):  # swept meanwhile
                    jobs.append(await one.submit(value, number, needs=[job.id for job in needed], when="always"))
            elif draw == 4:
                on_twin = chance.choice(["replace", "return", "refuse"])
                with contextlib.suppress(JobConflict):
                    jobs.append(await one.submit(value, 1, key=f"k{chance.randrange(3)}", on_twin=on_twin))
            elif draw == 5 and jobs:
                await other.cancel(chance.choice(jobs).id)
            elif draw == 6 and jobs:
                await other.set_priority(chance.choice(jobs).id, 5)
                with contextlib.suppress(JobConflict, LookupError):
                    jobs.append(await other.retry(chance.choice(jobs).id, force=True))
            else:
                run = await one.submit(flow)
                if chance.random() < 0.3:
                    await other.runs.cancel(run.id)

    async def main() -> None:
        async with open_several(database, 4, workers=3, keep_for=0.01, keep_jobs=50) as them:
            async with asyncio.timeout(90), asyncio.TaskGroup() as group:
                for number in range(6):
                    group.create_task(storm(them, random.Random(f"{seed} {number}")))
            for one in them:
                await one.drain(30)
            assert Counter(job.finished is None for job in await them[0].jobs(limit=10_000))[True] == 0

    asyncio.run(main())
    assert ask(database, DEADLOCKS) == [(0,)]


@pytest.mark.parametrize("table", ["jobs", "owners", "turns", "notices"])
def test_a_stranger_who_locks_a_table_is_waited_for(database: str, table: str) -> None:
    """As a dump, an index build or a hand at the console does; nobody is taken for dead meanwhile. timescaledb#4293."""

    async def main() -> None:
        async with open_sender(database) as sender, Scheduler(database, workers=3):
            await ended_well([await sender.submit(named, "before")])
            stranger = await asyncpg.connect(database)
            try:
                await stranger.execute(f"BEGIN; LOCK TABLE lifecycle.{table} IN ACCESS EXCLUSIVE MODE")
                submitting = [asyncio.ensure_future(sender.submit(named, f"during {number}")) for number in range(5)]
                await asyncio.sleep(1.5)
                await stranger.execute("ROLLBACK")
            finally:
                await stranger.close()
            jobs = []
            for one in submitting:
                with contextlib.suppress(StoreBusy):  # told so, and not done
                    jobs.append(await one)
            await ended_well([*jobs, await sender.submit(named, "after")])

    asyncio.run(main())


def test_a_stranger_who_makes_ours_fail_does_so_once(database: str) -> None:
    """A deadlock with a stranger, which ends by failing ours: it is done again. kestra#17574, openobserve#13251."""
    ask(
        database,
        "CREATE SEQUENCE public.often",
        """CREATE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            CASE nextval('public.often') % 7
                WHEN 3 THEN RAISE EXCEPTION 'a stranger' USING ERRCODE = '40P01';
                WHEN 5 THEN RAISE EXCEPTION 'a stranger' USING ERRCODE = '40001';
                ELSE NULL;
            END CASE;
            RETURN NULL;
        END $$""",
        "CREATE TRIGGER fail AFTER UPDATE ON lifecycle.jobs FOR EACH STATEMENT EXECUTE FUNCTION public.fail()",
    )

    async def main() -> None:
        async with open_sender(database) as sender, Scheduler(database, workers=3):
            jobs = [await sender.submit(named, f"{number}") for number in range(60)]
            assert len(set(await ended_well(jobs))) == 60
            await ended_well([await sender.submit(value, 1, retries=1)])

    asyncio.run(main())


def test_many_that_open_an_empty_database_at_once_agree(postgres: Postgres) -> None:
    """Who comes first installs, the others wait: graphile/worker#94, procrastinate#1428."""
    ask(postgres.url(), "CREATE DATABASE empty TEMPLATE template0")
    url = postgres.url("empty")

    async def open_one(number: int) -> None:
        async with Scheduler(url, name=f"s{number}", workers=1) as scheduler:
            assert await ended_well([await scheduler.submit(value, number)]) == [number]

    async def main() -> None:
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            for number in range(8):
                group.create_task(open_one(number))

    try:
        asyncio.run(main())
        assert ask(url, "SELECT count(*) FROM pg_namespace WHERE nspname = 'lifecycle'") == [(1,)]
    finally:
        ask(postgres.url(), "DROP DATABASE empty WITH (FORCE)")


def test_an_installation_that_was_broken_off_is_done_again(postgres: Postgres) -> None:
    """It is one transaction: half of it is nothing. procrastinate#1428."""
    ask(postgres.url(), "CREATE DATABASE broken TEMPLATE template0")
    url = postgres.url("broken")

    async def main() -> None:
        for wait in (0.0, 0.005, 0.01, 0.02, 0.04, 0.08):
            opening = asyncio.ensure_future(open_and_close())
            await asyncio.sleep(wait)
            opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)
        await open_and_close()

    async def open_and_close() -> None:
        async with Scheduler(url, workers=1) as scheduler:
            await ended_well([await scheduler.submit(value, 1)])

    try:
        asyncio.run(main())
        assert connections(url) == []
    finally:
        ask(postgres.url(), "DROP DATABASE broken WITH (FORCE)")


def test_a_newcomer_disturbs_nobody_at_work(database: str) -> None:
    """It looks whether all is installed, under no lock that jobs wait for: pg-boss#832."""

    async def main() -> None:
        async with open_sender(database) as sender, Scheduler(database, workers=3):
            working = [asyncio.ensure_future(sender.submit(named, f"{number}")) for number in range(200)]
            for number in range(10):
                async with Scheduler(database, name=f"new{number}", workers=1):
                    pass
            await ended_well([await one for one in working])

    asyncio.run(main())
    assert ask(database, DEADLOCKS) == [(0,)]


def test_what_was_prepared_survives_a_changed_table(database: str) -> None:
    """A cached plan whose result type has changed is an error elsewhere: asyncpg#198, #121."""

    async def main() -> None:
        async with open_sender(database) as sender, Scheduler(database, workers=3):
            await ended_well([await sender.submit(named, f"{number}") for number in range(20)])
            for number in range(3):
                ask(database, f"ALTER TABLE lifecycle.jobs ADD COLUMN later{number} integer DEFAULT {number}")
                await ended_well([await sender.submit(named, f"{number}.{one}") for one in range(20)])
                assert await sender.jobs(limit=5)
                ask(database, f"ALTER TABLE lifecycle.jobs DROP COLUMN later{number}")
                await ended_well([await sender.submit(named, f"{number}.{one}") for one in range(20)])

    asyncio.run(main())


def test_a_stranger_with_an_old_snapshot_does_not_stop_the_line(database: str) -> None:
    """What is dead cannot be swept, and claims go over it: still all are run. que#244, river#59, PgQue#80, awa#169."""

    async def main() -> None:
        stranger = await asyncpg.connect(database)
        try:
            await stranger.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM lifecycle.jobs")
            async with open_sender(database) as sender, Scheduler(database, workers=8):
                for part in range(5):
                    jobs = await asyncio.gather(*(sender.submit(named, f"{part}.{one}") for one in range(400)))
                    assert len(set(await ended_well(jobs))) == 400
        finally:
            await stranger.close()

    asyncio.run(main())


def test_a_copy_of_the_database_is_a_store_of_its_own(database: str, postgres: Postgres) -> None:
    """Messages go to a database's own listeners, locks to its own users: a copy on one server is strange to it."""
    copied = f"{name_of(database)}_copy"

    async def main() -> None:
        async with Scheduler(database, workers=1) as scheduler:
            await ended_well([await scheduler.submit(value, 1)])
        ask(postgres.url(), f"CREATE DATABASE {copied} TEMPLATE {name_of(database)}")
        async with Scheduler(database, workers=2) as one, Scheduler(postgres.url(copied), workers=2) as other:
            first, second = await one.submit(value, "one"), await other.submit(value, "other")
            assert await ended_well([first, second]) == ["one", "other"]
            assert len(await one.jobs()) == len(await other.jobs()) == 2
        await until(lambda: not connections(postgres.url(copied)), "the end of its connections")

    try:
        asyncio.run(main())
    finally:
        ask(postgres.url(), f"DROP DATABASE IF EXISTS {copied} WITH (FORCE)")
