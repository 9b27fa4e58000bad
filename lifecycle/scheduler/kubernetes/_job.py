"""A Job for a cluster: from a short form or a whole manifest, and how it is to be treated."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from .._ground.checks import check_seconds
from .._ground.errors import RemoteFailed
from .._ground.text import one_line, quote, shorten
from ..remote import Ticket
from ._cluster import DEFAULT
from ._names import ATTEMPT, FIRST, JOB, KEEP, MANAGED_BY, OURS, RUN, STORE, TITLE, namespace_problem

PULL_TIMEOUT: Final = 300.0
START_TIMEOUT: Final = 600.0
TTL: Final = 86_400
"""Seconds after its end in which the cluster itself deletes a Job: the last net, should no scheduler ever come back."""

MANIFEST_BYTES: Final = 1024 * 1024
"""A larger manifest is refused: the cluster keeps no object of more than 1.5 MiB."""

_QUANTITY: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?\d+)?")
_VARIABLE: Final = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")

Keep = Literal["never", "failed", "always"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesJob:
    """A Job, and how it is to be treated.

    Attributes:
        manifest: the Job as plain data, as `job_manifest` or a file gives it; its name and namespace are set for it.
        cluster: the name of the cluster.
        namespace: where it goes; by default the manifest's, else the cluster's.
        container: the container whose exit code and output count; by default the first.
        pull_timeout: seconds that its image may fail to be pulled, or its container to be made, before it has failed.
        start_timeout: seconds until a container runs, but for what ``pull_timeout`` bounds.
        keep: whether the Job is left in the cluster when it has ended, until its ``ttlSecondsAfterFinished``.

    Raises:
        TypeError, ValueError: a value is of the wrong type or out of its range, or the manifest is not of a Job.
    """

    manifest: Mapping[str, Any]
    cluster: str = DEFAULT
    namespace: str | None = None
    container: str | None = None
    pull_timeout: float = PULL_TIMEOUT
    start_timeout: float = START_TIMEOUT
    keep: Keep = "never"

    def __post_init__(self) -> None:
        if problem := manifest_problem(self.manifest):
            raise ValueError(problem)
        check_seconds(self.pull_timeout, "pull_timeout", needed=True)
        check_seconds(self.start_timeout, "start_timeout", needed=True)
        if not isinstance(self.cluster, str):
            raise TypeError(f"cluster must be a string, got {quote(self.cluster)}")
        if self.namespace and (problem := namespace_problem(self.namespace)):
            raise ValueError(problem)
        if self.keep not in ("never", "failed", "always"):
            raise ValueError(f"keep must be 'never', 'failed' or 'always', got {quote(self.keep)}")
        if self.container is not None and self.container not in _containers(self.manifest):
            raise ValueError(f"the Job has no container {quote(self.container)}")

    @property
    def single(self) -> bool:
        """Whether one pod is all that the Job may have, so that the end of the pod is the end of the Job."""
        return not self.manifest["spec"].get("backoffLimit") and not self.several

    @property
    def several(self) -> bool:
        """Whether it wants several pods, at once or one after the other, so that the end of one says nothing."""
        spec = self.manifest["spec"]
        return any(spec.get(key) not in (None, 1) for key in ("parallelism", "completions"))

    def named(self, ticket: Ticket, namespace: str) -> dict[str, Any]:
        """Return the manifest of the Job for a ticket: with its name and the labels by which it is found again."""
        meta, spec = self.manifest.get("metadata") or {}, self.manifest["spec"]
        template = spec["template"]
        own = {
            MANAGED_BY: OURS,
            STORE: ticket.store,
            JOB: str(ticket.job),
            FIRST: str(ticket.first),
            KEEP: self.keep,
            **({RUN: str(ticket.run)} if ticket.run is not None else {}),
        }
        about = {ATTEMPT: str(ticket.attempt), TITLE: ticket.title}
        inner = template.get("metadata") or {}
        return {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {
                **{key: value for key, value in meta.items() if key not in _GIVEN},
                "name": ticket.name,
                "namespace": namespace,
                "labels": {**(meta.get("labels") or {}), **own},
                "annotations": {**(meta.get("annotations") or {}), **about},
            },
            "spec": {
                "backoffLimit": 0,  # whether it is tried again is the flow's to say
                "ttlSecondsAfterFinished": TTL,
                **spec,
                "template": {
                    **template,
                    "metadata": {**inner, "labels": {**(inner.get("labels") or {}), **own}},
                    "spec": {"restartPolicy": "Never", **template["spec"]},
                },
            },
        }


def check_size(manifest: Mapping[str, Any]) -> None:
    """Refuse a manifest that no cluster would keep.

    Raises:
        RemoteFailed: it is larger than `MANIFEST_BYTES`.
    """
    if (size := len(json.dumps(manifest))) > MANIFEST_BYTES:
        advice = "put data into a ConfigMap or a volume"
        said = f"the manifest of {size:,} bytes is larger than {MANIFEST_BYTES:,}; {advice}"
        raise RemoteFailed(said, reason="refused")


_GIVEN: Final = ("name", "namespace", "generateName", "uid", "resourceVersion", "creationTimestamp", "ownerReferences")


def job_manifest(
    image: str,
    *,
    command: Sequence[str] = (),
    args: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
    resources: Mapping[str, str | int | float] | None = None,
    volumes: Mapping[str, Mapping[str, Any]] | None = None,
    node_selector: Mapping[str, str] | None = None,
    service_account: str | None = None,
    pull_secrets: Sequence[str] = (),
    cwd: str | None = None,
    labels: Mapping[str, str] | None = None,
    deadline: float | None = None,
    grace: float | None = None,
    ttl: float = TTL,
    output: str | None = None,
) -> dict[str, Any]:
    """Return the manifest of a Job with one container.

    Args:
        image: what it runs.
        command: the program and its arguments, in place of the image's entry point.
        args: arguments of the entry point.
        env: variables of the environment.
        secrets: further ones whose values are in the cluster, each as ``"SECRET/KEY"``.
        resources: what it needs and may use, such as ``{"cpu": "2", "memory": "4Gi"}``; requests and limits alike.
        volumes: what is mounted, by the path: ``{"claim": NAME}``, ``{"config_map": NAME}``, ``{"secret": NAME}`` or
            ``{"empty": True}``, or a size in place of True; with ``"read_only"`` and ``"sub_path"``.
        node_selector: labels that its node has.
        service_account: the account that it runs as.
        pull_secrets: the secrets with which its image is pulled.
        cwd: its working directory.
        labels: further ones of the pod and of the Job.
        deadline: seconds after which the cluster ends it by itself.
        grace: seconds between SIGTERM and SIGKILL when it is stopped; by default the cluster's 30.
        ttl: seconds after its end in which the cluster deletes it by itself.
        output: the file that the program writes its output to, at most 4,096 bytes; ``/dev/termination-log`` unless
            given.

    Raises:
        ValueError: a value is not right; the message begins with its name.
    """
    variables: list[dict[str, Any]] = [{"name": name, "value": value} for name, value in (env or {}).items()]
    for name, reference in (secrets or {}).items():
        secret, _, key = reference.partition("/")
        if not secret or not key:
            raise ValueError(f"secrets.{name}: expected SECRET/KEY, got {quote(reference)}")
        variables.append({"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}})
    for variable in variables:
        if not _VARIABLE.fullmatch(variable["name"]):
            raise ValueError(f"env: expected a variable's name, got {quote(variable['name'])}")
    container: dict[str, Any] = {"name": "main", "image": image, "terminationMessagePolicy": "FallbackToLogsOnError"}
    container |= _given(command=list(command), args=list(args), env=variables, workingDir=cwd)
    container |= _given(terminationMessagePath=output)
    if resources:
        quantities = {name: _quantity(f"resources.{name}", value) for name, value in resources.items()}
        container["resources"] = {"requests": quantities, "limits": quantities}
    mounts = [_mount(number, path, volume) for number, (path, volume) in enumerate((volumes or {}).items())]
    container |= _given(volumeMounts=[mount for mount, _ in mounts])
    pod = {"restartPolicy": "Never", "containers": [container]}
    pod |= _given(
        volumes=[volume for _, volume in mounts],
        nodeSelector=dict(node_selector or {}),
        serviceAccountName=service_account,
        imagePullSecrets=[{"name": name} for name in pull_secrets],
        terminationGracePeriodSeconds=None if grace is None else _whole("grace", grace),
    )
    spec = {
        "backoffLimit": 0,
        "ttlSecondsAfterFinished": _whole("ttl", ttl),
        "template": {**_given(metadata=_given(labels=dict(labels or {}))), "spec": pod},
    }
    spec |= _given(activeDeadlineSeconds=None if deadline is None else max(1, _whole("deadline", deadline)))
    return {"apiVersion": "batch/v1", "kind": "Job", **_given(metadata=_given(labels=dict(labels or {}))), "spec": spec}


def manifest_problem(manifest: Any) -> str | None:
    """Return what is wrong with the manifest of a Job as far as we have to do with it, None if nothing is."""
    if not isinstance(manifest, Mapping):
        return f"expected the manifest of a Job, got {quote(manifest)}"
    if manifest.get("kind") != "Job" or manifest.get("apiVersion") != "batch/v1":
        kind = f"{manifest.get('apiVersion')} {manifest.get('kind')}"
        return f"expected a manifest with apiVersion batch/v1 and kind Job, got {quote(kind)}"
    spec = manifest.get("spec")
    template = spec.get("template") if isinstance(spec, Mapping) else None
    pod = template.get("spec") if isinstance(template, Mapping) else None
    containers = pod.get("containers") if isinstance(pod, Mapping) else None
    if not isinstance(spec, Mapping) or not isinstance(pod, Mapping) or not isinstance(containers, list):
        return "expected a manifest with containers, spec.template.spec.containers"
    if not containers or not all(isinstance(one, Mapping) and isinstance(one.get("name"), str) for one in containers):
        return "expected containers with a name and an image, spec.template.spec.containers"
    if pod.get("restartPolicy", "Never") not in ("Never", "OnFailure"):
        return f"a Job's pods have restartPolicy Never or OnFailure, not {quote(pod['restartPolicy'])}"
    if spec.get("selector") is not None or spec.get("manualSelector"):
        return "a Job's selector is the cluster's to make"
    for where, given in (
        ("metadata", manifest.get("metadata")),
        ("template.metadata", (template or {}).get("metadata")),
    ):
        if given is not None and not isinstance(given, Mapping):
            return f"expected a table of {where}, got {quote(given)}"
        if problem := _metadata_problem(given or {}):
            return problem
    namespace = (manifest.get("metadata") or {}).get("namespace")
    return namespace_problem(namespace) if namespace else _plain_problem(manifest)


def _metadata_problem(metadata: Mapping[Any, Any]) -> str | None:
    for kind in ("labels", "annotations"):
        given = metadata.get(kind) or {}
        if not isinstance(given, Mapping):
            return f"expected a table of {kind}, got {quote(given)}"
        if taken := next((key for key in given if str(key).startswith(f"{OURS}/") or key in _TAKEN), None):
            return f"the label or annotation {taken} is not the manifest's to set"
    return None


def _plain_problem(manifest: Mapping[Any, Any]) -> str | None:
    """Return why a manifest cannot be written as JSON, None if it can."""
    try:
        json.dumps(manifest, sort_keys=True, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        return f"expected a manifest of plain data: {one_line(shorten(str(error), 200))}"
    return None


_TAKEN: Final = ("job-name", "controller-uid", "batch.kubernetes.io/job-name", "batch.kubernetes.io/controller-uid")


def _containers(manifest: Mapping[str, Any]) -> list[str]:
    return [one["name"] for one in manifest["spec"]["template"]["spec"]["containers"]]


def _given(**values: Any) -> dict[str, Any]:
    """Return the values that say something."""
    return {name: value for name, value in values.items() if value not in (None, "", [], {})}


def _whole(what: str, seconds: float) -> int:
    check_seconds(seconds, what, needed=True)
    return round(seconds)


def _quantity(what: str, value: object) -> str:
    text = str(value)
    if isinstance(value, bool) or not _QUANTITY.fullmatch(text):
        raise ValueError(f"{what}: expected an amount, as in 2, 0.5, '500m' or '4Gi', got {quote(value)}")
    return text


_SOURCES: Final = ("claim", "config_map", "secret", "empty")


def _mount(number: int, path: str, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the mount of a volume, and the volume."""
    what, name = f"volumes.{path}", f"volume-{number}"
    if not path.startswith("/"):
        raise ValueError(f"{what}: expected an absolute path")
    kinds = [kind for kind in _SOURCES if kind in given]
    unknown = given.keys() - {*_SOURCES, "read_only", "sub_path"}
    if len(kinds) != 1 or unknown:
        raise ValueError(
            f"{what}: expected one of {', '.join(_SOURCES)}, and read_only and sub_path, got {quote(given)}"
        )
    (kind,), source = kinds, given[kinds[0]]
    if kind == "empty":
        size = {} if source is True else {"sizeLimit": _quantity(f"{what}.empty", source)}
        volume: dict[str, Any] = {"emptyDir": size}
    elif not isinstance(source, str) or not source:
        raise ValueError(f"{what}.{kind}: expected a name, got {quote(source)}")
    elif kind == "claim":
        volume = {"persistentVolumeClaim": {"claimName": source}}
    elif kind == "config_map":
        volume = {"configMap": {"name": source}}
    else:
        volume = {"secret": {"secretName": source}}
    mount = {"name": name, "mountPath": path}
    mount |= _given(readOnly=given.get("read_only"), subPath=given.get("sub_path"))
    return mount, {"name": name, **volume}
