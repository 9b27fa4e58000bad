"""Attacks by handlers that go on after a cancellation: what they have begun elsewhere is theirs until their end."""

from __future__ import annotations

import asyncio
import contextlib

import anyio
import pytest

from lifecycle.scheduler import Context, JobStatus, Scheduler, handler
from lifecycle.scheduler.kubernetes import KubernetesJob, job_manifest
from lifecycle.scheduler.remote import run_remote

from ..clusters import Cluster
from .scheduling import host, names
from .test_adoption import until_running

pytestmark = pytest.mark.asyncio


@handler("attack-swallow")
async def _swallow(context: Context) -> str:
    with contextlib.suppress(asyncio.CancelledError):
        work = KubernetesJob(manifest=job_manifest("script/sleep-600", grace=0))
        await run_remote(context.host("kubernetes"), work, context, key="work")
    return "without it"


async def test_what_nobody_will_take_up_is_not_left_running(cluster: Cluster) -> None:
    """The scheduler is closed, and the handler ends as if nothing were: no later attempt follows."""
    store = cluster.kubeconfig.with_name("jobs.sqlite")
    async with Scheduler(store, hosts={"kubernetes": host(cluster)}, drain_timeout=0.0) as scheduler:
        job = await scheduler.submit("attack-swallow")
        await until_running(cluster)
    outcome = await job.wait()
    if outcome.status is not JobStatus.INTERRUPTED:
        assert outcome.status is JobStatus.SUCCEEDED
        with anyio.fail_after(5):
            while await names(cluster, "pods"):
                await anyio.sleep(0.02)
        assert await names(cluster, "jobs") == []
