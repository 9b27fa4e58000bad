"""The status of a pod and of its containers, word for word as a kubelet writes it: functions without side effects."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Object = dict[str, Any]

#: What a container runtime says of a container that could not be started.
NEVER = "1970-01-01T00:00:00Z"


def now() -> str:
    """Return the time as the API has it: whole seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class ContainerState:
    """What is known of one container of a pod."""

    name: str
    image: str
    state: Object
    last: Object = field(default_factory=dict)
    restarts: int = 0
    container_id: str = ""

    def runs(self, since: str) -> None:
        """It has been started."""
        self.container_id = f"containerd://{uuid.uuid4().hex}{uuid.uuid4().hex}"
        self.state = {"running": {"startedAt": since}}

    def waits(self, reason: str, message: str = "") -> None:
        """It cannot be started yet."""
        self.state = {"waiting": {"reason": reason, **({"message": message} if message else {})}}

    def ends(self, code: int, reason: str, message: str, started: str, finished: str) -> None:
        """It has ended."""
        if not self.container_id:
            self.runs(started)
        told = {"message": message} if message else {}
        times = {"startedAt": started, "finishedAt": finished, "containerID": self.container_id}
        self.state = {"terminated": {"exitCode": code, "reason": reason, **told, **times}}

    def begins_again(self) -> None:
        """It will be started once more; what it was is remembered."""
        self.last = self.state
        self.restarts += 1

    @property
    def terminated(self) -> Object | None:
        """How it has ended."""
        return self.state.get("terminated")

    @property
    def succeeded(self) -> bool:
        """Whether it has ended, and well."""
        return self.terminated is not None and self.terminated["exitCode"] == 0

    def report(self, *, initial: bool = False) -> Object:
        """Return its entry in the status of the pod."""
        running = "running" in self.state
        return {
            "name": self.name,
            "image": self.image,
            "imageID": _image_id(self.image) if self.container_id else "",
            "containerID": self.container_id,
            "ready": self.succeeded if initial else running,
            "started": running,
            "restartCount": self.restarts,
            "state": self.state,
            "lastState": self.last,
        }


def _image_id(image: str) -> str:
    return f"docker.io/{image.partition(':')[0]}@sha256:{hashlib.sha256(image.encode()).hexdigest()}"


def condition(kind: str, status: bool | str, reason: str = "", message: str = "") -> Object:
    """Return a condition of now."""
    told = {"reason": reason} if reason else {}
    if message:
        told["message"] = message
    value = status if isinstance(status, str) else str(status)
    return {"type": kind, "status": value, "lastProbeTime": None, "lastTransitionTime": now(), **told}


def merged(old: Sequence[Object], new: Sequence[Object]) -> list[Object]:
    """Return the new conditions and those of others; one whose status stays keeps the time of its transition."""
    known = {it["type"]: it for it in old}
    for it in new:
        before = known.get(it["type"])
        if before is not None and before["status"] == it["status"]:
            it["lastTransitionTime"] = before.get("lastTransitionTime") or it["lastTransitionTime"]
        known[it["type"]] = it
    return list(known.values())


def conditions(phase: str, inits: Sequence[ContainerState], containers: Sequence[ContainerState]) -> list[Object]:
    """Return the conditions that a kubelet is responsible for."""
    late = [it.name for it in inits if not it.succeeded]
    unready = [it.name for it in containers if "running" not in it.state]
    if phase == "Succeeded":
        initialized = condition("Initialized", True, "PodCompleted")
        readiness = False, "PodCompleted", ""
    else:
        initialized = condition("Initialized", True)
        if late:
            message = f"containers with incomplete status: [{' '.join(late)}]"
            initialized = condition("Initialized", False, "ContainersNotInitialized", message)
        readiness = True, "", ""
        if phase == "Failed":
            readiness = False, "PodFailed", ""
        elif unready:
            readiness = False, "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]"
    sandbox = any("running" in it.state for it in (*inits, *containers))
    return [
        condition("PodReadyToStartContainers", sandbox),
        initialized,
        condition("Ready", *readiness),
        condition("ContainersReady", *readiness),
        condition("PodScheduled", True),
    ]


def phase_of(policy: str, inits: Sequence[ContainerState], containers: Sequence[ContainerState], ending: bool) -> str:
    """Return the phase of a pod.

    Args:
        policy: its restart policy.
        inits: its init containers.
        containers: the others.
        ending: whether nothing will be started any more.
    """
    gives_up = ending or policy == "Never"
    if any(it.terminated and not it.succeeded for it in inits) and gives_up:
        return "Failed"
    if not all(it.succeeded for it in inits):
        return "Pending"
    if all(it.terminated for it in containers):
        if all(it.succeeded for it in containers) and (gives_up or policy == "OnFailure"):
            return "Succeeded"
        return "Failed" if gives_up else "Running"
    begun = any("running" in it.state or it.terminated or it.restarts for it in containers)
    return "Running" if begun else "Pending"
