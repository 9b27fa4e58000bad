"""A storm: jobs with ordered ends on several clusters, and troubles of all kinds, until the last job has ended."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from lifecycle import take_snapshot
from lifecycle.scheduler import Flow, FlowRun, JobRecord, JobStatus, Scheduler, flow_of_table
from lifecycle.scheduler.kubernetes import Cluster, Kubernetes, _host
from lifecycle.scheduler.remote import Over

from .fates import Fate, block_of, fates_of
from .servers import Server
from .tally import Tally, counted_clients

IDLE = 1.0
"""Seconds after which a view, then a client that nobody uses is closed."""

PATIENCE = 150.0


@dataclass(frozen=True)
class Row:
    """What there was when so many jobs had ended."""

    jobs: int
    seconds: float
    rss: float
    objects: int
    clients: int
    tasks: int


@dataclass
class Report:
    """What a storm has shown.

    Attributes:
        jobs: how many there were.
        seconds: how long it took, and how many of those our process was busy.
        wrong: jobs that did not end as it was ordered.
        ends: how many jobs there were of each end.
        cut_logs: jobs that have succeeded, of which lines of the log are missing.
        unseen: jobs whose pod was gone before anybody could see why.
        troubles: what went wrong, how often.
        swept: what the sweep found.
        left: Jobs and pods that were left.
        clients_at_rest: how many clients lived when nothing had run for a while.
        before, after: descriptors, tasks and owners before the scheduler was made and when it was closed.
        rows: what there was on the way.
        tally: of the clients.
    """

    jobs: int
    tally: Tally
    seconds: float = 0.0
    busy: float = 0.0
    wrong: list[str] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)
    cut_logs: int = 0
    unseen: int = 0
    troubles: Counter[str] = field(default_factory=Counter)
    swept: int = 0
    left: list[str] = field(default_factory=list)
    clients_at_rest: int = -1
    before: tuple[int, int, str] = (0, 0, "")
    after: tuple[int, int, str] = (0, 0, "")
    rows: list[Row] = field(default_factory=list)

    @property
    def slope(self) -> float:
        """Bytes that were kept of each job over the second half."""
        half = [row for row in self.rows if row.jobs >= self.jobs / 2]
        if len(half) < 2:
            return 0.0
        return (half[-1].rss - half[0].rss) / (half[-1].jobs - half[0].jobs)

    def __str__(self) -> str:
        lines = [
            f"{self.jobs:,} jobs in {self.seconds:.0f} s: {self.jobs / self.seconds:.1f} a second",
            f"{1000 * self.busy / self.jobs:.1f} ms of our process for each",
            f"clients: {self.tally.made} made, {self.tally.most} at most, {self.clients_at_rest} at rest",
            f"closed in use: {self.tally.closed_in_use}",
            f"requests a job: {sum(self.tally.requests.values()) / self.jobs:.2f}: {dict(self.tally.requests)}",
            f"troubles: {dict(self.troubles)}; swept: {self.swept}; left: {len(self.left)}",
            f"memory: {self.slope:+.0f} bytes a job over the second half",
            f"wrong ends: {len(self.wrong)}, pods unseen: {self.unseen}, logs with lines missing: {self.cut_logs}",
        ]
        lines += [
            f"{row.jobs:8,} jobs {row.seconds:7.0f} s {row.rss / 1e6:7.1f} MB {row.objects:8,} objects "
            f"{row.clients} clients {row.tasks} tasks"
            for row in self.rows
        ]
        return "\n".join([*lines, *self.wrong[:40], *self.left[:20]])


class CountedHost(Kubernetes):
    """A host that knows what its sweeps have found, and whose objects are whose.

    Attributes:
        swept: how much that was.
    """

    swept = 0

    async def sweep(self, store: str, over: Over) -> int:
        """Sweep, and count."""
        found = await super().sweep(store, over)
        self.swept += found
        return found


class Storm:
    """One storm.

    Args:
        servers: the clusters.
        count: of jobs.
        width: how many are on their way at once.
        pause: seconds from one trouble to the next, of each cluster, at most; None for a calm.
        seed: of chance.
    """

    def __init__(self, servers: list[Server], count: int, *, width: int, pause: float | None, seed: int) -> None:
        self._servers = servers
        self._width = width
        self._pause = pause
        self._chance = random.Random(seed)
        self._fates = fates_of(count, self._chance)
        self._flows: dict[tuple[str, str], Flow] = {}
        self._done = 0
        self._began = 0.0

    async def run(self, store: Path) -> Report:
        """Let it pass, and return what it has shown."""
        with counted_clients() as tally, mock.patch.object(_host, "VIEW_IDLE", IDLE):
            self.report = report = Report(len(self._fates), tally)
            report.before = here()
            clusters = {server.name: Cluster(kubeconfig=server.kubeconfig, timeout=20.0) for server in self._servers}
            host = CountedHost(clusters, idle_ttl=IDLE)
            scheduler = Scheduler(store, workers=self._width, hosts={"kubernetes": host}, drain_timeout=60.0)
            async with scheduler:
                await self._pass(scheduler)
                await self._come_to_rest()
                report.left = [thing for server in self._servers for thing in await server.left()]
                report.swept = host.swept
            del scheduler, host, clusters
            self._flows.clear()
            await _until(lambda: here()[:2] <= report.before[:2])
            report.after = here()
        return report

    async def _pass(self, scheduler: Scheduler) -> None:
        self._began, busy = time.monotonic(), time.process_time()
        every = max(1, len(self._fates) // 10)
        jobs = iter(enumerate(self._fates))

        async def worker() -> None:
            for number, fate in jobs:
                await self._run_one(scheduler, number, fate)
                self._done += 1
                if self._done % every == 0:
                    self._note()

        async with asyncio.TaskGroup() as troubles:
            going = []
            if self._pause is not None:
                going = [troubles.create_task(self._trouble(server)) for server in self._servers]
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(self._width):
                        group.create_task(worker())
            finally:
                self._pause = None
                await asyncio.wait(going) if going else None
        self.report.seconds = time.monotonic() - self._began
        self.report.busy = time.process_time() - busy

    async def _run_one(self, scheduler: Scheduler, number: int, fate: Fate) -> None:
        server = self._servers[number % len(self._servers)]
        key = (fate.name, server.name)
        if key not in self._flows:
            table = {"name": fate.name.replace(" ", "-"), "blocks": {"work": block_of(fate, server.name)}}
            self._flows[key] = flow_of_table(table)
        run = await scheduler.submit(self._flows[key])
        if fate.cancels:
            await asyncio.sleep(self._chance.choice([0.0, self._chance.uniform(0.0, 1.5)]))
            await run.cancel("as it was ordered")
        await self._check(scheduler, run, fate, server)

    async def _check(self, scheduler: Scheduler, run: FlowRun, fate: Fate, server: Server) -> None:
        outcome = await run.wait()
        job = await scheduler.job(outcome.jobs[0].id)
        assert job is not None
        self.report.ends[fate.name] += 1
        self.report.cut_logs += job.status is JobStatus.SUCCEEDED and job.logged < fate.lines
        self.report.unseen += any(said in (job.error or "") for said in fate.unseen)
        if not _is_as_ordered(job, fate):
            at = time.monotonic() - self._began
            said = f"{job.status.value}: {job.error} (attempts: {job.attempts}, lines: {job.logged})"
            self.report.wrong.append(f"{fate.name} on {server.name} at {at:.1f} s: {said}")

    async def _trouble(self, server: Server) -> None:
        """Let something go wrong with a server now and then."""
        while self._pause is not None:
            await asyncio.sleep(self._chance.uniform(0.2, self._pause))
            if self._pause is not None:
                self.report.troubles[await server.trouble(self._chance)] += 1

    async def _come_to_rest(self) -> None:
        """Wait until nothing is left that a job has used."""
        tally = self.report.tally

        async def nothing() -> bool:
            return not tally.alive and not any([await server.left() for server in self._servers])

        until = time.monotonic() + PATIENCE
        while not await nothing() and time.monotonic() < until:
            await asyncio.sleep(0.1)
        self.report.clients_at_rest = tally.alive

    def _note(self) -> None:
        gc.collect()
        seconds, tasks = time.monotonic() - self._began, len(asyncio.all_tasks())
        row = Row(self._done, seconds, rss(), len(gc.get_objects()), self.report.tally.alive, tasks)
        self.report.rows.append(row)


def _is_as_ordered(job: JobRecord, fate: Fate) -> bool:
    if job.status is not fate.status:
        return False
    if job.status is JobStatus.SUCCEEDED:
        assert isinstance(job.result, dict)
        return fate.name != "succeeds" or job.result["output"] == 42
    error = job.error or ""
    return fate.said in error or any(said in error for said in fate.unseen)


def here() -> tuple[int, int, str]:
    """Return what this process has: descriptors, tasks, owners."""
    gc.collect()
    descriptors = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    owners = "\n".join(f"{node.kind} {node.name} {node.state}" for node in take_snapshot().roots)
    return descriptors, len(asyncio.all_tasks()), owners


def rss() -> float:
    """Return the bytes of memory that this process has."""
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * float(os.sysconf("SC_PAGE_SIZE"))
    return 0.0


async def _until(true: Any) -> None:
    until = time.monotonic() + 10.0
    while not true() and time.monotonic() < until:
        await asyncio.sleep(0.05)
