"""The command line with a cluster: a flow by `lifecycle run --clusters`, and `lifecycle kubernetes check`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import anyio.to_thread
import pytest

from ..clusters import Cluster

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]


async def lifecycle(*args: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command of ours, and return what it printed."""
    command = [sys.executable, "-m", "lifecycle", *map(str, args)]
    return await anyio.to_thread.run_sync(
        lambda: subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    )


def clusters_file(cluster: Cluster, directory: Path) -> Path:
    """Write the file of clusters; its path in it is relative to it."""
    file = directory / "clusters.toml"
    file.write_text(f'[here]\nkubeconfig = "{cluster.kubeconfig.name}"\nnamespace = "{cluster.namespace}"\n')
    assert cluster.kubeconfig.parent == directory
    return file


async def test_a_flow_runs_on_a_cluster_of_the_file(cluster: Cluster, tmp_path: Path) -> None:
    """`--clusters` names it; at the end nothing is owned, here or there."""
    flow = tmp_path / "flow.toml"
    flow.write_text('[blocks.work]\nkubernetes = "script/say-hello+lines-2"\ncluster = "here"\n')
    done = await lifecycle("run", flow, "--clusters", clusters_file(cluster, tmp_path), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "line 2" in done.stdout
    assert (await cluster.api.get(f"{cluster.batch}/jobs"))["items"] == []


async def test_an_unknown_cluster_is_told_with_those_that_there_are(cluster: Cluster, tmp_path: Path) -> None:
    """The job has failed, and nothing was asked of any cluster."""
    flow = tmp_path / "flow.toml"
    flow.write_text('[blocks.work]\nkubernetes = "script/ok"\ncluster = "her"\n')
    done = await lifecycle("run", flow, "--clusters", clusters_file(cluster, tmp_path))
    assert done.returncode == 1
    assert "did you mean" in done.stdout + done.stderr


async def test_a_cluster_passes_its_check(cluster: Cluster, tmp_path: Path) -> None:
    """Every check passes, and nothing is left; what an old server drops is told."""
    file = clusters_file(cluster, tmp_path)
    done = await lifecycle("kubernetes", "check", "here", "--clusters", file, "--image", "python", "--json")
    findings = [json.loads(line) for line in done.stdout.splitlines()]
    failed = [finding for finding in findings if not finding["passed"]]
    assert failed == [], done.stderr
    assert done.returncode == 0
    assert (await cluster.api.get(f"{cluster.batch}/jobs"))["items"] == []
    assert (await cluster.api.get(f"{cluster.core}/pods"))["items"] == []


async def test_a_check_ends_where_there_is_no_namespace(cluster: Cluster, tmp_path: Path) -> None:
    """One line says so, and what to do, in place of one error for each Job."""
    file = clusters_file(cluster, tmp_path)
    done = await lifecycle("kubernetes", "check", "here", "--clusters", file, "--namespace", "nowhere", "--json")
    findings = [json.loads(line) for line in done.stdout.splitlines()]
    assert [finding["passed"] for finding in findings] == [True, False], done.stderr
    assert findings[-1]["found"].startswith("there is no namespace nowhere: create it, or name another one")
    assert done.returncode == 1
    done = await lifecycle("kubernetes", "check", "here", "--clusters", file, "--namespace", "No/Where")
    assert (done.returncode, done.stdout) == (2, "")
    assert "'--namespace': expected the name of a namespace" in done.stderr
