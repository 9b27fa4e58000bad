"""Attacks by cancellations while something holds the Job, or before there is a pod."""

from __future__ import annotations

import anyio
import pytest

from lifecycle.scheduler import JobStatus

from ..clusters import Cluster
from .scheduling import begin, names, result_of, scheduler_on
from .test_adoption import until_running

pytestmark = pytest.mark.asyncio


async def test_a_job_that_a_finalizer_holds_has_not_been_cancelled(cluster: Cluster) -> None:
    """What is still there may still run: no outcome looks better than what happened."""
    async with scheduler_on(cluster) as scheduler:
        run = await begin(scheduler, "script/sleep-600", grace=1, stop_timeout=4.0)
        await until_running(cluster)
        (name,) = await names(cluster, "jobs")
        held = {"metadata": {"finalizers": ["example.com/held"]}}
        await cluster.api.patch(f"{cluster.batch}/jobs/{name}", held)
        await run.cancel("not needed")
        with anyio.fail_after(60):
            job = await result_of(scheduler, run)
        said = job.error or ""
        await cluster.api.patch(f"{cluster.batch}/jobs/{name}", {"metadata": {"finalizers": None}})
        assert "may still run" in said
        assert job.status is JobStatus.FAILED


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.05, 0.2, 0.5])
async def test_a_cancellation_at_any_time_leaves_nothing(cluster: Cluster, seconds: float) -> None:
    """Before the Job, before its pod, while it runs."""
    async with scheduler_on(cluster) as scheduler:
        run = await begin(scheduler, "script/sleep-600", grace=0)
        await anyio.sleep(seconds)
        await run.cancel("not needed")
        with anyio.fail_after(60):
            job = await result_of(scheduler, run)
        assert job.status is JobStatus.CANCELLED, job.error
        assert await names(cluster, "jobs") == []
        assert await names(cluster, "pods") == []
