"""What the states of a Job and its pods mean, as clusters of today and of long ago tell them."""

from __future__ import annotations

from typing import Any

import pytest

from lifecycle.scheduler.kubernetes._ends import end_of, waiting_for
from lifecycle.scheduler.kubernetes._view import Seen

Table = dict[str, Any]


def job(*conditions: str, reason: str = "BackoffLimitExceeded") -> Table:
    """Return a Job with conditions that are true; a word after a dash makes one that is not."""
    told = [
        {"type": kind.removeprefix("-"), "status": "False" if kind.startswith("-") else "True", "reason": reason}
        for kind in conditions
    ]
    return {"metadata": {"name": "work", "uid": "u"}, "spec": {}, "status": {"conditions": told, "failed": 1}}


def pod(phase: str, *states: Table, conditions: Table | None = None, containers: int = 1, **status: Any) -> Table:
    """Return a pod with the states of its containers, ``main`` and ``c1``, ``c2``."""
    names = ["main", *(f"c{number}" for number in range(1, max(containers, len(states))))]
    told = [{"name": name, "state": state} for name, state in zip(names, states, strict=False)]
    target = [{"type": "DisruptionTarget", "status": "True", **conditions}] if conditions else []
    return {
        "metadata": {"name": "work-x", "uid": "p", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"containers": [{"name": name} for name in names], "nodeName": "n1"},
        "status": {"phase": phase, "conditions": target, **({"containerStatuses": told} if told else {}), **status},
    }


def ended(code: int, reason: str = "Error", message: str = "") -> Table:
    """Return the state of a container that has ended."""
    return {"terminated": {"exitCode": code, "reason": reason, "message": message, "containerID": "c"}}


FAILED = job("Failed")

ENDS: dict[str, tuple[Table | None, Table | None, str | None, int | None]] = {
    "success": (job("Complete"), pod("Succeeded", ended(0, "Completed")), "succeeded", 0),
    "success without its pod": (job("Complete"), None, "succeeded", None),
    "success, a child was out of memory": (job("Complete"), pod("Succeeded", ended(0, "OOMKilled")), "succeeded", 0),
    "success of a pod that was to be evicted": (
        job("Complete"),
        pod("Succeeded", ended(0), conditions={"reason": "PreemptionByScheduler"}),
        "succeeded",
        0,
    ),
    "a success that waits for other pods": (job("SuccessCriteriaMet"), pod("Running", {"running": {}}), None, None),
    "a failure that waits for other pods": (job("FailureTarget"), pod("Failed", ended(3)), None, None),
    "a condition that is not true": (job("-Failed"), pod("Running", {"running": {}}), None, None),
    "an exit code": (FAILED, pod("Failed", ended(3)), "failed", 3),
    "a signal": (FAILED, pod("Failed", ended(143)), "failed", 143),
    "a kill without a reason": (FAILED, pod("Failed", ended(137)), "failed", 137),
    "out of memory": (FAILED, pod("Failed", ended(137, "OOMKilled")), "out of memory", 137),
    "out of memory in a child, and SIGTERM": (FAILED, pod("Failed", ended(143, "OOMKilled")), "failed", 143),
    "evicted, statuses are null": (FAILED, pod("Failed", reason="Evicted", containerStatuses=None), "evicted", None),
    "evicted, told by a condition alone": (
        FAILED,
        pod("Failed", ended(137), conditions={"reason": "TerminationByKubelet"}),
        "evicted",
        None,
    ),
    "evicted, its container unknown": (
        FAILED,
        pod("Failed", ended(137, "ContainerStatusUnknown"), reason="Evicted"),
        "evicted",
        None,
    ),
    "preempted": (FAILED, pod("Failed", conditions={"reason": "PreemptionByScheduler"}), "evicted", None),
    "shut down": (FAILED, pod("Failed", ended(143), reason="Terminated"), "evicted", None),
    "node lost, of old": (job(), pod("Unknown", {"running": {}}, reason="NodeLost"), "node lost", None),
    "node lost": (
        job(),
        pod("Running", {"running": {}}, conditions={"reason": "DeletionByTaintManager"}),
        "node lost",
        None,
    ),
    "no room on the node": (FAILED, pod("Failed", reason="OutOfcpu"), "not started", None),
    "a command that is not there": (FAILED, pod("Failed", ended(128, "StartError")), "not started", 128),
    "the deadline of the Job": (job("Failed", reason="DeadlineExceeded"), None, "deadline", None),
    "the deadline of the pod": (FAILED, pod("Failed", reason="DeadlineExceeded"), "deadline", None),
    "a sidecar failed": (FAILED, pod("Failed", ended(0, "Completed"), ended(5)), "failed", 5),
    "both failed": (FAILED, pod("Failed", ended(4), ended(5)), "failed", 4),
    "failed without a pod": (FAILED, None, "failed", None),
    "running": (job(), pod("Running", {"running": {}}), None, None),
}


