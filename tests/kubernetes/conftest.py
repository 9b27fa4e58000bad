"""Clusters for tests: a real API server that a worker's tests share, each in a namespace of its own, or one's own."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from .clusters import Cluster, use
from .real import RealCluster, real_cluster


@pytest.fixture(scope="session")
def real_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    """The real API server of this worker; whoever stops it takes `own_cluster`."""
    server = RealCluster(tmp_path_factory.mktemp("real"))
    server.start()
    yield server
    server.close()


@pytest_asyncio.fixture
async def cluster(real_server: RealCluster, tmp_path: Path) -> AsyncIterator[Cluster]:
    """A namespace of the real API server, with a node of its own."""
    async with use("real", real_server, real_server.kubeconfig, tmp_path, f"t{os.urandom(5).hex()}") as cluster:
        yield cluster


@pytest_asyncio.fixture
async def own_cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """A real API server that nobody else uses: it may be stopped and started."""
    async with real_cluster(tmp_path / "real") as server, use("real", server, server.kubeconfig, tmp_path, "own") as it:
        yield it
