"""How a Job has ended, told from what is known of it and of its pods. Nothing here waits or asks.

The verdict of the Job's controller counts where there is one (the conditions ``Complete`` and ``Failed``); the pods say
why. ``SuccessCriteriaMet`` and ``FailureTarget`` come before the last pod has ended, and numbers of failed pods change
back: neither is an end.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from .._ground.text import one_line, shorten
from .._ground.values import to_plain
from ..remote import RemoteEnd
from ._view import Seen

FAILED: Final = "failed"
OUT_OF_MEMORY: Final = "out of memory"
EVICTED: Final = "evicted"
NODE_LOST: Final = "node lost"
NO_IMAGE: Final = "no image"
NOT_STARTED: Final = "not started"
REFUSED: Final = "refused"
DELETED: Final = "deleted"
DEADLINE: Final = "deadline"
UNREACHABLE: Final = "unreachable"

Pod = Mapping[str, Any]

_POD_REASONS: Final = {
    "Evicted": EVICTED,
    "Preempting": EVICTED,
    "Preempted": EVICTED,
    "Shutdown": EVICTED,
    "NodeShutdown": EVICTED,
    "Terminated": EVICTED,
    "NodeLost": NODE_LOST,
    "DeadlineExceeded": DEADLINE,
    "NodeAffinity": NOT_STARTED,
    "UnexpectedAdmissionError": NOT_STARTED,
}
"""What the reason of a pod's status says; ``OutOfcpu`` and others of that form mean that the node had no room."""

_DISRUPTIONS: Final = {
    "PreemptionByScheduler": EVICTED,
    "EvictionByEvictionAPI": EVICTED,
    "TerminationByKubelet": EVICTED,
    "DeletionByTaintManager": NODE_LOST,
    "DeletionByPodGC": NODE_LOST,
}
"""What the reason of the condition ``DisruptionTarget`` says, since Kubernetes 1.26."""

_NEVER_RAN: Final = ("StartError", "ContainerCannotRun", "RunContainerError")
_SIGNALLED: Final = 128
_LAST_SIGNAL: Final = 64


_HOPELESS: Final = ("InvalidImageName", "ErrImageNeverPull")
IMAGE: Final = (*_HOPELESS, "ErrImagePull", "ImagePullBackOff", "ImageInspectError", "RegistryUnavailable")
SETUP: Final = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")


class Waiting(NamedTuple):
    """What a pod waits for before it runs: one word, and what the server says of it."""

    reason: str
    message: str

    @property
    def image(self) -> bool:
        """Whether it is its image."""
        return self.reason in IMAGE

    @property
    def hopeless(self) -> bool:
        """Whether waiting does not help."""
        return self.reason in _HOPELESS


def end_of(seen: Seen, container: str | None, *, single: bool) -> RemoteEnd | None:
    """Return how a job has ended, None while it has not.

    Args:
        seen: what is known of it.
        container: the container that counts, None for the first.
        single: whether one pod is all that it has: then the end of that pod is the end, also where the controller of an
            older server makes another one in its place.
    """
    if seen.job is not None:
        for kind, condition in _conditions(seen.job):
            if kind == "Complete":
                return _success(seen, container)
            if kind == "Failed":
                return _failure(seen, container, condition)
    if single and (lost := _lost(seen)) is not None:
        return lost
    return None


def waiting_for(seen: Seen) -> Waiting | None:
    """Return what the newest pod waits for, None when it does not wait any more."""
    if not seen.pods:
        return Waiting("no pod yet", "")
    pod = max(seen.pods.values(), key=lambda one: one["metadata"].get("creationTimestamp") or "")
    states = [status.get("state") or {} for status in statuses(pod)]
    for state in states:
        waiting = state.get("waiting") or {}
        reason = waiting.get("reason") or ""
        if reason in IMAGE or reason in SETUP:
            return Waiting(reason, one_line(shorten(waiting.get("message") or "", 400)))
    if (pod["status"].get("phase") or "Pending") != "Pending" or any("running" in state for state in states):
        return None
    for condition in pod["status"].get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return Waiting(condition.get("reason") or "Unschedulable", one_line(condition.get("message") or ""))
    return Waiting("pending", "")


def is_told(seen: Seen) -> bool:
    """Return whether a pod says how it has ended, and not only the Job that one has."""
    pods = (*seen.pods.values(), *seen.gone.values())
    return any(pod["status"].get("phase") in ("Succeeded", "Failed") or _disruption(pod) for pod in pods)


