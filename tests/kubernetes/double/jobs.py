"""The controller of Jobs: makes their pods, counts how these end, and says when a Job is complete or has failed."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from .defaults import now, seconds_since, suffix
from .kinds import EVENTS, JOBS, PODS
from .look import INDEX, TRACKING, Look, ended
from .manners import Manner
from .registry import Registry
from .removal import Removal
from .statuses import Object, Refused
from .storage import Change, Key, Record

#: How much of a controller's message an event takes.
MESSAGE = 1024


class JobController:
    """Looks at a Job again after every change of it or of its pods, in a later step of the loop.

    Args:
        backoff: seconds before a pod that failed is replaced, doubled with each further failure, six minutes at most.
            The real one begins with ten.
        retry: seconds before something that was refused is tried again.
    """

    def __init__(self, registry: Registry, removal: Removal, *, backoff: float = 0.0, retry: float = 0.2) -> None:
        self.registry = registry
        self.storage = registry.storage
        self.manner: Manner = registry.manner
        self.backoff = backoff
        self.retry = retry
        self._removal = removal
        self._due: dict[Key, None] = {}
        self._handle: asyncio.Handle | None = None
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._waits: dict[str, float] = {}  # by uid of a Job: when, by the loop's clock, its next pod may come
        self.retries: dict[str, int] = {}  # by uid of a Job: how often it was seen to have failed, for 1.20
        self._events = 0
        self.storage.listeners.append(self._changed)

    def start(self) -> None:
        """Look at all Jobs that are there."""
        for key in self.storage.tables[JOBS].records:
            self._look_at(key)
        for pod in list(self.storage.tables[PODS].records.values()):
            owners = [each for each in pod.meta.get("ownerReferences", ()) if each["kind"] == "Job"]
            if owners and not any(self._is_there(pod.key[0], each) for each in owners):
                self._collect(pod)

    def _is_there(self, namespace: str, owner: Object) -> bool:
        job = self.storage.get(JOBS, namespace, owner["name"])
        return job is not None and bool(job.meta["uid"] == owner["uid"])

    def _collect(self, pod: Record) -> None:
        """Remove a pod whose Job is gone: the process was killed between the two, and a collector comes back to it."""
        if not pod.meta.get("deletionTimestamp"):
            self._removal.delete(PODS, *pod.key, {"propagationPolicy": "Background"})
        if (left := self.storage.get(PODS, *pod.key)) is not None:
            self.release(left)

    def close(self) -> None:
        """Look at nothing any more."""
        for handle in (self._handle, *self._timers.values()):
            if handle is not None:
                handle.cancel()
        self._handle = None
        self._timers.clear()
        self.storage.listeners.remove(self._changed)

    def _changed(self, change: Change) -> None:
        record = change.after
        if record.kind is JOBS:
            if change.gone:
                self._forget(record)
            else:
                self._look_at(record.key)
        elif record.kind is PODS:
            owners = [each for each in record.meta.get("ownerReferences", ()) if each["kind"] == "Job"]
            for owner in owners:
                self._look_at((record.key[0], owner["name"]))
            if not owners and not change.gone and TRACKING in record.meta.get("finalizers", ()):
                asyncio.get_running_loop().call_soon(self.release, record)  # nobody is left to count it

    def _forget(self, job: Record) -> None:
        self._waits.pop(job.meta["uid"], None)
        self.retries.pop(job.meta["uid"], None)
        timer = self._timers.pop(job.key, None)
        if timer is not None:
            timer.cancel()
        for pod in list(self.storage.dependents(job.meta["uid"])):
            self.release(pod)

    def _look_at(self, key: Key) -> None:
        self._due[key] = None
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_soon(self._work)

    def _later(self, key: Key, seconds: float) -> None:
        """Look at a Job again after that long; the sooner of two times counts."""
        loop = asyncio.get_running_loop()
        when = loop.time() + max(seconds, 0.0)
        timer = self._timers.get(key)
        if timer is None or timer.cancelled() or timer.when() > when or timer.when() < loop.time():
            if timer is not None:
                timer.cancel()
            self._timers[key] = loop.call_at(when, self._look_at, key)

    def _work(self) -> None:
        self._handle = None
        due, self._due = self._due, {}
        for key in due:
            job = self.storage.get(JOBS, *key)
            if job is not None:
                try:
                    self._sync(job)
                except Exception as error:
                    self.registry.failures.append(error)

    # One look at one Job

    def _sync(self, job: Record) -> None:
        spec: dict[str, Any] = job.object["spec"]
        status: dict[str, Any] = job.copy().get("status") or {}
        if ended(status):
            for pod in self.pods(job):
                self.release(pod)
            self._expire(job, status)
            return
        if spec.get("managedBy") not in (None, "kubernetes.io/job-controller"):
            return
        if not spec.get("suspend"):
            status.setdefault("startTime", now())
        Look(self, job, status).run()
        left = spec.get("activeDeadlineSeconds")
        if left is not None and status.get("startTime") and not ended(status):
            self._later(job.key, left - seconds_since(status["startTime"]))
        self._write(job, status)
        if ended(status):
            self._look_at(job.key)

    def look_again(self, job: Record) -> None:
        """Look at it in a later step."""
        self._look_at(job.key)

    def pods(self, job: Record) -> list[Record]:
        """Return the pods of a Job."""
        return [each for each in self.storage.dependents(job.meta["uid"]) if each.kind is PODS]

    def _write(self, job: Record, status: dict[str, Any]) -> None:
        found = self.storage.get(JOBS, *job.key)
        if found is None or found.meta["uid"] != job.meta["uid"]:
            return
        if self._differs(found.object.get("status") or {}, status):
            changed = found.copy()
            changed["status"] = status
            self.registry.update(JOBS, *job.key, changed, part="status")

    def _differs(self, before: dict[str, Any], after: dict[str, Any]) -> bool:
        """Return whether a status is worth writing; before pods were tracked, a start alone was not."""
        if self.manner.tracking:
            return before != after
        counted = ("active", "succeeded", "failed", "conditions")
        return any(before.get(name) != after.get(name) for name in counted)

    def _expire(self, job: Record, status: dict[str, Any]) -> None:
        """Remove a finished Job when its time is up."""
        keep = job.object["spec"].get("ttlSecondsAfterFinished")
        if keep is None or job.meta.get("deletionTimestamp"):
            return
        last = max(each["lastTransitionTime"] for each in status["conditions"])
        left = keep - seconds_since(last)
        if left > 0:
            self._later(job.key, left)
        else:
            self._removal.delete(JOBS, *job.key, {"propagationPolicy": "Foreground"})

    def release(self, pod: Record) -> None:
        """Let a pod go that has been counted."""
        if TRACKING in pod.meta.get("finalizers", ()):
            self._removal.finish(pod, TRACKING)

    def make(self, job: Record, index: int | None) -> bool:
        """Make one more pod; return whether that went well."""
        template = Record(PODS, job.object["spec"]["template"]).copy()
        meta = template.get("metadata", {})
        meta.pop("creationTimestamp", None)
        name = job.key[1] + (f"-{index}-" if index is not None else "-")
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": job.key[1], "uid": job.meta["uid"]}
        meta |= {"generateName": name, "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}]}
        if self.manner.tracking:
            meta["finalizers"] = [*meta.get("finalizers", ()), TRACKING]
        if index is not None:
            meta.setdefault("annotations", {})[INDEX] = str(index)
            meta.setdefault("labels", {})[INDEX] = str(index)
            template["spec"].setdefault("hostname", f"{job.key[1]}-{index}")
            field = {"valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.annotations['{INDEX}']"}}}
            for container in template["spec"]["containers"]:
                container.setdefault("env", []).append({"name": "JOB_COMPLETION_INDEX", **field})
        if len(meta["generateName"]) > 58:
            meta["name"] = meta["generateName"][:58] + suffix()
        try:
            pod = self.registry.create(PODS, job.key[0], {"apiVersion": "v1", "kind": "Pod", **template})
        except Refused as refused:
            self.tell(job, "Warning", "FailedCreate", f"Error creating: {refused}")
            self._later(job.key, self.retry)
            return False
        self.tell(job, "Normal", "SuccessfulCreate", f"Created pod: {pod.key[1]}")
        return True

    def end(self, job: Record, pod: Record) -> None:
        """Remove a pod that is not wanted any more."""
        found = self.storage.get(PODS, *pod.key)
        if found is not None and found.meta["uid"] == pod.meta["uid"] and not found.meta.get("deletionTimestamp"):
            self._removal.delete(PODS, *pod.key, {"propagationPolicy": "Background"})
            self.tell(job, "Normal", "SuccessfulDelete", f"Deleted pod: {pod.key[1]}")

    def wait(self, job: Record, failures: int) -> bool:
        """Return whether the next pod has to wait, because others failed."""
        uid, loop = job.meta["uid"], asyncio.get_running_loop()
        if failures:
            self._waits[uid] = loop.time() + min(self.backoff * 2 ** (failures - 1), 360.0)
        left = self._waits.get(uid, 0.0) - loop.time()
        if left > 0:
            self._later(job.key, left)
        return left > 0

    def tell(self, about: Record, kind: str, reason: str, message: str) -> None:
        """Write an event; the same one again is counted, not repeated."""
        message = message[:MESSAGE]
        self._events += 1
        meta, moment = about.meta, now()
        told = {"kind": about.kind.name, "namespace": about.key[0], "name": about.key[1], "uid": meta["uid"]}
        told |= {"apiVersion": about.kind.api_version, "resourceVersion": meta["resourceVersion"]}
        event: Object = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{about.key[1]}.{self._number():016x}"},
        }
        event |= {"involvedObject": told, "reason": reason, "message": message, "type": kind, "count": 1}
        event |= {"source": {"component": "job-controller"}, "firstTimestamp": moment, "lastTimestamp": moment}
        with contextlib.suppress(Refused):  # nobody waits for an event
            self.registry.create(EVENTS, about.key[0], event)

    def _number(self) -> int:
        """Return a number that no event before had, also none before a restart."""
        return (self.storage.version << 20) + self._events
