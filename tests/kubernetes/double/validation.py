"""What is refused although it can be read: in names, labels, the specs of Jobs and pods; and what must not change."""

from __future__ import annotations

import re
from typing import Any

from .kinds import JOBS, NAMESPACES, PODS, SECRETS, Kind
from .manners import Manner
from .statuses import Object, cause, invalid_value, required, shown_map, unsupported, wrong

LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
DNS_LABEL = re.compile(LABEL)
DNS_NAME = re.compile(rf"{LABEL}(\.{LABEL})*")
QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")

NO_NAME = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and"
    " end with an alphanumeric character (e.g. 'example.com', regex used for validation is"
    f" '{LABEL}(\\.{LABEL})*')"
)
NO_LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with"
    f" an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{LABEL}')"
)
NO_KEY = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric"
    " character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is"
    " '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
NO_VALUE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and"
    " end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is"
    " '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
ANNOTATIONS = 256 * 1024
Causes = list[Object]


def problems_of(kind: Kind, value: Object, manner: Manner) -> Causes:
    """Return all reasons why an object is invalid."""
    found = meta_problems(kind, value["metadata"])
    if kind is JOBS:
        found += job_problems(value["spec"], manner)
    elif kind is PODS:
        found += pod_problems(value["spec"], "spec")
    return found


def meta_problems(kind: Kind, meta: dict[str, Any]) -> Causes:
    """Look at the metadata."""
    found: Causes = []
    name, start = meta.get("name", ""), meta.get("generateName", "")
    if not name:
        found.append(required("metadata.name", "name or generateName is required"))
    else:
        shape, message, most = (DNS_LABEL, NO_LABEL, 63) if kind is NAMESPACES else (DNS_NAME, NO_NAME, 253)
        if len(name) > most:
            found.append(invalid_value("metadata.name", name, f"must be no more than {most} characters"))
        if not shape.fullmatch(name):
            if start and not DNS_NAME.fullmatch(start.rstrip("-") or "-"):
                found.append(invalid_value("metadata.generateName", start, message))
            found.append(invalid_value("metadata.name", name, message))
    found += label_problems(meta.get("labels") or {}, "metadata.labels")
    return found + annotation_problems(meta.get("annotations") or {}, "metadata.annotations")


def label_problems(labels: dict[str, str], field: str) -> Causes:
    """Look at labels."""
    found = key_problems(labels, field)
    for value in labels.values():
        if len(value) > 63:
            found.append(invalid_value(field, value, "must be no more than 63 characters"))
        if not VALUE.fullmatch(value):
            found.append(invalid_value(field, value, NO_VALUE))
    return found


def key_problems(values: dict[str, str], field: str) -> Causes:
    """Look at the keys of labels or annotations."""
    found: Causes = []
    for key in values:
        prefix, slash, name = key.rpartition("/")
        if slash and not DNS_NAME.fullmatch(prefix):
            found.append(invalid_value(field, key, "prefix part " + NO_NAME))
        if not name:
            found.append(invalid_value(field, key, "name part must be non-empty"))
        if len(name) > 63:
            found.append(invalid_value(field, key, "name part must be no more than 63 characters"))
        if not QUALIFIED.fullmatch(name):
            found.append(invalid_value(field, key, NO_KEY))
    return found


def annotation_problems(values: dict[str, str], field: str) -> Causes:
    """Look at annotations: the keys, in lower case, and how much it is in all."""
    found = key_problems({key.lower(): value for key, value in values.items()}, field)
    if sum(len(key.encode()) + len(value.encode()) for key, value in values.items()) > ANNOTATIONS:
        found.append(cause(field, "FieldValueTooLong", f"Too long: must have at most {ANNOTATIONS} bytes"))
    return found


def job_problems(spec: dict[str, Any], manner: Manner) -> Causes:
    """Look at the spec of a Job."""
    found: Causes = []
    for name in ("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"):
        value = spec.get(name)
        if value is not None and value < 0:
            found.append(invalid_value(f"spec.{name}", value, "must be greater than or equal to 0"))
    if manner.indexed:
        mode = spec["completionMode"]
        if mode not in ("NonIndexed", "Indexed"):
            found.append(unsupported("spec.completionMode", mode, ("NonIndexed", "Indexed")))
        elif mode == "Indexed" and spec.get("completions") is None:
            found.append(required("spec.completions", "when completion mode is Indexed"))
    template = spec["template"]
    found += label_problems(template["metadata"].get("labels") or {}, "spec.template.labels")
    found += annotation_problems(template["metadata"].get("annotations") or {}, "spec.template.annotations")
    found += selector_problems(spec)
    found += pod_problems(template["spec"], "spec.template.spec")
    policy = template["spec"]["restartPolicy"]
    if policy == "Always":
        found.append(required("spec.template.spec.restartPolicy", 'valid values: "OnFailure", "Never"'))
    elif policy not in ("OnFailure", "Never"):
        found.append(unsupported("spec.template.spec.restartPolicy", policy, ("OnFailure", "Never")))
    return found