def is_finished(job: Mapping[str, Any]) -> bool:
    """Return whether a Job has ended."""
    return any(kind in ("Complete", "Failed") for kind, _ in _conditions(job))


def has_failed(job: Mapping[str, Any]) -> bool:
    """Return whether a Job has ended by a failure."""
    return any(kind == "Failed" for kind, _ in _conditions(job))


def end_of_container(pod: Pod, container: str, seen: Seen) -> RemoteEnd | None:
    """Return the end of one container of a pod that still runs, None while it has none."""
    state = _terminated(_of_container(pod, container))
    if not state or pod["status"].get("phase") != "Running":
        return None
    if state.get("exitCode"):
        return _failure_of(pod, container, seen)
    return RemoteEnd(reason="succeeded", exit_code=0, output=_output(state.get("message")), details=_details(seen, pod))


def lost_pods(seen: Seen) -> frozenset[str]:
    """Return the names of the pods whose node is gone: nobody says when they have ended."""
    return frozenset(name for name, pod in seen.pods.items() if _disruption(pod) == NODE_LOST)


def _conditions(item: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for condition in (item.get("status") or {}).get("conditions") or ():
        if condition.get("status") == "True":
            yield str(condition.get("type")), condition


def statuses(pod: Pod) -> Iterator[Mapping[str, Any]]:
    """Yield the states of a pod's containers, those that come first first; an evicted pod has none."""
    for kind in ("initContainerStatuses", "containerStatuses"):
        yield from pod["status"].get(kind) or ()


def _newest_first(seen: Seen) -> list[Pod]:
    """Return the pods there are and were, the newest first; a list has them by name, and only a watch as they came."""
    pods = [*reversed(seen.pods.values()), *reversed(seen.gone.values())]
    return sorted(pods, key=lambda pod: pod["metadata"].get("creationTimestamp") or "", reverse=True)


# Success


def _success(seen: Seen, container: str | None) -> RemoteEnd:
    pod = next((one for one in _newest_first(seen) if one["status"].get("phase") == "Succeeded"), None)
    if pod is None:
        return RemoteEnd(
            reason="succeeded", message="its pod could not be seen: no exit code and no output", details=_details(seen)
        )
    state = _terminated(_of_container(pod, container))
    note = ""
    if state.get("reason") == "OOMKilled":
        note = "a process of it was killed because it was out of memory"
    elif disrupted := _disruption(pod):
        note = f"although its pod was to end: {disrupted}"
    return RemoteEnd(
        reason="succeeded",
        message=note,
        exit_code=state.get("exitCode"),
        output=_output(state.get("message")),
        details=_details(seen, pod),
    )


def _output(message: str | None) -> Any:
    """Return what a termination message says: JSON as data, anything else as text, None where there is none.

    What is no plain data counts as text too, such as the NaN that programs write for a loss: work of hours must not
    have failed for it.
    """
    text = (message or "").strip()
    if not text:
        return None
    try:
        return to_plain(json.loads(text), "an output")
    except (ValueError, TypeError, RecursionError):
        return text


# Failure


def _failure(seen: Seen, container: str | None, condition: Mapping[str, Any]) -> RemoteEnd:
    verdict, message = condition.get("reason") or "", condition.get("message") or ""
    if verdict == "DeadlineExceeded":
        said = "the Job was active for longer than its deadline"
        return RemoteEnd(reason=DEADLINE, message=said, details=_details(seen))
    pods = _newest_first(seen)
    ended = [one for one in pods if one["status"].get("phase") == "Failed"]
    for pod in [*ended, *(one for one in pods if _disruption(one))]:
        return _failure_of(pod, container, seen)
    if seen.gone:
        return _gone(next(reversed(seen.gone.values())), seen)
    text = f"{verdict}: {message}" if verdict else message or "the Job has failed"
    if seen.job is not None and seen.job["spec"].get("suspend"):
        text = f"the Job was suspended, and may lose no pod: {text}"
    said = one_line(shorten(text, 400))
    return RemoteEnd(reason=FAILED, message=said, details=_details(seen))


def _lost(seen: Seen) -> RemoteEnd | None:
    """Return the end of a pod that its Job's controller has not told of yet, or never will."""
    for pod in seen.pods.values():
        if _disruption(pod) == NODE_LOST:
            return _failure_of(pod, None, seen)
    if seen.gone and seen.job is not None:
        pod = next(reversed(seen.gone.values()))
        phase = pod["status"].get("phase")
        # One that had time to end before it was removed is the controller's to tell of, unless that has missed it.
        if phase not in ("Succeeded", "Failed") or (phase == "Failed" and seen.pods):
            return _gone(pod, seen)
    return None


def _gone(pod: Pod, seen: Seen) -> RemoteEnd:
    """Return the end by a pod that was deleted while it ran."""
    name = pod["metadata"]["name"]
    if reason := _disruption(pod):
        return RemoteEnd(reason=reason, message=_said(pod), details=_details(seen, pod))
    suspended = seen.job is not None and seen.job["spec"].get("suspend")
    said = f"pod {name} was deleted {'because its Job was suspended' if suspended else 'by somebody else'}"
    return RemoteEnd(reason=DELETED, message=said, details=_details(seen, pod))


def _failure_of(pod: Pod, container: str | None, seen: Seen) -> RemoteEnd:
    details = _details(seen, pod)
    if reason := _disruption(pod):
        return RemoteEnd(reason=reason, message=_said(pod), details=details)
    status = _failing(pod, container)
    state = _terminated(status)
    code, why, said = state.get("exitCode"), state.get("reason") or "", (state.get("message") or "").strip()
    name = status.get("name") or "?"
    if not state:
        return RemoteEnd(reason=FAILED, message=_said(pod), details=details)
    number = _signal_of(state)
    ended_by = _signal_name(number) if number else None
    if why in _NEVER_RAN:
        reason, text = NOT_STARTED, f"container {name} could not be started"
    elif why == "OOMKilled" and number in (0, signal.SIGKILL):
        reason, text = OUT_OF_MEMORY, f"container {name} was killed because it was out of memory"
    elif ended_by:
        maybe = " (maybe because it was out of memory)" if number == signal.SIGKILL else ""
        reason, text = FAILED, f"container {name} was ended by {ended_by}{maybe}"
    else:
        reason, text = FAILED, f"container {name} ended with exit code {code}"
    if why == "OOMKilled" and reason == FAILED:
        text += "; a process of it was out of memory"
    message = one_line(shorten(f"{text}: {said}" if said else text, 600))
    return RemoteEnd(reason=reason, message=message, exit_code=code, signal=ended_by, details=details)


def _failing(pod: Pod, container: str | None) -> Mapping[str, Any]:
    """Return the state of the container that has failed: the one that counts where several have, else the first."""
    failed = [status for status in statuses(pod) if _terminated(status).get("exitCode")]
    counts = _of_container(pod, container)
    return counts if counts in failed or not failed else failed[0]


def _of_container(pod: Pod, container: str | None) -> Mapping[str, Any]:
    name = container or next((one["name"] for one in pod["spec"]["containers"]), None)
    statuses = pod["status"].get("containerStatuses") or ()
    return next((status for status in statuses if status.get("name") == name), {})


def _terminated(status: Mapping[str, Any]) -> Mapping[str, Any]:
    state = status.get("state") or {}
    return state.get("terminated") or {}


def _disruption(pod: Pod) -> str | None:
    """Return why a pod was ended from outside, None where it was not."""
    for kind, condition in _conditions(pod):
        if kind == "DisruptionTarget":
            return _DISRUPTIONS.get(condition.get("reason") or "", EVICTED)
    reason = pod["status"].get("reason") or ""
    if reason.startswith("OutOf"):
        return NOT_STARTED
    return _POD_REASONS.get(reason)


def _said(pod: Pod) -> str:
    status = pod["status"]
    target = next((one for kind, one in _conditions(pod) if kind == "DisruptionTarget"), {})
    reason = status.get("reason") or target.get("reason") or status.get("phase") or "?"
    message = status.get("message") or target.get("message") or ""
    return one_line(shorten(f"pod {pod['metadata']['name']}: {reason}{f': {message}' if message else ''}", 600))


def _details(seen: Seen, pod: Pod | None = None) -> dict[str, Any]:
    details: dict[str, Any] = {}
    if seen.job is not None:
        status = seen.job["status"]
        details |= {"name": seen.job["metadata"]["name"], "started": status.get("startTime")}
    if pod is not None:
        details |= {"pod": pod["metadata"]["name"], "node": pod["spec"].get("nodeName")}
    return {key: value for key, value in details.items() if value}


def _signal_of(state: Mapping[str, Any]) -> int:
    """Return the number of the signal that ended a container, 0 for none: larger codes, as 255, are its own."""
    code = state.get("exitCode")
    number = code - _SIGNALLED if isinstance(code, int) and code > _SIGNALLED else state.get("signal") or 0
    return number if 0 < number <= _LAST_SIGNAL else 0


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
