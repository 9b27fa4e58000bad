"""How a cluster is reached, where that cannot be known: the error says what there is, and what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lifecycle.scheduler.kubernetes import Cluster, Kubernetes
from lifecycle.scheduler.kubernetes._credentials import NoCredentials, load_credentials

pytestmark = pytest.mark.asyncio


def kubeconfig(directory: Path, *, current: str | None = None) -> Path:
    """Write a file with two contexts, of which the second names a cluster that is not in it."""
    contexts = [{"name": name, "context": {"cluster": name}} for name in ("training", "lost")]
    clusters = [{"name": "training", "cluster": {"server": "https://127.0.0.1:1"}}]
    file = directory / "config"
    file.write_text(json.dumps({"contexts": contexts, "clusters": clusters, "current-context": current}))
    return file


async def problem_of(cluster: Cluster) -> str:
    """Return why it cannot be known how a cluster is reached."""
    with pytest.raises(NoCredentials) as raised:
        await load_credentials(cluster)
    return str(raised.value)


async def test_without_a_file_it_is_told_where_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless one was: then its path says enough."""
    file = tmp_path / "config"
    monkeypatch.setenv("KUBECONFIG", str(file))
    assert await problem_of(Cluster(context="training")) == (
        f"kubeconfig {file}, context 'training': there is no such file; "
        "name one in a file of clusters, or in $KUBECONFIG"
    )
    assert await problem_of(Cluster(kubeconfig=file)) == f"kubeconfig {file}: there is no such file"


async def test_where_no_cluster_is_configured_none_is_offered() -> None:
    """As with a file of clusters that is empty."""
    assert Kubernetes({}).problem("training") == "unknown cluster 'training': none is configured"


async def test_an_unknown_context_is_told_with_those_that_there_are(tmp_path: Path) -> None:
    """So is one that names a cluster which the file does not have, and a file without a current one."""
    file = kubeconfig(tmp_path)
    said = await problem_of(Cluster(kubeconfig=file, context="trainig"))
    assert said.endswith("it has no context 'trainig'; did you mean 'training'?; it has 'lost', 'training'")
    said = await problem_of(Cluster(kubeconfig=file, context="lost"))
    assert said.endswith("it has no cluster 'lost'; it has 'training'")
    said = await problem_of(Cluster(kubeconfig=file))
    assert said.endswith("it has no current context, and none is named; it has 'lost', 'training'")


async def test_a_context_needs_no_user(tmp_path: Path) -> None:
    """As with a proxy that says who one is."""
    credentials = await load_credentials(Cluster(kubeconfig=kubeconfig(tmp_path, current="training")))
    assert (credentials.configuration.host, credentials.token) == ("https://127.0.0.1:1", None)
    credentials.discard()


async def test_a_namespace_is_looked_at_when_it_is_configured() -> None:
    """It becomes a part of the path of every request."""
    with pytest.raises(ValueError, match="expected the name of a namespace, got 'No/Such'"):
        Cluster(namespace="No/Such")


async def test_outside_of_a_pod_it_is_told_what_to_name_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of clusters that was written for a pod is tried on the machine of who wrote it."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    said = await problem_of(Cluster(in_cluster=True))
    assert said.endswith("does not run in a pod that has one; elsewhere name a kubeconfig or a context")
