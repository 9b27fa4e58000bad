"""What can be done to the node of our kubelet and to its pods, each told as a cluster of today tells it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from .api import Api, ApiError, Object
from .pod import TERMINAL, Ending, Pod
from .statuses import condition, merged, now

if TYPE_CHECKING:
    from .log_server import LogServer

DISRUPTION = "DisruptionTarget"
_UNREACHABLE = "node.kubernetes.io/unreachable"


class Faults:
    """Faults of a node; the part of a kubelet that they belong to is `.kubelet.Kubelet`."""

    name: str
    api: Api
    online: asyncio.Event
    pods: dict[tuple[str, str], Pod]
    shutting_down: bool
    event: Callable[..., None]
    node_status: Callable[..., Object]
    spawn: Callable[[Coroutine[Any, Any, object]], None]
    _logs: LogServer
    _watch: Callable[[], Coroutine[Any, Any, None]]
    _watching: asyncio.Task[None] | None

    def evict(self, namespace: str, name: str, resource: str = "memory") -> None:
        """Let the kubelet end a pod, since the node has too little of something; the pod has failed, and stays."""
        pod = self.pods[namespace, name]
        used = ", ".join(f"Container {it.name} was using 812304Ki, request is 0" for it in pod.containers)
        message = (
            f"The node was low on resource: {resource}. Threshold quantity: 100Mi, available: 61552Ki. "
            f"{used}, has larger consumption of {resource}. "
        )
        self.event(pod, "Warning", "Evicted", message)
        because = condition(DISRUPTION, True, "TerminationByKubelet", message)
        pod.end(Ending(0.0, reason="Evicted", message=message, because=because))

    async def evict_by_api(self, namespace: str, name: str) -> None:
        """Let somebody who drains the node evict a pod: it is deleted, with the grace that it asks for."""
        await self._mark(namespace, name, "EvictionByEvictionAPI", "Eviction API: evicting")
        path = f"/api/v1/namespaces/{namespace}/pods/{name}"
        metadata = {"name": name, "namespace": namespace}
        for version in ("policy/v1", "policy/v1beta1"):
            with contextlib.suppress(ApiError):
                body = {"apiVersion": version, "kind": "Eviction", "metadata": metadata}
                await self.api.post(f"{path}/eviction", body)
                return
        await self._delete(path)

    async def preempt(self, namespace: str, name: str) -> None:
        """Let the scheduler make room for a pod that is more important: the pod is deleted, with its grace."""
        message = "default-scheduler: preempting to accommodate a higher priority pod"
        await self._mark(namespace, name, "PreemptionByScheduler", message)
        self.event(self.pods[namespace, name], "Normal", "Preempted", message, "default-scheduler")
        await self._delete(f"/api/v1/namespaces/{namespace}/pods/{name}")

    async def lose_node(self, *, node_lost: bool = False) -> None:
        """Cut the node off, then do what the controllers do after five minutes of its silence.

        Its processes go on, and nobody hears of them. Its pods are marked and deleted, but nobody confirms that, so
        that they stay, ``Running`` by their phase, until `return_node` or `forget_node`.

        Args:
            node_lost: whether the pods get the reason ``NodeLost``, as older controllers write it.
        """
        await self.go_silent()
        unknown = condition("Ready", "Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status.")
        await self._patch_node({"status": {"conditions": [of_a_node(unknown)]}}, "/status")
        effects = [
            {"key": _UNREACHABLE, "effect": effect, "timeAdded": now()} for effect in ("NoSchedule", "NoExecute")
        ]
        await self._patch_node({"spec": {"taints": effects}})
        for pod in await self._on_the_node():
            namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
            path = f"/api/v1/namespaces/{namespace}/pods/{name}"
            unready = condition("Ready", False, "NodeNotReady", "Node is not ready")
            why = condition(
                DISRUPTION, True, "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint"
            )
            status: Object = {"conditions": merged(pod["status"].get("conditions") or [], [unready, why])}
            if node_lost:
                message = f"Node {self.name} which was running pod {name} is unresponsive"
                status |= {"reason": "NodeLost", "message": message}
            await self.api.patch(f"{path}/status", {"status": status})
            await self._delete(path)

    async def go_silent(self) -> None:
        """Cut the node off: it neither hears nor tells anything, and hands out no log. Its processes go on."""
        self.online.clear()
        self._logs.close_streams()
        assert self._watching is not None
        self._watching.cancel()
        await asyncio.gather(self._watching, return_exceptions=True)

    async def return_node(self) -> None:
        """Let the node come back: it tells what has become of its pods, and ends those that were deleted meanwhile."""
        with contextlib.suppress(ApiError):  # it may have been forgotten
            await self._patch_node({"status": {**self.node_status(), "conditions": self._ready()}}, "/status")
            await self._patch_node({"spec": {"taints": None}})
        self.online.set()
        assert self._watching is not None
        if self._watching.done():
            self._watching = asyncio.create_task(self._watch())
        for pod in list(self.pods.values()):
            pod.tell_again()

    async def forget_node(self) -> None:
        """Let somebody delete the node, which is lost: its pods are then removed by force, whatever they are doing."""
        if self.online.is_set():
            await self.go_silent()
        await self.api.delete(f"/api/v1/nodes/{self.name}")
        for pod in await self._on_the_node():
            path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"
            why = condition(DISRUPTION, True, "DeletionByPodGC", "PodGC: node no longer exists")
            status = {"phase": "Failed", "conditions": merged(pod["status"].get("conditions") or [], [why])}
            await self.api.patch(f"{path}/status", {"status": status})
            await self._delete(path, gracePeriodSeconds=0)

    async def shutdown_node(self) -> None:
        """Let the machine be shut down in an orderly way: its pods have failed, and it takes no others."""
        self.shutting_down = True
        await self._patch_node({"status": {"conditions": self._ready(False)}}, "/status")
        message = "Pod was terminated in response to imminent node shutdown."
        because = condition(DISRUPTION, True, "TerminationByKubelet", message)
        for pod in list(self.pods.values()):
            grace = float(pod.seen["spec"].get("terminationGracePeriodSeconds", 30))
            pod.end(Ending(grace, reason="Terminated", message=message, because=because))

    def rejection(self) -> Ending:
        """Return how a pod ends that comes to a node which is shutting down."""
        return Ending(0.0, reason="NodeShutdown", message="Pod was rejected as the node is shutting down.")

    def pause_logs(self, namespace: str | None = None, name: str = "") -> None:
        """Hand out nothing of the log of a pod, of all by default; connections stay."""
        self._logs.paused.setdefault((namespace, name) if namespace else None, asyncio.Event())

    def resume_logs(self) -> None:
        """Hand out logs again, those that were not meanwhile included."""
        for event in self._logs.paused.values():
            event.set()
        self._logs.paused.clear()

    def break_logs(self, namespace: str, name: str, *, lines: int = 0) -> None:
        """Break the connections over which the log of a pod is followed, in the middle of a line.

        Where there is none, the next one breaks.

        Args:
            lines: how many lines go through before that, for the next one.
        """
        if not self._logs.cut((namespace, name)):
            self._logs.breaks.setdefault((namespace, name), []).append(lines)

    async def _mark(self, namespace: str, name: str, reason: str, message: str) -> None:
        """Enter why a pod is about to be deleted."""
        path = f"/api/v1/namespaces/{namespace}/pods/{name}"
        pod = await self.api.get(path)
        new = merged(pod["status"].get("conditions") or [], [condition(DISRUPTION, True, reason, message)])
        await self.api.patch(f"{path}/status", {"status": {"conditions": new}})

    async def _delete(self, path: str, **options: object) -> None:
        with contextlib.suppress(ApiError):  # it may have ended by itself
            await self.api.delete(path, **options)

    async def _patch_node(self, body: Object, part: str = "") -> None:
        await self.api.patch(f"/api/v1/nodes/{self.name}{part}", body)

    async def _on_the_node(self) -> list[Object]:
        """Return the pods of the node that have not ended."""
        found: list[Object] = (await self.api.get("/api/v1/pods"))["items"]
        ours = [it for it in found if it["spec"].get("nodeName") == self.name]
        return [it for it in ours if it.get("status", {}).get("phase") not in TERMINAL]

    def _ready(self, ready: bool = True) -> list[Object]:
        conditions: list[Object] = self.node_status(ready)["conditions"]
        return conditions


def of_a_node(it: Object) -> Object:
    """Return a condition as nodes have them."""
    return {key: value for key, value in it.items() if key != "lastProbeTime"} | {"lastHeartbeatTime": now()}
