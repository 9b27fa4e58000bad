"""Every end of a Job has its reason, and leaves nothing in the cluster."""

from __future__ import annotations

import sys

import anyio
import pytest

from lifecycle.scheduler import Context, JobStatus, handler
from lifecycle.scheduler.kubernetes import KubernetesJob, job_manifest
from lifecycle.scheduler.remote import run_remote

from ..clusters import Cluster
from .scheduling import begin, flow_of, names, result_of, run_job, scheduler_on, until_gone

pytestmark = pytest.mark.asyncio


async def test_a_job_succeeds_with_its_output_and_its_log(cluster: Cluster) -> None:
    """The program's output is data, its lines are in the job's log, and the Job is deleted."""
    program = "import os; print('one'); print('two'); open('/dev/termination-log', 'w').write('{\"rows\": 3}')"
    async with scheduler_on(cluster) as scheduler:
        job = await run_job(scheduler, "python", sys.executable, "-u", "-c", program)
        assert job.status is JobStatus.SUCCEEDED, job.error
        assert job.result["output"] == {"rows": 3}
        assert job.result["exit_code"] == 0
        assert (job.log or "").splitlines() == [
            f"runs as Job {job.result['name']} in namespace {cluster.namespace} of cluster default",
            "one",
            "two",
        ]
        await until_gone(cluster)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("script/exit-3", "container main ended with exit code 3"),
        ("script/signal-9", "container main was ended by SIGKILL (maybe because it was out of memory)"),
        ("script/signal-15", "container main was ended by SIGTERM"),
        ("script/oom", "container main was killed because it was out of memory"),
    ],
)
async def test_a_failure_says_how_the_container_ended(cluster: Cluster, image: str, message: str) -> None:
    """An exit code, a signal and a lack of memory are told apart."""
    async with scheduler_on(cluster) as scheduler:
        job = await run_job(scheduler, image)
        assert job.status is JobStatus.FAILED
        assert message in (job.error or "")
        await until_gone(cluster)


async def test_an_image_that_cannot_be_pulled_has_a_bound_of_its_own(cluster: Cluster) -> None:
    """It fails after `pull_timeout`, with what the registry said and not with the pauses between."""
    async with scheduler_on(cluster) as scheduler:
        job = await run_job(scheduler, "never-pulled/image:1", pull_timeout=1.0)
        assert job.status is JobStatus.FAILED
        assert "ErrImagePull" in (job.error or "") or "ImagePullBackOff" in (job.error or "")
        assert await names(cluster, "jobs") == [], "the next try would have begun beside it"
        assert await names(cluster, "pods") == []


async def test_an_eviction_is_told_as_one(cluster: Cluster) -> None:
    """What the kubelet evicts did not fail by itself."""
    async with scheduler_on(cluster) as scheduler:
        run = await begin(scheduler, "script/sleep-600")
        pod = await _running_pod(cluster)
        cluster.kubelet.evict(cluster.namespace, pod)
        job = await result_of(scheduler, run)
        assert "Evicted" in (job.error or "")
        await until_gone(cluster)


@handler("begin what was evicted anew")
async def begin_anew(image: str, context: Context) -> list[object]:
    """Run an image, twice at most, and return the reasons and the output."""
    work = KubernetesJob(manifest=job_manifest(image, grace=1))
    first = await run_remote(context.host("kubernetes"), work, context, key=image)
    second = await run_remote(context.host("kubernetes"), work, context, key=image)
    return [first.reason, second.reason, second.check().output]


async def test_a_handler_begins_anew_what_was_evicted(cluster: Cluster) -> None:
    """As another Job, within one attempt: it has seen the reason. At the end both are gone."""
    async with scheduler_on(cluster) as scheduler:
        job = await scheduler.submit("begin what was evicted anew", "script/sleep-2+say-done")
        cluster.kubelet.evict(cluster.namespace, await _running_pod(cluster))
        outcome = await job.wait()
        assert (outcome.result, outcome.attempts) == (["evicted", "succeeded", "done"], 1), outcome.error
        await until_gone(cluster)


async def test_a_lost_node_is_told_as_one(cluster: Cluster) -> None:
    """The node does not say any more what became of the pod."""
    async with scheduler_on(cluster) as scheduler:
        run = await begin(scheduler, "script/sleep-600")
        await _running_pod(cluster)
        await cluster.kubelet.lose_node()
        job = await result_of(scheduler, run)
        assert job.status is JobStatus.FAILED
        assert "taint" in (job.error or "").lower()


