"""What outlives a scheduler is taken up by the next one, and started once."""

from __future__ import annotations

import contextlib
import random
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from lifecycle.scheduler import JobStatus, Scheduler

from ..clusters import Cluster
from .scheduling import begin, flow_of, host, names, result_of, run_job, scheduler_on, until_gone

pytestmark = pytest.mark.asyncio


class Seen:
    """Which Jobs there ever were in a namespace, by their labels.

    Attributes:
        jobs: the uid of each, by its name.
        steps: how many there were of each number and step.
    """

    def __init__(self) -> None:
        self.jobs: dict[str, str] = {}
        self.steps: Counter[tuple[str, str]] = Counter()
        self.twice: list[str] = []

    def note(self, job: dict[str, Any]) -> None:
        """Note a Job."""
        meta = job["metadata"]
        name, uid = meta["name"], meta["uid"]
        if self.jobs.get(name) == uid:
            return
        if name in self.jobs:
            self.twice.append(name)
        self.jobs[name] = uid
        labels = meta["labels"]
        self.steps[labels.get("number", ""), labels.get("step", "")] += 1


@contextlib.asynccontextmanager
async def watching(cluster: Cluster) -> AsyncIterator[Seen]:
    """Note all Jobs of a cluster's namespace while the block runs."""
    seen = Seen()

    async def watch() -> None:
        async with contextlib.aclosing(cluster.see(f"{cluster.batch}/jobs")) as jobs:
            async for job in jobs:
                if job is not None:
                    seen.note(job)

    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        yield seen
        group.cancel_scope.cancel()


async def until_running(cluster: Cluster, count: int = 1) -> list[str]:
    """Wait until so many pods run, and return their names."""
    while True:
        pods = (await cluster.api.get(f"{cluster.core}/pods"))["items"]
        running = [pod["metadata"]["name"] for pod in pods if pod["status"].get("phase") == "Running"]
        if len(running) >= count:
            return running
        await anyio.sleep(0.02)


async def test_a_drain_leaves_the_job_running_and_the_next_scheduler_takes_it_up(cluster: Cluster) -> None:
    """One Job, one pod, one end; the log says what happened."""
    async with watching(cluster) as seen:
        async with scheduler_on(cluster, drain_timeout=0.0) as scheduler:
            run = await begin(scheduler, "script/sleep-3+say-done")
            pods = await until_running(cluster)
        assert (await run.wait()).jobs[0].status is JobStatus.INTERRUPTED
        async with scheduler_on(cluster) as scheduler:
            run = await scheduler.submit(flow_of({"kubernetes": "script/sleep-3+say-done"}), resume=True)
            await anyio.sleep(0.5)
            assert await until_running(cluster) == pods
            job = await result_of(scheduler, run)
            assert job.result["output"] == "done"
            assert job.attempts == 2
            assert "taken up" in (job.log or "")
            await until_gone(cluster)
        assert len(seen.jobs) == 1
        assert not seen.twice


async def test_a_drain_that_is_to_delete_leaves_nothing(cluster: Cluster) -> None:
    """The Job is gone when the scheduler is closed, and the next one begins it anew."""
    keys = {"on_drain": "delete", "grace": 1}
    async with watching(cluster) as seen:
        async with scheduler_on(cluster, drain_timeout=0.0, cancel_timeout=30.0) as scheduler:
            await begin(scheduler, "script/sleep-600", **keys)
            await until_running(cluster)
        assert await names(cluster, "jobs") == []
        assert await names(cluster, "pods") == []
        async with scheduler_on(cluster, drain_timeout=0.0, cancel_timeout=30.0) as scheduler:
            await scheduler.submit(flow_of({"kubernetes": "script/sleep-600", **keys}), resume=True)
            await until_running(cluster)
        assert len(seen.twice) == 1


