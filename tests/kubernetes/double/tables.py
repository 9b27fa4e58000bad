"""Tables: what kubectl prints, which the server computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .defaults import seconds_since
from .kinds import CONFIG_MAPS, EVENTS, JOBS, LEASES, NAMESPACES, NODES, PODS, QUOTAS, SECRETS, SERVICE_ACCOUNTS, Kind
from .manners import Manner
from .statuses import Object
from .storage import Record

Cells = dict[str, Any]
UNITS = (("y", 31536000, 2), ("d", 86400, 2), ("h", 3600, 3), ("m", 60, 10))


def duration(seconds: float) -> str:
    """Return a duration as people like it: the two largest units, while the larger is small."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    if whole < 0:
        return "0s"
    if whole < 120:
        return f"{whole}s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if minutes < 10:
        return f"{minutes}m{whole % 60}s" if whole % 60 else f"{minutes}m"
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    if days < 730:
        return f"{days}d"
    return f"{days // 365}y{days % 365}d"


def age(stamp: str | None) -> str:
    """Return how long ago that was."""
    return duration(seconds_since(stamp)) if stamp else "<unknown>"


def pod_cells(pod: Object) -> Cells:
    """Return the row of a pod."""
    spec, status = pod["spec"], pod.get("status", {})
    states = status.get("containerStatuses") or ()
    text = status.get("reason") or status.get("phase", "")
    for each in reversed(states):
        state = each.get("state") or {}
        if (state.get("waiting") or {}).get("reason"):
            text = state["waiting"]["reason"]
        elif state.get("terminated"):
            ended = state["terminated"]
            text = ended.get("reason") or (
                f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode', 0)}"
            )
    if pod["metadata"].get("deletionTimestamp"):
        text = "Terminating"
    ready = sum(bool(each.get("ready")) and bool((each.get("state") or {}).get("running")) for each in states)
    return {
        "Ready": f"{ready}/{len(spec.get('containers', ()))}",
        "Status": text,
        "Restarts": str(sum(each.get("restartCount", 0) for each in states)),
        "Age": age(pod["metadata"].get("creationTimestamp")),
        "IP": status.get("podIP") or "<none>",
        "Node": spec.get("nodeName") or "<none>",
        "Nominated Node": status.get("nominatedNodeName") or "<none>",
        "Readiness Gates": "<none>",
    }


def job_cells(job: Object) -> Cells:
    """Return the row of a Job."""
    spec, status = job["spec"], job.get("status", {})
    done, wanted, parallel = status.get("succeeded", 0), spec.get("completions"), spec.get("parallelism") or 0
    of = f"{wanted}" if wanted is not None else f"1 of {parallel}" if parallel > 1 else "1"
    took = ""
    if status.get("startTime"):
        took = duration(
            seconds_since(status["startTime"])
            - (seconds_since(status["completionTime"]) if status.get("completionTime") else 0)
        )
    words = {each["type"] for each in status.get("conditions", ()) if each["status"] == "True"}
    word = next((each for each in ("Complete", "Failed") if each in words), "")
    if not word and job["metadata"].get("deletionTimestamp"):
        word = "Terminating"
    word = word or next(
        (each for each in ("Suspended", "FailureTarget", "SuccessCriteriaMet") if each in words), "Running"
    )
    containers = spec["template"]["spec"].get("containers", ())
    chosen = (spec.get("selector") or {}).get("matchLabels") or {}
    return {
        "Status": word,
        "Completions": f"{done}/{of}",
        "Duration": took,
        "Age": age(job["metadata"].get("creationTimestamp")),
        "Containers": ",".join(each["name"] for each in containers),
        "Images": ",".join(each.get("image", "") for each in containers),
        "Selector": ",".join(f"{key}={value}" for key, value in sorted(chosen.items())) or "<none>",
    }


def node_cells(node: Object) -> Cells:
    """Return the row of a node."""
    status = node.get("status", {})
    told = {each["type"]: each["status"] for each in status.get("conditions") or ()}
    word = "Unknown" if "Ready" not in told else "Ready" if told["Ready"] == "True" else "NotReady"
    if node.get("spec", {}).get("unschedulable"):
        word += ",SchedulingDisabled"
    version = (status.get("nodeInfo") or {}).get("kubeletVersion", "")
    addresses = {each["type"]: each["address"] for each in status.get("addresses") or ()}
    return {
        "Status": word,
        "Roles": "<none>",
        "Age": age(node["metadata"].get("creationTimestamp")),
        "Version": version,
        "Internal-IP": addresses.get("InternalIP", "<none>"),
    }


