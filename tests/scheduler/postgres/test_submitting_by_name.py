"""A program that submits, and knows none of the handlers: a web service beside its workers."""

from __future__ import annotations

import asyncio

import pytest

from lifecycle.scheduler import Job, Scheduler, handler


async def run(job: Job) -> object:
    """Return what a job does in the end."""
    return (await job.wait()).unwrap()


def test_a_name_that_only_others_know_is_submitted_and_runs_there(database: str) -> None:
    """It waits until somebody comes who knows it, and its result is heard where it was submitted."""

    async def main() -> None:
        async with asyncio.timeout(60), Scheduler(database, name="web") as web:
            job = await web.submit("pg.elsewhere", 20, retries=1, key="one")
            assert (await web.job(job.id)).status.value == "pending"  # type: ignore[union-attr]
            await web.schedule("each", "pg.elsewhere", 1, cron="0 3 1 1 *")

            @handler("pg.elsewhere")
            async def elsewhere(number: int) -> int:
                return 2 * number

            async with Scheduler(database, name="worker"):
                assert await run(job) == 40
                due = await (await web.schedule("each", "pg.elsewhere", 1, cron="0 3 1 1 *")).trigger()
                assert isinstance(due, Job)
                assert await run(due) == 2

    asyncio.run(main())


def test_what_can_be_checked_of_it_is_checked(database: str) -> None:
    """A function without a name, an empty name, arguments that are no plain data, and settings that there are not."""

    async def main() -> None:
        async with Scheduler(database, name="web") as web:
            for words, settings, error, why in (
                ((lambda: None,), {}, TypeError, "has no name"),
                (("",), {}, ValueError, "handler"),
                (("pg.nobody", object()), {}, TypeError, "the arguments of pg.nobody"),
                (("pg.nobody",), {"retry": 1}, TypeError, "no setting 'retry'"),
            ):
                with pytest.raises(error, match=why):
                    await web.submit(*words, **settings)  # type: ignore[arg-type]
            assert await web.jobs() == []

    asyncio.run(main())
