"""Attacks by manifests: what has odd types, no plain form, or a namespace that is a piece of a path."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from lifecycle.scheduler import FlowError, flow_of_table
from lifecycle.scheduler.kubernetes import KubernetesJob, job_manifest


def _manifest(pod: Any = None, **more: Any) -> dict[str, Any]:
    pod = {"containers": [{"name": "main", "image": "image"}], **(pod or {})}
    return {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": pod}}, **more}


def _deep() -> dict[str, Any]:
    outer: dict[str, Any] = {}
    inner = outer
    for _ in range(100_000):
        inner["a"] = inner = {}
    return outer


ODD: dict[str, Any] = {
    "metadata is a list": _manifest(metadata=["x"]),
    "metadata is a text": _manifest(metadata="x"),
    "labels are a list": _manifest(metadata={"labels": ["x"]}),
    "a namespace is a number": _manifest(metadata={"namespace": 5}),
    "a namespace is a list": _manifest(metadata={"namespace": ["x"]}),
    "a namespace leads elsewhere": _manifest(metadata={"namespace": "a/../../secrets?b="}),
    "a container's name is a list": _manifest({"containers": [{"name": ["x"], "image": "image"}]}),
    "the template's metadata is a list": {
        **_manifest(),
        "spec": {"template": {"metadata": ["x"], "spec": _manifest()["spec"]["template"]["spec"]}},
    },
}
NOT_PLAIN: dict[str, Any] = {
    "a date": _manifest(x=datetime.date(2026, 1, 1)),
    "keys of two types": _manifest({"x": {1: 2, "a": 3}}),
    "a key that is none": _manifest({"x": {(1, 2): 3}}),
    "a number that is none": _manifest(x=float("nan")),
    "a set": _manifest(x={1}),
    "too deep": _manifest(x=_deep()),
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_a_manifest_of_odd_types_is_a_problem_of_the_flow(odd: dict[str, Any]) -> None:
    """It is told with its place, before anything runs."""
    with pytest.raises(FlowError, match=r"blocks\.work\.kubernetes"):
        flow_of_table({"name": "flow", "blocks": {"work": {"kubernetes": odd}}})


@pytest.mark.parametrize("odd", [*ODD.values(), *NOT_PLAIN.values()], ids=[*ODD, *NOT_PLAIN])
def test_a_manifest_of_odd_types_is_refused_where_it_is_given(odd: dict[str, Any]) -> None:
    """A program is told by the error that it expects, and not in the midst of a creation."""
    with pytest.raises(ValueError, match=r"expected|label"):
        KubernetesJob(manifest=odd)


@pytest.mark.parametrize("namespace", ["a/b", "A", "a?x=1", "..", "-a", "a" * 64, "a\n", 5])
def test_a_namespace_is_a_name(namespace: Any) -> None:
    """It becomes a part of the path of requests that carry our token."""
    with pytest.raises(ValueError, match="namespace"):
        KubernetesJob(manifest=job_manifest("image"), namespace=namespace)
