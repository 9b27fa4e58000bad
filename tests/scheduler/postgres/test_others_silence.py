"""A server that does not answer: whoever waits can leave, and whoever closes comes to an end."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable

import pytest

from lifecycle import ReleaseTimeout
from lifecycle.scheduler import Scheduler, StoreBusy, StoreError

from ...postgres import Postgres
from ..storms.fleet.machines import Machine
from .tools import Gate, ended_well, gated, named, open_sender

pytestmark = pytest.mark.slow

Ask = Callable[[Scheduler], Awaitable[object]]

QUESTIONS: dict[str, Ask] = {
    "submit": lambda scheduler: scheduler.submit(named, "never"),
    "cancel": lambda scheduler: scheduler.cancel(1),
    "jobs": lambda scheduler: scheduler.jobs(),
    "set_priority": lambda scheduler: scheduler.set_priority(1, 1),
    "limits": lambda scheduler: scheduler.limits.records(),
    "schedule": lambda scheduler: scheduler.schedule("never", named, "never", fixed_rate=3600.0),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_who_asks_a_silent_server_can_leave(database: str, question: str) -> None:
    """A cancelled task has waited for ever elsewhere: psycopg#1371, asyncpg#1356."""

    async def main() -> None:
        machine = Machine(database, 0.0)
        try:
            async with Scheduler(machine.address, workers=1) as scheduler:
                await ended_well([await scheduler.submit(named, "before")])
                machine.cable.silence()
                asking = asyncio.ensure_future(QUESTIONS[question](scheduler))
                await asyncio.sleep(0.3)
                asking.cancel()
                async with asyncio.timeout(10):
                    with contextlib.suppress(asyncio.CancelledError, StoreBusy):
                        await asking
                machine.cable.mend()
                await ended_well([await scheduler.submit(named, "after")])
        finally:
            machine.close()

    asyncio.run(main())


@pytest.mark.parametrize("how", ["silence", "forget", "tear"])
def test_closing_comes_to_an_end(database: str, how: str) -> None:
    """Closing a connection waited for the answer to a cancellation, whatever its timeout: asyncpg#1356, #431."""

    async def main() -> None:
        machine = Machine(database, 0.0)
        try:
            scheduler = Scheduler(
                machine.address, workers=2, drain_timeout=0.2, cancel_timeout=0.5, close_timeout=1.0, store_patience=1.0
            )
            gate = Gate()
            async with asyncio.timeout(60):
                await scheduler.__aenter__()
                await scheduler.submit(gated, gate.name)
                await gate.reached()
                getattr(machine.cable, how)()
                submitting = asyncio.ensure_future(scheduler.submit(named, "never"))
                await asyncio.sleep(0.1)
                submitting.cancel()
                with contextlib.suppress(StoreError, ReleaseTimeout):
                    await scheduler.aclose()
            await asyncio.gather(submitting, return_exceptions=True)
            assert scheduler.closed
            assert asyncio.all_tasks() == {asyncio.current_task()}
        finally:
            machine.close()

    asyncio.run(main())


def test_a_server_that_stands_still_for_a_while_is_waited_for(own_server: Postgres) -> None:
    """A machine that swaps, a disk that hangs: nobody gives up, nothing is done twice."""

    async def main(url: str) -> None:
        gate = Gate()
        async with open_sender(url) as sender, Scheduler(url, workers=3):
            held = await sender.submit(gated, gate.name)
            await gate.reached()
            own_server.pause()
            submitting = [asyncio.ensure_future(sender.submit(named, f"{number}")) for number in range(10)]
            await asyncio.sleep(2.0)
            own_server.resume()
            gate.open()
            jobs = [held]
            for one in submitting:
                with contextlib.suppress(StoreBusy):
                    jobs.append(await one)
            await ended_well([*jobs, await sender.submit(named, "after")])
            assert gate.begun == 1

    with own_server.database() as url:
        asyncio.run(main(url))


def test_cancelling_at_any_moment_leaves_a_store_that_works(database: str) -> None:
    """Over a slow cable, with answers on their way: each comes to the one who asked. asyncpg#431."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)

    async def main() -> None:
        machine = Machine(database, 0.003)
        try:
            async with Scheduler(machine.address, workers=4) as scheduler:
                known = await scheduler.submit(named, "known")
                for _ in range(60):
                    asking = [asyncio.ensure_future(scheduler.submit(named, "maybe")) for _ in range(3)]
                    looking = asyncio.ensure_future(scheduler.job(known.id))
                    await asyncio.sleep(chance.random() * 0.02)
                    for one in chance.sample(asking, 2):
                        one.cancel()
                    await asyncio.gather(*asking, return_exceptions=True)
                    record = await looking
                    assert record is not None
                    assert record.id == known.id
                await scheduler.drain(30)
                assert all(job.finished is not None for job in await scheduler.jobs())
        finally:
            machine.close()

    asyncio.run(main())
