"""Case B in miniature: an executor of Kubernetes jobs, and the ways in which it has got its clients.

The clients are those of kubernetes_asyncio, the jobs run on the double of an API server. `AsItWas` and `Mended` are the
two states of DolphinScheduler's cache; `ClosedOnEviction` is what others made of theirs, and took back; `Leased` is a
Registry.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import weakref
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from kubernetes_asyncio.client import ApiClient, BatchV1Api, Configuration

from lifecycle import Registry, take_snapshot

CLUSTERS = ("north", "east", "south")
NAMESPACE = "storm"


class Client(ApiClient):  # type: ignore[misc]
    """A client of kubernetes_asyncio that is counted as long as it lives."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__(configuration)
        _all.add(self)


_all: weakref.WeakSet[Client] = weakref.WeakSet()


class Clients(Protocol):
    """Where the executor gets its clients."""

    def client(self, cluster: str, task: int) -> AbstractAsyncContextManager[ApiClient]:
        """Give a client of a cluster for a task."""

    async def kill(self, task: int) -> None:
        """Take note that a task was killed."""

    async def __aenter__(self) -> Clients:
        """Begin."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """End."""


class AsItWas(Clients):
    """A cache by task, from which only a kill removes."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._cache: dict[int, ApiClient] = {}

    def _get(self, task: int) -> ApiClient:
        if task not in self._cache:
            self._cache[task] = Client(self._configuration)
        return self._cache[task]

    @contextlib.asynccontextmanager
    async def client(self, cluster: str, task: int) -> AsyncIterator[ApiClient]:
        yield self._get(task)

    async def kill(self, task: int) -> None:
        if (client := self._cache.pop(task, None)) is not None:
            await client.close()

    async def kill_all(self) -> None:
        """Take note that all were killed: for the test, which leaves nothing."""
        for task in list(self._cache):
            await self.kill(task)


class Mended(AsItWas):
    """The same with its fix: removed however the task ends. A task still has a client of its own."""

    @contextlib.asynccontextmanager
    async def client(self, cluster: str, task: int) -> AsyncIterator[ApiClient]:
        try:
            yield self._get(task)
        finally:
            await self.kill(task)


class ClosedOnEviction(Clients):
    """A cache by cluster with a bound, which closes what it evicts, whoever uses it."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._cache: OrderedDict[str, ApiClient] = OrderedDict()

    @contextlib.asynccontextmanager
    async def client(self, cluster: str, task: int) -> AsyncIterator[ApiClient]:
        if cluster not in self._cache:
            self._cache[cluster] = Client(self._configuration)
            while len(self._cache) > len(CLUSTERS) - 1:
                _, oldest = self._cache.popitem(last=False)
                await oldest.close()
        self._cache.move_to_end(cluster)
        yield self._cache[cluster]

    async def __aexit__(self, *_: object) -> None:
        while self._cache:
            await self._cache.popitem()[1].close()


class Leased(Clients):
    """A Registry by cluster: shared, leased, closed when it was idle or is one too many, never while it is used."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._clients: Registry[str, ApiClient] = Registry(
            "clients", idle_ttl=0.2, max_size=len(CLUSTERS), finalizer=ApiClient.close
        )

    @contextlib.asynccontextmanager
    async def client(self, cluster: str, task: int) -> AsyncIterator[ApiClient]:
        async with self._clients.lease(cluster, lambda: Client(self._configuration)) as client:
            yield client

    async def __aenter__(self) -> Leased:
        await self._clients.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._clients.aclose()


# The executor, the same for all


async def run_job(clients: Clients, cluster: str, task: int, image: str, killed_after: float | None = None) -> str:
    """Run a Job to its end, and return what that is: Complete, Failed, DELETED, or what went wrong."""
    name = f"task-{task}-{type(clients).__name__.lower()}"
    try:
        async with clients.client(cluster, task) as client:
            batch = BatchV1Api(client)
            await batch.create_namespaced_job(NAMESPACE, manifest(name, image))
            async with asyncio.TaskGroup() as group:
                if killed_after is not None:
                    group.create_task(kill(batch, name, killed_after))
                end = await end_of(batch, name)
            if killed_after is None:
                await batch.delete_namespaced_job(name, NAMESPACE, propagation_policy="Background")
                return end
        await clients.kill(task)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return end


