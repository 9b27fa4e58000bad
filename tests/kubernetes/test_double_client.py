"""The client that most use from asyncio, kubernetes_asyncio, with the double: it takes what the double sends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from kubernetes_asyncio import client, config, watch  # type: ignore[import-untyped]

from .double import Double, Lose, api_double
from .raw import asking, end_pod, job

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def double() -> AsyncIterator[Double]:
    """A double."""
    async with api_double() as it:
        yield it


@pytest_asyncio.fixture
async def api(double: Double, tmp_path: Path) -> AsyncIterator[client.ApiClient]:
    """The client, by its configuration."""
    settings = client.Configuration()
    await config.load_kube_config(str(double.kubeconfig(tmp_path / "config")), client_configuration=settings)
    async with client.ApiClient(settings) as it:
        yield it


async def test_a_job(double: Double, api: client.ApiClient) -> None:
    """Made, watched to its end, and removed with its pods."""
    batch, core = client.BatchV1Api(api), client.CoreV1Api(api)
    made = await batch.create_namespaced_job("default", job())
    assert made.metadata.uid
    selector = f"batch.kubernetes.io/controller-uid={made.metadata.uid}"
    async with watch.Watch() as watching:
        pods = watching.stream(core.list_namespaced_pod, "default", label_selector=selector, timeout_seconds=10)
        async for event in pods:
            name = event["object"].metadata.name
            break
    async with asking(double) as raw:
        await end_pod(raw, name)
    async with watch.Watch() as watching:
        jobs = watching.stream(
            batch.list_namespaced_job, "default", field_selector="metadata.name=task", timeout_seconds=10
        )
        async for event in jobs:
            if event["object"].status.succeeded:
                break
    listed = await core.list_namespaced_pod("default", label_selector=selector)
    assert [each.metadata.name for each in listed.items] == [name]
    options = client.V1DeleteOptions(
        propagation_policy="Foreground", preconditions=client.V1Preconditions(uid=made.metadata.uid)
    )
    await batch.delete_namespaced_job("task", "default", body=options)
    with pytest.raises(client.ApiException) as caught:
        while True:
            await batch.read_namespaced_job("task", "default")
    assert caught.value.status == 404
    assert (await core.list_namespaced_pod("default")).items == []


async def test_a_lost_answer_and_a_second_try(double: Double, api: client.ApiClient) -> None:
    """The Job is there: the second try finds the name taken."""
    batch = client.BatchV1Api(api)
    double.faults.add(Lose(), method="POST")
    with pytest.raises(Exception, match=r"disconnected|reset|closed"):
        await batch.create_namespaced_job("default", job())
    with pytest.raises(client.ApiException) as caught:
        await batch.create_namespaced_job("default", job())
    assert caught.value.status == 409
    assert (await batch.read_namespaced_job("task", "default")).metadata.name == "task"


async def test_pieces_of_a_list_and_patches(api: client.ApiClient) -> None:
    """As with the real one."""
    core = client.CoreV1Api(api)
    for number in range(3):
        await core.create_namespaced_config_map("default", {"metadata": {"name": f"m{number}"}})
    first = await core.list_namespaced_config_map("default", limit=2)
    rest = await core.list_namespaced_config_map("default", limit=2, _continue=first.metadata._continue)
    assert [each.metadata.name for each in first.items + rest.items] == ["m0", "m1", "m2"]
    changed = await core.patch_namespaced_config_map("m1", "default", {"data": {"a": "b"}})
    assert changed.data == {"a": "b"}