def event_cells(event: Object) -> Cells:
    """Return the row of an event."""
    about, source = event.get("involvedObject", {}), event.get("source", {})
    return {
        "Last Seen": age(event.get("lastTimestamp") or event.get("eventTime")),
        "Type": event.get("type", ""),
        "Reason": event.get("reason", ""),
        "Object": f"{about.get('kind', '').lower()}/{about.get('name', '')}",
        "Subobject": about.get("fieldPath", ""),
        "Source": ", ".join(filter(None, (source.get("component"), source.get("host")))),
        "Message": event.get("message", "").strip(),
        "First Seen": age(event.get("firstTimestamp") or event.get("eventTime")),
        "Count": event.get("count", 1),
    }


def quota_cells(quota: Object) -> Cells:
    """Return the row of a quota."""
    status = quota.get("status", {})
    hard, used = status.get("hard", {}), status.get("used", {})
    asked = ", ".join(f"{word}: {used.get(word, 0)}/{hard[word]}" for word in sorted(hard))
    return {"Age": age(quota["metadata"].get("creationTimestamp")), "Request": asked, "Limit": ""}


def simple(**cells: Callable[[Object], Any]) -> Callable[[Object], Cells]:
    """Return a function that makes rows of a few fields and the age."""

    def row(value: Object) -> Cells:
        made = {name: cell(value) for name, cell in cells.items()}
        return {**made, "Age": age(value["metadata"].get("creationTimestamp"))}

    return row


ROWS: dict[Kind, Callable[[Object], Cells]] = {
    PODS: pod_cells,
    JOBS: job_cells,
    NODES: node_cells,
    EVENTS: event_cells,
    QUOTAS: quota_cells,
    NAMESPACES: simple(Status=lambda it: it.get("status", {}).get("phase", "")),
    SECRETS: simple(Type=lambda it: it.get("type", ""), Data=lambda it: len(it.get("data", {}))),
    CONFIG_MAPS: simple(Data=lambda it: len(it.get("data", {})) + len(it.get("binaryData", {}))),
    SERVICE_ACCOUNTS: simple(Secrets=lambda it: len(it.get("secrets", ()))),
    LEASES: simple(Holder=lambda it: it.get("spec", {}).get("holderIdentity", "")),
}
#: Columns, in their order; those after the bar are shown with -o wide.
COLUMNS: dict[Kind, str] = {
    PODS: "Name Ready Status Restarts Age | IP Node Nominated_Node Readiness_Gates",
    JOBS: "Name Status Completions Duration Age | Containers Images Selector",
    NODES: "Name Status Roles Age Version | Internal-IP",
    EVENTS: "Last_Seen Type Reason Object | Subobject Source = Message | First_Seen Count Name",
    QUOTAS: "Name Age Request Limit",
    NAMESPACES: "Name Status Age",
    SECRETS: "Name Type Data Age",
    CONFIG_MAPS: "Name Data Age",
    SERVICE_ACCOUNTS: "Name Secrets Age",
    LEASES: "Name Holder Age",
}
NUMBERS = ("Data", "Secrets", "Count")


class Tables:
    """Makes tables in the manner of a release."""

    def __init__(self, manner: Manner) -> None:
        self._manner = manner
        self._columns: dict[Kind, list[Object]] = {}
        for kind, text in COLUMNS.items():
            columns, wide = [], 0
            for word in text.split():
                if word in "|=":
                    wide = int(word == "|")
                    continue
                if kind is JOBS and word == "Status" and not manner.terminal_targets:
                    continue
                name = word.replace("_", " ")
                column: Object = {"name": name, "type": "integer" if name in NUMBERS else "string"}
                column |= {"format": "name" if name == "Name" else "", "description": name, "priority": wide}
                columns.append(column)
            self._columns[kind] = columns

    def table(self, kind: Kind, records: list[Record], meta: Object, include: str, *, head: bool = True) -> Object:
        """Return a table of objects.

        Args:
            include: what each row carries of its object: None, Metadata or Object.
            head: whether the columns are named.
        """
        columns = self._columns[kind]
        rows = []
        for record in records:
            cells = {"Name": record.key[1], **ROWS[kind](record.object)}
            if kind is PODS and not self._manner.tracking:
                cells["Restarts"] = int(cells["Restarts"])
            row: Object = {"cells": [cells[column["name"]] for column in columns]}
            if include == "Object":
                row["object"] = record.object
            elif include != "None":
                row["object"] = metadata_of(record)
            rows.append(row)
        made: Object = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": meta}
        return {**made, "columnDefinitions": columns if head else [], "rows": rows}


def metadata_of(record: Record) -> Object:
    """Return of an object its metadata alone."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": record.meta}
