"""A scheduler with a cluster, and flows of one block."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from lifecycle.scheduler import FlowRun, JobRecord, Scheduler, flow_of_table
from lifecycle.scheduler.kubernetes import Cluster as Configured
from lifecycle.scheduler.kubernetes import Kubernetes

from ..clusters import Cluster


def host(*clusters: Cluster, **how: Any) -> Kubernetes:
    """Return a host that knows clusters: ``default``, and further ones as ``c1``, ``c2``."""
    names = ["default", *(f"c{number}" for number in range(1, len(clusters)))]
    known = {
        name: Configured(kubeconfig=one.kubeconfig, timeout=15.0) for name, one in zip(names, clusters, strict=True)
    }
    return Kubernetes(known, **how)


@contextlib.asynccontextmanager
async def scheduler_on(
    *clusters: Cluster, store: Path | str | None = None, kubernetes: Kubernetes | None = None, **how: Any
) -> AsyncIterator[Scheduler]:
    """Run a scheduler whose ``kubernetes`` blocks go to clusters; the store is beside the first kubeconfig."""
    store = store or clusters[0].kubeconfig.with_name("jobs.sqlite")
    async with Scheduler(store, hosts={"kubernetes": kubernetes or host(*clusters)}, **how) as scheduler:
        yield scheduler


def flow_of(block: dict[str, Any], name: str = "flow") -> Any:
    """Return a flow of one block, ``work``."""
    return flow_of_table({"name": name, "blocks": {"work": block}})


async def begin(scheduler: Scheduler, image: str, *command: str, **keys: Any) -> FlowRun:
    """Submit a flow with one block that runs an image."""
    block = {"kubernetes": image, **({"command": list(command)} if command else {}), **keys}
    return await scheduler.submit(flow_of(block))


async def result_of(scheduler: Scheduler, run: FlowRun) -> JobRecord:
    """Wait for the end of a run, and return its job."""
    outcome = await run.wait()
    record = await scheduler.job(outcome.jobs[0].id)
    assert record is not None
    return record


async def run_job(scheduler: Scheduler, image: str, *command: str, **keys: Any) -> JobRecord:
    """Run an image to its end, and return the job."""
    return await result_of(scheduler, await begin(scheduler, image, *command, **keys))


def lines_of(job: JobRecord) -> list[str]:
    """Return what the program of a job has written: its log without our own line, which says where it runs."""
    first, *lines = (job.log or "").splitlines()
    assert first.startswith("runs as Job "), first
    return lines


async def names(cluster: Cluster, what: str) -> list[str]:
    """Return the names of the jobs or pods of a cluster's namespace."""
    path = {"jobs": cluster.batch, "pods": cluster.core}[what]
    return [item["metadata"]["name"] for item in (await cluster.api.get(f"{path}/{what}"))["items"]]


async def until_gone(cluster: Cluster) -> None:
    """Wait until a cluster's namespace has neither jobs nor pods."""
    for what, base in (("jobs", cluster.batch), ("pods", cluster.core)):
        async with contextlib.aclosing(cluster.api.follow(f"{base}/{what}")) as events:
            async for _, _thing in events:
                if not await names(cluster, what):
                    break
