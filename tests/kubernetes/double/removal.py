"""Removing objects: at once, in grace, or when all finalizers are through; and the garbage that an owner leaves."""

from __future__ import annotations

import asyncio
import datetime
from typing import Any

from .defaults import now
from .kinds import BY_NAME, JOBS, KINDS, NAMESPACES, PODS, Kind
from .quotas import ENDED
from .registry import Registry
from .statuses import Object, bad_request, conflict, invalid, success, unsupported
from .storage import Change, Record

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"
POLICIES = {"Foreground": FOREGROUND, "Orphan": ORPHAN, "Background": ""}


class Removal:
    """Removes what it is asked to, and in later steps of the loop what was left without an owner."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._storage = registry.storage
        self._storage.listeners.append(self._changed)
        self._due: dict[tuple[Kind, str, str], None] = {}
        self._handle: asyncio.Handle | None = None

    def delete(self, kind: Kind, namespace: str, name: str, options: Object, *, dry: bool = False) -> Object:
        """Remove an object, or begin to; return what is answered."""
        check_policy(options)
        record = self._registry.need(kind, namespace, name)
        check_preconditions(record, options.get("preconditions") or {})
        if kind is NAMESPACES and not record.meta.get("deletionTimestamp"):
            closing = record.copy()
            closing["metadata"]["deletionTimestamp"] = now()
            closing["status"] = {"phase": "Terminating"}
            return closing if dry else self._storage.put(kind, closing).object
        grace = grace_of(record, options)
        meta = record.copy()["metadata"]
        meta["finalizers"] = finalizers_of(record, options)
        pending = bool(meta["finalizers"]) or grace > 0
        if pending or kind is PODS:
            marked = self._mark(record, meta, grace, dry=dry)
            if not pending and not dry:
                self._storage.remove(self._registry.need(kind, namespace, name))
            return marked
        if not dry:
            self._storage.remove(record)
        details = {"name": name, "group": kind.group, "kind": kind.plural, "uid": meta["uid"]}
        return success({key: value for key, value in details.items() if value})

    def _mark(self, record: Record, meta: dict[str, Any], grace: int, *, dry: bool) -> Object:
        """Say in an object that it is going, and how long it has."""
        if not meta["finalizers"]:
            del meta["finalizers"]
        if not meta.get("deletionTimestamp"):
            if meta.get("generation"):
                meta["generation"] += 1
            ends = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=grace)
            meta["deletionTimestamp"] = ends.strftime("%Y-%m-%dT%H:%M:%SZ")
            meta["deletionGracePeriodSeconds"] = grace
        elif grace < meta.get("deletionGracePeriodSeconds", 0):
            ends = datetime.datetime.fromisoformat(meta["deletionTimestamp"])
            ends -= datetime.timedelta(seconds=meta["deletionGracePeriodSeconds"] - grace)
            meta["deletionTimestamp"] = ends.strftime("%Y-%m-%dT%H:%M:%SZ")
            meta["deletionGracePeriodSeconds"] = grace
        marked = {**record.copy(), "metadata": meta}
        return marked if dry else self._storage.put(record.kind, marked).object

    # What owners leave

    def _changed(self, change: Change) -> None:
        record = change.after
        place = (record.kind, *record.key)
        if change.gone:
            for dependent in self._storage.dependents(record.meta["uid"]):
                self._look_at((dependent.kind, *dependent.key))
            for owner in record.meta.get("ownerReferences", ()):  # one that goes in the foreground waits for this
                for kind in filter(None, [BY_NAME.get((owner["apiVersion"], owner["kind"]))]):
                    self._look_at((kind, record.key[0] if kind.namespaced else "", owner["name"]))
            if record.key[0]:
                self._look_at((NAMESPACES, "", record.key[0]))
        elif record.meta.get("deletionTimestamp") or (change.before is None and record.meta.get("ownerReferences")):
            self._look_at(place)

    def _look_at(self, place: tuple[Kind, str, str]) -> None:
        self._due[place] = None
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_soon(self._collect)

    def _collect(self) -> None:
        """Look at all that may have to go; what comes of it is looked at in the next step."""
        self._handle = None
        due, self._due = self._due, {}
        for place in due:
            record = self._storage.get(*place)
            if record is not None:
                try:
                    self._see_to(record)
                except Exception as error:
                    self._registry.failures.append(error)

    def _see_to(self, record: Record) -> None:
        """Do what an object that goes, or has lost its owner, waits for."""
        finalizers, going = record.meta.get("finalizers", []), record.meta.get("deletionTimestamp")
        if record.kind is NAMESPACES and going:
            self._empty(record)
        elif going and FOREGROUND in finalizers:
            self._foreground(record)
        elif going and ORPHAN in finalizers:
            self._orphan(record)
        elif not going and self._is_left(record):
            self.delete(record.kind, *record.key, {"propagationPolicy": "Background"})

    def _is_left(self, record: Record) -> bool:
        """Return whether all owners of an object are gone."""
        owners = record.meta.get("ownerReferences", ())
        return bool(owners) and not any(self._is_there(owner, record.key[0]) for owner in owners)

    def _is_there(self, owner: dict[str, Any], namespace: str) -> bool:
        """Return whether an owner lives; one of a kind that the double does not hold does."""
        kind = BY_NAME.get((owner["apiVersion"], owner["kind"]))
        if kind is None:
            return True
        record = self._storage.get(kind, namespace if kind.namespaced else "", owner["name"])
        return record is not None and record.meta["uid"] == owner["uid"]

    def _foreground(self, owner: Record) -> None:
        """Remove the dependents of an owner, and let it go when those are gone that block it."""
        for dependent in self._storage.dependents(owner.meta["uid"]):
            if not dependent.meta.get("deletionTimestamp"):
                self.delete(dependent.kind, *dependent.key, {"propagationPolicy": "Foreground"})
        left = any(
            each.get("blockOwnerDeletion")
            for dependent in self._storage.dependents(owner.meta["uid"])
            for each in dependent.meta["ownerReferences"]
            if each["uid"] == owner.meta["uid"]
        )
        if not left:
            self.finish(owner, FOREGROUND)

    def _orphan(self, owner: Record) -> None:
        """Let the dependents of an owner be nobody's, then let it go."""
        for dependent in self._storage.dependents(owner.meta["uid"]):
            freed = dependent.copy()
            rest = [each for each in freed["metadata"]["ownerReferences"] if each["uid"] != owner.meta["uid"]]
            freed["metadata"]["ownerReferences"] = rest
            if not rest:
                del freed["metadata"]["ownerReferences"]
            self._storage.put(dependent.kind, freed)
        self.finish(owner, ORPHAN)

    def finish(self, record: Record, finalizer: str) -> None:
        """Take a finalizer away; the last one lets the object go."""
        changed = self._storage.get(record.kind, *record.key)
        if changed is None or finalizer not in changed.meta.get("finalizers", ()):
            return
        value = changed.copy()
        value["metadata"]["finalizers"].remove(finalizer)
        self._registry.update(record.kind, *record.key, value)

    def _empty(self, space: Record) -> None:
        """Remove all that is in a namespace, then the namespace."""
        name, left = space.key[1], False
        for kind in KINDS:
            for record in list(self._storage.tables[kind].spaces.get(name, {}).values()) if kind.namespaced else ():
                if not record.meta.get("deletionTimestamp"):
                    self.delete(kind, *record.key, {"propagationPolicy": "Background"})
                left = left or self._storage.get(kind, *record.key) is not None
        if not left:
            self._storage.remove(space)


