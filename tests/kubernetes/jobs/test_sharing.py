"""What jobs of a cluster share: one client whatever its files do, and few requests; nobody misses a thing for it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from lifecycle.scheduler import JobStatus
from lifecycle.scheduler.kubernetes import _follow
from lifecycle.scheduler.remote import _sweeping

from ..clusters import Cluster
from ..storm.tally import counted_clients
from .scheduling import begin, host, lines_of, result_of, run_job, scheduler_on

pytestmark = pytest.mark.asyncio

JOBS = 20


def rewrite(path: Path, old: str = "", new: str = "") -> None:
    """Write a file again, at once, with something else in it."""
    copy = path.with_name("new")
    copy.write_text(path.read_text().replace(old, new) if old else path.read_text())
    os.replace(copy, path)


async def test_a_file_that_is_written_again_keeps_the_client(cluster: Cluster) -> None:
    """A new token, or the same file once more, is no reason for a second client."""
    kubernetes = host(cluster)
    async with scheduler_on(cluster, kubernetes=kubernetes) as scheduler:
        for _ in range(3):
            job = await run_job(scheduler, "script/ok")
            assert job.status is JobStatus.SUCCEEDED, job.error
            rewrite(cluster.kubeconfig)
        assert kubernetes.statistics().opened == 1


async def test_a_file_that_is_not_right_for_a_moment_disturbs_nobody(cluster: Cluster) -> None:
    """Somebody writes it, slowly: until it can be read, what was read before counts."""
    kubernetes, whole = host(cluster), cluster.kubeconfig.read_text()
    async with scheduler_on(cluster, kubernetes=kubernetes) as scheduler:
        run = await begin(scheduler, "script/sleep-0.3")
        await run_job(scheduler, "script/ok")
        cluster.kubeconfig.write_text(whole[:40])
        assert (await result_of(scheduler, run)).status is JobStatus.SUCCEEDED
        job = await run_job(scheduler, "script/ok")
        assert job.status is JobStatus.SUCCEEDED, job.error
        cluster.kubeconfig.write_text(whole)
        assert kubernetes.statistics().opened == 1


async def test_a_cluster_that_has_moved_is_followed(own_cluster: Cluster) -> None:
    """With its old address gone, those who wait for a job there wait at the new one, and the old client is closed."""
    kubernetes = host(own_cluster)
    async with scheduler_on(own_cluster, kubernetes=kubernetes) as scheduler:
        run = await begin(scheduler, "script/sleep-2")
        await run_job(scheduler, "script/ok")
        moved = '"tls-server-name": "127.0.0.1", "server": "https://localhost'  # what its certificate is for stays
        rewrite(own_cluster.kubeconfig, '"server": "https://127.0.0.1', moved)
        rewrite(own_cluster.kubeconfig, "http://127.0.0.1", "http://localhost")
        await own_cluster.servers.stop_api()
        await own_cluster.servers.start_api()
        job = await result_of(scheduler, run)
        assert job.status is JobStatus.SUCCEEDED, job.error
        told = kubernetes.statistics()
        assert (told.opened, told.clients) == (2, 1)


async def test_the_log_of_a_short_job_is_whole(cluster: Cluster) -> None:
    """The end of a Job may be seen before the first word of its pod; the log is waited for nevertheless."""
    async with scheduler_on(cluster, workers=JOBS) as scheduler:
        runs = [await begin(scheduler, "script/lines-3") for _ in range(JOBS)]
        jobs = await asyncio.gather(*[result_of(scheduler, run) for run in runs])
    assert [lines_of(job) for job in jobs] == [["line 1", "line 2", "line 3"]] * JOBS


async def test_a_log_for_which_there_is_no_room_comes_at_the_end(cluster: Cluster) -> None:
    """As many logs are followed as may be; the others do not wait for those when they have ended."""
    async with scheduler_on(cluster, kubernetes=host(cluster, max_logs=1)) as scheduler:
        long = await begin(scheduler, "script/lines-1+sleep-600", grace=1)
        while not (await scheduler.jobs())[0].logged:  # a list has no logs, and their length
            await asyncio.sleep(0.02)
        job = await run_job(scheduler, "script/sleep-0.2+lines-3")
        assert lines_of(job) == ["line 1", "line 2", "line 3"]
        await long.cancel()


async def test_a_job_costs_four_requests(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made, its log is read, and it is looked at and deleted; whoever watches does so for all."""
    monkeypatch.setattr(_sweeping, "PAUSES", (3600.0,))  # which lists as well
    with counted_clients() as tally:
        async with scheduler_on(cluster, workers=JOBS) as scheduler:
            runs = [await begin(scheduler, "script/sleep-0.2") for _ in range(JOBS)]
            await asyncio.gather(*[result_of(scheduler, run) for run in runs])
    asked = tally.requests
    print(asked)
    assert (asked["POST jobs"], asked["GET jobs"], asked["DELETE jobs"]) == (JOBS, JOBS, JOBS)
    assert JOBS <= asked["GET pods/log"] <= 3 * JOBS  # a stream that ends before the pod's end is known is begun anew
    assert (asked["LIST jobs"], asked["WATCH jobs"], asked["WATCH pods"]) == (1, 1, 1)
    assert tally.made == 1


async def test_events_that_cannot_be_read_at_first_are_asked_for_again(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why there is no pod is asked once more before the time is up, however busy the server was before."""
    if cluster.kind != "double":
        pytest.skip("a real server fails when it likes")
    from ..double import Answer

    monkeypatch.setattr(_follow, "FIRST_EVENTS", 1.0)
    monkeypatch.setattr(_follow, "ASKING", 0.1)
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    await cluster.api.post(f"{cluster.core}/resourcequotas", quota)
    fault = cluster.servers.faults.add(Answer(code=500), path="/events", verb="list", times=None)  # type: ignore[attr-defined]
    async with scheduler_on(cluster) as scheduler:
        run = await begin(scheduler, "script/ok", start_timeout=1.5)
        while not fault.met:
            await asyncio.sleep(0.01)
        cluster.servers.faults.remove(fault)  # type: ignore[attr-defined]
        job = await result_of(scheduler, run)
    assert "exceeded quota" in (job.error or "")