async def test_a_job_that_somebody_deletes_is_told_as_deleted(cluster: Cluster) -> None:
    """It has failed, and is not awaited for ever."""
    async with scheduler_on(cluster) as scheduler:
        run = await begin(scheduler, "script/sleep-600")
        await _running_pod(cluster)
        (name,) = await names(cluster, "jobs")
        await cluster.kubectl("delete", "job", name, "--wait=false")
        job = await result_of(scheduler, run)
        assert job.status is JobStatus.FAILED
        assert "deleted by somebody else" in (job.error or "")


async def test_a_pod_that_somebody_deletes_has_no_second_one(cluster: Cluster) -> None:
    """An old controller makes another one in its place, where the first was gone before it saw how that had ended."""
    async with scheduler_on(cluster) as scheduler:
        run = await begin(scheduler, "python", sys.executable, "-c", "import time; time.sleep(600)")
        pod = await _running_pod(cluster)
        await cluster.kubectl("delete", "pod", pod, "--wait=false", "--grace-period=1")
        job = await result_of(scheduler, run)
        assert job.status is JobStatus.FAILED
        assert "deleted by somebody else" in (job.error or "") or "SIGTERM" in (job.error or "")
        await until_gone(cluster)


async def test_a_deadline_of_the_cluster_is_told_as_one(cluster: Cluster) -> None:
    """The cluster ends it after `deadline` seconds, whether a scheduler lives or not."""
    async with scheduler_on(cluster) as scheduler:
        job = await run_job(scheduler, "script/sleep-600", deadline=1)
        assert "deadline" in (job.error or "")
        await until_gone(cluster)


async def test_a_quota_that_is_used_up_is_told_as_a_refusal(cluster: Cluster) -> None:
    """The controller's event says why there is no pod; the bound is that of the start."""
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    await cluster.api.post(f"{cluster.core}/resourcequotas", quota)
    async with scheduler_on(cluster) as scheduler:
        job = await run_job(scheduler, "script/ok", start_timeout=8.0)
        assert job.status is JobStatus.FAILED
        assert "exceeded quota" in (job.error or "")
        await until_gone(cluster)


async def test_a_manifest_that_the_server_refuses_is_told_at_once(cluster: Cluster) -> None:
    """With the server's own words, and nothing was created."""
    async with scheduler_on(cluster) as scheduler:
        manifest = job_manifest("script/ok")
        manifest["spec"]["template"]["spec"]["containers"][0]["name"] = "No Name"
        job = await result_of(scheduler, await scheduler.submit(flow_of({"kubernetes": manifest})))
        assert job.status is JobStatus.FAILED
        assert "422" in (job.error or "")
        assert await names(cluster, "jobs") == []


async def test_a_cancelled_job_is_gone_with_its_pods(cluster: Cluster) -> None:
    """When the cancellation is recorded there is nothing left of it."""
    async with scheduler_on(cluster) as scheduler:
        run = await begin(scheduler, "script/sleep-600", grace=1)
        await _running_pod(cluster)
        await run.cancel("not needed")
        job = await result_of(scheduler, run)
        assert job.status is JobStatus.CANCELLED
        assert await names(cluster, "jobs") == []
        assert await names(cluster, "pods") == []


async def test_a_job_that_is_out_of_time_is_gone_with_its_pods(cluster: Cluster) -> None:
    """The block's own timeout deletes the Job as a cancellation does."""
    async with scheduler_on(cluster) as scheduler:
        job = await run_job(scheduler, "script/sleep-600", grace=1, timeout=2.0)
        assert job.status is JobStatus.TIMED_OUT
        assert await names(cluster, "jobs") == []
        assert await names(cluster, "pods") == []


async def _running_pod(cluster: Cluster) -> str:
    """Wait for a pod that runs, and return its name."""
    with anyio.fail_after(60):
        while True:
            for pod in (await cluster.api.get(f"{cluster.core}/pods"))["items"]:
                if pod["status"].get("phase") == "Running":
                    return str(pod["metadata"]["name"])
            await anyio.sleep(0.02)


async def test_statistics_tell_of_clients_and_leases(cluster: Cluster) -> None:
    """One client, leased while a job is followed, and nothing that was swept."""
    async with scheduler_on(cluster) as scheduler:
        run = await begin(scheduler, "script/sleep-1")
        await _running_pod(cluster)
        told = scheduler.statistics().hosts["kubernetes"]
        assert told["clients"] == told["opened"] == told["views"] == 1
        assert told["leases"] >= 1
        assert told["oldest"] > 0
        await result_of(scheduler, run)
        assert scheduler.statistics().swept == 0
