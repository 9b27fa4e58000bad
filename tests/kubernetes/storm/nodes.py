"""The nodes of one cluster in a storm, as a process of their own; what a pod's label asks for is done to it.

``python -m tests.kubernetes.storm.nodes KUBECONFIG`` runs until SIGTERM, and fails when a kubelet has failed.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp

from ..api import ApiError
from ..kubelet import Kubelet

FATE = "storm/fate"
"""The label that says what is to happen to a pod when it runs."""

LOST = "lost"

Object = dict[str, Any]


class Node(Kubelet):
    """A node; of two of a cluster one is for the pods whose node is to be lost.

    Args:
        kubeconfig: how the API is reached.
        lost: whether it is that one.
    """

    def __init__(self, kubeconfig: Path, *, lost: bool) -> None:
        super().__init__(kubeconfig, calls=64)
        self._lost = lost
        self._struck: set[str] = set()
        self._losing = False

    def _see(self, seen: Object) -> None:
        fate = (seen["metadata"].get("labels") or {}).get(FATE, "")
        if (fate == LOST) is not self._lost:
            return
        super()._see(seen)
        uid = seen["metadata"]["uid"]
        if fate and seen.get("status", {}).get("phase") == "Running" and uid not in self._struck:
            self._struck.add(uid)
            self._strike(fate, seen["metadata"])

    def _strike(self, fate: str, meta: Object) -> None:
        namespace, name = meta["namespace"], meta["name"]
        if fate == LOST:
            if not self._losing:
                self._losing = True
                self.spawn(self._be_lost())
        elif fate == "evicted" and (namespace, name) in self.pods:
            self.evict(namespace, name)
        elif fate == "drained":
            self.spawn(self._drain(namespace, name))
        elif fate == "deleted":
            job = meta["labels"]["job-name"]
            path = f"/apis/batch/v1/namespaces/{namespace}/jobs/{job}"
            self.spawn(surely(lambda: self.api.delete(path, propagationPolicy="Background")))

    async def _drain(self, namespace: str, name: str) -> None:
        """Evict a pod through the API, again and again until that was heard."""
        path = f"/api/v1/namespaces/{namespace}/pods/{name}"
        with contextlib.suppress(ApiError):  # it is gone
            while not (await self.api.surely("GET", path))["metadata"].get("deletionTimestamp"):
                await surely(lambda: self.evict_by_api(namespace, name))

    async def _be_lost(self) -> None:
        await asyncio.sleep(0.1)  # others that have just begun are lost as well
        await surely(self.lose_node)
        while await self._awaits():
            await asyncio.sleep(0.2)
        self._losing = False
        await surely(self.return_node)

    async def _awaits(self) -> bool:
        """Return whether somebody still has to see which pods are lost: when the node is back, they do not tell."""
        pods = (await self.api.surely("GET", f"/api/v1/pods?labelSelector={FATE}%3D{LOST}"))["items"]
        jobs = (await self.api.surely("GET", f"/apis/batch/v1/jobs?labelSelector={FATE}%3D{LOST}"))["items"]
        there = {job["metadata"]["name"] for job in jobs if not job["metadata"].get("deletionTimestamp")}
        lost = [pod for pod in pods if pod["metadata"].get("deletionTimestamp")]
        return any(pod["metadata"]["labels"]["job-name"] in there for pod in lost)


async def surely(do: Callable[[], Awaitable[object]]) -> None:
    """Do something until it is done, or there is nothing to do it to: the API may be away."""
    while True:
        try:
            await do()
        except ApiError as error:
            if error.status == 404:
                return
        except (aiohttp.ClientError, OSError, TimeoutError):
            pass
        else:
            return
        await asyncio.sleep(0.1)


async def serve(kubeconfig: Path) -> None:
    """Run both nodes until SIGTERM."""
    enough = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, enough.set)
    async with contextlib.AsyncExitStack() as stack:
        for lost in (False, True):
            await stack.enter_async_context(Node(kubeconfig, lost=lost))
        await enough.wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