async def test_in_memory_nothing_is_left_running(cluster: Cluster) -> None:
    """Nobody could ever take it up."""
    hosts = {"kubernetes": host(cluster)}
    async with Scheduler(None, hosts=hosts, drain_timeout=0.0, cancel_timeout=30.0) as scheduler:
        await begin(scheduler, "script/sleep-600", grace=1)
        await until_running(cluster)
    assert await names(cluster, "jobs") == []
    assert await names(cluster, "pods") == []


async def test_a_retry_is_another_job(cluster: Cluster) -> None:
    """The end of the first was recorded: the second begins anew, and both are deleted."""
    async with watching(cluster) as seen, scheduler_on(cluster) as scheduler:
        job = await run_job(scheduler, "script/exit-3", retries=1, backoff=0.1)
        assert job.status is JobStatus.FAILED
        assert job.failures == 2
        await until_gone(cluster)
        await anyio.sleep(0.2)
        assert len(seen.jobs) == 2


async def test_a_failed_job_that_is_to_be_kept_is(cluster: Cluster) -> None:
    """It is there to be looked at, also after a sweep; one that succeeds is not."""
    async with scheduler_on(cluster) as scheduler:
        await run_job(scheduler, "script/exit-3", keep="failed")
        await run_job(scheduler, "script/ok", keep="failed")
        while len(left := await names(cluster, "jobs")) > 1:
            await anyio.sleep(0.02)
        assert (await cluster.job_ended(left[0])) == "Failed"


def sizes(few: int) -> pytest.MarkDecorator:
    """Return the two sizes of a test: a few kills for a commit, a hundred for a night."""
    night = pytest.param(100, marks=[pytest.mark.nightly, pytest.mark.timeout(3600)])
    return pytest.mark.parametrize("kills", [pytest.param(few, marks=pytest.mark.slow), night])


@sizes(4)
async def test_kills_at_random_moments_lose_no_job_and_start_none_twice(cluster: Cluster, kills: int) -> None:
    """SIGKILL: every Job is adopted, or cleaned up; each of the two steps of a job was one Job, however often."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    chance, runs = random.Random(seed), 3 * kills
    store = cluster.kubeconfig.with_name("jobs.sqlite")
    async with watching(cluster) as seen:
        for life in range(kills):
            with worker(store, cluster.kubeconfig, runs if life == 0 else 0) as process:
                await anyio.to_thread.run_sync(until_serving, process)
                await anyio.sleep(chance.uniform(0.0, 1.2))
                process.send_signal(signal.SIGKILL)
        with worker(store, cluster.kubeconfig, 0):
            await until_all_have_ended(store, runs)
            with anyio.fail_after(120):
                await until_gone(cluster)
        await anyio.sleep(0.5)
        assert not seen.twice
        assert seen.steps == Counter(
            {(f"n{number}", step): 1 for number in range(runs) for step in ("first", "second")}
        )


@contextlib.contextmanager
def worker(store: Path, kubeconfig: Path, runs: int) -> Any:
    """Run a worker while the block runs, and kill it."""
    command = [sys.executable, "-m", f"{__package__}.worker", str(store), str(kubeconfig), str(runs)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def until_serving(process: subprocess.Popen[str]) -> None:
    """Wait until a worker says that it serves."""
    assert process.stdout is not None
    assert process.stdout.readline() == "serving\n"


async def until_all_have_ended(store: Path, runs: int) -> None:
    """Wait until all jobs have succeeded."""
    with anyio.fail_after(300):
        while True:
            states = await anyio.to_thread.run_sync(states_of, store)
            assert states.keys() <= {"pending", "running", "succeeded", "interrupted"}, states
            if states == {"succeeded": runs}:
                return
            await anyio.sleep(0.2)


def states_of(store: Path) -> dict[str, int]:
    """Return how many jobs there are in each state."""
    with contextlib.closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as db:
        return dict(db.execute("SELECT state, count(*) FROM jobs GROUP BY state").fetchall())