def selector_problems(spec: dict[str, Any]) -> Causes:
    """Look at whether a Job selects its own pods, and no others."""
    found: Causes = []
    chosen = (spec.get("selector") or {}).get("matchLabels")
    labels = spec["template"]["metadata"].get("labels")
    if not spec.get("selector"):
        found.append(required("spec.selector"))
    elif not spec.get("manualSelector") and len(chosen or {}) > 1:
        text = f"v1.LabelSelector{{MatchLabels:{shown_map(chosen)}, "
        text += "MatchExpressions:[]v1.LabelSelectorRequirement(nil)}"
        found.append(wrong("spec.selector", text, "`selector` not auto-generated"))
    if not chosen or not chosen.items() <= (labels or {}).items():
        found.append(
            wrong("spec.template.metadata.labels", shown_map(labels), "`selector` does not match template `labels`")
        )
    return found


def pod_problems(spec: dict[str, Any], path: str) -> Causes:
    """Look at the spec of a pod."""
    found: Causes = []
    volumes = {volume.get("name") for volume in spec.get("volumes") or ()}
    names: set[str] = set()
    if not spec.get("containers"):
        found.append(required(f"{path}.containers"))
    for part in ("containers", "initContainers"):
        for index, container in enumerate(spec.get(part) or ()):
            found += container_problems(container, f"{path}.{part}[{index}]", names, volumes)
    for name, allowed in (
        ("restartPolicy", ("Always", "OnFailure", "Never")),
        ("dnsPolicy", ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")),
    ):
        if spec[name] not in allowed:
            found.append(unsupported(f"{path}.{name}", spec[name], allowed))
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and deadline < 1:
        message = "must be between 1 and 2147483647, inclusive"
        found.append(invalid_value(f"{path}.activeDeadlineSeconds", deadline, message))
    return found


def container_problems(container: dict[str, Any], path: str, names: set[str], volumes: set[str]) -> Causes:
    """Look at one container."""
    found: Causes = []
    name = container.get("name", "")
    if not name:
        found.append(required(f"{path}.name"))
    elif not DNS_LABEL.fullmatch(name):
        found.append(invalid_value(f"{path}.name", name, NO_LABEL))
    elif name in names:
        found.append(cause(f"{path}.name", "FieldValueDuplicate", f'Duplicate value: "{name}"'))
    names.add(name)
    if not container.get("image"):
        found.append(required(f"{path}.image"))
    policies = ("Always", "IfNotPresent", "Never")
    if container.get("imagePullPolicy", "Always") not in policies:
        found.append(unsupported(f"{path}.imagePullPolicy", container["imagePullPolicy"], policies))
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        if mount.get("name") not in volumes:
            message = f'Not found: "{mount.get("name")}"'
            found.append(cause(f"{path}.volumeMounts[{index}].name", "FieldValueNotFound", message))
    return found


def change_problems(kind: Kind, old: Object, new: Object) -> Causes:
    """Return what must not change and does."""
    found: Causes = []
    if kind is JOBS:
        suspended = old["spec"].get("suspend") and not old["status"].get("startTime")
        for name in ("completions", "selector", "completionMode", *(() if suspended else ("template",))):
            if old["spec"].get(name) != new["spec"].get(name):
                found.append(invalid_value(f"spec.{name}", new["spec"].get(name), "field is immutable"))
    elif kind is PODS and steady(old["spec"]) != steady(new["spec"]):
        message = (
            "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
            " `spec.initContainers[*].image`, `spec.activeDeadlineSeconds` or `spec.tolerations` (only additions to"
            " existing tolerations)"
        )
        found.append(cause("spec", "FieldValueForbidden", message))
    elif kind is SECRETS and old.get("type") != new.get("type"):
        found.append(invalid_value("type", new.get("type"), "field is immutable"))
    return found


def steady(spec: dict[str, Any]) -> dict[str, Any]:
    """Return what of a pod's spec must stay as it is."""
    rest = {key: value for key, value in spec.items() if key not in ("activeDeadlineSeconds", "tolerations")}
    for part in ("containers", "initContainers"):
        if spec.get(part):
            rest[part] = [{key: inner for key, inner in each.items() if key != "image"} for each in spec[part]]
    return rest
