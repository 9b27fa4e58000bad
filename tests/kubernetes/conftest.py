"""Clusters for tests: the double, and the real API server, which the tests of a worker share unless they stop it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from .clusters import Cluster, use
from .double import OLD, Double, Manner, api_double
from .raw import Raw, asking
from .real import RealCluster, real_cluster

#: On which servers the suite runs: the double with every commit, the real one by `make kubernetes`.
SERVERS = ["double", pytest.param("real", marks=pytest.mark.kubernetes)]


@pytest.fixture(scope="session")
def real_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    """The real API server of this worker; whoever stops it takes `own_cluster`."""
    server = RealCluster(tmp_path_factory.mktemp("real"))
    server.start()
    yield server
    server.close()


@pytest.fixture
def manner() -> Manner:
    """The release that the double plays: the same as the real server, unless a folder or a test says otherwise."""
    return OLD


@pytest.fixture
def kubelet_options() -> dict[str, Any]:
    """More for the kubelet of a cluster; a test parametrises it."""
    return {}


@pytest_asyncio.fixture
async def double() -> AsyncIterator[Double]:
    """A double of today's release, for tests of the double itself."""
    async with api_double() as it:
        yield it


@pytest_asyncio.fixture
async def raw(double: Double) -> AsyncIterator[Raw]:
    """A client of it."""
    async with asking(double) as it:
        yield it


@pytest_asyncio.fixture(params=SERVERS)
async def cluster(
    request: pytest.FixtureRequest, tmp_path: Path, manner: Manner, kubelet_options: dict[str, Any]
) -> AsyncIterator[Cluster]:
    """A namespace that nobody else uses, with a node of its own."""
    name = f"t{os.urandom(5).hex()}"
    async with contextlib.AsyncExitStack() as stack:
        if request.param == "double":
            server, kubeconfig = await _double(stack, manner, tmp_path)
        else:
            server = request.getfixturevalue("real_server")
            kubeconfig = server.kubeconfig
        yield await stack.enter_async_context(use(request.param, server, kubeconfig, tmp_path, name, **kubelet_options))


@pytest_asyncio.fixture(params=SERVERS)
async def own_cluster(
    request: pytest.FixtureRequest, tmp_path: Path, manner: Manner, kubelet_options: dict[str, Any]
) -> AsyncIterator[Cluster]:
    """The same on a server that nobody else uses: it may be stopped and started."""
    async with contextlib.AsyncExitStack() as stack:
        if request.param == "double":
            server, kubeconfig = await _double(stack, manner, tmp_path)
        else:
            server = await stack.enter_async_context(real_cluster(tmp_path / "real"))
            kubeconfig = server.kubeconfig
        yield await stack.enter_async_context(
            use(request.param, server, kubeconfig, tmp_path, "own", **kubelet_options)
        )


async def _double(stack: contextlib.AsyncExitStack, manner: Manner, directory: Path) -> tuple[Any, Path]:
    """Start a double, and return it and the configuration of somebody who may do everything."""
    # With TLS: kubectl sends a token over nothing else.
    server = await stack.enter_async_context(api_double(tls=True, manner=manner))
    return server, server.kubeconfig(directory / "kubeconfig")
