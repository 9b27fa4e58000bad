"""Values that others' queues on PostgreSQL have choked on: here they are what they are on SQLite.

Elsewhere a NUL or half a surrogate pair in a result is refused by ``jsonb``, and with it the whole batch: the job never
ends. Numbers beyond 64 bits, not-a-number, and arguments larger than a notification have done the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from lifecycle.scheduler import Scheduler, flow_of_table
from lifecycle.scheduler._store.postgres.said import storable

from .tools import Gate, ended_well, failing, gated, logging_, named, value

VALUES = {
    "nul": "a\x00b",
    "nul alone": "\x00",
    "nul in a key": {"a\x00b": 1},
    "lone surrogate": "\ud800",
    "surrogates the wrong way round": "\udc00\ud800",
    "an escape that looks like one": "\\u0000 \\ud800",
    "70 bits": 2**70,
    "1,000 digits": 10**1000,
    "minus 64 bits": -(2**63) - 1,
    "not a number": float("nan"),
    "infinite": [float("inf"), float("-inf")],
    "minus nothing": -0.0,
    "the smallest": 5e-324,
    "deep": [[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]],
    "keys in order": {"b": 1, "a": 2, "": 3},
    "a key twice but for its case": {"a": 1, "A": 2},
    "quotes": "'; DROP TABLE lifecycle.jobs; -- $1 $$ %s {} \\",
    "other scripts": "\U0001d4b3 \ufdfa \u202e e\u0301 \U0010ffff",
    "none": None,
    "a megabyte": "x" * 1_000_000,
}

Act = Callable[[Scheduler, Any], Awaitable[Any]]


async def as_argument_and_result(scheduler: Scheduler, it: Any) -> Any:
    """A value goes to a job and comes back."""
    job = await scheduler.submit(value, it)
    outcome = await job.wait()
    record = await scheduler.job(job.id)
    assert record is not None
    return outcome.status.value, repr(outcome.result), repr(record.result)


async def as_text(scheduler: Scheduler, it: Any) -> Any:
    """A text is everything that can be one: an error, a log line, a name, a reason, metadata, a key, a queue."""
    said: list[Any] = []
    job = await scheduler.submit(failing, it)
    outcome = await job.wait()
    record = await scheduler.job(job.id)
    assert record is not None
    said += [outcome.status.value, outcome.error and type(outcome.error).__name__, record.error]
    job = await scheduler.submit(logging_, it)
    said.append((await job.wait()).status.value)
    record = await scheduler.job(job.id)
    assert record is not None
    said.append(record.log and record.log.partition(" ")[2])
    for settings in ({"name": it}, {"queue": it}, {"key": it}, {"metadata": {"it": it}}, {"metadata": {it: 1}}):
        try:
            job = await scheduler.submit(value, 1, **settings)
        except (TypeError, ValueError) as error:
            said.append(f"{type(error).__name__}: {error}")
        else:
            await job.wait()
            record = await scheduler.job(job.id)
            assert record is not None
            # In a key, the only one that is taken as it is, what the database cannot hold is shown by its symbol.
            said.append((record.name, record.queue, record.key and storable(record.key), record.metadata))
    job = await scheduler.submit(value, 1, delay=3600.0)
    try:
        await job.cancel(it)
    except (TypeError, ValueError) as error:
        said.append(f"{type(error).__name__}: {error}")
        await job.cancel()
    record = await scheduler.job(job.id)
    assert record is not None
    return [*said, record.error]


async def same_as_on_sqlite(database: str, directory: Path, act: Act, it: Any) -> None:
    """Check that both stores say the same, an error included, and that the one on PostgreSQL works afterwards."""
    said = []
    for store in (directory / "jobs.sqlite", database):
        async with asyncio.timeout(60), Scheduler(store, workers=2) as scheduler:
            try:
                said.append(await act(scheduler, it))
            except (TypeError, ValueError, OverflowError) as error:
                said.append(f"{type(error).__name__}: {error}")
            assert await ended_well([await scheduler.submit(value, 1)]) == [1]
    assert said[0] == said[1]


@pytest.mark.parametrize("which", VALUES)
def test_a_value_is_what_it_is_on_sqlite(database: str, tmp_path: Path, which: str) -> None:
    """As an argument and as a result: kestra#10653, dashjoin#488, steampipe#292, dust#20554."""
    asyncio.run(same_as_on_sqlite(database, tmp_path, as_argument_and_result, VALUES[which]))


@pytest.mark.parametrize("which", [name for name, it in VALUES.items() if isinstance(it, str) and len(it) < 1_000])
def test_a_text_is_what_it_is_on_sqlite(database: str, tmp_path: Path, which: str) -> None:
    """Wherever a text can be."""
    asyncio.run(same_as_on_sqlite(database, tmp_path, as_text, VALUES[which]))


def test_one_bad_value_does_not_hold_up_its_neighbours(database: str) -> None:
    """What is written together with it is written: a batch is no family."""

    async def main() -> None:
        async with Scheduler(database, workers=8) as scheduler:
            odd = list(VALUES.values())
            jobs = await asyncio.gather(
                *(scheduler.submit(value, odd[number % len(odd)] if number % 2 else number) for number in range(60)),
                return_exceptions=True,
            )
            fine = [job for job in jobs[::2] if not isinstance(job, BaseException)]
            assert len(fine) == 30
            assert await ended_well(fine) == list(range(0, 60, 2))
            for job in jobs[1::2]:
                if not isinstance(job, BaseException):
                    async with asyncio.timeout(30):
                        await job.wait()

    asyncio.run(main())


def test_thousands_end_at_once(database: str) -> None:
    """What is told of them fits into notifications of 8,000 bytes, whoever waits: awx#12999, taskiq-pg#32."""

    async def main() -> None:
        gate = Gate()
        async with Scheduler(database, workers=4) as scheduler, Scheduler(database, workers=4) as other:
            first = await scheduler.submit(gated, gate.name)
            jobs = await asyncio.gather(
                *(other.submit(named, f"job {number} " + "x" * 100, needs=[first.id]) for number in range(1_000))
            )
            gone = await asyncio.gather(*(other.submit(named, "never", needs=[first.id]) for _ in range(1_000)))
            assert all(await asyncio.gather(*(scheduler.cancel(job.id, "y" * 100) for job in gone)))
            gate.open()
            assert len(set(await ended_well(jobs))) == 1_000
            assert {(await job.wait()).status.value for job in gone} == {"cancelled"}

    asyncio.run(main())


def test_a_flow_of_many_blocks_is_cancelled_in_one_go(database: str) -> None:
    """The same with one request that ends them all."""

    async def main() -> None:
        gate = Gate()
        blocks = {f"block{number}": {"call": "pg.value", "args": [1], "needs": ["first"]} for number in range(600)}
        flow = flow_of_table({"name": "wide", "blocks": {"first": {"call": "pg.gated", "args": [gate.name]}, **blocks}})
        async with Scheduler(database) as scheduler:
            run = await scheduler.submit(flow)
            await gate.reached()
            await run.cancel()
            async with asyncio.timeout(60):
                outcome = await run.wait()
            assert outcome.status.value == "cancelled"
            assert len(outcome.jobs) == 601

    asyncio.run(main())
