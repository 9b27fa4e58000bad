"""Case C, rows 1 to 4: the queue, the store, delayed retries, and cancelling from outside.

Each miniature is written the way the warehouse's scheduler was.
One look, the same for both, finds its leak and none of ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import os
import sqlite3
import time
import tracemalloc
from pathlib import Path
from typing import Any

import anyio
import pytest

from lifecycle.scheduler import JobStatus, Scheduler, handler

from .live import Thing, alive, settle

pytestmark = pytest.mark.asyncio

JOBS = 40


# C1: the indexes of the queue


class LeakyQueue:
    """A priority queue with two indexes that gain an entry per enqueue and lose none at dequeue."""

    def __init__(self) -> None:
        self.heap: list[tuple[int, int, Thing]] = []
        self.priority_map: dict[int, tuple[int, Thing]] = {}
        self.priority_stats: dict[int, list[Thing]] = {}
        self.numbers = itertools.count()

    def enqueue(self, thing: Thing, priority: int) -> int:
        """Put a task in."""
        number = next(self.numbers)
        heapq.heappush(self.heap, (-priority, number, thing))
        self.priority_map[number] = (priority, thing)
        self.priority_stats.setdefault(priority, []).append(thing)
        return number

    def dequeue(self) -> Thing:
        """Take the most urgent one out."""
        return heapq.heappop(self.heap)[2]

    def cancel(self, number: int) -> None:
        """Take one out that is not wanted any more."""
        self.heap = [entry for entry in self.heap if entry[1] != number]
        heapq.heapify(self.heap)


async def test_c1_the_leaky_queue_keeps_what_has_left_it() -> None:
    """Served and cancelled tasks stay in both indexes."""
    queue = LeakyQueue()
    numbers = [queue.enqueue(Thing(), number % 3) for number in range(JOBS)]
    for number in numbers[: JOBS // 2]:
        queue.cancel(number)
    while queue.heap:
        queue.dequeue()
    assert alive(Thing) == JOBS


async def test_c1_ours_forgets_what_has_left_it_on_each_way_out() -> None:
    """Served, failed, cancelled while it waits or is delayed, timed out, and discarded by a close."""
    order: list[int] = []

    async def work(thing: Thing, priority: int) -> None:
        order.append(priority)
        if priority == 1:
            raise ValueError(thing.text)
        if priority == 0:
            await anyio.sleep_forever()

    scheduler = Scheduler(workers=1, drain_timeout=0)
    async with scheduler:
        for number in range(JOBS):
            await scheduler.submit(work, Thing(), number % 3, priority=number % 3, timeout=0.001)
        for number in range(JOBS):
            job = await scheduler.submit(work, Thing(), 5, delay=number * 1_000.0)
            await job.cancel()
        del job
        with anyio.fail_after(60):
            while sum(scheduler.statistics().ended.values()) < 2 * JOBS:
                await anyio.sleep(0.005)
        await settle()
        assert order[:JOBS] == sorted(order[:JOBS], reverse=True)
        assert alive(Thing) == 0
        ended = {"succeeded", "failed", "cancelled", "timed_out", "interrupted", "skipped"}
        assert set(scheduler.statistics().ended) == ended
        for _ in range(JOBS):
            await scheduler.submit(work, Thing(), 5, delay=1_000.0)
        assert alive(Thing) == JOBS
    assert alive(Thing) == 0


# C2: the state of tasks


class LeakyPersistence:
    """Keeps what it has written, unless remove is called."""

    def __init__(self, path: Path) -> None:
        self.db = sqlite3.connect(path)
        self.db.execute("CREATE TABLE tasks (id INTEGER PRIMARY KEY, state TEXT)")
        self.pending_tasks: dict[int, dict[str, Any]] = {}

    def save(self, number: int, state: dict[str, Any]) -> None:
        """Write a task's state."""
        self.db.execute("INSERT INTO tasks VALUES (?, ?)", (number, state["text"]))
        self.pending_tasks[number] = state


@handler("case_c.keep")
async def keep(text: str) -> int:
    """Do something with a large state."""
    return len(text)


def large(number: int) -> str:
    """Return the state of a task: 20 KB, another for each."""
    return f"{number:08}" * 2_500


async def test_c2_the_state_of_waiting_tasks_is_in_the_store_and_not_in_memory(tmp_path: Path) -> None:
    """A hundred tasks of 20 KB that wait: 2 MB there, nearly nothing here."""
    tracemalloc.start()
    try:
        leaky = LeakyPersistence(tmp_path / "leaky.sqlite")
        before, _ = tracemalloc.get_traced_memory()
        for number in range(100):
            leaky.save(number, {"text": large(number)})
        after, _ = tracemalloc.get_traced_memory()
        leaky.db.close()
        assert after - before > 1_900_000
        async with Scheduler(tmp_path / "ours.sqlite", drain_timeout=0) as scheduler:
            await scheduler.submit(keep, large(0), delay=1_000.0)
            before, _ = tracemalloc.get_traced_memory()
            for number in range(100):
                await scheduler.submit(keep, large(number), delay=1_000.0)
            after, _ = tracemalloc.get_traced_memory()
            assert after - before < 300_000
    finally:
        tracemalloc.stop()


