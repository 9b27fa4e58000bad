"""Attacks on several schedulers with one store and one cluster: paused past their leases, continued, and killed."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from ...postgres import ask
from ...servers import stop_where_it_is
from ..clusters import Cluster
from .scheduling import until_gone
from .test_adoption import until_running, until_serving, watching

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

LEASE = "5"


@contextlib.contextmanager
def worker(database: str, kubeconfig: Path, runs: int, seconds: str = "0.3") -> Iterator[subprocess.Popen[str]]:
    """Run a worker while the block runs, and kill it."""
    command = [sys.executable, "-m", f"{__package__}.worker", database, str(kubeconfig), str(runs), LEASE, seconds]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def states(database: str) -> dict[str, int]:
    """Return how many jobs there are in each state."""
    return dict(ask(database, "SET search_path TO lifecycle", "SELECT state, count(*) FROM jobs GROUP BY state"))


@pytest.mark.timeout(240)
async def test_schedulers_that_are_paused_past_their_leases_start_nothing_twice(
    cluster: Cluster, database: str
) -> None:
    """Three of them: what one has lost another takes up, and the one that comes back touches none of it."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    chance, runs = random.Random(seed), 9
    async with watching(cluster) as seen:
        with contextlib.ExitStack() as stack:
            workers = [
                stack.enter_context(worker(database, cluster.kubeconfig, runs if n == 0 else 0)) for n in range(3)
            ]
            for process in workers:
                await anyio.to_thread.run_sync(until_serving, process)
            for process in workers[:2]:
                await anyio.sleep(chance.uniform(0.0, 0.6))
                await anyio.to_thread.run_sync(stop_where_it_is, process.pid)
            while (await anyio.to_thread.run_sync(states, database)) != {"succeeded": runs}:
                await anyio.sleep(0.2)
            for process in workers[:2]:
                os.kill(process.pid, signal.SIGCONT)
            with anyio.fail_after(120):
                await until_gone(cluster)
            await anyio.sleep(1.0)
        assert not seen.twice
        assert seen.steps == Counter(
            {(f"n{number}", step): 1 for number in range(runs) for step in ("first", "second")}
        )
        assert await anyio.to_thread.run_sync(states, database) == {"succeeded": runs}


async def test_the_one_that_comes_back_does_not_delete_what_the_other_follows(cluster: Cluster, database: str) -> None:
    """A long Job: its scheduler is paused, another takes it up, the first is continued; one Job and one pod."""
    async with watching(cluster) as seen:
        with worker(database, cluster.kubeconfig, 1, "25") as old:
            await anyio.to_thread.run_sync(until_serving, old)
            await until_running(cluster)
            with worker(database, cluster.kubeconfig, 0, "25") as new:
                await anyio.to_thread.run_sync(until_serving, new)
                await anyio.to_thread.run_sync(stop_where_it_is, old.pid)
                while await attempts(cluster) != ["2"]:
                    await anyio.sleep(0.1)
                os.kill(old.pid, signal.SIGCONT)
                while (await anyio.to_thread.run_sync(states, database)) != {"succeeded": 1}:
                    await anyio.sleep(0.2)
                await until_gone(cluster)
        assert not seen.twice
        assert seen.steps == Counter({("n0", "first"): 1, ("n0", "second"): 1})


async def attempts(cluster: Cluster) -> list[str]:
    """Return to which attempts the Jobs belong."""
    jobs = (await cluster.api.get(f"{cluster.batch}/jobs"))["items"]
    return [job["metadata"]["annotations"]["asyncio-lifecycle/attempt"] for job in jobs]
