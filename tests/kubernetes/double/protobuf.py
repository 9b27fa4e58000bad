"""Bodies in protobuf: kubectl sends what it makes itself that way, such as the Job of `kubectl create job`.

Only what kubectl sends is known here; a field that is not is an error, not a loss.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

from .statuses import Object, bad_request

MAGIC = b"k8s\x00"
#: Messages by name: the number of each field, what it is called, and what it is. A star stands for a list, a percent
#: sign for a map of text to what follows.
MESSAGES: dict[str, dict[int, tuple[str, str]]] = {
    "Unknown": {1: ("type", "Type"), 2: ("raw", "raw"), 3: ("encoding", "text"), 4: ("contentType", "text")},
    "Type": {1: ("apiVersion", "text"), 2: ("kind", "text")},
    "Meta": {
        1: ("name", "text"),
        2: ("generateName", "text"),
        3: ("namespace", "text"),
        4: ("selfLink", "text"),
        5: ("uid", "text"),
        6: ("resourceVersion", "text"),
        7: ("generation", "nothing"),
        8: ("creationTimestamp", "nothing"),
        11: ("labels", "%text"),
        12: ("annotations", "%text"),
        14: ("finalizers", "*text"),
    },
    "Job": {1: ("metadata", "Meta"), 2: ("spec", "JobSpec"), 3: ("status", "nothing")},
    "JobSpec": {
        1: ("parallelism", "number"),
        2: ("completions", "number"),
        3: ("activeDeadlineSeconds", "number"),
        6: ("template", "Template"),
        7: ("backoffLimit", "number"),
        8: ("ttlSecondsAfterFinished", "number"),
    },
    "Template": {1: ("metadata", "Meta"), 2: ("spec", "PodSpec")},
    "PodSpec": {
        2: ("containers", "*Container"),
        3: ("restartPolicy", "text"),
        4: ("terminationGracePeriodSeconds", "number"),
        5: ("activeDeadlineSeconds", "number"),
        6: ("dnsPolicy", "text"),
        8: ("serviceAccountName", "text"),
        9: ("serviceAccount", "text"),
        10: ("nodeName", "text"),
        11: ("hostNetwork", "nothing"),
        12: ("hostPID", "nothing"),
        13: ("hostIPC", "nothing"),
        16: ("hostname", "text"),
        17: ("subdomain", "text"),
        19: ("schedulerName", "text"),
        24: ("priorityClassName", "text"),
    },
    "Container": {
        1: ("name", "text"),
        2: ("image", "text"),
        3: ("command", "*text"),
        4: ("args", "*text"),
        5: ("workingDir", "text"),
        8: ("resources", "nothing"),
        13: ("terminationMessagePath", "text"),
        14: ("imagePullPolicy", "text"),
        16: ("stdin", "nothing"),
        17: ("stdinOnce", "nothing"),
        18: ("tty", "nothing"),
        20: ("terminationMessagePolicy", "text"),
    },
    "Namespace": {1: ("metadata", "Meta"), 2: ("spec", "nothing"), 3: ("status", "nothing")},
    "ConfigMap": {1: ("metadata", "Meta"), 2: ("data", "%text"), 3: ("binaryData", "%bytes")},
    "Secret": {1: ("metadata", "Meta"), 2: ("data", "%bytes"), 3: ("type", "text"), 4: ("stringData", "%text")},
    "ServiceAccount": {1: ("metadata", "Meta")},
    "ResourceQuota": {1: ("metadata", "Meta"), 2: ("spec", "QuotaSpec"), 3: ("status", "nothing")},
    "QuotaSpec": {1: ("hard", "%Quantity")},
    "Quantity": {1: ("text", "text")},
    "SelfSubjectAccessReview": {1: ("metadata", "nothing"), 2: ("spec", "Asked"), 3: ("status", "nothing")},
    "Asked": {1: ("resourceAttributes", "About"), 2: ("nonResourceAttributes", "Path")},
    "About": {
        1: ("namespace", "text"),
        2: ("verb", "text"),
        3: ("group", "text"),
        4: ("version", "text"),
        5: ("resource", "text"),
        6: ("subresource", "text"),
        7: ("name", "text"),
    },
    "Path": {1: ("path", "text"), 2: ("verb", "text")},
    "SelfSubjectReview": {1: ("metadata", "nothing"), 2: ("status", "nothing")},
    "SelfSubjectRulesReview": {1: ("metadata", "nothing"), 2: ("spec", "nothing"), 3: ("status", "nothing")},
}


def decoded(raw: bytes) -> Object:
    """Return the object of a body."""
    if not raw.startswith(MAGIC):
        raise bad_request("the body of the request was in an unknown format")
    outer = message("Unknown", raw[len(MAGIC) :])
    kind = outer["type"]["kind"]
    if kind not in MESSAGES:
        raise bad_request(f"the double reads no {kind} in protobuf")
    return {**outer["type"], **message(kind, outer.get("raw", b""))}


def message(name: str, raw: bytes) -> Object:
    """Return a message; what is empty is left out, as in JSON."""
    made: Object = {}
    for number, value in fields(raw):
        known = MESSAGES[name].get(number)
        if known is None:
            raise bad_request(f"the double does not know field {number} of {name} in protobuf")
        key, what = known
        if what.startswith("*"):
            made.setdefault(key, []).append(single(what[1:], value))
        elif what.startswith("%"):
            pair = dict(fields(value))
            made.setdefault(key, {})[pair.get(1, b"").decode()] = single(what[1:], pair.get(2, b""))
        elif what != "nothing":
            inner = single(what, value)
            if inner or what == "number":
                made[key] = inner
    return made


def single(what: str, value: Any) -> Any:
    """Return one value."""
    if what == "text":
        return value.decode()
    if what == "bytes":
        return base64.b64encode(value).decode()
    if what in ("raw", "number"):
        return value
    made = message(what, value)
    return made.get("text", "") if what == "Quantity" else made


def fields(raw: bytes) -> Iterator[tuple[int, Any]]:
    """Return the numbers and values of a message."""
    at = 0
    while at < len(raw):
        tag, at = varint(raw, at)
        if tag & 7 == 0:
            value, at = varint(raw, at)
            yield tag >> 3, value - (1 << 64) if value >> 63 else value
        elif tag & 7 == 2:
            size, at = varint(raw, at)
            yield tag >> 3, raw[at : at + size]
            at += size
        else:
            raise bad_request("the body of the request was in an unknown format")


def varint(raw: bytes, at: int) -> tuple[int, int]:
    """Return a number, and where what follows it begins."""
    value = shift = 0
    while True:
        byte = raw[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
