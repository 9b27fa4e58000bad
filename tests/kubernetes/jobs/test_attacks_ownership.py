"""Attacks on what is ours: labels taken off, a name that somebody else has taken, a namespace nobody can sweep."""

from __future__ import annotations

import anyio
import pytest

from lifecycle.scheduler import JobStatus

from ..clusters import Cluster
from .scheduling import begin, names, result_of, scheduler_on
from .test_adoption import until_running

pytestmark = pytest.mark.asyncio

_NO_LABELS = {f"asyncio-lifecycle/{name}": None for name in ("store", "run", "job", "first-attempt", "keep")}


async def _take_the_labels_off(cluster: Cluster) -> str:
    """Take our labels off the only Job, and return its name."""
    (name,) = await names(cluster, "jobs")
    await cluster.api.patch(f"{cluster.batch}/jobs/{name}", {"metadata": {"labels": _NO_LABELS}})
    return name


async def test_a_job_without_its_labels_is_followed_to_its_end(cluster: Cluster) -> None:
    """No watch shows it any more: it is asked for."""
    async with scheduler_on(cluster) as scheduler:
        run = await begin(scheduler, "script/sleep-2+say-done")
        await until_running(cluster)
        await _take_the_labels_off(cluster)
        with anyio.fail_after(30):
            job = await result_of(scheduler, run)
        assert job.status is JobStatus.SUCCEEDED, job.error
        assert job.result["output"] == "done"


async def test_a_cancelled_job_without_its_labels_is_gone(cluster: Cluster) -> None:
    """It is ours by what nobody can change, the template of its pods."""
    async with scheduler_on(cluster) as scheduler:
        run = await begin(scheduler, "script/sleep-600", grace=1)
        await until_running(cluster)
        await _take_the_labels_off(cluster)
        await run.cancel("not needed")
        with anyio.fail_after(60):
            await result_of(scheduler, run)
        assert await names(cluster, "jobs") == []
        assert await names(cluster, "pods") == []


async def test_a_job_that_is_to_be_kept_is_without_its_labels(cluster: Cluster) -> None:
    """Whether it is kept stands in the template as well."""
    async with scheduler_on(cluster) as scheduler:
        run = await begin(scheduler, "script/sleep-1", keep="always")
        await until_running(cluster)
        name = await _take_the_labels_off(cluster)
        with anyio.fail_after(30):
            await result_of(scheduler, run)
    assert await names(cluster, "jobs") == [name]


async def test_a_job_that_somebody_has_replaced_was_deleted(cluster: Cluster) -> None:
    """One of the same name that is not ours is not waited for, and stays."""
    async with scheduler_on(cluster) as scheduler:
        run = await begin(scheduler, "script/sleep-600")
        await until_running(cluster)
        (name,) = await names(cluster, "jobs")
        template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "script/sleep-600"}]}}
        body = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"template": template}}
        await cluster.api.delete(f"{cluster.batch}/jobs/{name}", propagationPolicy="Background")
        await cluster.api.post(f"{cluster.batch}/jobs", body)
        with anyio.fail_after(30):
            job = await result_of(scheduler, run)
        assert job.status is JobStatus.FAILED
        assert "deleted by somebody else" in (job.error or "")
        assert await names(cluster, "jobs") == [name]


@pytest.mark.parametrize("written", ["9" * 5000, "٣", "²"])
async def test_an_attempt_that_is_no_number_hinders_nobody(cluster: Cluster, written: str) -> None:
    """Whoever has scribbled there: the Job is deleted when it is cancelled."""
    async with scheduler_on(cluster) as scheduler:
        run = await begin(scheduler, "script/sleep-600", grace=1)
        await until_running(cluster)
        (name,) = await names(cluster, "jobs")
        meta = {"annotations": {"asyncio-lifecycle/attempt": written}}
        await cluster.api.patch(f"{cluster.batch}/jobs/{name}", {"metadata": meta})
        await run.cancel("not needed")
        with anyio.fail_after(60):
            job = await result_of(scheduler, run)
        assert job.status is JobStatus.CANCELLED, job.error
        assert await names(cluster, "jobs") == []
