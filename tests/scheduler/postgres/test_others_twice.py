"""Jobs that others have run twice, lost, or kept for ever: here each is run once, unless whoever ran it was dead."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections import Counter
from pathlib import Path

import pytest

from lifecycle.scheduler import Job, Scheduler

from ...postgres import Postgres, ask
from ...servers import stop_where_it_is
from ..storms.fleet.history import LOOK, Ledger, Move, check_moves
from .tools import Gate, begun, blocks, ended_well, gated, named, open_sender, open_several, program, until, value

pytestmark = pytest.mark.slow


async def submit_to_fleet(sender: Scheduler, name: str, seconds: float) -> Job:
    """Submit what a worker process runs."""
    return await sender.submit("fleet.work", name, seconds, name=name)


def moves_in(url: str, names: str) -> list[Move]:
    """Return every change of state of the jobs of such names, as the database has seen it."""
    columns = "SELECT job, old, new, moves.attempt, moves.result FROM public.moves JOIN lifecycle.jobs ON id = job"
    return [Move(*row) for row in ask(url, f"{columns} WHERE name LIKE '{names}' ORDER BY n")]


@pytest.mark.nightly
def test_what_a_dead_worker_has_left_is_taken_over_once(database: str, tmp_path: Path) -> None:
    """By four that find it at the same time: crontabber#69, asyncmq 105, graphile/worker#449."""
    ask(database, LOOK)
    ledger = tmp_path / "ledger"

    async def main() -> None:
        with program(database, ledger, workers=20, lease=1.0) as first:
            async with open_sender(database) as sender:
                await first.up()
                jobs = [await submit_to_fleet(sender, f"job{number}", 30.0) for number in range(20)]
                await first.running(20)
                others = [program(database, ledger, workers=5, lease=1.0) for _ in range(4)]
                with others[0] as a, others[1] as b, others[2] as c, others[3] as d:
                    for other in (a, b, c, d):
                        await other.up()
                    first.kill()
                    await until(lambda: sum(len(one.lines("start")) for one in (a, b, c, d)) >= 20, "taking over")
                    again = Counter(name for one in (a, b, c, d) for name in one.lines("start"))
                    assert set(again.values()) == {1}, again
                    for job in jobs:
                        await sender.cancel(job.id)
                    async with asyncio.timeout(30):
                        assert {(await job.wait()).status.value for job in jobs} == {"cancelled"}
                    Ledger.read(ledger).check_attempts()

    asyncio.run(main())
    assert len(check_moves(moves_in(database, "job%"))) == 20


def test_the_slot_of_a_dead_worker_is_free_again(database: str, tmp_path: Path) -> None:
    """What it ran counted against the limit for ever: pgqueuer#630."""

    async def main() -> None:
        with program(database, tmp_path / "ledger", lease=1.0) as first:
            async with open_sender(database) as sender:
                await sender.limits.set(queue="one", limit=1)
                await first.up()
                await sender.submit("fleet.work", "left", 0.5, queue="one")
                following = await sender.submit("fleet.work", "following", 0.0, queue="one")
                await first.running(1)
                first.kill()
                with program(database, tmp_path / "ledger", lease=1.0) as second:
                    await second.up()
                    await ended_well([following])

    asyncio.run(main())


@pytest.mark.parametrize("end", ["close", "cancel"])
def test_the_slot_of_one_that_was_closed_is_free_again(database: str, end: str) -> None:
    """The same where its jobs were interrupted as it closed."""

    async def main() -> None:
        gate = Gate()
        async with open_sender(database) as sender:
            await sender.limits.set(handler="pg.gated", limit=2)  # one is the sender's own
            async with Scheduler(database, workers=1, drain_timeout=0.0):
                job = await sender.submit(gated, gate.name)
                await gate.reached()
                if end == "cancel":
                    await sender.cancel(job.id)
                    await job.wait()
            async with Scheduler(database, workers=1):
                following = Gate()
                following.open()
                gate.open()
                await ended_well([await sender.submit(gated, following.name)])

    asyncio.run(main())


@pytest.mark.nightly
def test_a_handler_that_lets_nothing_else_run_is_run_once(database: str) -> None:
    """It stops the loop for longer than a lease: the worker is heard of all the same. pgqueuer#674, solid_queue#589."""
    from ..storms.fleet.stores import store_for

    async def main() -> None:
        begun.clear()
        async with open_sender(database) as sender:
            stores = [store_for(database, f"s{number}", 1.0) for number in range(2)]
            async with Scheduler(stores[0], workers=1, stall_threshold=None), Scheduler(stores[1], workers=1):
                await asyncio.sleep(1.1)  # long enough for each to be believed when it says that others are dead
                await ended_well([await sender.submit(blocks, "stalled", 3.5)])
                assert begun["stalled"] == 1

    asyncio.run(main())


