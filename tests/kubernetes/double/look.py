"""One look at one Job: what its pods did, what follows from it, and what the status then says."""

from __future__ import annotations

from collections import Counter
from typing import Any, Protocol

from .defaults import now, seconds_since
from .manners import Manner
from .storage import Record

TRACKING = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"


class Hands(Protocol):
    """What a look needs of the controller: it decides, the controller does."""

    manner: Manner
    retries: dict[str, int]

    def pods(self, job: Record) -> list[Record]:
        """Return the pods of a Job."""

    def make(self, job: Record, index: int | None) -> bool:
        """Make a pod; return whether that went well."""

    def end(self, job: Record, pod: Record) -> None:
        """Remove a pod."""

    def release(self, pod: Record) -> None:
        """Let a pod go that has been counted."""

    def wait(self, job: Record, failures: int) -> bool:
        """Return whether the next pod has to wait."""

    def look_again(self, job: Record) -> None:
        """Have a look at a Job after this one."""

    def tell(self, about: Record, kind: str, reason: str, message: str) -> None:
        """Write an event."""


class Look:
    """What is found in one look at one Job, and what is done about it."""

    def __init__(self, controller: Hands, job: Record, status: dict[str, Any]) -> None:
        self.controller = controller
        self.manner = controller.manner
        self.job = job
        self.spec: dict[str, Any] = job.object["spec"]
        self.status = status
        self.pods = controller.pods(job)
        self.active = [each for each in self.pods if alive(each)]
        self.indexed = self.spec.get("completionMode") == "Indexed"

    def run(self) -> None:
        """Count, decide, act; the status says afterwards what was found."""
        failures = self.failures = self._count()
        why = self._failure() if not condition(self.status, "SuccessCriteriaMet") else None
        if why is not None:
            self._fail(*why)
        elif self._complete():
            self._finish("Complete", "CompletionsReached", "Reached expected number of succeeded pods")
        elif self.spec.get("suspend"):
            self._suspend()
        else:
            self._resume()
            if not self.job.meta.get("deletionTimestamp"):
                self._make_up(failures)
        self._say()

    def _count(self) -> int:
        """Count the pods that have ended; return how many of them have failed just now."""
        if not self.manner.tracking:
            before = int(self.status.get("failed", 0))
            for phase, word in ("Succeeded", "succeeded"), ("Failed", "failed"):
                self.status[word] = sum(each.object["status"].get("phase") == phase for each in self.pods)
            return max(0, int(self.status["failed"]) - before)
        failures = 0
        for pod in self.pods:
            if TRACKING not in pod.meta.get("finalizers", ()) or alive(pod):
                continue
            if pod.object["status"].get("phase") == "Succeeded":
                self._succeeded(pod)
            else:
                self.status["failed"] = self.status.get("failed", 0) + 1
                failures += 1
            self.controller.release(pod)
        return failures

    def _succeeded(self, pod: Record) -> None:
        if self.indexed:
            done = indexes(self.status.get("completedIndexes", "")) | {index_of(pod)}
            self.status["completedIndexes"] = ranges(done)
            self.status["succeeded"] = len(done)
        else:
            self.status["succeeded"] = self.status.get("succeeded", 0) + 1

    def _failure(self) -> tuple[str, str] | None:
        """Return why the Job has failed, if it has."""
        told = condition(self.status, "FailureTarget")
        if told is not None:
            return told["reason"], told["message"]
        limit = self.spec["backoffLimit"]
        over = self.status.get("failed", 0) > limit if self.manner.tracking else self._too_often(limit)
        if self.spec["template"]["spec"]["restartPolicy"] == "OnFailure":
            restarts = sum(restarts_of(each) for each in self.active)
            over = over or (restarts > 0 if limit == 0 else restarts >= limit)
        rule = next(filter(None, (self._policy(each) for each in self.pods)), None)
        if rule is not None:
            return rule
        if over:
            return "BackoffLimitExceeded", "Job has reached the specified backoff limit"
        deadline = self.spec.get("activeDeadlineSeconds")
        started = self.status.get("startTime")
        if deadline is not None and started and seconds_since(started) >= deadline:
            return "DeadlineExceeded", "Job was active longer than specified deadline"
        return None

    def _too_often(self, limit: int) -> bool:
        """Count how often pods failed, as 1.20 did: while as many run as should, it does not matter."""
        uid = self.job.meta["uid"]
        if not self.failures:
            return False
        tried = self.controller.retries.get(uid, 0)
        self.controller.retries[uid] = tried + 1
        return len(self.active) != self.spec["parallelism"] and tried + 1 > limit

    def _policy(self, pod: Record) -> tuple[str, str] | None:
        """Return why a pod fails its Job by a rule about exit codes."""
        if pod.object["status"].get("phase") != "Failed":
            return None
        for number, rule in enumerate((self.spec.get("podFailurePolicy") or {}).get("rules", ())):
            codes = rule.get("onExitCodes")
            for container in pod.object["status"].get("containerStatuses", ()) if codes else ():
                code = ((container.get("state") or {}).get("terminated") or {}).get("exitCode", 0)
                hit = code in codes["values"] if codes["operator"] == "In" else code not in codes["values"]
                if code and hit and codes.get("containerName") in (None, container["name"]):
                    where = f"Container {container['name']} for pod {'/'.join(pod.key)} failed with exit code {code}"
                    if rule["action"] == "FailJob":
                        return "PodFailurePolicy", f"{where} matching FailJob rule at index {number}"
                    return None
        return None

    def _complete(self) -> bool:
        wanted, done = self.spec.get("completions"), self.status.get("succeeded", 0)
        if condition(self.status, "SuccessCriteriaMet") is not None:
            return True
        if wanted is None:
            return done > 0 and not self.active
        return bool(done >= wanted)

    def _fail(self, reason: str, message: str) -> None:
        """End what still runs; the Job has failed when that has ended."""
        if not self.manner.tracking:
            self.status["failed"] = self.status.get("failed", 0) + len(self.active)
        self._finish("Failed", reason, message)

    def _finish(self, word: str, reason: str, message: str) -> None:
        self._end(self.active)
        if self.manner.terminal_targets:
            target = "FailureTarget" if word == "Failed" else "SuccessCriteriaMet"
            self._set(target, "True", reason, message)
            if any(not over(each) for each in self.controller.pods(self.job)):
                return
        if word == "Complete" and not self.manner.terminal_targets:
            reason = message = ""
        self._set(word, "True", reason, message)
        if word == "Complete":
            self.status["completionTime"] = now()
            self.controller.tell(self.job, "Normal", "Completed", "Job completed")
        else:
            self.controller.tell(self.job, "Warning", reason, message)

    def _suspend(self) -> None:
        self._end(self.active)
        if condition(self.status, "Suspended", "True") is None:
            self._set("Suspended", "True", "JobSuspended", "Job suspended")
            self.controller.tell(self.job, "Normal", "Suspended", "Job suspended")
        self.status.pop("startTime", None)

    def _resume(self) -> None:
        if condition(self.status, "Suspended", "True") is not None:
            self._set("Suspended", "False", "JobResumed", "Job resumed")
            self.controller.tell(self.job, "Normal", "Resumed", "Job resumed")
            self.status["startTime"] = now()

    def _make_up(self, failures: int) -> None:
        """Make the pods that are missing, or end those that are too many."""
        wanted, done = self.spec.get("completions"), self.status.get("succeeded", 0)
        parallel = self.spec["parallelism"]
        most = min(parallel, wanted - done) if wanted is not None else len(self.active) if done else parallel
        if len(self.active) > most:
            self._end(self.active[most:] if most else self.active)
        missing = most - len(self.active)
        if self.spec.get("podReplacementPolicy") == "Failed":
            missing -= sum(bool(each.meta.get("deletionTimestamp")) and not over(each) for each in self.pods)
        if missing <= 0 or self.controller.wait(self.job, failures):
            return
        free: list[int | None] = [None] * missing
        if self.indexed:
            taken = indexes(self.status.get("completedIndexes", "")) | {index_of(each) for each in self.active}
            free = [*[each for each in range(wanted or 0) if each not in taken][:missing]]
        for index in free:
            if not self.controller.make(self.job, index):
                return

    def _end(self, pods: list[Record]) -> None:
        for pod in pods:
            self.controller.end(self.job, pod)

    def _set(self, word: str, value: str, reason: str, message: str) -> None:
        """Say a condition, once."""
        told = condition(self.status, word)
        if told is not None and told["status"] == value:
            return
        moment = now()
        said = {"type": word, "status": value, "lastProbeTime": moment, "lastTransitionTime": moment}
        if reason:
            said |= {"reason": reason, "message": message}
        rest = [each for each in self.status.get("conditions", ()) if each["type"] != word]
        self.status["conditions"] = [*rest, said]

    def _say(self) -> None:
        """Write into the status how many pods there are now."""
        pods = self.controller.pods(self.job)
        running = [each for each in pods if alive(each)]
        if self.manner.tracking:
            for pod in pods:
                if not alive(pod) and TRACKING in pod.meta.get("finalizers", ()):
                    self.controller.look_again(self.job)  # it was ended just now: it is counted next
            self.status["uncountedTerminatedPods"] = {}
            self.status["ready"] = sum(is_ready(each) for each in running)
        if self.manner.terminal_targets:
            self.status["terminating"] = sum(not alive(each) and not over(each) for each in pods)
        counts = Counter(
            active=len(running), succeeded=self.status.get("succeeded", 0), failed=self.status.get("failed", 0)
        )
        for name, count in counts.items():
            self.status.pop(name, None)
            if count:
                self.status[name] = count


