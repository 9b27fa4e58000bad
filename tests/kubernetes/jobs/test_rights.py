"""The Role of the page: it is enough, and nothing in it is too much."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import yaml

from lifecycle.scheduler import JobStatus
from lifecycle.scheduler.kubernetes import Cluster as Configured
from lifecycle.scheduler.kubernetes import Kubernetes
from lifecycle.scheduler.kubernetes._check import RIGHTS, Check

from ..clusters import Cluster
from ..double import Double
from ..real import RealCluster
from .scheduling import lines_of, names, run_job, scheduler_on

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "kubernetes-jobs.md"


def role_of_the_page() -> dict[str, Any]:
    """Return the manifest that a user is told to apply."""
    text = PAGE.read_text(encoding="utf-8").split('```yaml title="role.yaml"\n')[1].split("```")[0]
    role: dict[str, Any] = yaml.safe_load(text)
    return role


def rights_of(role: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Yield group, resource, subresource and verb of everything that a role allows."""
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for name in rule["resources"]:
                resource, _, part = name.partition("/")
                for verb in rule["verbs"]:
                    yield group, resource, part, verb


def test_the_page_has_the_rights_that_a_check_asks_for() -> None:
    """All of them, each once, and no other."""
    assert sorted(rights_of(role_of_the_page())) == sorted(RIGHTS)


@pytest.mark.asyncio
@pytest.mark.kubernetes
@pytest.mark.parametrize("cluster", ["real"], indirect=True)
async def test_the_role_of_the_page_is_enough(cluster: Cluster, real_server: RealCluster, tmp_path: Path) -> None:
    """Every check passes with it, a job is cleared away, and a right that is taken away is named."""
    kubeconfig = tmp_path / "nobody"
    real_server.write_kubeconfig(kubeconfig, "nobody", cluster.namespace)
    role = role_of_the_page()
    await cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(role))
    await cluster.kubectl("create", "rolebinding", "lifecycle", "--role=lifecycle", "--user=nobody")
    with_it = {"default": Configured(kubeconfig=kubeconfig)}
    async with Kubernetes(with_it) as kubernetes:
        await until_rights(kubernetes, f"all {len(RIGHTS)}")
        findings = [finding async for finding in Check(kubernetes, "default", image="python").findings()]
        assert [finding for finding in findings if not finding.passed] == []
    async with scheduler_on(cluster, kubernetes=Kubernetes(with_it)) as scheduler:
        job = await run_job(scheduler, "script/lines-1")
        assert (job.status, lines_of(job)) == (JobStatus.SUCCEEDED, ["line 1"]), job.error
    assert await names(cluster, "jobs") == []
    async with Kubernetes(with_it) as kubernetes:
        role["rules"][0]["verbs"].remove("patch")
        await cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(role))
        await until_rights(kubernetes, "missing: patch jobs")


async def until_rights(kubernetes: Kubernetes, found: str) -> None:
    """Wait until the check of the rights finds something: the server learns of a role a moment later."""
    while True:
        async with aclosing(Check(kubernetes, "default").findings()) as findings:
            async for finding in findings:
                if finding.check == "rights":
                    if finding.found == found:
                        return
                    break
        await asyncio.sleep(0.05)


@pytest.mark.asyncio
@pytest.mark.parametrize("cluster", ["double"], indirect=True)
@pytest.mark.parametrize(
    ("right", "said"),
    [
        ({"plural": "pods/log"}, "[main: no log: cluster 'default': GET "),
        ({"plural": "pods", "verb": "list"}, "its pods cannot be asked for the exit code and the output: cluster "),
    ],
    ids=["logs", "pods"],
)
async def test_what_cannot_be_had_without_a_right_is_told(
    cluster: Cluster, tmp_path: Path, right: dict[str, str], said: str
) -> None:
    """In the job's log, at once: an empty one would look like that of a program that has said nothing."""
    double = cluster.servers
    assert isinstance(double, Double)
    double.access.refuse(user="scheduler", **right)
    kubeconfig = double.kubeconfig(
        tmp_path / "scheduler", token=double.access.add_token(user="scheduler"), namespace=cluster.namespace
    )
    kubernetes = Kubernetes({"default": Configured(kubeconfig=kubeconfig)})
    async with scheduler_on(cluster, kubernetes=kubernetes) as scheduler:
        job = await run_job(scheduler, "script/lines-1")
        assert job.status is JobStatus.SUCCEEDED, job.error
        assert len([line for line in lines_of(job) if line.startswith(said) and "403" in line]) == 1, job.log
        assert "may lack its end" not in (job.log or "")
