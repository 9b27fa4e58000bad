"""Attacks by Jobs of other shapes, and by what kubectl does to them meanwhile: several pods, suspended, orphaned."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from lifecycle.scheduler import JobStatus
from lifecycle.scheduler.kubernetes import KubernetesJob, _follow
from lifecycle.scheduler.kubernetes._view import Seen
from lifecycle.scheduler.remote import _running

from ..clusters import Cluster
from ..double.faults import Slow
from .attempts import nothing
from .scheduling import begin, flow_of, names, result_of, run_job, scheduler_on
from .test_adoption import until_running

pytestmark = pytest.mark.asyncio


def _manifest(*images: str, **spec: Any) -> dict[str, Any]:
    """Return the manifest of a Job with containers ``main``, ``second`` and so on."""
    containers = [{"name": name, "image": image} for name, image in zip(("main", "second"), images, strict=False)]
    pod = {"containers": containers, "terminationGracePeriodSeconds": 0}
    return {"apiVersion": "batch/v1", "kind": "Job", "spec": {**spec, "template": {"spec": pod}}}


def _only_the_double(cluster: Cluster) -> None:
    if cluster.kind != "double":
        pytest.skip("a real server is too old for it, or cannot be told to be slow")


@pytest.mark.parametrize("parallelism", [1, 2])
async def test_the_first_of_several_pods_is_not_the_end(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, parallelism: int
) -> None:
    """Its container has ended, and others beside it go on: the Job wants one more success."""
    monkeypatch.setattr(_follow, "SIDECARS", 0.2)
    monkeypatch.setattr(_running, "LOG_PATIENCE", 0.1)  # that of the other containers goes on
    manifest = _manifest("script/say-done", "script/sleep-1.3", completions=2, parallelism=parallelism)
    async with scheduler_on(cluster) as scheduler:
        run = await scheduler.submit(flow_of({"kubernetes": manifest, "container": "main", "keep": "always"}))
        job = await result_of(scheduler, run)
        assert job.status is JobStatus.SUCCEEDED, job.error
        (name,) = await names(cluster, "jobs")
        found = await cluster.api.get(f"{cluster.batch}/jobs/{name}")
        assert found["status"].get("succeeded") == 2


@pytest.mark.parametrize("failures", [0, 3])
async def test_a_job_that_is_suspended_meanwhile(cluster: Cluster, failures: int) -> None:
    """It is waited for where it may lose pods; otherwise the cluster says that it has failed, and we say why."""
    _only_the_double(cluster)
    manifest = _manifest("script/sleep-0.7+say-done", backoffLimit=failures)
    async with scheduler_on(cluster) as scheduler:
        run = await scheduler.submit(flow_of({"kubernetes": manifest}))
        (pod,) = await until_running(cluster)
        path = f"{cluster.batch}/jobs/{pod.rpartition('-')[0]}"
        await cluster.api.patch(path, {"spec": {"suspend": True}})
        await cluster.pod_gone(pod)
        if failures:
            await cluster.api.patch(path, {"spec": {"suspend": False}})
        with anyio.fail_after(20):
            job = await result_of(scheduler, run)
        assert job.status is (JobStatus.SUCCEEDED if failures else JobStatus.FAILED), job.error
        assert failures or "suspended" in (job.error or "")


async def test_a_pod_that_its_job_has_let_go_of_does_not_stay(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by ``kubectl delete --cascade=orphan``: it is deleted when its job is stopped, and not waited for in vain."""
    monkeypatch.setattr(_running, "LOG_PATIENCE", 0.2)  # the pod goes on saying nothing
    async with scheduler_on(cluster) as scheduler:
        run = await begin(scheduler, "script/sleep-600", grace=0, stop_timeout=8.0)
        (pod,) = await until_running(cluster)
        await cluster.api.delete(f"{cluster.batch}/jobs/{pod.rpartition('-')[0]}", propagationPolicy="Orphan")
        with anyio.fail_after(30):
            job = await result_of(scheduler, run)
        assert job.status is JobStatus.FAILED
        assert "may still run" not in (job.error or "")
        assert "deleted by somebody else" in (job.error or "")
        assert await names(cluster, "pods") == []


async def test_the_output_of_a_job_that_goes_at_once_is_not_lost(cluster: Cluster) -> None:
    """With a ``ttl`` of no time: its pod is gone when it is asked for, and the watch of pods is behind that of Jobs."""
    _only_the_double(cluster)
    cluster.servers.faults.add(Slow(seconds=0.08), verb="watch", path="/pods", times=None)  # type: ignore[attr-defined]
    async with scheduler_on(cluster) as scheduler:
        job = await run_job(scheduler, "script/say-done", ttl=0)
        assert job.status is JobStatus.SUCCEEDED, job.error
        assert job.result["output"] == "done"


async def test_a_pod_that_was_being_deleted_and_is_gone_is_not_looked_at_again() -> None:
    """Others have taken its place: each second would find nothing."""
    view: Any = SimpleNamespace(client=None)
    work = KubernetesJob(manifest=_manifest("script/ok", backoffLimit=3))
    following = _follow.Following(view, "work", "n", work, 60.0, nothing)
    pod = {"metadata": {"name": "work-x", "deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": {}, "status": {}}
    assert following._lingering(Seen(pods={"work-x": pod})) is None
    assert following._next_look() == 1.0
    assert following._lingering(Seen()) is None
    assert following._next_look() == _follow.LONGEST_PAUSE