def ended(status: dict[str, Any]) -> bool:
    """Return whether a Job is over."""
    return any(
        each["type"] in ("Complete", "Failed") and each["status"] == "True" for each in status.get("conditions", ())
    )


def condition(status: dict[str, Any], word: str, value: str | None = None) -> dict[str, Any] | None:
    """Return what a status says about something."""
    for each in status.get("conditions", ()):
        if each["type"] == word and value in (None, each["status"]):
            found: dict[str, Any] = each
            return found
    return None


def over(pod: Record) -> bool:
    """Return whether a pod has ended."""
    return pod.object["status"].get("phase") in ("Succeeded", "Failed")


def alive(pod: Record) -> bool:
    """Return whether a pod has neither ended nor been told to."""
    return not over(pod) and not pod.meta.get("deletionTimestamp")


def is_ready(pod: Record) -> bool:
    """Return whether a pod says that it is ready."""
    return condition(pod.object["status"], "Ready", "True") is not None


def restarts_of(pod: Record) -> int:
    """Return how often containers of a pod were started again."""
    status = pod.object["status"]
    return sum(
        each.get("restartCount", 0)
        for part in ("containerStatuses", "initContainerStatuses")
        for each in status.get(part) or ()
    )


def index_of(pod: Record) -> int:
    """Return which of an indexed Job's pods it is."""
    return int(pod.meta.get("annotations", {}).get(INDEX, -1))


def indexes(text: str) -> set[int]:
    """Return the numbers that such text as 0,2-4 means."""
    found: set[int] = set()
    for each in filter(None, text.split(",")):
        first, _, last = each.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def ranges(numbers: set[int]) -> str:
    """Return numbers as such text."""
    said: list[str] = []
    left = sorted(numbers)
    while left:
        count = 1
        while count < len(left) and left[count] == left[0] + count:
            count += 1
        said.append(f"{left[0]}" + (f"-{left[count - 1]}" if count > 2 else f",{left[1]}" if count == 2 else ""))
        left = left[count:]
    return ",".join(said)