async def kill(batch: BatchV1Api, name: str, seconds: float) -> None:
    """Delete the Job of a task."""
    await asyncio.sleep(seconds)
    await batch.delete_namespaced_job(name, NAMESPACE, propagation_policy="Background")


async def end_of(batch: BatchV1Api, name: str) -> str:
    """Watch a Job until it has ended."""
    query = {"field_selector": f"metadata.name={name}", "watch": True, "_preload_content": False}
    response = await batch.list_namespaced_job(NAMESPACE, **query)
    try:
        async for line in response.content:
            event = json.loads(line)
            conditions = event["object"].get("status", {}).get("conditions") or ()
            for condition in conditions:
                if condition["type"] in ("Complete", "Failed"):
                    return str(condition["type"])
            if event["type"] == "DELETED":
                return "DELETED"
    finally:
        response.close()
    return "the watch ended"


def manifest(name: str, image: str) -> dict[str, Any]:
    """Return a Job."""
    pod = {"restartPolicy": "Never", "containers": [{"name": "main", "image": image}]}
    spec = {"backoffLimit": 0, "template": {"spec": {**pod, "terminationGracePeriodSeconds": 1}}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}


def configuration_of(kubeconfig: Path) -> Configuration:
    """Return how a cluster is reached."""
    config = json.loads(kubeconfig.read_text())
    configuration = Configuration(host=config["clusters"][0]["cluster"]["server"])
    configuration.api_key = {"BearerToken": f"Bearer {config['users'][0]['user']['token']}"}
    return configuration


# What is counted


@dataclass
class Account:
    """What a run has shown.

    Attributes:
        wrong: jobs that did not end as they should.
        most: clients that were open at once, at most.
        left: clients that are still open when no job has run for a while.
        grown: what this process has more than before.
        counts: the clients that were open after each job.
    """

    wrong: list[str]
    most: int
    left: int
    grown: list[str]
    counts: list[int]

    @property
    def problems(self) -> set[str]:
        """What is wrong with it, in a few words."""
        found = {
            "jobs were disturbed": bool(self.wrong),
            "more clients than clusters": self.most > len(CLUSTERS),
            "clients are left": self.left > 0,
            "descriptors are left": "descriptors" in self.grown,
            "tasks are left": "tasks" in self.grown,
            "owners are left": "owners" in self.grown,
        }
        return {name for name, true in found.items() if true}


def open_clients() -> int:
    """Return how many clients are alive and not closed."""
    return sum(not client.rest_client.pool_manager.closed for client in _all)


def here() -> dict[str, Any]:
    """Return what this process has."""
    descriptors = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    owners = sum(1 for root in take_snapshot().roots for _ in root.walk())
    return {"descriptors": descriptors, "tasks": len(asyncio.all_tasks()), "owners": owners}


#: Images, with the end of each; the last is killed.
ENDS = [
    ("script/ok", "Complete"),
    ("script/sleep-0.1", "Complete"),
    ("script/exit-3", "Failed"),
    ("script/oom", "Failed"),
    ("script/sleep-600", "DELETED"),
]


async def run_jobs(clients: Clients, jobs: int, width: int = 20) -> Account:
    """Run jobs of all ends on all clusters, and return what that has shown."""
    numbers = iter(range(jobs))
    wrong: list[str] = []
    counts: list[int] = []
    gc.collect()
    before = here()

    async def worker() -> None:
        for number in numbers:
            image, ordered = ENDS[number % len(ENDS)]
            cluster = CLUSTERS[number // len(ENDS) % len(CLUSTERS)]
            end = await run_job(clients, cluster, number, image, 0.1 if ordered == "DELETED" else None)
            if end != ordered:
                wrong.append(f"{number}: {end} instead of {ordered}")
            counts.append(open_clients())

    async with asyncio.TaskGroup() as group:
        for _ in range(width):
            group.create_task(worker())
    for _ in range(50):
        await asyncio.sleep(0.02)
        grown = [name for name, value in here().items() if value > before[name]]
        if not grown and not open_clients():
            break
    return Account(wrong, max(counts), open_clients(), grown, counts)
