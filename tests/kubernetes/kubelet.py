"""A small kubelet for the tests: it runs pods as processes of this machine, and knows only the Kubernetes API.

So it serves a real API server and a double of one alike. It is a scheduler too: every pending pod that fits is bound to
its node. What it writes into a pod's status is, word for word, what a kubelet of today writes there. Its faults are in
`.faults`.

What it does not do: there is no isolation but a process group and a folder (see `.volumes`), nothing is pulled, no
probe is made, no hook is run, sidecars are ordinary init containers, and resources are compared with the node's, pod by
pod, but not summed up.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

from .api import Api, ApiError
from .containers import Process
from .faults import Faults, of_a_node
from .keeper import Keeper
from .log_server import LogServer
from .pod import TERMINAL, Pod
from .statuses import condition, now
from .volumes import Object

#: How long a kubelet that closes waits for its farewells to the API, which may be down.
_FAREWELL = 3.0


class Kubelet(Faults):
    """A node and the pods on it; it is an async context manager, and with its block all that it runs is gone.

    Args:
        kubeconfig: how the API is reached.
        name: of the node; one that nobody else has, for None.
        namespace: the only one whose pods it takes, for those who share a cluster; None for all.
        environment: variables of every container besides its own, as an image would have them.
        labels: of the node.
        capacity: of the node.
        back_off: seconds before a container that has ended is started again, doubled each time; a kubelet takes 10.
        image_back_off: seconds from one try to pull an image to the next, doubled each time; a kubelet takes 10.
        sync: seconds between two looks for a config map or a secret that is missing.
        least_grace: seconds that containers have when their pod was removed by force.
        log_bytes: how much of each container's log is kept.
        calls: how many requests for pods are under way at once.

    Attributes:
        pods: what is on the node, ended or not, by namespace and name.
    """

    def __init__(
        self,
        kubeconfig: Path,
        *,
        name: str | None = None,
        namespace: str | None = None,
        environment: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        capacity: Mapping[str, str] | None = None,
        back_off: float = 0.2,
        image_back_off: float = 0.4,
        sync: float = 0.2,
        least_grace: float = 2.0,
        log_bytes: int = 10 * 1024 * 1024,
        calls: int = 16,
    ) -> None:
        self.name = name or f"node-{os.urandom(4).hex()}"
        self.api = Api.from_kubeconfig(kubeconfig)
        self.environment = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", **(environment or {})}
        self.back_off, self.image_back_off, self.sync = back_off, image_back_off, sync
        self.least_grace, self.log_bytes = least_grace, log_bytes
        self.online = asyncio.Event()
        self.online.set()
        self.slots = asyncio.Semaphore(calls)
        self.shutting_down = False
        self.pods: dict[tuple[str, str], Pod] = {}
        self._labels = {"kubernetes.io/hostname": self.name, "kubernetes.io/os": "linux", **(labels or {})}
        self._capacity = {"cpu": "8", "memory": "32Gi", "pods": "20000", **(capacity or {})}
        self._watched = "/api/v1/pods" if namespace is None else f"/api/v1/namespaces/{namespace}/pods"
        self._by_uid: dict[str, Pod] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._errors: list[BaseException] = []
        self._watching: asyncio.Task[None] | None = None
        self._logs = LogServer(self)

    async def __aenter__(self) -> Kubelet:
        self.folder = Path(tempfile.mkdtemp(prefix="kubelet-"))
        self.keeper = await asyncio.to_thread(Keeper)
        mark = os.urandom(8).hex()
        self.environment[Process.MARK] = mark
        self.keeper.tell(mark=f"{Process.MARK}={mark}")
        self._stack = contextlib.AsyncExitStack()
        try:
            await self._stack.enter_async_context(self.api)
            certificate = await asyncio.to_thread(_certificate)
            port = await self._stack.enter_async_context(self._logs.serve(certificate))
            await self._register(port)
        except BaseException:
            await self._stack.aclose()
            await asyncio.to_thread(self._let_go)
            raise
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._watching is not None
        tasks = [self._watching, *self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._logs.close_streams()
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_FAREWELL):
                await self.api.delete(f"/api/v1/nodes/{self.name}")
        await self._stack.aclose()
        await asyncio.to_thread(self._let_go)
        if self._errors:
            raise BaseExceptionGroup("the kubelet has a fault that nobody has asked for", self._errors)

    def spawn(self, work: Coroutine[Any, Any, object]) -> None:
        """Let something be done besides; it is cancelled when we close, which raises what went wrong in it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._errors.append(error)

    def event(self, pod: Pod, kind: str, reason: str, message: str, component: str = "kubelet") -> None:
        """Tell of something as an event of a pod; nobody waits for it, and it may be lost."""
        namespace, name = pod.key
        reference = {"kind": "Pod", "apiVersion": "v1", "namespace": namespace, "name": name, "uid": pod.uid}
        moment = now()
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{name}.{os.urandom(8).hex()}", "namespace": namespace},
            "involvedObject": reference,
            "type": kind,
            "reason": reason,
            "message": message[:1024],
            "source": {"component": component, "host": self.name},
            "firstTimestamp": moment,
            "lastTimestamp": moment,
            "count": 1,
        }
        self.spawn(self._post_event(f"/api/v1/namespaces/{namespace}/events", body))

    def complaint(self, pod: Object) -> str:
        """Return why a pod does not fit on this node, in the words of the scheduler; nothing where it does."""
        wanted = pod["spec"].get("nodeSelector") or {}
        if any(self._labels.get(key) != value for key, value in wanted.items()):
            return "node(s) didn't match Pod's node affinity/selector"
        for what in ("cpu", "memory"):
            requests = [
                (it.get("resources") or {}).get("requests", {}).get(what, "0") for it in pod["spec"]["containers"]
            ]
            if sum(map(_quantity, requests)) > _quantity(self._capacity[what]):
                return f"Insufficient {what}"
        return ""

    def node_status(self, ready: bool = True) -> Object:
        """Return the status of the node."""
        how = condition("Ready", True, "KubeletReady", "kubelet is posting ready status")
        if not ready:
            how = condition("Ready", False, "KubeletNotReady", "node is shutting down")
        return {
            "capacity": self._capacity,
            "allocatable": self._capacity,
            "conditions": [of_a_node(how)],
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": self.name}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self._logs.port}},
        }

    async def _register(self, port: int) -> None:
        """Enter the node."""
        status = self.node_status()
        metadata = {"name": self.name, "labels": self._labels}
        body = {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": {}, "status": status}
        try:
            await self.api.surely("POST", "/api/v1/nodes", body)
        except ApiError as error:
            if error.status != 409:
                raise
        path = f"/api/v1/nodes/{self.name}"
        await self.api.patch(f"{path}/status", {"status": status})
        # A node that is new is tainted as not ready, until a controller has seen that it is.
        await self.api.patch(path, {"spec": {"taints": None}})

    async def _watch(self) -> None:
        """See all pods, for ever."""
        async for kind, seen in self.api.follow(self._watched):
            if kind == "LISTED":
                known = {it["metadata"]["uid"] for it in seen}
                for gone in [pod for uid, pod in self._by_uid.items() if uid not in known]:
                    self._forget(gone)
                for it in seen:
                    self._see(it)
            elif kind == "DELETED":
                if (pod := self._by_uid.get(seen["metadata"]["uid"])) is not None:
                    self._forget(pod)
            else:
                self._see(seen)

    def _see(self, seen: Object) -> None:
        uid = seen["metadata"]["uid"]
        if (pod := self._by_uid.get(uid)) is not None:
            pod.look(seen)
            return
        if seen["spec"].get("nodeName", self.name) != self.name:
            return
        if seen.get("status", {}).get("phase") in TERMINAL:
            return
        if seen["metadata"].get("deletionTimestamp") and not seen["spec"].get("nodeName"):
            return
        pod = self._by_uid[uid] = self.pods[seen["metadata"]["namespace"], seen["metadata"]["name"]] = Pod(self, seen)
        pod.look(seen)
        self.spawn(pod.run())

    def _forget(self, pod: Pod) -> None:
        del self._by_uid[pod.uid]
        if self.pods.get(pod.key) is pod:
            del self.pods[pod.key]
        pod.leave()

    async def _post_event(self, path: str, body: Object) -> None:
        with contextlib.suppress(Exception):
            await self.online.wait()
            async with self.slots:
                await self.api.post(path, body)

    def _let_go(self) -> None:
        self.keeper.close()
        shutil.rmtree(self.folder, ignore_errors=True)


@functools.cache
def _certificate() -> tuple[Path, Path]:
    """Make a certificate that nobody has to trust, once in a process: API servers ask a kubelet for none by default."""
    folder = Path(tempfile.mkdtemp(prefix="kubelet-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    key, certificate = folder / "kubelet.key", folder / "kubelet.crt"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=kubelet"
    subprocess.run(
        [*command.split(), "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    return certificate, key


def _quantity(text: str) -> float:
    """Return how much it is."""
    scale = {"m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}
    number = text.rstrip("mkKMGTi")
    return float(number) * scale.get(text[len(number) :], 1.0)
