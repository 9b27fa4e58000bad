"""What is asked of the real API server and of its double, to see that they answer the same."""

from __future__ import annotations

from typing import Any

from .comparing import JSON_PATCH, MERGE, STRATEGIC, Ask

JOBS = "/apis/batch/v1/namespaces/NS/jobs"
PODS = "/api/v1/namespaces/NS/pods"
EVENTS = "/api/v1/namespaces/NS/events"
MAPS = "/api/v1/namespaces/NS/configmaps"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
PARTIAL = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json"


def job(
    name: str = "task", *, pod: dict[str, Any] | None = None, meta: dict[str, Any] | None = None, **spec: Any
) -> Any:
    """Return a Job that makes no pod, unless it is told to."""
    inner = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox"}], **(pod or {})}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, **(meta or {})},
        "spec": {"parallelism": 0, "template": {"spec": inner}, **spec},
    }


def a_pod(name: str = "pod", *, meta: dict[str, Any] | None = None, **spec: Any) -> Any:
    """Return a pod."""
    inner = {"containers": [{"name": "main", "image": "busybox:1"}], **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **(meta or {})}, "spec": inner}


def a_map(name: str = "map", meta: dict[str, Any] | None = None, **data: str) -> Any:
    """Return a config map."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **(meta or {})}, "data": data}


def settled(pods: int) -> Any:
    """Return a test whether a Job has so many pods."""
    return lambda body: body.get("status", {}).get("active", 0) == pods


def over(body: Any) -> bool:
    """Return whether a Job has ended."""
    return any(each["type"] in ("Complete", "Failed") for each in body.get("status", {}).get("conditions", ()))


SCENARIOS: dict[str, list[Ask]] = {
    "a job": [
        Ask("POST", JOBS, job()),
        Ask("GET", f"{JOBS}/task"),
        Ask("GET", JOBS),
        Ask("GET", f"{JOBS}/task/status"),
        Ask("POST", JOBS, job()),
        Ask("GET", f"{JOBS}/nobody"),
        Ask("GET", f"{JOBS}/task", accept=TABLE, ignore=("columnDefinitions", "cells")),
        Ask("GET", JOBS, accept=PARTIAL),
    ],
    "defaults of a job": [
        Ask(
            "POST",
            JOBS,
            job(
                "full",
                meta={"labels": {"a": "b"}, "annotations": {"c": "d"}},
                completions=3,
                backoffLimit=2,
                activeDeadlineSeconds=100,
                pod={
                    "initContainers": [{"name": "first", "image": "python:3.12"}],
                    "containers": [
                        {
                            "name": "main",
                            "image": "registry/some/image@sha256:" + "0" * 64,
                            "command": ["a", "b"],
                            "env": [{"name": "A", "value": "1"}, {"name": "EMPTY"}],
                            "resources": {"limits": {"cpu": "1", "memory": "64Mi"}},
                            "ports": [{"containerPort": 80}],
                            "volumeMounts": [{"name": "files", "mountPath": "/files"}],
                            "livenessProbe": {"httpGet": {"port": 80}},
                        }
                    ],
                    "volumes": [{"name": "files", "configMap": {"name": "files"}}, {"name": "empty"}],
                    "restartPolicy": "OnFailure",
                },
            ),
        ),
        Ask(
            "POST",
            JOBS,
            job(
                "labelled",
                pod={},
                template={
                    "metadata": {"labels": {"x": "y"}},
                    "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox"}]},
                },
            ),
        ),
    ],
    "names": [
        Ask("POST", JOBS, job("Bad_Name")),
        Ask("POST", JOBS, job("x" * 254)),
        Ask("POST", JOBS, job("x" * 64)),
        Ask("POST", JOBS, {**job(), "metadata": {}}),
        Ask("POST", JOBS, {**job(), "metadata": {"generateName": "Bad_"}}, ignore=("message", "name")),
        Ask("POST", JOBS, job(meta={"namespace": "other"})),
        Ask("POST", JOBS, job(meta={"labels": {"a b": "c"}})),
        Ask("POST", JOBS, job(meta={"labels": {"a": "c d"}})),
        Ask("POST", JOBS, job(meta={"labels": {"A/b": "c" * 64}})),
        Ask("POST", JOBS, job(meta={"annotations": {"a b": "c"}})),
        Ask("POST", JOBS, job(meta={"annotations": {"a": "c" * 300_000}})),
        Ask("POST", "/apis/batch/v1/namespaces/nowhere/jobs", job()),
        Ask("POST", "/api/v1/namespaces", {"metadata": {"name": "Bad.Name"}}),
    ],
    "invalid jobs": [
        Ask("POST", JOBS, job(parallelism=-1, completions=-1, backoffLimit=-1, activeDeadlineSeconds=-1)),
        Ask("POST", JOBS, job(pod={"restartPolicy": "Always"})),
        Ask("POST", JOBS, job(pod={"restartPolicy": "Sometimes"})),
        Ask("POST", JOBS, job(pod={"containers": []})),
        Ask("POST", JOBS, job(pod={"containers": [{"name": "main"}]})),
        Ask("POST", JOBS, job(pod={"containers": [{"image": "busybox"}]})),
        Ask("POST", JOBS, job(pod={"containers": [{"name": "Main_", "image": "busybox"}]})),
        Ask("POST", JOBS, job(pod={"containers": [{"name": "a", "image": "b"}, {"name": "a", "image": "b"}]})),
        Ask("POST", JOBS, job(pod={"dnsPolicy": "Odd"})),
        Ask("POST", JOBS, job(pod={"containers": [{"name": "a", "image": "b", "imagePullPolicy": "Odd"}]})),
        Ask(
            "POST",
            JOBS,
            job(pod={"containers": [{"name": "a", "image": "b", "volumeMounts": [{"name": "x", "mountPath": "/x"}]}]}),
        ),
        Ask("POST", JOBS, job(template={})),
        Ask("POST", JOBS, {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "task"}}),
        Ask("POST", JOBS, job(selector={"matchLabels": {"a": "b"}})),
        Ask("POST", JOBS, job(manualSelector=True)),
    ],
    "bodies that cannot be read": [
        Ask("POST", JOBS, "{"),
        Ask("POST", JOBS, "[]"),
        Ask("POST", JOBS, ""),
        Ask("POST", JOBS, {**job(), "kind": "Pod"}),
        Ask("POST", JOBS, {**job(), "apiVersion": "batch/v2"}),
        Ask("POST", JOBS, job(parallelism="3")),
        Ask("POST", JOBS, job(parallelism=1.5)),
        Ask("POST", JOBS, job(pod={"containers": "none"})),
        Ask("POST", JOBS, job(meta={"labels": {"a": 1}})),
        Ask("POST", JOBS, job("odd", unknownField=1)),
        Ask(
            "POST", JOBS, job(pod={"containers": [{"name": "a", "image": "b", "resources": {"limits": {"cpu": "x"}}}]})
        ),
        Ask("POST", JOBS, "a: b", type="text/plain"),
        Ask(
            "POST",
            JOBS,
            "apiVersion: batch/v1\nkind: Job\nmetadata: {name: yaml}\nspec: {parallelism: 0, template: {"
            "spec: {restartPolicy: Never, containers: [{name: a, image: b}]}}}",
            type="application/yaml",
        ),
        Ask("POST", JOBS, job(meta={"resourceVersion": "5"})),
    ],
    "changes": [
        Ask("POST", JOBS, job()),
        Ask("GET", f"{JOBS}/task"),
        Ask("PATCH", f"{JOBS}/task", {"metadata": {"labels": {"a": "b"}}}, MERGE),
        Ask("PATCH", f"{JOBS}/task", {"metadata": {"labels": {"a": None, "c": "d"}}}, STRATEGIC),
        Ask(
            "PATCH", f"{JOBS}/task", [{"op": "add", "path": "/metadata/annotations", "value": {"x/y": "z"}}], JSON_PATCH
        ),
        Ask("PATCH", f"{JOBS}/task", [{"op": "remove", "path": "/metadata/annotations/x~1y"}], JSON_PATCH),
        Ask("PATCH", f"{JOBS}/task", [{"op": "remove", "path": "/metadata/nothing"}], JSON_PATCH, ignore=("message",)),
        Ask(
            "PATCH",
            f"{JOBS}/task",
            [{"op": "test", "path": "/metadata/name", "value": "other"}],
            JSON_PATCH,
            ignore=("message",),
        ),
        Ask("PATCH", f"{JOBS}/task", {"spec": {"backoffLimit": 3}}, MERGE),
        Ask("PATCH", f"{JOBS}/task", {"spec": {"completions": 3}}, MERGE),
        Ask("PATCH", f"{JOBS}/task", {"spec": {"parallelism": -3}}, MERGE),
        Ask("PATCH", f"{JOBS}/task", {"metadata": {"resourceVersion": "1"}}, MERGE),
        Ask("PUT", f"{JOBS}/task", job(meta={"uid": "other"}), ignore=("message",)),
        Ask("PATCH", f"{JOBS}/task", {"metadata": {"name": "other"}}, MERGE),
        Ask("PATCH", f"{JOBS}/task", {"metadata": {"labels": {"a": "b c"}}}, MERGE),
        Ask("PATCH", f"{JOBS}/task", {"spec": {"parallelism": "x"}}, MERGE, ignore=("message",)),
        Ask("PATCH", f"{JOBS}/nobody", {"metadata": {"labels": {"a": "b"}}}, MERGE),
        Ask("PATCH", f"{JOBS}/task", {"metadata": {"labels": {"a": "b"}}}, "application/json"),
        Ask("PATCH", f"{JOBS}/task", "{", MERGE, ignore=("message",)),
        Ask("PUT", f"{JOBS}/task", job("other")),
        Ask("PUT", f"{JOBS}/nobody", job("nobody")),
        Ask("PUT", f"{JOBS}/task", job(meta={"resourceVersion": "1"})),
        Ask("PATCH", f"{JOBS}/task/status", {"status": {"active": 7}, "spec": {"backoffLimit": 9}}, MERGE),
        Ask("GET", f"{JOBS}/task", until=lambda body: not body["status"].get("active")),
    ],
    "a template is immutable": [
        Ask("POST", JOBS, job()),
        Ask(
            "PATCH",
            f"{JOBS}/task",
            {"spec": {"template": {"spec": {"restartPolicy": "OnFailure"}}}},
            MERGE,
            ignore=("message",),
        ),
    ],
    "removal": [
        Ask("POST", MAPS, a_map()),
        Ask("DELETE", f"{MAPS}/map", {"preconditions": {"uid": "other"}}),
        Ask("DELETE", f"{MAPS}/map", {"preconditions": {"resourceVersion": "1"}}, ignore=("message",)),
        Ask("DELETE", f"{MAPS}/map", {"preconditions": {"uid": "{uid}"}}),
        Ask("DELETE", f"{MAPS}/map"),
        Ask("POST", MAPS, a_map(meta={"finalizers": ["example.com/wait"]})),
        Ask("DELETE", f"{MAPS}/map"),
        Ask("PATCH", f"{MAPS}/map", {"metadata": {"finalizers": ["example.com/wait", "example.com/more"]}}, MERGE),
        Ask("DELETE", f"{MAPS}/map"),
        Ask("PATCH", f"{MAPS}/map", {"metadata": {"finalizers": None}}, MERGE),
        Ask("GET", f"{MAPS}/map"),
        Ask("DELETE", f"{MAPS}/map?propagationPolicy=Odd"),
        Ask("POST", MAPS, a_map("one", x="y")),
        Ask("POST", MAPS, a_map("two", {"labels": {"a": "b"}}, x="y")),
        Ask("DELETE", f"{MAPS}?labelSelector=a%3Db"),
        Ask("DELETE", f"{MAPS}/one?dryRun=All"),
        Ask("GET", f"{MAPS}/one"),
    ],
    "removal of jobs": [
        Ask("POST", JOBS, job("bare")),
        Ask("GET", f"{JOBS}/bare"),
        Ask("DELETE", f"{JOBS}/bare"),
        Ask("GET", f"{JOBS}/bare", until=lambda body: body.get("code") == 404),
        Ask("POST", JOBS, job("background")),
        Ask("GET", f"{JOBS}/background"),
        Ask("DELETE", f"{JOBS}/background", {"propagationPolicy": "Background"}),
        Ask("POST", JOBS, job("foreground")),
        Ask("GET", f"{JOBS}/foreground"),
        Ask("DELETE", f"{JOBS}/foreground?propagationPolicy=Foreground"),
        Ask("GET", f"{JOBS}/foreground", until=lambda body: body.get("code") == 404),
    ],
    "pods of a job": [
        Ask("POST", JOBS, job(parallelism=1, pod={"serviceAccountName": "some"})),
        Ask("GET", f"{JOBS}/task", until=settled(1)),
        Ask("GET", f"{PODS}?labelSelector=job-name%3Dwork", ignore=("name",)),
        Ask("GET", "/api/v1/namespaces/NS/events", until=lambda body: body["items"], ignore=("name", "message")),
        Ask("DELETE", f"{JOBS}/task?propagationPolicy=Background"),
        Ask("GET", PODS, until=lambda body: not body["items"]),
    ],
    "orphans": [
        Ask("POST", JOBS, job(parallelism=1)),
        Ask("GET", f"{JOBS}/task", until=settled(1)),
        Ask("DELETE", f"{JOBS}/task"),
        Ask("GET", f"{JOBS}/task", until=lambda body: body.get("code") == 404),
        Ask("GET", PODS, ignore=("name", "generateName")),
    ],
    "pods": [
        Ask("POST", PODS, a_pod()),
        Ask("GET", f"{PODS}/pod/log"),
        Ask("GET", f"{PODS}/pod/log?container=other"),
        Ask(
            "POST", f"{PODS}/pod/binding", {"metadata": {"name": "pod"}, "target": {"kind": "Node", "name": "nowhere"}}
        ),
        Ask(
            "POST", f"{PODS}/pod/binding", {"metadata": {"name": "pod"}, "target": {"kind": "Node", "name": "nowhere"}}
        ),
        Ask("POST", f"{PODS}/pod/binding", {"metadata": {"name": "pod"}, "target": {}}),
        Ask("POST", f"{PODS}/pod/binding", {"target": {"kind": "Node", "name": "nowhere"}}),
        Ask("GET", f"{PODS}/pod"),
        Ask("GET", f"{PODS}/pod/log"),
        Ask("GET", f"{PODS}?fieldSelector=spec.nodeName%3Dnowhere,status.phase%3DPending"),
        Ask("GET", f"{PODS}?fieldSelector=spec.nodeName%3Delsewhere"),
        Ask("GET", f"{PODS}?fieldSelector=spec.odd%3Delsewhere"),
        Ask(
            "PATCH",
            f"{PODS}/pod/status",
            {
                "status": {
                    "phase": "Running",
                    "conditions": [{"type": "Ready", "status": "True"}],
                    "containerStatuses": [
                        {
                            "name": "main",
                            "image": "busybox:1",
                            "imageID": "",
                            "ready": True,
                            "restartCount": 0,
                            "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
                        }
                    ],
                }
            },
            STRATEGIC,
        ),
        Ask("GET", f"{PODS}/pod", accept=TABLE, ignore=("columnDefinitions",)),
        Ask(
            "PATCH",
            f"{PODS}/pod/status",
            {
                "status": {
                    "conditions": [
                        {"type": "New", "status": "True"},
                        {"type": "PodScheduled", "status": "False"},
                        {"type": "Last", "status": "True"},
                    ]
                }
            },
            STRATEGIC,
        ),
        Ask(
            "PATCH",
            f"{PODS}/pod/status",
            {
                "status": {
                    "$setElementOrder/conditions": [{"type": "Ready"}, {"type": "New"}],
                    "conditions": [{"type": "New", "$patch": "delete"}, {"type": "Ready", "status": "False"}],
                }
            },
            STRATEGIC,
        ),
        Ask(
            "PATCH", f"{PODS}/pod/status", {"status": {"conditions": None, "podIPs": [{"ip": "127.0.0.1"}]}}, STRATEGIC
        ),
        Ask(
            "PATCH",
            f"{PODS}/pod",
            {"spec": {"containers": [{"name": "main", "command": ["x"]}]}},
            STRATEGIC,
            ignore=("message",),
        ),
        Ask("PATCH", f"{PODS}/pod", {"spec": {"containers": [{"name": "main", "image": "busybox:2"}]}}, STRATEGIC),
        Ask("DELETE", f"{PODS}/pod"),
        Ask("DELETE", f"{PODS}/pod"),
        Ask("DELETE", f"{PODS}/pod?gracePeriodSeconds=5"),
        Ask("DELETE", f"{PODS}/pod?gracePeriodSeconds=0"),
        Ask("GET", f"{PODS}/pod"),
        Ask("POST", PODS, a_pod("two", containers=[{"name": "a", "image": "b"}, {"name": "c", "image": "d"}])),
        Ask("GET", f"{PODS}/two/log"),
        Ask("GET", f"{PODS}/nobody/log"),
        Ask("DELETE", f"{PODS}/two"),
        Ask(
            "POST",
            f"{PODS}/nobody/binding",
            {"metadata": {"name": "nobody"}, "target": {"kind": "Node", "name": "nowhere"}},
        ),
    ],
    "selectors": [
        Ask("POST", MAPS, a_map("one", {"labels": {"a": "b", "n": "1"}})),
        Ask("POST", MAPS, a_map("two", {"labels": {"a": "c", "n": "2"}})),
        Ask("POST", MAPS, a_map("three")),
        *[
            Ask("GET", f"{MAPS}?labelSelector={text}", accept=PARTIAL)
            for text in (
                "a",
                "!a",
                "a%3Db",
                "a%3D%3Db",
                "a!%3Db",
                "a+in+(b,c)",
                "a+notin+(b)",
                "a%3Db,n%3D1",
                "a%3D",
                "a,n%3D2",
                "a+in+(b),n+notin+(2)",
                "+a+%3D+b+",
                "in+in+(x)",
            )
        ],
        *[
            Ask("GET", f"{MAPS}?labelSelector={text}", ignore=("message",))
            for text in ("a+b", "a%3Db+c", "a+in+b", "%3Da", "a%3D-", "a+in+(b")
        ],
        Ask("GET", f"{MAPS}?fieldSelector=metadata.name%3Dtwo", accept=PARTIAL),
        Ask("GET", f"{MAPS}?fieldSelector=metadata.name!%3Dtwo", accept=PARTIAL),
        Ask("GET", f"{MAPS}?fieldSelector=metadata.odd%3Dtwo"),
        Ask("GET", f"{MAPS}?fieldSelector=metadata.name"),
    ],
    "lists": [
        *[Ask("POST", MAPS, a_map(name)) for name in ("one", "two", "three")],
        Ask("GET", f"{MAPS}?limit=2", accept=PARTIAL, ignore=("remainingItemCount",)),
        Ask("GET", f"{MAPS}?limit=2"),
        Ask("GET", f"{MAPS}?limit=2&labelSelector=!a", accept=PARTIAL),
        Ask("GET", f"{MAPS}?continue=odd", ignore=("message",)),
        Ask("GET", f"{MAPS}?resourceVersion=0&fieldSelector=metadata.name%3Done", until=lambda body: body["items"]),
        Ask("GET", f"{MAPS}?resourceVersion=odd"),
        Ask("GET", f"{MAPS}?resourceVersion=99999999", ignore=("message",)),
        Ask("GET", f"{MAPS}?limit=odd", ignore=("message",)),
        Ask("GET", f"{MAPS}?resourceVersion=0&resourceVersionMatch=Exact"),
        Ask("GET", f"{MAPS}?resourceVersionMatch=Exact"),
        Ask("GET", f"{MAPS}?resourceVersion=5&resourceVersionMatch=Odd"),
    ],
    "watches": [
        Ask("POST", MAPS, a_map("one", {"labels": {"a": "b"}})),
        Ask("GET", f"{MAPS}/one"),
        Ask("PATCH", f"{MAPS}/one", {"metadata": {"labels": {"a": "c"}}}, MERGE),
        Ask("DELETE", f"{MAPS}/one"),
        Ask("POST", MAPS, a_map("two", {"labels": {"a": "b"}})),
        Ask("GET", f"{MAPS}?watch=1&timeoutSeconds=2", lines=1),
        Ask("GET", f"{MAPS}?watch=1&labelSelector=a%3Db&resourceVersion=0&timeoutSeconds=2", lines=1),
        Ask("GET", f"{MAPS}/two?watch=1&timeoutSeconds=2", lines=1),
        Ask(
            "GET",
            f"{MAPS}?watch=1&timeoutSeconds=2&fieldSelector=metadata.name%3Dtwo",
            lines=1,
            accept=TABLE,
            ignore=("columnDefinitions", "cells"),
        ),
        Ask("GET", f"{MAPS}?watch=1&resourceVersion=odd", ignore=("message",)),
    ],
    "a watch of what happened": [
        Ask("POST", MAPS, a_map("zero")),
        Ask("POST", MAPS, a_map("one", {"labels": {"a": "b"}})),
        Ask("GET", f"{MAPS}/zero"),
        Ask("GET", f"{MAPS}?watch=1&resourceVersion={{rv}}&timeoutSeconds=2", lines=1),
    ],
    "paths": [
        Ask("GET", "/api", ignore=("serverAddressByClientCIDRs",)),
        Ask("GET", "/apis/odd"),
        Ask("GET", "/apis/batch", ignore=("versions",)),
        Ask("GET", "/api/v1/odd"),
        Ask("GET", "/api/v1/namespaces/NS/odd"),
        Ask("GET", "/apis/batch/v7/jobs"),
        Ask("GET", "/odd", ignore=("paths",)),
        Ask("GET", "/healthz"),
        Ask("GET", "/readyz"),
        Ask("GET", f"{PODS}/x/odd"),
        Ask("POST", f"{JOBS}/x", job("x")),
        Ask("POST", "/apis/batch/v1/jobs", job("x")),
        Ask("PUT", JOBS, job("x")),
        Ask("PATCH", JOBS, {}, MERGE),
        Ask("DELETE", "/apis/batch/v1/jobs"),
        Ask("GET", "/api/v1/namespaces/NS"),
        Ask("GET", "/api/v1/namespaces/nowhere/pods"),
        Ask("GET", "/api/v1/nodes/nobody"),
        Ask("GET", JOBS, accept="text/html"),
        Ask("GET", JOBS, accept="application/json;as=Odd;v=v1;g=meta.k8s.io"),
    ],
    "reviews": [
        Ask(
            "POST",
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "spec": {
                    "resourceAttributes": {"verb": "create", "group": "batch", "resource": "jobs", "namespace": "NS"}
                },
            },
            ignore=("reason",),
        ),
    ],
    "dry runs": [
        Ask("POST", f"{MAPS}?dryRun=All", a_map()),
        Ask("GET", f"{MAPS}/map"),
        Ask("POST", f"{MAPS}?dryRun=Odd", a_map()),
    ],
    "secrets and others": [
        Ask("POST", "/api/v1/namespaces/NS/secrets", {"metadata": {"name": "s"}, "stringData": {"a": "b"}}),
        Ask(
            "POST",
            "/api/v1/namespaces/NS/secrets",
            {"metadata": {"name": "t"}, "data": {"a": "not base64!"}},
            ignore=("message",),
        ),
        Ask("POST", "/api/v1/namespaces/NS/serviceaccounts", {"metadata": {"name": "a"}}),
        Ask(
            "POST",
            "/api/v1/namespaces/NS/events",
            {
                "metadata": {"name": "e"},
                "involvedObject": {"kind": "Job", "namespace": "NS", "name": "task", "uid": "u"},
                "reason": "Why",
                "message": "Because",
            },
        ),
        Ask("GET", "/api/v1/namespaces/NS/events?fieldSelector=involvedObject.name%3Dwork,involvedObject.uid%3Du"),
        Ask("GET", "/api/v1/namespaces/NS/events?fieldSelector=involvedObject.name%3Dother"),
        Ask("POST", "/api/v1/nodes", {"metadata": {"name": "NS"}}),
        Ask(
            "PATCH",
            "/api/v1/nodes/NS/status",
            {
                "status": {
                    "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
                    "daemonEndpoints": {"kubeletEndpoint": {"Port": 1}},
                }
            },
            STRATEGIC,
        ),
        Ask("DELETE", "/api/v1/nodes/NS"),
        Ask(
            "POST",
            "/apis/coordination.k8s.io/v1/namespaces/NS/leases",
            {"metadata": {"name": "l"}, "spec": {"holderIdentity": "me"}},
        ),
    ],
    "a namespace that goes": [
        Ask("POST", MAPS, a_map(meta={"finalizers": ["example.com/wait"]})),
        Ask("DELETE", "/api/v1/namespaces/NS"),
        Ask("POST", MAPS, a_map("late")),
        Ask("GET", f"{MAPS}/map", until=lambda body: body["metadata"].get("deletionTimestamp")),
        Ask("PATCH", f"{MAPS}/map", {"metadata": {"finalizers": None}}, MERGE),
        Ask("GET", "/api/v1/namespaces/NS", until=lambda body: body.get("code") == 404),
        Ask("POST", MAPS, a_map("late")),
    ],
    "who may not": [
        Ask("GET", JOBS, token=""),
        Ask("GET", f"{PODS}/pod/log", token=""),
        Ask("GET", "/api/v1/nodes/n", token=""),
        Ask("GET", "/apis/batch/v1", token=""),
        Ask(
            "GET",
            "/version",
            token="",
            ignore=("major", "minor", "gitVersion", "gitCommit", "buildDate", "goVersion", "gitTreeState"),
        ),
        Ask("GET", JOBS, token="odd"),
        Ask("GET", "/nothing/at/all", token="odd"),
    ],
    "quotas": [
        Ask(
            "POST",
            "/api/v1/namespaces/NS/resourcequotas",
            {"metadata": {"name": "q"}, "spec": {"hard": {"count/jobs.batch": "1", "pods": "1"}}},
        ),
        Ask(
            "GET",
            "/api/v1/namespaces/NS/resourcequotas/q",
            until=lambda body: body["status"].get("used", {}).get("pods") == "0",
        ),
        Ask("POST", JOBS, job(parallelism=2, completions=2)),
        Ask("POST", JOBS, job("more")),
        Ask(
            "GET",
            "/api/v1/namespaces/NS/resourcequotas/q",
            until=lambda body: body["status"].get("used") == {"count/jobs.batch": "1", "pods": "1"},
        ),
        Ask("POST", PODS, a_pod("more")),
        Ask(
            "GET",
            "/api/v1/namespaces/NS/events?fieldSelector=reason%3DFailedCreate",
            until=lambda body: body["items"] and not body.update(items=body["items"][:1]),
            ignore=("name", "message", "count"),
        ),
    ],
}
