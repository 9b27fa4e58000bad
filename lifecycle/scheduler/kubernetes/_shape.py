"""Whether something is an object as an API server gives them, as far as anything here relies on its shape.

What stands before a server may answer in its place, with anything. It is found out where answers come in, so that
nothing behind that has to ask of each field whether it is there and of which type.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_STATE: Final = {
    "waiting": {"reason": str, "message": str},
    "running": {},
    "terminated": {"exitCode": int, "signal": int, "reason": str, "message": str, "containerID": str},
}
_CONTAINERS: Final = [{"name": str, "state": _STATE}]
_OBJECT: Final = {
    "metadata": {
        "name": str,
        "namespace": str,
        "uid": str,
        "resourceVersion": str,
        "creationTimestamp": str,
        "deletionGracePeriodSeconds": int,
        "labels": {},
        "annotations": {},
        "ownerReferences": [{"uid": str}],
    },
    "spec": {
        "containers": [{"name": str}],
        "nodeName": str,
        "template": {"metadata": {"labels": {}}},
    },
    "status": {
        "phase": str,
        "reason": str,
        "message": str,
        "conditions": [{"type": str, "status": str, "reason": str, "message": str}],
        "containerStatuses": _CONTAINERS,
        "initContainerStatuses": _CONTAINERS,
    },
}
"""A table stands for one that may have these fields, each of them absent or null; a table without any, for texts."""


def is_object(item: Any) -> bool:
    """Return whether something is an object with a name whose fields have the types that they have to have."""
    return _fits(item, _OBJECT) and isinstance((item.get("metadata") or {}).get("name"), str)


def _fits(value: Any, shape: Any) -> bool:
    if isinstance(shape, type):
        return isinstance(value, shape) and not isinstance(value, bool)  # which Python counts as a number
    if isinstance(shape, list):
        return isinstance(value, list) and all(_fits(one, shape[0]) for one in value)
    if not isinstance(value, Mapping):
        return False
    if not shape:
        return all(one is None or isinstance(one, str) for one in value.values())
    return all(value.get(key) is None or _fits(value[key], inner) for key, inner in shape.items())
