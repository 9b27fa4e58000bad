"""Attacks by ends that no attempt has made: a job is cancelled, or begun again, while nobody works on it."""

from __future__ import annotations

import os
from collections.abc import Collection

import anyio
import pytest

from lifecycle.scheduler import JobStatus
from lifecycle.scheduler.kubernetes import KubernetesJob, job_manifest
from lifecycle.scheduler.remote import Ticket

from ..clusters import Cluster
from .attempts import nothing
from .scheduling import flow_of, host, names, scheduler_on
from .test_adoption import until_running

pytestmark = pytest.mark.asyncio

FLOW = flow_of({"kubernetes": "script/sleep-600", "grace": 0})


async def _left_running(cluster: Cluster) -> int:
    """Leave a Job running in the cluster whose job waits for the next scheduler, and return the job's number."""
    async with scheduler_on(cluster, drain_timeout=0.0) as scheduler:
        run = await scheduler.submit(FLOW)
        await until_running(cluster)
    return (await run.wait()).jobs[0].id


@pytest.mark.xfail(strict=True, reason="its end is recorded at once; what it has left is the sweep's to find")
async def test_a_job_that_is_cancelled_while_nobody_works_on_it_is_gone_before_its_end(cluster: Cluster) -> None:
    """No outcome looks better than what happened: its Job still runs."""
    number = await _left_running(cluster)
    async with scheduler_on(cluster) as scheduler:
        job = await scheduler.find(number)
        await job.cancel("not needed")
        outcome = await job.wait()
        assert outcome.status is not JobStatus.CANCELLED or await names(cluster, "jobs") == []


async def test_a_job_that_is_begun_again_is_not_begun_beside_what_it_has_left(cluster: Cluster) -> None:
    """Cancelled while nobody works on it, and tried again by hand before a sweep: its first Job is taken up."""
    number = await _left_running(cluster)
    async with scheduler_on(cluster) as scheduler:
        job = await scheduler.find(number)
        await job.cancel("not needed")
        await job.wait()
        await scheduler.serve_flow(FLOW)
        await scheduler.retry(number)
        with anyio.fail_after(10):
            while not any(one.attempts == 2 for one in await scheduler.jobs()):
                await anyio.sleep(0.02)
        await anyio.sleep(0.5)
        assert len(await names(cluster, "jobs")) == 1


@pytest.mark.xfail(strict=True, reason="a process sweeps the namespaces of its clusters, and where it works")
async def test_what_a_killed_process_has_left_in_a_namespace_of_its_own_is_found(cluster: Cluster) -> None:
    """No job goes there any more; and all of a cluster must not be looked through, see the page on trial systems."""
    own, store = f"{cluster.namespace}-own", os.urandom(5).hex()
    ticket = Ticket("attack-1", store, None, 1, 1, 1, "attack")
    work = KubernetesJob(manifest=job_manifest("script/sleep-600", grace=0), namespace=own)
    await cluster.api.post("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": own}})
    try:
        async with host(cluster) as killed:
            await killed.start(ticket, work, nothing)
        async with host(cluster) as kubernetes:
            assert await kubernetes.sweep(store, all_over) == 1
    finally:
        await cluster.api.delete(f"/api/v1/namespaces/{own}")


async def all_over(jobs: Collection[int]) -> dict[int, bool]:
    """Say that all jobs are over."""
    return dict.fromkeys(jobs, True)
