"""Attacks by answers that no API server gives, but what stands before one may: a job goes on through all of them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import anyio
import pytest

from lifecycle.scheduler import JobStatus
from lifecycle.scheduler.kubernetes import KubernetesJob, _creating, _follow, job_manifest
from lifecycle.scheduler.kubernetes._credentials import Credentials
from lifecycle.scheduler.kubernetes._faults import api_error, worth_another_try
from lifecycle.scheduler.remote import RemoteFailed, Ticket

from ..clusters import Cluster
from ..double.faults import Answer, Faults, Lose
from .scheduling import begin, host, names, result_of, run_job, scheduler_on
from .test_adoption import until_running

pytestmark = pytest.mark.asyncio


TICKET = Ticket("attack-1", "0123456789", None, 1, 1, 1, "attack")
WORK = KubernetesJob(manifest=job_manifest("script/sleep-600", grace=1))


def faults(cluster: Cluster) -> Faults:
    """Return what can go wrong in a double; a real server cannot be told to."""
    if cluster.kind != "double":
        pytest.skip("the server is to answer what a real one does not")
    found: Faults = cluster.servers.faults  # type: ignore[attr-defined]
    return found


ODD: dict[str, Any] = {
    "empty": {},
    "a status": {"kind": "Status", "status": "Failure", "metadata": {}, "code": 500},
    "another": {"kind": "Job", "metadata": {"name": "another"}},
    "text": "please log in",
}


@pytest.mark.parametrize("code", [200, 302])
@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
async def test_a_creation_is_one_only_if_the_answer_is_the_job(cluster: Cluster, odd: Any, code: int) -> None:
    """Anything else is no answer, and it is asked again; a redirection is a refusal that says so."""
    faults(cluster).add(Answer(code=code, raw=json.dumps(odd)), verb="create", path="/jobs")
    async with scheduler_on(cluster) as scheduler:
        job = await run_job(scheduler, "script/say-done")
        if code == 200:
            assert job.status is JobStatus.SUCCEEDED, job.error
        else:
            assert job.status is JobStatus.FAILED
            assert "302" in (job.error or "")


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
async def test_a_job_is_taken_up_although_the_first_answer_is_not_the_job(cluster: Cluster, odd: Any) -> None:
    """It is asked again: the attempt had failed for it, and hours of work would have been stopped and begun anew."""
    async with host(cluster) as kubernetes:
        await kubernetes.start(TICKET, WORK, print)
        faults(cluster).add(Answer(code=200, raw=json.dumps(odd)), verb="get", path=f"/jobs/{TICKET.name}")
        second = replace(TICKET, attempt=2)
        assert await kubernetes.adopt(second, WORK)
        await kubernetes.stop(second, WORK)


SHAPES: dict[str, Any] = {
    "status is a list": {"status": ["x"]},
    "status is a text": {"status": "x"},
    "spec is null, containers are a table": {"spec": {"containers": {"a": 1}}, "status": {}},
    "spec is a text": {"spec": "x"},
    "containers are texts": {"spec": {"containers": ["x"]}},
    "conditions are a table": {"status": {"conditions": {"a": 1}}},
    "conditions are texts": {"status": {"conditions": ["x"]}},
    "states are texts": {"status": {"containerStatuses": ["x"]}},
    "a state is a list": {"status": {"phase": "Pending", "containerStatuses": [{"name": "main", "state": ["x"]}]}},
    "waiting is a text": {
        "status": {"phase": "Pending", "containerStatuses": [{"name": "main", "state": {"waiting": "x"}}]}
    },
    "labels are a list": {"metadata": {"labels": ["x"]}},
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("what", ["jobs", "pods"])
async def test_objects_of_odd_shape_end_no_job(cluster: Cluster, shape: dict[str, Any], what: str) -> None:
    """They are no objects: what lists them is not well, and is asked again."""
    async with scheduler_on(cluster) as scheduler:
        fault = faults(cluster).add(Answer(code=503), verb="list", path=rf"/{what}\?.*labelSelector", times=None)
        run = await begin(scheduler, "script/sleep-1+say-done")
        (pod,) = await until_running(cluster)
        name = pod.rpartition("-")[0]
        (job,) = [item["metadata"] for item in (await cluster.api.get(f"{cluster.batch}/jobs/{name}"),)]
        meta = {"name": name if what == "jobs" else pod, "uid": "u", "labels": {"job-name": name, **job["labels"]}}
        item = {**shape, "metadata": {**meta, **shape.get("metadata", {})}}
        faults(cluster).remove(fault)
        answer = {"kind": "List", "metadata": {"resourceVersion": "1"}, "items": [item]}
        faults(cluster).add(
            Answer(code=200, raw=json.dumps(answer)), verb="list", path=rf"/{what}\?.*labelSelector", times=1
        )
        with anyio.fail_after(60):
            ended = await result_of(scheduler, run)
        assert ended.status is JobStatus.SUCCEEDED, ended.error


@pytest.mark.parametrize("said", ["nan", "inf", "-inf", "-5", "1e400", "x", ""])
async def test_a_pause_that_a_server_asks_for_is_a_number_of_seconds(said: str) -> None:
    """Whatever it writes."""
    error = api_error("x", 429, b"{}", said)
    assert error.retry_after is None or 0.0 <= error.retry_after <= 60.0
    assert worth_another_try(error) is True or 0.0 <= worth_another_try(error) <= 60.0


async def test_rights_that_are_gone_for_a_while_end_no_job_that_runs(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Roles are applied anew, an identity provider is away: that is a cluster out of reach."""
    monkeypatch.setattr(_follow, "NO_RIGHT", 0.2)
    kubernetes = host(cluster)
    async with scheduler_on(cluster, kubernetes=kubernetes) as scheduler:
        run = await begin(scheduler, "script/sleep-600", grace=1)
        await until_running(cluster)
        while not all(view.synchronous for view in kubernetes._views.values()):  # a right that never was is no such one
            await anyio.sleep(0.01)
        for verb in ("list", "watch"):
            faults(cluster).add(Answer(code=403, message="no right"), verb=verb, path="labelSelector", times=None)
        await cluster.servers.stop_api()  # so that the watches begin anew
        await cluster.servers.start_api()
        while "out of reach" not in ((await scheduler.job((await scheduler.jobs())[0].id)).log or ""):
            await anyio.sleep(0.1)
        faults(cluster).clear()
        assert len(await until_running(cluster)) == 1
        await run.cancel("enough")
        assert (await result_of(scheduler, run)).status is JobStatus.CANCELLED


async def test_a_creation_without_an_answer_is_not_refused_because_the_credentials_are_gone(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be a Job: whoever said that there is none would have the next attempt begin another one beside it."""
    monkeypatch.setattr(_creating, "PATIENCE", 0.5)
    faults(cluster).add(Lose(), verb="create", path="/jobs")
    faults(cluster).add(Answer(code=401), verb="create", path="/jobs", nth=2, times=None)
    async with host(cluster) as kubernetes:
        async with kubernetes.client("default"):
            pass
        cluster.kubeconfig.rename(cluster.kubeconfig.with_name("gone"))
        monkeypatch.setattr(Credentials, "stamp_now", property(lambda self: self.stamp))  # whoever notices it first
        with pytest.raises(OSError, match="no such file") as raised:
            await kubernetes.start(TICKET, WORK, print)
        assert not isinstance(raised.value, RemoteFailed)
    assert await names(cluster, "jobs") == [TICKET.name]