def check_policy(options: Object) -> None:
    """Refuse a policy that does not exist."""
    policy = options.get("propagationPolicy")
    if policy is not None and policy not in POLICIES:
        words = ("Foreground", "Background", "Orphan", "nil")
        raise invalid("DeleteOptions", "meta.k8s.io", "", [unsupported("propagationPolicy", policy, words)])


def check_preconditions(record: Record, wanted: dict[str, Any]) -> None:
    """Refuse to remove another object than the one that is meant."""
    done = {"uid": "deleted and then recreated", "resourceVersion": "modified"}
    for key, word in ("uid", "UID"), ("resourceVersion", "ResourceVersion"):
        value = wanted.get(key)
        if value is not None and value != record.meta[key]:
            why = f"the {word} in the precondition ({value}) does not match the {word} in record ({record.meta[key]})."
            raise conflict(
                record.kind.name, record.kind.group, record.key[1], f"{why} The object might have been {done[key]}"
            )


def grace_of(record: Record, options: Object) -> int:
    """Return how long an object has: only pods have time, and those only that run somewhere."""
    given = options.get("gracePeriodSeconds")
    if given is not None and given < 0:
        raise bad_request("gracePeriodSeconds must not be negative")
    if record.kind is not PODS:
        return 0
    spec, status = record.object["spec"], record.object["status"]
    if not spec.get("nodeName") or status.get("phase") in ENDED:
        return 0
    grace = int(spec.get("terminationGracePeriodSeconds", 30) if given is None else given)
    if record.meta.get("deletionTimestamp"):
        return min(grace, int(record.meta.get("deletionGracePeriodSeconds", grace)))
    return grace


def finalizers_of(record: Record, options: Object) -> list[str]:
    """Return what has to be done before an object may go.

    Who does not say what becomes of the dependents leaves them: that is how batch/v1 always did it, and only it.
    """
    kept = list(record.meta.get("finalizers", ()))
    policy = options.get("propagationPolicy")
    orphan = options.get("orphanDependents")
    if policy is None and orphan is not None:
        policy = "Orphan" if orphan else "Background"
    if policy is None and (FOREGROUND in kept or ORPHAN in kept):
        return kept
    if policy is None:
        policy = "Orphan" if record.kind is JOBS else "Background"
    rest = [each for each in kept if each not in (FOREGROUND, ORPHAN)]
    return [*rest, POLICIES[policy]] if POLICIES[policy] else rest
