"""What the server fills in: the defaults of specs, and what it generates for a new object."""

from __future__ import annotations

import datetime
import random
import uuid
from typing import Any

from .kinds import EVENTS, JOBS, NAMESPACES, NODES, PODS, SECRETS, Kind
from .manners import Manner
from .statuses import Object

#: What a generated name may end with: no vowels, so that it is no word.
SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
#: What servers before the field did not know, and dropped.
NEWER_FIELDS = (
    ("suspend", "suspend"),
    ("indexed", "completionMode"),
    ("indexed", "backoffLimitPerIndex"),
    ("indexed", "maxFailedIndexes"),
    ("tracking", "podFailurePolicy"),
    ("tracking", "podReplacementPolicy"),
    ("tracking", "successPolicy"),
    ("tracking", "managedBy"),
)


def now() -> str:
    """Return this second as objects say it."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_since(stamp: str) -> float:
    """Return how long ago that was."""
    then = datetime.datetime.fromisoformat(stamp)
    return (datetime.datetime.now(datetime.UTC) - then).total_seconds()


def suffix() -> str:
    """Return the end of a generated name."""
    return "".join(random.choices(SUFFIX, k=5))


def born(kind: Kind, meta: dict[str, Any], manner: Manner) -> None:
    """Fill in what every new object gets."""
    if not meta.get("name") and meta.get("generateName"):
        meta["name"] = meta["generateName"][:58] + suffix()
    meta["uid"] = str(uuid.uuid4())
    meta["creationTimestamp"] = now()
    for key in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "managedFields"):
        meta.pop(key, None)
    meta.pop("generation", None)
    if kind.generation and manner.generations:
        meta["generation"] = 1


def prepare(kind: Kind, new: Object, manner: Manner) -> None:
    """Fill in the defaults of a new object, and drop what only the server may say."""
    if kind.status and kind is not NODES:
        new["status"] = {}
    if kind is JOBS:
        fill_job(new, manner)
        select(new, manner)
    elif kind is PODS:
        fill_pod(new)
    elif kind is NAMESPACES:
        new["spec"] = {"finalizers": ["kubernetes"]}
        new["status"] = {"phase": "Active"}
        if manner.prefixed_labels:  # since 1.21
            new["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = new["metadata"]["name"]
    elif kind is SECRETS:
        new.setdefault("type", "Opaque")
        for key, text in new.pop("stringData", None or {}).items():
            new.setdefault("data", {})[key] = base64_of(text)
    elif kind is EVENTS:
        fill_event(new)
    elif kind is NODES:
        fill_node(new)


def base64_of(text: str) -> str:
    """Return text as secrets keep it."""
    import base64

    return base64.b64encode(text.encode()).decode()


def fill_event(event: Object) -> None:
    """Fill in what an event says even if nobody said it."""
    for key in ("source", "involvedObject"):
        event.setdefault(key, {})
    for key in ("firstTimestamp", "lastTimestamp", "eventTime"):
        event.setdefault(key, None)
    event.setdefault("reportingComponent", "")
    event.setdefault("reportingInstance", "")


NODE_INFO = (
    "architecture",
    "bootID",
    "containerRuntimeVersion",
    "kernelVersion",
    "kubeProxyVersion",
    "kubeletVersion",
    "machineID",
    "operatingSystem",
    "osImage",
    "systemUUID",
)


def fill_node(node: Object) -> None:
    """Fill in what a node says even if nobody said it; until somebody finds it ready, it is tainted."""
    taint = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
    taints = node.setdefault("spec", {}).setdefault("taints", [])
    if taint not in taints:
        taints.append(taint)
    fill_status(NODES, node)


def fill_status(kind: Kind, value: Object) -> None:
    """Fill in what a status says even if nobody said it."""
    status = value.setdefault("status", {})
    if kind is NODES:
        status.setdefault("daemonEndpoints", {}).setdefault("kubeletEndpoint", {}).setdefault("Port", 0)
        info = status.setdefault("nodeInfo", {})
        for name in NODE_INFO:
            info.setdefault(name, "")
    if kind is PODS and status.get("podIPs"):
        status["podIP"] = status["podIPs"][0].get("ip", "")
    elif kind is PODS and status.get("podIP"):
        status["podIPs"] = [{"ip": status["podIP"]}]
    for condition in (status.get("conditions") or ()) if kind in (PODS, JOBS) else ():
        condition.setdefault("lastProbeTime", None)
        condition.setdefault("lastTransitionTime", None)
    for part in ("containerStatuses", "initContainerStatuses") if kind is PODS else ():
        for each in status.get(part) or ():
            for name, blank in ("state", {}), ("lastState", {}), ("ready", False), ("restartCount", 0):
                each.setdefault(name, dict(blank) if isinstance(blank, dict) else blank)
            each.setdefault("image", "")
            each.setdefault("imageID", "")


def fill_job(job: Object, manner: Manner) -> None:
    """Fill in the defaults of a Job."""
    spec = job.setdefault("spec", {})
    for needs, name in NEWER_FIELDS:
        if not getattr(manner, needs):
            spec.pop(name, None)
    template = spec.setdefault("template", {})
    template.setdefault("metadata", {}).setdefault("creationTimestamp", None)
    fill_pod_spec(template.setdefault("spec", {}))
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = 1
    for name, value in (("parallelism", 1), ("backoffLimit", 6)):
        if spec.get(name) is None:
            spec[name] = value
    if manner.indexed:
        spec.setdefault("completionMode", "NonIndexed")
    if manner.suspend:
        spec.setdefault("suspend", False)
    if manner.tracking:
        spec.setdefault("podReplacementPolicy", "Failed" if spec.get("podFailurePolicy") else "TerminatingOrFailed")


def select(job: Object, manner: Manner) -> None:
    """Make the selector of a Job and the labels of its pods, unless somebody wants to do that by hand."""
    spec, uid, name = job["spec"], job["metadata"]["uid"], job["metadata"]["name"]
    meta = spec["template"]["metadata"]
    inherits = not job["metadata"].get("labels") and meta.get("labels")
    if not spec.get("manualSelector"):
        prefix = "batch.kubernetes.io/"
        labels = {"controller-uid": uid, "job-name": name}
        chosen = {f"{prefix}controller-uid": uid} if manner.prefixed_labels else {"controller-uid": uid}
        if manner.prefixed_labels:
            labels |= {f"{prefix}{key}": value for key, value in labels.items()}
        meta["labels"] = {**meta.get("labels", {}), **labels}
        spec.setdefault("selector", {}).setdefault("matchLabels", {}).update(chosen)
    if inherits:
        job["metadata"]["labels"] = dict(meta["labels"])


def finish(kind: Kind, new: Object) -> None:
    """Fill in what an object gets only when it is read again: a Job without labels shows those of its pods."""
    if kind is JOBS and not new["metadata"].get("labels"):
        new["metadata"]["labels"] = dict(new["spec"]["template"]["metadata"].get("labels", {}))


def fill_pod_spec(spec: dict[str, Any]) -> None:
    """Fill in the defaults of the spec of a pod, also of one in a template."""
    for name, value in (
        ("restartPolicy", "Always"),
        ("terminationGracePeriodSeconds", 30),
        ("dnsPolicy", "ClusterFirst"),
        ("securityContext", {}),
        ("schedulerName", "default-scheduler"),
    ):
        if spec.get(name) is None:
            spec[name] = dict(value) if isinstance(value, dict) else value
    if spec.get("serviceAccountName"):
        spec["serviceAccount"] = spec["serviceAccountName"]
    for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
        fill_container(container)
    for volume in spec.get("volumes") or ():
        if len(volume) == 1:
            volume["emptyDir"] = {}
        for source in ("secret", "configMap", "downwardAPI", "projected"):
            if volume.get(source) is not None:
                volume[source].setdefault("defaultMode", 420)
        if volume.get("hostPath") is not None:
            volume["hostPath"].setdefault("type", "")


def fill_container(container: dict[str, Any]) -> None:
    """Fill in the defaults of a container."""
    if container.get("image"):
        last = container["image"].rpartition("/")[2]
        latest = "@" not in last and (":" not in last or last.endswith(":latest"))
        container.setdefault("imagePullPolicy", "Always" if latest else "IfNotPresent")
    container.setdefault("resources", {})
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    for port in container.get("ports") or ():
        port.setdefault("protocol", "TCP")
    for variable in container.get("env") or ():
        reference = (variable.get("valueFrom") or {}).get("fieldRef")
        if reference:
            reference.setdefault("apiVersion", "v1")
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(probe):
            for name, value in (
                ("timeoutSeconds", 1),
                ("periodSeconds", 10),
                ("successThreshold", 1),
                ("failureThreshold", 3),
            ):
                container[probe].setdefault(name, value)
            if container[probe].get("httpGet"):
                container[probe]["httpGet"].setdefault("path", "/")
                container[probe]["httpGet"].setdefault("scheme", "HTTP")


def fill_pod(pod: Object) -> None:
    """Fill in the defaults of a pod that is to run, and what the usual admission plugins add."""
    spec = pod.setdefault("spec", {})
    fill_pod_spec(spec)
    spec.setdefault("enableServiceLinks", True)
    spec.setdefault("priority", 0)
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
    tolerated = {each.get("key") for each in spec.get("tolerations") or ()}
    for trouble in ("not-ready", "unreachable"):
        key = f"node.kubernetes.io/{trouble}"
        if key not in tolerated:
            toleration = {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
            spec.setdefault("tolerations", []).append(toleration)
    for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
        resources = container["resources"]
        if resources.get("limits"):
            resources["requests"] = {**resources["limits"], **(resources.get("requests") or {})}
    pod["status"] = {"phase": "Pending", "qosClass": quality(spec)}


def quality(spec: dict[str, Any]) -> str:
    """Return how firmly a pod holds what it asked for."""
    asked = [each["resources"] for each in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]]
    words = ("cpu", "memory")
    if not any((each.get(part) or {}).get(word) for each in asked for part in ("limits", "requests") for word in words):
        return "BestEffort"
    for each in asked:
        limits, requests = each.get("limits") or {}, each.get("requests") or {}
        if any(not limits.get(word) or limits[word] != requests.get(word) for word in words):
            return "Burstable"
    return "Guaranteed"
