"""A scheduler in a pod of the cluster: it comes as the pod's own account."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from lifecycle.scheduler import JobStatus
from lifecycle.scheduler.kubernetes import Kubernetes, _cluster, _credentials

from ..clusters import Cluster
from ..double import Double
from .scheduling import lines_of, run_job, scheduler_on

pytestmark = pytest.mark.asyncio


@pytest.fixture
def account(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a pod finds of its account: its token, its namespace, the authority, and where the server is."""
    config = json.loads(cluster.kubeconfig.read_text())
    reached, folder = config["clusters"][0]["cluster"], tmp_path / "account"
    folder.mkdir()
    (folder / "ca.crt").write_bytes(base64.b64decode(reached["certificate-authority-data"]))
    own = cluster.servers.access.add_token() if isinstance(cluster.servers, Double) else None
    (folder / "token").write_text(own or config["users"][0]["user"]["token"])
    (folder / "namespace").write_text(cluster.namespace)
    place = urlsplit(reached["server"])
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", str(place.hostname))
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(place.port))
    for module in (_cluster, _credentials):
        monkeypatch.setattr(module, "SERVICE_ACCOUNT", folder)
    return folder


async def test_it_needs_no_configuration(cluster: Cluster, account: Path) -> None:
    """The cluster, the token and the namespace are the pod's; a token that has expired is read again."""
    kubernetes = Kubernetes()
    async with scheduler_on(cluster, kubernetes=kubernetes) as scheduler:
        job = await run_job(scheduler, "script/lines-1")
        assert (job.status, lines_of(job)) == (JobStatus.SUCCEEDED, ["line 1"]), job.error
        if isinstance(cluster.servers, Double):
            access, token = cluster.servers.access, account / "token"
            access.revoke(token.read_text())
            token.write_text(access.add_token())
        job = await run_job(scheduler, "script/ok")
        assert job.status is JobStatus.SUCCEEDED, job.error
        assert kubernetes.statistics().opened == 1
