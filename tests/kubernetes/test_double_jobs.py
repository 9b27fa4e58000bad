"""The controller of the double: what becomes of a Job, in the manner of today and in that of 1.20."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest

from .double import OLD, Double, api_double
from .raw import EVENTS, JOBS, MERGE, PODS, QUOTAS, Raw, a_pod_of, asking, condition, end_pod, job, pods_of, says

pytestmark = pytest.mark.asyncio


async def test_a_job_completes(raw: Raw) -> None:
    """Its pods carry its labels in both forms; first its criteria are met, then it is complete."""
    made = await raw.done("POST", JOBS, job())
    uid = made["metadata"]["uid"]
    assert made["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    name = await a_pod_of(raw, "task")
    pod = await raw.done("GET", f"{PODS}/{name}")
    prefix = "batch.kubernetes.io/"
    wanted = {
        f"{form}{key}": value for form in ("", prefix) for key, value in (("controller-uid", uid), ("job-name", "task"))
    }
    assert pod["metadata"]["labels"] == wanted
    assert pod["metadata"]["finalizers"] == ["batch.kubernetes.io/job-tracking"]
    assert pod["metadata"]["ownerReferences"][0]["uid"] == uid
    assert name.startswith("task-")
    assert len(name) == len("task-") + 5
    await end_pod(raw, name)
    done = await raw.until(f"{JOBS}/task", says("Complete"))
    assert done["status"]["succeeded"] == 1
    assert "active" not in done["status"]
    assert condition(done, "SuccessCriteriaMet")["reason"] == "CompletionsReached"
    assert done["status"]["completionTime"] >= done["status"]["startTime"]
    assert "finalizers" not in (await raw.done("GET", f"{PODS}/{name}"))["metadata"]
    reasons = [each["reason"] for each in (await raw.done("GET", EVENTS))["items"]]
    assert sorted(reasons) == ["Completed", "SuccessfulCreate"]


async def test_a_job_fails_when_its_pods_fail_too_often(raw: Raw) -> None:
    """One try more than the limit allows; the pods stay to be looked at."""
    await raw.done("POST", JOBS, job(backoffLimit=1))
    first = await a_pod_of(raw, "task")
    await end_pod(raw, first, "Failed", 1)
    second = await a_pod_of(raw, "task", (first,))
    await end_pod(raw, second, "Failed", 1)
    failed = await raw.until(f"{JOBS}/task", says("Failed"))
    assert condition(failed, "Failed")["reason"] == "BackoffLimitExceeded"
    assert failed["status"]["failed"] == 2
    assert len(await pods_of(raw, "task")) == 2


async def test_a_failed_pod_is_replaced_after_a_while() -> None:
    """How long is said by the double; until then there is none."""
    async with api_double(backoff=0.2) as double, asking(double) as raw:
        await raw.done("POST", JOBS, job(backoffLimit=3))
        first = await a_pod_of(raw, "task")
        began = asyncio.get_running_loop().time()
        await end_pod(raw, first, "Failed", 1)
        await raw.until(f"{JOBS}/task", lambda it: it["status"].get("failed"))
        assert len(await pods_of(raw, "task")) == 1
        await a_pod_of(raw, "task", (first,))
        assert asyncio.get_running_loop().time() - began >= 0.2


async def test_a_pod_that_is_deleted_counts_as_failed(raw: Raw) -> None:
    """Since pods are tracked; with the limit at zero the Job is over."""
    await raw.done("POST", JOBS, job(backoffLimit=0))
    name = await a_pod_of(raw, "task")
    await raw.done("DELETE", f"{PODS}/{name}")
    failed = await raw.until(f"{JOBS}/task", says("Failed"))
    assert failed["status"]["failed"] == 1
    assert await pods_of(raw, "task") == []


async def test_a_pod_that_is_deleted_was_replaced() -> None:
    """In 1.20, as if it had never been."""
    async with api_double(manner=OLD) as double, asking(double) as raw:
        await raw.done("POST", JOBS, job(backoffLimit=0))
        name = await a_pod_of(raw, "task")
        await raw.done("DELETE", f"{PODS}/{name}")
        await a_pod_of(raw, "task", (name,))
        assert "failed" not in (await raw.done("GET", f"{JOBS}/task"))["status"]


async def test_a_deadline(raw: Raw) -> None:
    """The pods go, and the Job says why it has failed."""
    await raw.done("POST", JOBS, job(activeDeadlineSeconds=1))
    failed = await raw.until(f"{JOBS}/task", says("Failed"))
    assert condition(failed, "Failed")["reason"] == "DeadlineExceeded"
    assert await pods_of(raw, "task") == []


async def test_a_job_that_is_soon_forgotten(raw: Raw) -> None:
    """With its pods."""
    made = await raw.done("POST", JOBS, job(ttlSecondsAfterFinished=0))
    await end_pod(raw, await a_pod_of(raw, "task"))
    async with contextlib.aclosing(raw.lines(f"{JOBS}?resourceVersion={made['metadata']['resourceVersion']}")) as lines:
        async for line in lines:
            told = json.loads(line)
            if told["type"] == "DELETED":
                break
    assert says("Complete")(told["object"])
    assert await pods_of(raw, "task") == []


async def test_suspended_and_resumed(raw: Raw) -> None:
    """Suspended, it has no pods; how it went on counts from when it was resumed."""
    await raw.done("POST", JOBS, job(suspend=True))
    told = await raw.until(f"{JOBS}/task", says("Suspended"))
    assert "startTime" not in told["status"]
    assert await pods_of(raw, "task") == []
    await raw.done("PATCH", f"{JOBS}/task", {"spec": {"suspend": False}}, MERGE)
    await a_pod_of(raw, "task")
    told = await raw.until(f"{JOBS}/task", lambda it: it["status"].get("active"))
    assert condition(told, "Suspended")["reason"] == "JobResumed"
    await raw.done("PATCH", f"{JOBS}/task", {"spec": {"suspend": True}}, MERGE)
    await raw.until(f"{JOBS}/task", says("Suspended"))
    assert await pods_of(raw, "task") == []


async def test_parallel_pods(raw: Raw) -> None:
    """No more at once than may be, and no more in all than are wanted."""
    await raw.done("POST", JOBS, job(parallelism=2, completions=3))
    await raw.until(f"{JOBS}/task", lambda it: it["status"].get("active") == 2)
    for _ in range(3):
        pods = await pods_of(raw, "task")
        running = [each["metadata"]["name"] for each in pods if each["status"]["phase"] == "Pending"]
        assert len(running) <= 2
        await end_pod(raw, running[0])
    done = await raw.until(f"{JOBS}/task", says("Complete"))
    assert done["status"]["succeeded"] == 3
    assert len(await pods_of(raw, "task")) == 3


async def test_indexed_pods(raw: Raw) -> None:
    """Each has an index of its own; one that fails is made again with the same."""
    await raw.done("POST", JOBS, job(parallelism=3, completions=3, completionMode="Indexed"))
    await raw.until(f"{JOBS}/task", lambda it: it["status"].get("active") == 3)
    mark = "batch.kubernetes.io/job-completion-index"
    pods = {each["metadata"]["annotations"][mark]: each for each in await pods_of(raw, "task")}
    assert sorted(pods) == ["0", "1", "2"]
    variable = pods["1"]["spec"]["containers"][0]["env"][0]
    assert variable["name"] == "JOB_COMPLETION_INDEX"
    one = pods["1"]["metadata"]["name"]
    await end_pod(raw, one, "Failed", 1)
    again = await raw.until(
        PODS, lambda it: it["metadata"]["annotations"][mark] == "1" and it["metadata"]["name"] != one
    )
    for name in (pods["0"]["metadata"]["name"], again["metadata"]["name"], pods["2"]["metadata"]["name"]):
        await end_pod(raw, name)
    done = await raw.until(f"{JOBS}/task", says("Complete"))
    assert done["status"]["completedIndexes"] == "0-2"


async def test_an_exit_code_that_fails_the_job(raw: Raw) -> None:
    """By a rule of its own, whatever the limit."""
    rule = {"action": "FailJob", "onExitCodes": {"containerName": "main", "operator": "In", "values": [42]}}
    await raw.done("POST", JOBS, job(backoffLimit=6, podFailurePolicy={"rules": [rule]}))
    await end_pod(raw, await a_pod_of(raw, "task"), "Failed", 42)
    failed = await raw.until(f"{JOBS}/task", says("Failed"))
    assert condition(failed, "Failed")["reason"] == "PodFailurePolicy"


async def test_a_quota_for_jobs(raw: Raw) -> None:
    """One more is forbidden, until there is room again."""
    quota = {"metadata": {"name": "few"}, "spec": {"hard": {"count/jobs.batch": "1"}}}
    await raw.done("POST", QUOTAS, quota)
    await raw.done("POST", JOBS, job("one"))
    status, said = await raw.ask("POST", JOBS, job("two"))
    assert (status, said["reason"]) == (403, "Forbidden")
    assert "exceeded quota: few, requested: count/jobs.batch=1, used: count/jobs.batch=1" in said["message"]
    used = await raw.done("GET", f"{QUOTAS}/few")
    assert used["status"]["used"] == {"count/jobs.batch": "1"}
    await raw.done("DELETE", f"{JOBS}/one?propagationPolicy=Background")
    await raw.done("POST", JOBS, job("two"))


async def test_a_quota_for_pods(raw: Raw) -> None:
    """The controller is refused, says so in an event, and goes on when there is room."""
    await raw.done("POST", QUOTAS, {"metadata": {"name": "few"}, "spec": {"hard": {"pods": "1"}}})
    await raw.done("POST", JOBS, job(parallelism=2, completions=2))
    told = await raw.until(EVENTS, lambda it: it["reason"] == "FailedCreate")
    assert told["type"] == "Warning"
    assert "exceeded quota: few, requested: pods=1, used: pods=1, limited: pods=1" in told["message"]
    first = await a_pod_of(raw, "task")
    await end_pod(raw, first)
    await end_pod(raw, await a_pod_of(raw, "task", (first,)))
    await raw.until(f"{JOBS}/task", says("Complete"))


async def test_pods_that_are_refused_by_a_webhook(double: Double, raw: Raw) -> None:
    """As those over a quota."""
    rule = double.access.refuse(verb="create", plural="pods", webhook="policy.example.com", why="no")
    await raw.done("POST", JOBS, job())
    told = await raw.until(EVENTS, lambda it: it["reason"] == "FailedCreate")
    assert told["message"] == 'Error creating: admission webhook "policy.example.com" denied the request: no'
    double.access.allow(rule)
    await a_pod_of(raw, "task")


async def test_a_restart_of_containers_may_be_too_much(raw: Raw) -> None:
    """Where containers are started again in their pod, that is counted."""
    await raw.done("POST", JOBS, job(backoffLimit=2, pod={"restartPolicy": "OnFailure"}))
    name = await a_pod_of(raw, "task")
    state = {"name": "main", "image": "busybox", "imageID": "", "ready": True, "restartCount": 2}
    status = {"phase": "Running", "containerStatuses": [state]}
    await raw.done("PATCH", f"{PODS}/{name}/status", {"status": status}, MERGE)
    failed = await raw.until(f"{JOBS}/task", says("Failed"))
    assert condition(failed, "Failed")["reason"] == "BackoffLimitExceeded"
