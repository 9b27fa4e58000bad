"""The short form of a Job: what it accepts an API server takes, and what one would refuse is refused before."""

from __future__ import annotations

import json
import re
from typing import Any

import kubernetes_validate
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lifecycle.scheduler.kubernetes import KubernetesJob, job_manifest
from lifecycle.scheduler.remote import Ticket

from ...kubernetes.double import TODAY
from ...kubernetes.double.kinds import JOBS
from ...kubernetes.double.schemas import schemas
from ...kubernetes.double.validation import DNS_NAME, QUALIFIED, job_problems, meta_problems

NEWEST = "1.37.0"
TICKET = Ticket("work-0-1-1-0123456789", "0123456789", 7, 1, 1, 2, "work: a/b")

NAMES = st.sampled_from(["a", "my-name", "a.b-c", "A", "-a", "a-", "", "a b", "a_b", "ä", "x" * 64, "x" * 254, "a\n"])
KEYS = NAMES | st.sampled_from(["example.com/a", "/a", "a/", "EXAMPLE.com/a", "a/b/c", "nvidia.com/gpu", "_"])
TEXTS = st.text(max_size=8) | st.sampled_from(["\0", "a\nb", " ", "$(A)"])
ANYTHING = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.lists(TEXTS, max_size=2)
AMOUNTS = (
    st.integers(-2, 10**20)
    | st.floats()
    | st.booleans()
    | st.sampled_from(
        ["4Gi", "500m", "0.5", "-1", "+2", "1e3", "1E", "1e999999999", "1.", ".5", "", "4GiB", "\u0665", "2 "]
    )
)
RESOURCES = st.sampled_from(
    ["cpu", "memory", "ephemeral-storage", "nvidia.com/gpu", "hugepages-2Mi", "gpu", "A/b", "a/"]
)
SECONDS = st.integers(-1, 2**33) | st.floats() | st.none()
SOURCES = st.fixed_dictionaries(
    {},
    optional={
        "claim": NAMES,
        "config_map": NAMES,
        "secret": NAMES,
        "empty": st.booleans() | AMOUNTS,
        "read_only": st.booleans() | ANYTHING,
        "sub_path": st.sampled_from(["a/b", "/a", "../a", "a/..", "..a"]) | ANYTHING,
    },
)
PATHS = st.sampled_from(["/a", "/a b", "a", "", "/", "/a:b", "/a/../b"])

SHORT = st.fixed_dictionaries(
    {"image": st.sampled_from(["image", "a/b:1", "", " a", "a\n"]) | ANYTHING},
    optional={
        "command": st.lists(TEXTS, max_size=3) | ANYTHING,
        "args": st.lists(TEXTS, max_size=3) | st.tuples(TEXTS),
        "env": st.dictionaries(st.sampled_from(["A", "_a.b", "1A", "A B", "", "A="]), TEXTS | ANYTHING, max_size=2),
        "secrets": st.dictionaries(
            st.sampled_from(["B", "B B"]),
            st.sampled_from(["a/b", "a/", "/b", "a", "A/b", "a/b/c", "a/b c", "a/..", "a/.x"]) | ANYTHING,
            max_size=2,
        ),
        "resources": st.dictionaries(RESOURCES, AMOUNTS, max_size=2),
        "volumes": st.dictionaries(PATHS, SOURCES | ANYTHING, max_size=2),
        "node_selector": st.dictionaries(KEYS, NAMES | ANYTHING, max_size=2),
        "labels": st.dictionaries(KEYS, NAMES | ANYTHING, max_size=2),
        "service_account": NAMES | ANYTHING,
        "pull_secrets": st.lists(NAMES, max_size=2),
        "cwd": TEXTS | ANYTHING,
        "output": TEXTS | ANYTHING,
        "deadline": SECONDS,
        "grace": SECONDS,
        "ttl": st.integers(-1, 2**33) | st.floats(),
    },
)


