"""Attacks by stores: an older copy put back while Jobs of the newer one are there, and clusters named differently."""

from __future__ import annotations

import shutil
from pathlib import Path

import anyio
import pytest

from lifecycle.scheduler import JobStatus

from ..clusters import Cluster
from .scheduling import flow_of, host, names, result_of, run_job, scheduler_on
from .test_adoption import until_running

pytestmark = pytest.mark.asyncio


def _keep_a_copy(store: Path) -> Path:
    copy = store.with_name("copy.sqlite")
    shutil.copy(store, copy)
    return copy


def _put_back(copy: Path, store: Path) -> None:
    for more in ("-wal", "-shm"):
        store.with_name(store.name + more).unlink(missing_ok=True)
    shutil.copy(copy, store)


async def _until_taken_up(cluster: Cluster, attempt: int) -> None:
    """Wait until the only Job belongs to an attempt."""
    while True:
        (job,) = (await cluster.api.get(f"{cluster.batch}/jobs"))["items"]
        if job["metadata"]["annotations"]["asyncio-lifecycle/attempt"] == str(attempt):
            return
        await anyio.sleep(0.02)


async def test_a_job_of_an_older_copy_does_not_take_the_end_of_another(cluster: Cluster) -> None:
    """Its number was given before, to one of the same flow whose Job was kept: it runs by itself."""
    store = cluster.kubeconfig.with_name("jobs.sqlite")
    async with scheduler_on(cluster, store=store) as scheduler:
        await run_job(scheduler, "script/say-first")
    copy = _keep_a_copy(store)
    async with scheduler_on(cluster, store=store) as scheduler:
        await run_job(scheduler, "script/say-done", keep="always")
    (kept,) = await names(cluster, "jobs")
    _put_back(copy, store)
    async with scheduler_on(cluster, store=store) as scheduler:
        job = await run_job(scheduler, "script/say-done", keep="always")
        assert job.status is JobStatus.SUCCEEDED, job.error
        assert len(await names(cluster, "jobs")) == 2, (kept, job.log)


async def test_a_job_of_an_older_copy_is_not_begun_beside_what_runs(cluster: Cluster) -> None:
    """The same job, in an older state: what runs belongs to a later attempt than those that it knows of."""
    store, flow = cluster.kubeconfig.with_name("jobs.sqlite"), flow_of({"kubernetes": "script/sleep-600", "grace": 1})
    async with scheduler_on(cluster, store=store, drain_timeout=0.0) as scheduler:
        await scheduler.submit(flow)
        pods = await until_running(cluster)
    copy = _keep_a_copy(store)
    for attempt in (2, 3):
        async with scheduler_on(cluster, store=store, drain_timeout=0.0) as scheduler:
            await scheduler.submit(flow, resume=True)
            await _until_taken_up(cluster, attempt)
    _put_back(copy, store)
    async with scheduler_on(cluster, store=store) as scheduler:
        run = await scheduler.submit(flow, resume=True)
        job = await result_of(scheduler, run)
        assert job.status is JobStatus.FAILED
        assert "belongs to a later attempt" in (job.error or "")
        assert await until_running(cluster) == pods


async def test_a_cluster_that_the_next_does_not_know_is_no_end(cluster: Cluster) -> None:
    """What an earlier attempt has begun there may still run: it is not begun anew elsewhere."""
    store = cluster.kubeconfig.with_name("jobs.sqlite")
    keys = {"cluster": "default", "retries": 2, "backoff": 0.05}
    flow = flow_of({"kubernetes": "script/sleep-600", "grace": 1, **keys})
    async with scheduler_on(cluster, store=store, drain_timeout=0.0) as scheduler:
        await scheduler.submit(flow)
        await until_running(cluster)
    other = host(cluster)
    other._clusters = {"other": (other._clusters or {})["default"]}
    async with scheduler_on(cluster, store=store, kubernetes=other) as scheduler:
        run = await scheduler.submit(flow, resume=True)
        job = await result_of(scheduler, run)
        assert job.status is JobStatus.FAILED
        assert "may still run" in (job.error or ""), job.error
        assert job.attempts == 2
