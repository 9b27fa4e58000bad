"""The block as a flow has it: what is wrong is told with its place, before anything runs."""

from __future__ import annotations

from typing import Any

import pytest

from lifecycle.scheduler import FlowError, flow_of_table
from lifecycle.scheduler.kubernetes import KubernetesJob, job_manifest

SPEC = {"template": {"spec": {"containers": [{"name": "a", "image": "b"}]}}}
JOB = {"apiVersion": "batch/v1", "kind": "Job", "spec": SPEC}


def problems_of(**block: Any) -> str:
    """Return what is wrong with a flow of one block."""
    with pytest.raises(FlowError) as raised:
        flow_of_table({"name": "f", "blocks": {"work": block}})
    return "\n".join(raised.value.problems)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no image": ({"kubernetes": ""}, "blocks.work.kubernetes: expected an image"),
    "a number": ({"kubernetes": 3}, "blocks.work.kubernetes: expected an image"),
    "an unknown key": (
        {"kubernetes": "a", "comand": ["x"]},
        "blocks.work.comand: unknown key; did you mean 'command'?",
    ),
    "a line for a command": ({"kubernetes": "a", "command": "x y"}, "blocks.work.command: expected a list"),
    "an amount": ({"kubernetes": "a", "resources": {"cpu": "much"}}, "resources.cpu: expected an amount"),
    "a secret": ({"kubernetes": "a", "secrets": {"A": "name"}}, "secrets.A: expected SECRET/KEY"),
    "a variable": ({"kubernetes": "a", "env": {"A B": "x"}}, "expected a variable's name"),
    "a volume": ({"kubernetes": "a", "volumes": {"/x": {"disk": "y"}}}, "volumes./x: expected one of claim"),
    "a relative path": ({"kubernetes": "a", "volumes": {"x": {"empty": True}}}, "expected an absolute path"),
    "a key that is nearly right": (
        {"kubernetes": "a", "nodeSelector": {"pool": "gpu"}},
        "blocks.work.nodeSelector: unknown key; did you mean 'node_selector'?",
    ),
    "a key of a manifest": (
        {"kubernetes": "a", "tolerations": [{"key": "gpu"}]},
        "blocks.work.tolerations: not a key of the short form; it is said by a whole manifest",
    ),
    "a key of a manifest in our spelling": (
        {"kubernetes": "a", "image_pull_policy": "Always"},
        "blocks.work.image_pull_policy: not a key of the short form",
    ),
    "requests and limits": (
        {"kubernetes": "a", "resources": {"requests": {"cpu": 1}, "limits": {"cpu": 2}}},
        "blocks.work.resources.limits: expected a string or a number, got a table of 1; what is given is requested",
    ),
    "a variable out of a secret": (
        {"kubernetes": "a", "env": {"A": {"secret": "b"}}},
        "blocks.work.env.A: expected a string or a number, got a table of 1; a value out of a Secret is said by",
    ),
    "a namespace": ({"kubernetes": "a", "namespace": "Bad_NS"}, "expected the name of a namespace, got 'Bad_NS'"),
    "a file": ({"kubernetes": "job.yaml"}, "blocks.work.kubernetes: expected an image, got what looks like a file"),
    "keep": ({"kubernetes": "a", "keep": "some"}, "blocks.work.keep"),
    "on_drain": ({"kubernetes": "a", "on_drain": "stop"}, "blocks.work.on_drain"),
    "another kind": ({"kubernetes": {**JOB, "kind": "CronJob"}}, "expected a manifest with apiVersion batch/v1"),
    "no kind": (
        {"kubernetes": {"spec": SPEC}},
        "expected a manifest with apiVersion batch/v1 and kind Job, got neither",
    ),
    "no containers": ({"kubernetes": {**JOB, "spec": {}}}, "expected a manifest with containers"),
    "a selector": ({"kubernetes": {**JOB, "spec": {**SPEC, "selector": {}}}}, "a Job's selector is the cluster's"),
    "a container that is not there": ({"kubernetes": JOB, "container": "c"}, "the Job has no container 'c'"),
    "short keys beside a manifest": ({"kubernetes": JOB, "command": ["x"]}, "blocks.work.command: unknown key"),
    "a secret of ours": ({"kubernetes": "a", "env": {"A": "${env:HOME}"}}, "a secret would stand in the cluster"),
}


@pytest.mark.parametrize(("block", "problem"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_before_anything_runs(block: dict[str, Any], problem: str) -> None:
    """With its place, and what was expected."""
    assert problem in problems_of(**block)


def test_always_is_no_policy_of_a_job() -> None:
    """A server would refuse it only when it is created."""
    pod = {"restartPolicy": "Always", "containers": [{"name": "a", "image": "b"}]}
    with pytest.raises(ValueError, match="restartPolicy Never or OnFailure"):
        KubernetesJob(manifest={**JOB, "spec": {"template": {"spec": pod}}})


def test_labels_by_which_jobs_are_found_are_not_the_manifests_to_set() -> None:
    """Nor those that the cluster gives."""
    for label in ("asyncio-lifecycle/job", "job-name"):
        with pytest.raises(ValueError, match="is not the manifest's to set"):
            KubernetesJob(manifest={**JOB, "metadata": {"labels": {label: "1"}}})


def test_the_short_form_is_a_job_that_official_schemas_take() -> None:
    """With all that it can say."""
    import kubernetes_validate

    manifest = job_manifest(
        "image:1",
        command=["run"],
        args=["--fast"],
        env={"A": "1"},
        secrets={"B": "name/key"},
        resources={"cpu": 2, "memory": "4Gi"},
        volumes={"/a": {"claim": "c", "read_only": True}, "/b": {"empty": "1Gi"}, "/c": {"config_map": "m"}},
        node_selector={"pool": "gpu"},
        service_account="runner",
        pull_secrets=["registry"],
        cwd="/work",
        labels={"team": "a"},
        deadline=60,
        grace=5,
        output="/out",
    )
    kubernetes_validate.validate({**manifest, "metadata": {**manifest["metadata"], "name": "n"}}, "1.32", strict=True)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"command": "echo hello"}, "command: expected a list of texts, got 'echo hello'"),
        ({"args": ["--epochs", 3]}, "args[1]: expected a text, got 3"),
        ({"pull_secrets": "registry"}, "pull_secrets: expected a list of texts, got 'registry'"),
        ({"env": ["A=1"]}, "env: expected a table, got a list of 1"),
        ({"env": {"A": 1}}, "env.A: expected a text, got 1"),
        ({"secrets": {"A": 5}}, "secrets.A: expected a text, got 5"),
        ({"volumes": {"/a": "claim"}}, "volumes./a: expected a table, got 'claim'"),
    ],
)
def test_a_program_that_gives_something_else_is_told_so(arguments: dict[str, Any], problem: str) -> None:
    """A text for a list would run its first letter; the rest would be refused by a server, or be an odd error."""
    with pytest.raises(TypeError) as raised:
        job_manifest("image", **arguments)
    assert str(raised.value) == problem


def test_an_image_has_a_name() -> None:
    """The server's answer would name no argument."""
    with pytest.raises(ValueError, match="image: expected the name of an image, got ''"):
        job_manifest("")
