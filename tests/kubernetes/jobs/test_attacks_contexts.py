"""Attacks by somebody who works with the same kubeconfig, and chooses another context or namespace meanwhile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from lifecycle.scheduler import JobStatus

from ..clusters import Cluster
from .scheduling import begin, names, result_of, run_job, scheduler_on
from .test_adoption import until_running
from .test_sharing import rewrite

pytestmark = pytest.mark.asyncio


def _with_another_context(path: Path, **more: Any) -> dict[str, Any]:
    """Return a kubeconfig with a second context, which leads to a cluster that is not there, or elsewhere."""
    config: dict[str, Any] = json.loads(path.read_text())
    nowhere = {"name": "nowhere", "cluster": {**config["clusters"][0]["cluster"], "server": "https://127.0.0.1:9"}}
    config["clusters"].append(nowhere)
    user = config["contexts"][0]["context"]["user"]
    config["contexts"].append({"name": "other", "context": {"cluster": "nowhere", "user": user, **more}})
    return config


async def test_another_current_context_does_not_take_a_job_elsewhere(cluster: Cluster) -> None:
    """As by ``kubectl config use-context``: what runs is followed, and stopped, where it is."""
    config = _with_another_context(cluster.kubeconfig)
    cluster.kubeconfig.write_text(json.dumps(config))
    async with scheduler_on(cluster) as scheduler:
        first = await begin(scheduler, "script/sleep-1+say-done")
        second = await begin(scheduler, "script/sleep-600", grace=1)
        await until_running(cluster, 2)
        rewrite(cluster.kubeconfig, json.dumps(config), json.dumps({**config, "current-context": "other"}))
        job = await result_of(scheduler, first)
        assert job.status is JobStatus.SUCCEEDED, job.error
        await second.cancel("not needed")
        job = await result_of(scheduler, second)
        assert job.status is JobStatus.CANCELLED, job.error
        assert await names(cluster, "jobs") == []


async def test_another_namespace_of_the_context_does_not_hide_a_job(cluster: Cluster) -> None:
    """As by ``kubectl config set-context --current --namespace``: it is stopped where it was begun."""
    config: dict[str, Any] = json.loads(cluster.kubeconfig.read_text())
    async with scheduler_on(cluster) as scheduler:
        run = await begin(scheduler, "script/sleep-600", grace=1)
        await until_running(cluster)
        config["contexts"][0]["context"]["namespace"] = "elsewhere"
        rewrite(cluster.kubeconfig, cluster.kubeconfig.read_text(), json.dumps(config))
        await run.cancel("not needed")
        with anyio.fail_after(60):
            job = await result_of(scheduler, run)
        assert job.status is JobStatus.CANCELLED, job.error
        assert await names(cluster, "jobs") == []
        job = await run_job(scheduler, "script/ok")
        assert job.status is JobStatus.SUCCEEDED, job.error
