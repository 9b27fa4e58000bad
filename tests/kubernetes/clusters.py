"""What a test of Kubernetes is given, whoever the API server is: a namespace, a client, and a node with its faults."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from .api import Api, Object
from .kubelet import Kubelet
from .real import missing


class Servers(Protocol):
    """Who starts and stops an API server: `.real.RealCluster`, and the double of it."""

    async def stop_api(self) -> None:
        """End it: every connection breaks, and what it has stored stays."""

    async def start_api(self) -> None:
        """Start it again where it was."""


@dataclass
class Cluster:
    """A namespace of an API server, and a node that runs its pods.

    Attributes:
        kind: ``real`` or ``double``.
        kubeconfig: a file for clients, with the namespace as the default one.
        namespace: one that nobody else uses.
        api: a client that may do everything.
        kubelet: the node, and what can be done to it and its pods.
        servers: who starts and stops the server.
    """

    kind: str
    kubeconfig: Path
    namespace: str
    api: Api
    kubelet: Kubelet
    servers: Servers

    @property
    def core(self) -> str:
        """Where the namespace is in the API of pods."""
        return f"/api/v1/namespaces/{self.namespace}"

    @property
    def batch(self) -> str:
        """Where it is in the API of jobs."""
        return f"/apis/batch/v1/namespaces/{self.namespace}"

    async def kubectl(self, *args: str, stdin: str | None = None, check: bool = True) -> str:
        """Run kubectl, and return what it prints, its errors too where they are not unexpected."""
        if shutil.which("kubectl") is None:
            missing("kubectl is not installed")
        command = ["kubectl", "--kubeconfig", str(self.kubeconfig), *args]
        done = await asyncio.to_thread(
            subprocess.run, command, input=stdin, capture_output=True, text=True, timeout=120
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout if check else done.stdout + done.stderr

    async def job(
        self, name: str, image: str, *command: str, container: Object | None = None, tries: int = 1, **pod: object
    ) -> Object:
        """Create a Job, and return it.

        Args:
            name: of the job.
            image: of its container.
            command: of its container.
            container: more of the container.
            tries: how many of its pods may fail, the last of them included.
            pod: more of the pod, such as ``terminationGracePeriodSeconds``.
        """
        main: Object = {"name": "main", "image": image, **(container or {})}
        if command:
            main["command"] = list(command)
        template: Object = {"spec": {"restartPolicy": "Never", "containers": [main], **pod}}
        spec = {"backoffLimit": tries - 1, "template": template}
        body = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}
        created: Object = await self.api.post(f"{self.batch}/jobs", body)
        return created

    async def job_ended(self, name: str) -> str:
        """Wait until a job has ended, and return how: ``Complete`` or ``Failed``."""

        def ended(job: Object) -> str:
            conditions = job.get("status", {}).get("conditions") or []
            return next(
                (it["type"] for it in conditions if it["type"] in ("Complete", "Failed") and it["status"] == "True"), ""
            )

        async with contextlib.aclosing(self.see(f"{self.batch}/jobs", f"metadata.name={name}")) as seen:
            async for job in seen:
                if job is not None and (how := ended(job)):
                    return how
        raise AssertionError("it is watched for ever")

    async def pod_of(self, job: str, such: Callable[[Object], Any] = lambda pod: True) -> Object:
        """Wait for a pod of a job of which something is true, and return it."""
        async with contextlib.aclosing(self.see(f"{self.core}/pods", labels=f"job-name={job}")) as seen:
            async for pod in seen:
                if pod is not None and such(pod):
                    return pod
        raise AssertionError("it is watched for ever")

    async def pod_gone(self, name: str) -> None:
        """Wait until the API does not know a pod any more."""
        async with contextlib.aclosing(self.see(f"{self.core}/pods", f"metadata.name={name}")) as seen:
            async for pod in seen:
                if pod is None:
                    return

    async def see(self, path: str, fields: str = "", labels: str = "") -> AsyncGenerator[Object | None, None]:
        """Yield each state of what is watched; None when nothing is there, or when something was deleted."""
        selection = {"fieldSelector": fields} if fields else {}
        selection |= {"labelSelector": labels} if labels else {}
        async with contextlib.aclosing(self.api.follow(path, **selection)) as events:
            async for kind, thing in events:
                if kind == "DELETED" or (kind == "LISTED" and not thing):
                    yield None
                for it in thing if kind == "LISTED" else [thing] if kind != "DELETED" else []:
                    yield it

    async def events_of(self, name: str) -> list[Object]:
        """Return the events about something."""
        found: list[Object] = (await self.api.get(f"{self.core}/events"))["items"]
        return [it for it in found if it["involvedObject"]["name"] == name]


@contextlib.asynccontextmanager
async def use(
    kind: str, servers: Servers, kubeconfig: Path, directory: Path, namespace: str, **kubelet: Any
) -> AsyncIterator[Cluster]:
    """Make a namespace on an API server and a node for it, for the time of the block.

    Args:
        kind: ``real`` or ``double``.
        servers: who starts and stops the server.
        kubeconfig: of somebody who may do everything.
        directory: for files.
        namespace: what is made, and deleted at the end.
        kubelet: more for `Kubelet`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    config = json.loads(kubeconfig.read_text())
    config["contexts"][0]["context"]["namespace"] = namespace
    ours = directory / f"kubeconfig-{namespace}"
    ours.write_text(json.dumps(config))
    async with Api.from_kubeconfig(ours) as api:
        await api.post("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        try:
            async with Kubelet(ours, namespace=namespace, **kubelet) as node:
                yield Cluster(kind, ours, namespace, api, node, servers)
        finally:
            # Nobody waits until it is gone: names are not used twice.
            with contextlib.suppress(Exception):
                await _remove(api, namespace)


async def _remove(api: Api, namespace: str) -> None:
    """Delete a namespace, and the pods in it by force: there is no kubelet any more that would confirm it."""
    async with asyncio.timeout(10):
        await api.delete(f"/api/v1/namespaces/{namespace}")
        for pod in (await api.get(f"/api/v1/namespaces/{namespace}/pods"))["items"]:
            await api.delete(f"/api/v1/namespaces/{namespace}/pods/{pod['metadata']['name']}", gracePeriodSeconds=0)