def refused_by_a_server(manifest: dict[str, Any]) -> list[Any]:
    """Return why an API server of today would not take a Job, as far as schemas and the double's rules go."""
    manifest = json.loads(json.dumps(manifest))
    found: list[Any] = schemas(NEWEST).problems(manifest)
    if found:
        return found
    found += meta_problems(JOBS, manifest["metadata"])
    spec = manifest["spec"]
    template, chosen = spec["template"], {"controller-uid": "u"}
    labels = {**template["metadata"]["labels"], **chosen}
    pod = {"dnsPolicy": "ClusterFirst", **template["spec"]}
    whole = {"completionMode": "NonIndexed", "selector": {"matchLabels": chosen}, **spec}
    whole["template"] = {"metadata": {**template["metadata"], "labels": labels}, "spec": pod}
    found += job_problems(whole, TODAY)
    for name in ("ttlSecondsAfterFinished", "activeDeadlineSeconds"):
        found += [name] if not 0 <= spec.get(name, 0) < 2**31 else []
    return found + list(_of_pod(pod))


def _of_pod(pod: dict[str, Any]) -> Any:
    """Yield what else a server refuses, of the parts that the short form can have."""
    (container,) = pod["containers"]
    if container["image"] != container["image"].strip():
        yield "image"
    for variable in container.get("env", ()):
        if not re.fullmatch(r"[-._a-zA-Z][-._a-zA-Z0-9]*", variable["name"]):
            yield variable
        if "valueFrom" in variable and not DNS_NAME.fullmatch(variable["valueFrom"]["secretKeyRef"]["name"]):
            yield variable
    for name, amount in container.get("resources", {}).get("limits", {}).items():
        prefix, slash, word = name.rpartition("/")
        if not QUALIFIED.fullmatch(word) or (slash and not DNS_NAME.fullmatch(prefix)) or amount.startswith("-"):
            yield name
        if slash and re.search(r"\.0*[1-9]|[numeE]", amount):
            yield name
        if not slash and word not in ("cpu", "memory", "ephemeral-storage") and not word.startswith("hugepages-"):
            yield name
    names = [pod.get("serviceAccountName", "a"), *(secret["name"] for secret in pod.get("imagePullSecrets", ()))]
    yield from (name for name in names if not DNS_NAME.fullmatch(name))
    for mount in container.get("volumeMounts", ()):
        if ":" in mount["mountPath"] or ".." in mount.get("subPath", "").split("/"):
            yield mount
    for volume in pod.get("volumes", ()):
        claim = volume.get("persistentVolumeClaim", {}).get("claimName", "a")
        if not DNS_NAME.fullmatch(claim) or len(claim) > 253:
            yield volume
    for key, value in pod.get("nodeSelector", {}).items():
        if not QUALIFIED.fullmatch(key.rpartition("/")[2]) or len(value) > 63:
            yield key


@given(SHORT)
@settings(max_examples=120)
@example({"image": "a", "volumes": {"/a": {"claim": "c", "read_only": "yes"}}})
@example({"image": "a", "env": {"A": 1}})
@example({"image": "a", "labels": {"team": "the team"}})
@example({"image": "a", "ttl": 2**31})
@example({"image": "a", "resources": {"cpu": "-1"}})
@example({"image": "a", "resources": {"memory": "\u0665"}})
@example({"image": "a", "resources": {"nvidia.com/gpu": 0.5}})
@example({"image": "a", "command": "run it"})
@example({"image": "a\n"})
@example({"image": "a", "env": {"1A": "b"}})
@example({"image": "a", "volumes": {"/a:b": {"empty": True}}})
@example({"image": "a", "volumes": {"/a": {"empty": True, "sub_path": "a/.."}}})
@example({"image": "a", "resources": {"gpu": 1}})
@example({"image": "a", "labels": {"a b": "c"}})
@example({"image": "a", "service_account": "A"})
def test_what_the_short_form_accepts_a_server_takes(short: dict[str, Any]) -> None:
    """Whatever it is given; and it refuses with a TypeError or a ValueError that names the key, and nothing else."""
    short = dict(short)
    manifest, told = _made(short.pop("image"), short)
    if manifest is None:
        assert told.partition(":")[0].split()[0].split(".")[0].split("[")[0] in {"image", *SHORT_KEYS}
        return
    work, told = _work(manifest)
    if work is None:  # by the labels, which are looked at with the whole
        assert "is not the manifest's to set" in told
        return
    assert refused_by_a_server(work.named(TICKET, "jobs")) == []