# C3: delayed retries


class LeakyRetries:
    """Retries in tasks without a reference to them."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def retry_later(self, name: str, delay: float) -> None:
        """Try again after a while."""
        asyncio.create_task(self._delayed_retry(name, delay))  # noqa: RUF006 (the defect)

    async def _delayed_retry(self, name: str, delay: float) -> None:
        await asyncio.sleep(delay)
        self.ran.append(name)


_tried: list[str] = []


@handler("case_c.flaky")
async def flaky(name: str) -> str:
    """Fail at the first time."""
    _tried.append(name)
    if _tried.count(name) == 1:
        raise OSError("not yet")
    return name


async def test_c3_leaky_retries_belong_to_nobody_and_do_not_survive() -> None:
    """A task for each; after a restart of the service, none of them is made."""
    retries = LeakyRetries()
    before = set(asyncio.all_tasks())
    for number in range(JOBS):
        retries.retry_later(f"job {number}", 0.2)
    await settle()
    left = asyncio.all_tasks() - before
    assert len(left) == JOBS
    for task in left:  # the end of the process
        task.cancel()
    await asyncio.wait(left)
    assert retries.ran == []


async def test_c3_our_retries_are_no_tasks_and_survive_a_restart(tmp_path: Path) -> None:
    """While they wait they are rows in the store; the next scheduler makes them."""
    _tried.clear()
    names = [f"job {number}" for number in range(JOBS)]
    async with Scheduler(tmp_path / "jobs.sqlite", drain_timeout=0) as scheduler:
        before = len(asyncio.all_tasks())
        for name in names:
            await scheduler.submit(flaky, name, retries=1, backoff=(600.0, 600.0))
        with anyio.fail_after(60):
            while len(_tried) < JOBS or len(asyncio.all_tasks()) > before:
                await anyio.sleep(0.005)
    assert sorted(_tried) == sorted(names)  # all tasks were gone before a retry was due
    with contextlib.closing(sqlite3.connect(tmp_path / "jobs.sqlite")) as db, db:
        db.execute("UPDATE jobs SET due = ? WHERE due > 0", (time.time(),))  # ten minutes later
    async with Scheduler(tmp_path / "jobs.sqlite") as scheduler:
        with anyio.fail_after(60):
            while scheduler.statistics().ended["succeeded"] < JOBS:
                await anyio.sleep(0.01)
    assert sorted(_tried) == sorted(names * 2)


# C4: asking whether a task has been cancelled


class LeakyCancelCheck:
    """Each running task asks the database by itself, in a session of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.queries = 0
        self.sessions: list[sqlite3.Connection] = []

    async def watch(self, number: int, interval: float) -> None:
        """Ask again and again."""
        while True:
            session = sqlite3.connect(self.path)
            self.sessions.append(session)  # a session factory remembers what it has made
            session.execute("SELECT ?", (number,)).fetchone()
            self.queries += 1
            await asyncio.sleep(interval)


def open_files(path: Path) -> int:
    """Return how many files are open whose names begin so."""
    names = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    return sum(os.path.exists(name) and os.readlink(name).startswith(str(path)) for name in names)


async def test_c4_leaky_tasks_ask_one_by_one(tmp_path: Path) -> None:
    """Twenty tasks, four rounds: eighty queries and as many sessions."""
    check = LeakyCancelCheck(tmp_path / "leaky.sqlite")
    tasks = [asyncio.create_task(check.watch(number, 0.01)) for number in range(20)]
    with anyio.fail_after(30):
        while check.queries < 80:
            await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert open_files(check.path) >= 80
    for session in check.sessions:
        session.close()


async def test_c4_ours_asks_once_for_all_and_seldom_when_nothing_runs(tmp_path: Path) -> None:
    """Twenty running jobs cost as many queries and connections as one; a cancel from outside reaches its job."""
    asked = 0
    path = tmp_path / "jobs.sqlite"
    async with Scheduler(path, workers=20, drain_timeout=0) as scheduler:
        notices = scheduler._store.notices

        async def counted() -> Any:
            nonlocal asked
            asked += 1
            return await notices()

        scheduler._store.notices = counted  # type: ignore[method-assign]
        files = open_files(path)
        jobs = [await scheduler.submit(wait_long, number) for number in range(20)]
        with anyio.fail_after(60):
            while scheduler.statistics().running < 20:
                await anyio.sleep(0.005)
        began, asked = asyncio.get_running_loop().time(), 0
        await anyio.sleep(0.8)
        rounds = (asyncio.get_running_loop().time() - began) / 0.25
        assert 1 <= asked <= rounds + 2
        assert open_files(path) == files
        for job in jobs:
            await job.cancel("enough")
        assert {(await job.wait()).status for job in jobs} == {JobStatus.CANCELLED}
        del job
        jobs.clear()
        await anyio.sleep(0.3)  # the round that was on its way
        asked = 0
        await anyio.sleep(0.6)
        assert asked <= 1, "whether somebody wants a job of ours tried again"


@handler("case_c.wait_long")
async def wait_long(number: int) -> int:
    """Wait until it is cancelled."""
    await anyio.sleep_forever()
    return number
