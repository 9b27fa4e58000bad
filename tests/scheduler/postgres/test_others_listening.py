"""Listeners that others have lost without a word: here work goes on as before, and everybody is told.

A queue that has lost its LISTEN still works, by polling, and seems well; so each of these checks that the first way
works again, by making the second one useless where that can be told.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from lifecycle.scheduler import Scheduler, flow_of_table
from lifecycle.scheduler._store.messages import Notice
from lifecycle.scheduler._store.postgres import views

from ...postgres import Postgres, ask
from ..storms.fleet.machines import Machine
from .tools import Gate, connections, end_connections, ended_well, gated, name_of, named, open_sender, program, until

pytestmark = pytest.mark.slow


@contextlib.contextmanager
def cabled(url: str) -> Iterator[Machine]:
    """Lend a cable to the database."""
    machine = Machine(url, 0.0)
    try:
        yield machine
    finally:
        machine.close()


@pytest.mark.parametrize("times", [1, pytest.param(3, marks=pytest.mark.nightly)])
def test_work_goes_on_when_the_server_has_ended_all_connections(database: str, times: int) -> None:
    """Again and again: graphile/worker#541, bullmq#4729, hatchet#2771."""

    async def main() -> None:
        async with open_sender(database) as sender, Scheduler(database, workers=3):
            for number in range(times):
                assert await ended_well([await sender.submit(named, f"before {number}")])
                assert end_connections(database) > 0
                jobs = [await sender.submit(named, f"after {number}.{one}") for one in range(20)]
                assert len(await ended_well(jobs)) == 20

    asyncio.run(main())


def test_a_cancellation_reaches_a_job_while_the_listener_is_away(database: str) -> None:
    """What was told meanwhile is asked for afterwards: sqlx#447, iopsystems/durable#66."""

    async def main() -> None:
        gates = [Gate() for _ in range(6)]
        async with open_sender(database) as sender, Scheduler(database, workers=len(gates)):
            jobs = [await sender.submit(gated, gate.name) for gate in gates]
            for gate in gates:
                await gate.reached()
            for job in jobs:
                end_connections(database)
                assert await sender.cancel(job.id)
                end_connections(database)
            async with asyncio.timeout(30):
                assert {(await job.wait()).status.value for job in jobs} == {"cancelled"}

    asyncio.run(main())


