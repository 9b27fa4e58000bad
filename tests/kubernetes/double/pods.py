"""What is done with pods alone: they are bound to a node, and evicted."""

from __future__ import annotations

from .defaults import now
from .kinds import PODS
from .registry import Registry
from .removal import Removal
from .statuses import Object, Refused, bad_request, conflict, success


def bind(registry: Registry, namespace: str, name: str, binding: Object) -> Object:
    """Say on which node a pod runs; return what is answered."""
    pod = registry.need(PODS, namespace, name)
    if (binding.get("metadata") or {}).get("name") != name:
        raise bad_request("name in URL does not match name in Binding object")
    node = (binding.get("target") or {}).get("name", "")
    if not node:
        raise Refused(500, "target.name: Required value", "")
    if pod.object["spec"].get("nodeName"):
        why = f'pod {name} is already assigned to node "{pod.object["spec"]["nodeName"]}"'
        raise conflict("pods/binding", "", name, why)
    if pod.meta.get("deletionTimestamp"):
        raise conflict("pods/binding", "", name, f"pod {name} is being deleted, cannot be assigned to a host")
    bound = pod.copy()
    bound["spec"]["nodeName"] = node
    said = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": now()}
    rest = [each for each in bound["status"].get("conditions", ()) if each["type"] != "PodScheduled"]
    bound["status"]["conditions"] = [*rest, said]
    registry.storage.put(PODS, bound)
    return {**success(), "code": 201}


def evict(removal: Removal, namespace: str, name: str, eviction: Object) -> Object:
    """Remove a pod politely; return what is answered."""
    removal.delete(PODS, namespace, name, eviction.get("deleteOptions") or {})
    return {**success(), "code": 201}
