"""A Job for a cluster: from a short form or a whole manifest, and how it is to be treated."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from .._ground.checks import check_seconds
from .._ground.errors import RemoteFailed
from .._ground.text import one_line, quote, shorten
from ..remote import Ticket
from . import _taken
from ._cluster import DEFAULT
from ._names import ATTEMPT, FIRST, JOB, KEEP, MANAGED_BY, OURS, RUN, STORE, TITLE, namespace_problem

PULL_TIMEOUT: Final = 300.0
START_TIMEOUT: Final = 600.0
TTL: Final = 86_400
"""Seconds after its end in which the cluster itself deletes a Job: the last net, should no scheduler ever come back."""

MANIFEST_BYTES: Final = 1024 * 1024
"""A larger manifest is refused: the cluster keeps no object of more than 1.5 MiB."""

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
        if not self.cluster:
            raise ValueError("cluster must not be empty")
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
        TypeError, ValueError: a value is not right, or no API server would take it; the message begins with its name.
    """
    variables: list[dict[str, Any]] = [
        {"name": _taken.variable("env", name), "value": _taken.text(f"env.{name}", value)}
        for name, value in _taken.table("env", env).items()
    ]
    for name, reference in _taken.table("secrets", secrets).items():
        source = {"secretKeyRef": _taken.reference(f"secrets.{name}", reference)}
        variables.append({"name": _taken.variable("env", name), "valueFrom": source})
    container: dict[str, Any] = {"name": "main", "image": _taken.image(image)}
    container["terminationMessagePolicy"] = "FallbackToLogsOnError"
    container |= _given(command=_taken.texts("command", command), args=_taken.texts("args", args), env=variables)
    container |= _given(
        workingDir=None if cwd is None else _taken.text("cwd", cwd),
        terminationMessagePath=None if output is None else _taken.text("output", output),
    )
    if given := _taken.table("resources", resources):
        quantities = {name: _taken.resource(name, value) for name, value in given.items()}
        container["resources"] = {"requests": quantities, "limits": quantities}
    mounts = [_mount(number, *volume) for number, volume in enumerate(_taken.table("volumes", volumes).items())]
    container |= _given(volumeMounts=[mount for mount, _ in mounts])
    pod = {"restartPolicy": "Never", "containers": [container]}
    pod |= _given(
        volumes=[volume for _, volume in mounts],
        nodeSelector=_taken.labels("node_selector", node_selector),
        serviceAccountName=None if not service_account else _taken.name_of("service_account", service_account),
        imagePullSecrets=[
            {"name": _taken.name_of("pull_secrets", name)} for name in _taken.texts("pull_secrets", pull_secrets)
        ],
        terminationGracePeriodSeconds=None if grace is None else _taken.whole_seconds("grace", grace),
    )
    marks = _taken.labels("labels", labels)
    spec = {
        "backoffLimit": 0,
        "ttlSecondsAfterFinished": _taken.whole_seconds("ttl", ttl),
        "template": {**_given(metadata=_given(labels=dict(marks))), "spec": pod},
    }
    spec |= _given(
        activeDeadlineSeconds=None if deadline is None else max(1, _taken.whole_seconds("deadline", deadline))
    )
    return {"apiVersion": "batch/v1", "kind": "Job", **_given(metadata=_given(labels=marks)), "spec": spec}


def manifest_problem(manifest: Any) -> str | None:
    """Return what is wrong with the manifest of a Job as far as we have to do with it, None if nothing is."""
    if not isinstance(manifest, Mapping):
        return f"expected the manifest of a Job, got {quote(manifest)}"
    if manifest.get("kind") != "Job" or manifest.get("apiVersion") != "batch/v1":
        named = " and ".join(f"{key} {quote(manifest[key])}" for key in ("apiVersion", "kind") if key in manifest)
        return f"expected a manifest with apiVersion batch/v1 and kind Job, got {named or 'neither'}"
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


_SOURCES: Final = ("claim", "config_map", "secret", "empty")


def _mount(number: int, path: str, given: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the mount of a volume, and the volume."""
    what, name = f"volumes.{path}", f"volume-{number}"
    mount: dict[str, Any] = {"name": name, "mountPath": _taken.mount_path(path)}
    given = _taken.table(what, given)
    kinds = [kind for kind in _SOURCES if kind in given]
    unknown = given.keys() - {*_SOURCES, "read_only", "sub_path"}
    if len(kinds) != 1 or unknown:
        raise ValueError(
            f"{what}: expected one of {', '.join(_SOURCES)}, and read_only and sub_path, got {quote(given)}"
        )
    (kind,), source = kinds, given[kinds[0]]
    if kind == "empty":
        size = {} if source is True else {"sizeLimit": _taken.quantity(f"{what}.empty", source)}
        volume: dict[str, Any] = {"emptyDir": size}
    else:
        named = _taken.name_of(f"{what}.{kind}", source)
        outer, inner = _VOLUMES[kind]
        volume = {outer: {inner: named}}
    mount |= _given(readOnly=_taken.flag(f"{what}.read_only", given.get("read_only")))
    mount |= _given(subPath=_taken.sub_path(what, given.get("sub_path")))
    return mount, {"name": name, **volume}


_VOLUMES: Final = {
    "claim": ("persistentVolumeClaim", "claimName"),
    "config_map": ("configMap", "name"),
    "secret": ("secret", "secretName"),
}