@pytest.mark.parametrize(("told", "of_pod", "reason", "code"), ENDS.values(), ids=ENDS)
def test_an_end_is_told_by_its_reason(told: Table | None, of_pod: Table | None, reason: str | None, code: int) -> None:
    """Each as it is told, and none where there is none yet."""
    end = end_of(Seen(told, {"work-x": of_pod} if of_pod else {}), None, single=True)
    assert (None if end is None else end.reason) == reason
    assert (None if end is None else end.exit_code) == code


def test_a_pod_that_vanished_while_it_ran_is_an_end_of_a_single_one() -> None:
    """Of a Job that may have several pods its controller decides."""
    seen = Seen(job(), {}, {"work-x": pod("Running", {"running": {}})})
    assert end_of(seen, None, single=False) is None
    end = end_of(seen, None, single=True)
    assert end is not None
    assert end.reason == "deleted"


def test_an_init_container_that_fails_is_named() -> None:
    """The main one has never run."""
    failed = pod("Failed", {"waiting": {"reason": "PodInitializing"}})
    failed["status"]["initContainerStatuses"] = [{"name": "prepare", "state": ended(3)}]
    end = end_of(Seen(FAILED, {"work-x": failed}), None, single=True)
    assert end is not None
    assert (end.exit_code, end.message) == (3, "container prepare ended with exit code 3")


@pytest.mark.parametrize(
    ("message", "output"),
    [('{"a": 1}', {"a": 1}), ("[1, 2]\n", [1, 2]), ("3", 3), ("text", "text"), ("", None), ('{"a": 1', '{"a": 1')],
)
def test_an_output_is_data_where_it_is_json(message: str, output: object) -> None:
    """Anything else is text, as a message that was cut is."""
    end = end_of(Seen(job("Complete"), {"p": pod("Succeeded", ended(0, "Completed", message))}), None, single=True)
    assert end is not None
    assert end.output == output


@pytest.mark.parametrize(
    ("of_pod", "reason"),
    [
        (pod("Pending", {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off"}}), "ImagePullBackOff"),
        (pod("Pending", {"waiting": {"reason": "CreateContainerConfigError"}}), "CreateContainerConfigError"),
        (pod("Pending", {"waiting": {"reason": "ContainerCreating"}}), "pending"),
        (pod("Pending"), "pending"),
        (pod("Running", {"running": {}}), None),
    ],
)
def test_what_a_pod_waits_for(of_pod: Table, reason: str | None) -> None:
    """One word, and none where it runs."""
    waiting = waiting_for(Seen(job(), {"work-x": of_pod}))
    assert (None if waiting is None else waiting.reason) == reason


@pytest.mark.parametrize(
    ("code", "signal"), [(128, None), (129, "SIGHUP"), (168, "signal 40"), (192, "SIGRTMAX"), (193, None), (255, None)]
)
def test_a_code_beyond_those_of_signals_is_the_programs_own(code: int, signal: str | None) -> None:
    """As that of a shell that could not reach its host, which is 255."""
    end = end_of(Seen(FAILED, {"work-x": pod("Failed", ended(code))}), None, single=True)
    assert end is not None
    assert (end.exit_code, end.signal) == (code, signal)
    assert (f"exit code {code}" in end.message) == (signal is None)


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_of_several_pods_that_have_failed_the_newest_says_why(order: tuple[str, ...]) -> None:
    """A list has them by their names, which are made at random."""
    pods = {"a": pod("Failed", ended(3)), "b": pod("Failed", ended(4))}
    for name, minute in (("a", 1), ("b", 2)):
        pods[name]["metadata"] |= {"name": name, "creationTimestamp": f"2026-01-01T00:0{minute}:00Z"}
    end = end_of(Seen(FAILED, {name: pods[name] for name in order}), None, single=False)
    assert end is not None
    assert (end.exit_code, end.details["pod"]) == (4, "b")


def test_a_pod_in_place_of_one_that_was_deleted_is_none_of_ours() -> None:
    """Who has deleted it gave it time to end, and the controller has not seen that; a job of several is another's."""
    first = pod("Failed", {"terminated": {"exitCode": 143, "reason": "Error"}})
    second = pod("Running", {"running": {}})
    seen = Seen(job(), {"work-y": second}, {"work-x": first})
    end = end_of(seen, None, single=True)
    assert end is not None
    assert (end.reason, end.message) == ("deleted", "pod work-x was deleted by somebody else")
    assert end_of(seen, None, single=False) is None
    assert end_of(Seen(job(), {}, {"work-x": first}), None, single=True) is None, "the controller's to tell of"


def test_a_job_that_was_suspended_says_so() -> None:
    """Also where its pod is gone, and nobody has seen it go."""
    end = end_of(Seen({**FAILED, "spec": {"suspend": True}}), None, single=True)
    assert end is not None
    assert "suspended" in end.message
