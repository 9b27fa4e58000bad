"""Jobs of the scheduler that limits hold back, n of them: what they cost those that may begin."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from lifecycle.scheduler._store.limits import Limit, LimitKey
from lifecycle.scheduler._store.memory.store import MemoryStore
from lifecycle.scheduler._store.protocol import Store
from lifecycle.scheduler._store.records import Claimed, NewJob
from lifecycle.scheduler._store.sqlite.operations import insert_job
from lifecycle.scheduler._store.sqlite.store import SqliteStore

from ._kinds import CASES, Laps

CLAIMS = 20


def job(handler: str, queue: str = "default") -> NewJob:
    return NewJob(handler, "call", payload={"handler": handler, "args": []}, queue=queue)


@asynccontextmanager
async def opened(durable: bool) -> AsyncIterator[Store]:
    with tempfile.TemporaryDirectory() as place:
        store: Store = SqliteStore(Path(place, "jobs.sqlite")) if durable else MemoryStore()
        await store.open()
        try:
            yield store
        finally:
            await store.aclose()


def rows(durable: bool) -> None:
    """Make the cases of one kind of store; what goes into a file goes there in few transactions."""
    where = "in a file" if durable else "in memory"

    async def fill(store: Store, n: int, new: NewJob) -> None:
        if isinstance(store, SqliteStore):
            await store._write(lambda db: [insert_job(db, new, None, store._owner, 0.0) for _ in range(n)])
        else:
            for _ in range(n):
                await store.add_job(new)

    async def claim_some(store: Store, laps: Laps, name: str) -> None:
        claimed: list[Claimed] = []
        with laps(name, CLAIMS):
            for _ in range(CLAIMS):
                claimed += (await store.claim(1, 1.0)).jobs
        assert len(claimed) == CLAIMS

    async def full_handler(n: int, laps: Laps) -> None:
        async with opened(durable) as store:
            await store.put_limit(Limit(LimitKey("handler", "full"), at_once=0))
            await fill(store, n, job("full"))
            await fill(store, CLAIMS, job("free"))
            await claim_some(store, laps, "claim behind a full handler")

    async def paused_queue(n: int, laps: Laps) -> None:
        async with opened(durable) as store:
            await fill(store, n, job("x", "paused"))
            await fill(store, CLAIMS, job("x", "free"))
            with laps("pause a queue", 1):
                await store.pause(LimitKey("queue", "paused"), paused=True)
            await claim_some(store, laps, "claim beside a paused queue")
            with laps("records", 1):
                await store.limits()

    async def first_limit(n: int, laps: Laps) -> None:
        async with opened(durable) as store:
            await fill(store, n, job("x"))
            with laps("first limit of a handler, for each job", n):
                await store.put_limit(Limit(LimitKey("handler", "x"), at_once=n + CLAIMS))
            await claim_some(store, laps, "claim with room")

    CASES[f"limits {where}: full handler"] = full_handler
    CASES[f"limits {where}: paused queue"] = paused_queue
    CASES[f"limits {where}: first limit"] = first_limit


rows(durable=False)
rows(durable=True)
