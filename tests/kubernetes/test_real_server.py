"""What only the real API server has: roles, and how it is started, ended and found."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from . import real
from .clusters import Cluster, use
from .real import RealCluster, real_cluster

pytestmark = pytest.mark.kubernetes


@pytest.mark.asyncio
@pytest.mark.parametrize("cluster", ["real"], indirect=True)
async def test_somebody_without_rights(cluster: Cluster, real_server: RealCluster) -> None:
    """He is refused until a role is bound to him."""
    path = cluster.kubeconfig.with_name("nobody")
    real_server.write_kubeconfig(path, "nobody", cluster.namespace)
    ask = ("get", "jobs", "--kubeconfig", str(path))
    assert "forbidden" in await cluster.kubectl(*ask, check=False)
    await cluster.kubectl("create", "role", "r", "--verb=list", "--resource=jobs.batch")
    await cluster.kubectl("create", "rolebinding", "b", "--role=r", "--user=nobody")
    while "forbidden" in await cluster.kubectl(*ask, check=False):
        await asyncio.sleep(0.05)


@pytest.mark.asyncio
async def test_two_beside_each_other(real_server: RealCluster, tmp_path: Path) -> None:
    """They share nothing, and the end of one is none of the other."""
    async with real_cluster(tmp_path / "second") as second:
        async with use("real", second, second.kubeconfig, tmp_path, "here") as here:
            await here.job("one", "script/ok")
            assert await here.job_ended("one") == "Complete"
        assert second.server != real_server.server
    async with use("real", real_server, real_server.kubeconfig, tmp_path, "there") as there:
        assert (await there.api.get("/apis/batch/v1/jobs", fieldSelector="metadata.name=one"))["items"] == []
    await asyncio.to_thread(second.close)  # a second time


def test_a_machine_without_the_programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its tests are skipped, unless they were asked for."""
    monkeypatch.setenv(real.PLACE, str(tmp_path))
    monkeypatch.delenv(real.REQUIRED, raising=False)
    with pytest.raises(pytest.skip.Exception, match="make kubernetes"):
        real.programs()
    monkeypatch.setenv(real.REQUIRED, "1")
    with pytest.raises(pytest.fail.Exception, match="make kubernetes"):
        real.programs()


@pytest.mark.asyncio
async def test_a_server_that_does_not_start(tmp_path: Path) -> None:
    """The error has what it has said, and nothing of it is left."""
    cluster = RealCluster(tmp_path, options=["--no-such-option"])
    with pytest.raises(RuntimeError, match="unknown flag: --no-such-option"):
        await asyncio.to_thread(cluster.start)