def _made(image: Any, short: dict[str, Any]) -> tuple[dict[str, Any] | None, str]:
    try:
        return job_manifest(image, **short), ""
    except (TypeError, ValueError) as error:
        return None, str(error)


def _work(manifest: dict[str, Any]) -> tuple[KubernetesJob | None, str]:
    try:
        return KubernetesJob(manifest=manifest), ""
    except ValueError as error:
        return None, str(error)


SHORT_KEYS = (
    *("command", "args", "env", "secrets", "resources", "volumes", "node_selector", "labels", "service_account"),
    *("pull_secrets", "cwd", "output", "deadline", "grace", "ttl"),
)

PLAIN = st.fixed_dictionaries(
    {},
    optional={
        "command": st.lists(st.text("abc $()", max_size=5), max_size=3),
        "args": st.lists(st.text("abc", max_size=5), max_size=3),
        "env": st.dictionaries(st.from_regex(r"[A-Z_]{1,5}", fullmatch=True), st.text("ab=\n", max_size=5), max_size=3),
        "secrets": st.dictionaries(st.just("B"), st.from_regex(r"[a-z]{1,9}/[-a-z.]{1,9}z", fullmatch=True)),
        "resources": st.dictionaries(
            st.sampled_from(["cpu", "memory", "nvidia.com/gpu"]), st.integers(0, 100) | st.just("4Gi"), max_size=3
        ),
        "volumes": st.dictionaries(
            st.from_regex(r"/[a-z]{1,5}", fullmatch=True),
            st.fixed_dictionaries(
                {"claim": st.just("c")}, optional={"read_only": st.booleans(), "sub_path": st.just("a/b")}
            )
            | st.fixed_dictionaries({"empty": st.sampled_from([True, "1Gi", 5])}),
            max_size=3,
        ),
        "node_selector": st.dictionaries(st.just("a.b/c"), st.sampled_from(["", "x", "X_1.y"])),
        "labels": st.dictionaries(st.from_regex(r"[a-z]{1,63}", fullmatch=True), st.just("v"), max_size=3),
        "service_account": st.just("runner"),
        "pull_secrets": st.lists(st.just("p"), max_size=1),
        "cwd": st.just("/work"),
        "output": st.just("/out"),
        "deadline": st.floats(0, 1e9) | st.integers(0, 10**9),
        "grace": st.integers(0, 10**9),
        "ttl": st.integers(0, 10**9),
    },
)


@given(PLAIN)
@settings(max_examples=40)
def test_what_is_right_is_accepted(short: dict[str, Any]) -> None:
    """And all that was said is in the manifest."""
    work = KubernetesJob(manifest=job_manifest("image", **short))
    manifest = work.named(TICKET, "jobs")
    assert refused_by_a_server(manifest) == []
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    assert container.get("command", []) == short.get("command", [])
    named = {one["name"]: one["value"] for one in container.get("env", ()) if "value" in one}
    assert named == {
        key: value for key, value in short.get("env", {}).items() if key not in short.get("secrets", {})
    } or ("B" in short.get("env", {}))
    assert len(container.get("volumeMounts", ())) == len(short.get("volumes", {}))
    assert short.get("labels", {}).items() <= manifest["metadata"]["labels"].items()
    assert short.get("labels", {}).items() <= manifest["spec"]["template"]["metadata"]["labels"].items()
    json.dumps(manifest, allow_nan=False)


def test_the_schemas_of_the_double_are_the_official_ones() -> None:
    """What they refuse kubernetes_validate refuses, in the newest version that there is."""
    manifest = KubernetesJob(manifest=job_manifest("image", env={"A": "b"})).named(TICKET, "jobs")
    version = NEWEST.rpartition(".")[0]
    kubernetes_validate.validate(manifest, version, strict=True)
    manifest["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, version, strict=True)
    assert refused_by_a_server(manifest) != []


def test_a_cluster_without_a_name_is_none() -> None:
    """An expression may have made it so; the current context is hardly meant."""
    with pytest.raises(ValueError, match="cluster must not be empty"):
        KubernetesJob(manifest=job_manifest("image"), cluster="")