@pytest.mark.parametrize("names", ["the same", "each its own"])
def test_a_schedule_is_due_once_however_many_look(database: str, names: str) -> None:
    """Four schedulers, with one name or four: oban-py#32, oban#1488, hexpm/bob#257, sidekiq#3773."""

    async def main() -> None:
        async with open_several(database, 4, workers=2, **({"name": "twin"} if names == "the same" else {})) as them:
            for one in them:
                await one.schedule("often", value, 1, fixed_rate=0.1, missed="burst")
            await asyncio.sleep(2.0)
            await them[0].schedule_named("often").pause()
            await asyncio.sleep(0.2)
            (record,) = await them[0].schedules()
            due = ask(database, "SELECT scheduled::text FROM lifecycle.jobs WHERE scheduled IS NOT NULL")
            assert len(set(due)) == len(due) == record.runs > 5

    asyncio.run(main())


def test_a_job_that_ends_as_its_worker_is_given_up_ends_once(database: str, tmp_path: Path) -> None:
    """The one who gives it up decides by what is so when it writes, not when it looked: river#1302, solid_queue#761."""
    ask(database, LOOK)

    async def main() -> None:
        ledger = tmp_path / "ledger"
        with program(database, ledger, lease=1.0) as one, program(database, ledger, lease=1.0) as two:
            async with open_sender(database) as sender:
                await one.up()
                await two.up()
                jobs = [await submit_to_fleet(sender, f"job{number}", 0.05 * (number % 15)) for number in range(120)]
                for victim in (one, two, one):
                    await asyncio.sleep(0.4)
                    stop_where_it_is(victim.process.pid)
                    await asyncio.sleep(1.6)
                    victim.process.send_signal(signal.SIGCONT)
                results = await ended_well(jobs)
                assert [result[0] for result in results] == [f"job{number}" for number in range(120)]
                Ledger.read(ledger).check_attempts()

    asyncio.run(main())
    assert len(check_moves(moves_in(database, "job%"))) == 120


def test_a_key_whose_holder_has_died_stops_nobody(database: str, tmp_path: Path) -> None:
    """Upkeep that met a twin stood still for all: pg-boss#492, #522."""

    async def main() -> None:
        with program(database, tmp_path / "ledger", lease=1.0) as first:
            async with open_sender(database) as sender:
                await first.up()
                held = await sender.submit("fleet.work", "held", 60.0, key="k")
                other = await sender.submit("fleet.work", "other", 0.5, key="m")
                await first.running(2)
                first.kill()
                replacing = await sender.submit("fleet.work", "new", 0.0, key="k", on_twin="replace")
                with program(database, tmp_path / "ledger", lease=1.0) as second:
                    await second.up()
                    await ended_well([replacing, other])
                    async with asyncio.timeout(30):
                        assert (await held.wait()).status.value == "cancelled"
                    await ended_well([await sender.submit("fleet.work", "last", 0.0, key="k")])

    asyncio.run(main())


@pytest.mark.nightly
def test_a_server_that_restarts_makes_nobody_run_a_job_again(
    own_server: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    """Session locks are gone with the session, leases are not: good_job#90."""

    async def main(url: str) -> None:
        begun.clear()
        gates = [Gate() for _ in range(4)]
        async with open_sender(url) as sender, open_several(url, 3, workers=2):
            jobs = [await sender.submit(gated, gate.name) for gate in gates]
            for gate in gates:
                await gate.reached()
            for manner in ("immediate", "fast", "immediate"):
                await asyncio.to_thread(own_server.restart, manner)
                await ended_well([await sender.submit(named, manner)])
            for gate in gates:
                gate.open()
            await ended_well(jobs)
            assert [gate.begun for gate in gates] == [1] * 4

    with caplog.at_level(logging.CRITICAL), own_server.database() as url:
        asyncio.run(main(url))


JUDGED = {
    "the command line": """SELECT lifecycle.visit('{"do": "set_priority", "id": 1, "priority": 1, "now": 0}')""",
    "a scheduler": """SELECT lifecycle.turn((SELECT min(id) FROM lifecycle.owners), 0, true, '{}', NULL, NULL,
        '[{"do": "bury", "now": 0}]', NULL)""",
}


@pytest.mark.parametrize("by", JUDGED)
def test_nobody_is_judged_after_an_outage_before_all_could_be_heard(database: str, by: str) -> None:
    """The database stood still for longer than any lease; who comes first must not take the others for dead."""

    async def main() -> None:
        gate = Gate()
        async with open_sender(database) as sender, Scheduler(database, workers=1):
            job = await sender.submit(gated, gate.name)
            await gate.reached()
            # What an outage of a hundred seconds looks like to whoever is first, in the moment that it is over.
            ask(database, "UPDATE lifecycle.owners SET seen = seen - 100", JUDGED[by])
            await asyncio.sleep(1.0)
            gate.open()
            await ended_well([job])
            assert gate.begun == 1

    asyncio.run(main())