def test_a_cancellation_needs_one_message_and_no_question(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way to the database and back is long for some; the longest reason fits into a message."""
    monkeypatch.setattr(views, "notices", no_notices)
    gates = [Gate() for _ in range(3)]
    flow = flow_of_table({"name": "one", "blocks": {"only": {"call": "pg.gated", "args": [gates[0].name]}}})
    snails = "\N{SNAIL}" * 3_000

    async def main() -> None:
        async with open_sender(database) as sender, Scheduler(database, workers=len(gates)) as worker:
            await worker.serve_flow(flow)
            run = await sender.submit(flow)
            single, wordy = [await sender.submit(gated, gate.name) for gate in gates[1:]]
            for gate in gates:
                await gate.reached()
            ask(database, f"UPDATE lifecycle.jobs SET cancel = '{snails}' WHERE id = {wordy.id}")
            for job in (single, wordy):
                assert await sender.cancel(job.id, "not wanted")
            assert await sender.runs.cancel(run.id, "nor this")
            assert [job.error for job in (await run.wait()).jobs] == ["nor this"]
            assert (await single.wait()).error == "not wanted"
            assert (await wordy.wait()).error == snails[:1000]

    asyncio.run(main())


def test_nobody_else_can_ask_a_scheduler_to_stop_a_job(database: str) -> None:
    """Whoever may connect to a database can send messages, and hear those of others."""

    async def main() -> None:
        gate = Gate()
        async with open_sender(database) as sender, Scheduler(database, workers=2):
            job = await sender.submit(gated, gate.name)
            await gate.reached()
            ((owner,),) = ask(database, f"SELECT owner FROM lifecycle.jobs WHERE id = {job.id}")
            said = f'[{job.id}, 1, "forged"]'
            unsigned = hashlib.sha256(said.encode()).hexdigest()
            for forged in ("", said, f"0 {said}", f"{unsigned} {said}", "0 [", "\u00e9 ["):
                ask(database, f"NOTIFY lifecycle, 'stop {owner} {forged}'")
            for nonsense in ("stop", "stop ", "stop x y z", "notice", "work work", "\n"):
                ask(database, f"NOTIFY lifecycle, '{nonsense}'")
            await ended_well([await sender.submit(named, "in between", priority=1)])
            gate.open()
            await ended_well([job])

    asyncio.run(main())


async def no_notices(db: object, owner: int) -> list[Notice]:
    """Answer who asks that there is nothing."""
    return []


@pytest.mark.parametrize("manner", [pytest.param("fast", marks=pytest.mark.nightly), "immediate"])
def test_all_seats_are_taken_again_after_a_restart(own_server: Postgres, manner: str) -> None:
    """Not one at a time, and nobody hangs: good_job#296, saq#162, hatchet#2771, graphile/worker#307."""

    async def main(url: str) -> None:
        before, after = [Gate() for _ in range(3)], [Gate() for _ in range(5)]
        async with open_sender(url) as sender, Scheduler(url, workers=5):
            jobs = [await sender.submit(gated, gate.name) for gate in before]
            for gate in before:
                await gate.reached()
            await asyncio.to_thread(own_server.restart, manner)
            for gate in before:
                gate.open()
            assert await ended_well(jobs) == [gate.name for gate in before]
            assert [gate.begun for gate in before] == [1, 1, 1], "begun again, though who ran them lived: good_job#90"
            jobs = [await sender.submit(gated, gate.name) for gate in after]
            for gate in after:
                await gate.reached()
                # all five at once
            for gate in after:
                gate.open()
            await ended_well(jobs)

    with own_server.database() as url:
        asyncio.run(main(url))


def test_who_refuses_for_a_while_is_asked_now_and_then(
    database: str, postgres: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    """A database that takes nobody in, as one in recovery: 30,000 lines in 20 seconds in graphile/worker#224."""
    allow = f"ALTER DATABASE {name_of(database)} WITH ALLOW_CONNECTIONS"

    async def main() -> None:
        async with open_sender(database) as sender, Scheduler(database, workers=2):
            await ended_well([await sender.submit(named, "before")])
            ask(postgres.url(), f"{allow} false")
            try:
                ask(
                    postgres.url(),
                    f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name_of(database)}'",
                )
                await asyncio.sleep(2.0)
            finally:
                ask(postgres.url(), f"{allow} true")
            await ended_well([await sender.submit(named, "after")])

    with caplog.at_level(logging.INFO):
        asyncio.run(main())
    assert len(caplog.records) < 40, [record.getMessage() for record in caplog.records]


def test_a_connection_limit_that_is_reached_is_waited_for(database: str, postgres: Postgres) -> None:
    """The notifier died while the pool was exhausted, and nobody subscribed again: oban#1499, graphile/worker#564."""
    limit = f"ALTER DATABASE {name_of(database)} WITH CONNECTION LIMIT"
    ask(database, "CREATE ROLE limited LOGIN", f"GRANT ALL ON DATABASE {name_of(database)} TO limited")
    try:
        ask(
            database,
            "GRANT USAGE ON SCHEMA lifecycle TO limited",
            "GRANT ALL ON ALL TABLES IN SCHEMA lifecycle TO limited",
        )
        url = database.replace("postgres@", "limited@")

        async def main() -> None:
            async with open_sender(url) as sender, Scheduler(url, workers=2):
                await ended_well([await sender.submit(named, "before")])
                ask(postgres.url(), f"{limit} 0")
                end_connections(database)
                await asyncio.sleep(1.0)
                assert connections(database) == []
                ask(postgres.url(), f"{limit} -1")
                await ended_well([await sender.submit(named, f"after {number}") for number in range(10)])

        asyncio.run(main())
    finally:
        ask(postgres.url(), f"{limit} -1")
        ask(database, "DROP OWNED BY limited", "DROP ROLE limited")


@pytest.mark.parametrize("how", ["forget", "silence", pytest.param("tear", marks=pytest.mark.nightly)])
def test_a_connection_that_died_without_a_word_is_noticed(database: str, tmp_path: Path, how: str) -> None:
    """The socket looks well, and nothing comes any more: pg-boss#850, asyncpg#519, graphile/worker#185."""

    async def main() -> None:
        with cabled(database) as machine, program(machine.address, tmp_path / "ledger", lease=1.0) as worker:
            async with open_sender(database) as sender:
                await worker.up()
                await ended_well([await sender.submit("fleet.work", "before", 0.0)])
                getattr(machine.cable, how)()
                during = await sender.submit("fleet.work", "during", 0.0)
                await asyncio.sleep(2.5)
                machine.cable.mend()
                await ended_well([during])
                await ended_well([await sender.submit("fleet.work", "after", 0.0)])
                assert set(worker.lines("end")) >= {"before", "during", "after"}

    asyncio.run(main())


def test_who_is_told_something_while_it_closes_does_not_mind(database: str) -> None:
    """A message for a worker that had ended ended the process: graphile/worker#381."""

    async def main() -> None:
        async with open_sender(database) as sender:
            jobs = []
            for number in range(8):
                async with Scheduler(database, workers=2):
                    sending = [asyncio.create_task(sender.submit(named, f"{number}.{one}")) for one in range(25)]
                    await asyncio.sleep(0)
                jobs += await asyncio.gather(*sending)
            async with Scheduler(database, workers=2):
                assert len(set(await ended_well(jobs))) == 200

    asyncio.run(main())


def test_what_listens_holds_back_no_vacuum(database: str) -> None:
    """A listener that was stuck while it was told something kept an old snapshot: graphile_worker_rs#456."""

    async def main() -> None:
        async with open_sender(database) as sender, Scheduler(database, workers=2):
            await ended_well([await sender.submit(named, f"{number}") for number in range(50)])
            await until(lambda: not any(one["xmin"] for one in connections(database)), "a rest without a snapshot")
            assert {one["state"] for one in connections(database)} == {"idle"}, connections(database)

    asyncio.run(main())


def test_a_foreign_listener_that_does_not_listen_holds_nobody_up(database: str) -> None:
    """It keeps the queue of notifications from being cleaned; the queue stays small: mozilla/tls-observatory#109."""

    async def main() -> None:
        import asyncpg

        stranger = await asyncpg.connect(database)
        try:
            await stranger.execute("LISTEN lifecycle; BEGIN; SELECT 1")
            async with open_sender(database) as sender, Scheduler(database, workers=4):
                await ended_well([await sender.submit(named, f"{number}") for number in range(300)])
            (used,) = ask(database, "SELECT pg_notification_queue_usage()::float8 < 0.0001")[0]
            assert used, "300 jobs fill more than a ten-thousandth of it"
        finally:
            await stranger.close()

    asyncio.run(main())
