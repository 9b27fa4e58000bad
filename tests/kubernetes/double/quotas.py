"""Quotas of pods and Jobs: how many there may be in a namespace."""

from __future__ import annotations

from typing import Any

from .kinds import JOBS, PODS, QUOTAS, Kind
from .statuses import forbidden
from .storage import Change, Record, Storage

ENDED = ("Succeeded", "Failed")
#: What a quota may name that is counted here.
COUNTED = {"pods": PODS, "count/pods": PODS, "count/jobs.batch": JOBS}


class Quotas:
    """Holds new pods and Jobs to the quotas of their namespace, and writes into these how much is used."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        storage.listeners.append(self._changed)

    def used(self, word: str, namespace: str) -> int:
        """Return how many there are."""
        there = self._storage.tables[COUNTED[word]].spaces.get(namespace, {}).values()
        if word == "pods":
            return sum(each.object["status"].get("phase") not in ENDED for each in there)
        return len(there)

    def check(self, kind: Kind, namespace: str, name: str) -> None:
        """Refuse one more where a quota is used up."""
        for quota in self._storage.tables[QUOTAS].spaces.get(namespace, {}).values():
            over = {}
            for word, most in quota.object["spec"].get("hard", {}).items():
                if COUNTED.get(word) is kind and self.used(word, namespace) + 1 > int(most):
                    over[word] = (self.used(word, namespace), most)
            if over:
                asked = ",".join(f"{word}=1" for word in sorted(over))
                used = ",".join(f"{word}={count}" for word, (count, _) in sorted(over.items()))
                limited = ",".join(f"{word}={most}" for word, (_, most) in sorted(over.items()))
                why = f"exceeded quota: {quota.key[1]}, requested: {asked}, used: {used}, limited: {limited}"
                raise forbidden(kind.plural, kind.group, name, why)

    def _changed(self, change: Change) -> None:
        kind, (namespace, _) = change.after.kind, change.after.key
        if kind is QUOTAS and not change.gone:
            self._account(change.after)
        elif kind in (PODS, JOBS):
            for quota in list(self._storage.tables[QUOTAS].spaces.get(namespace, {}).values()):
                self._account(quota)

    def _account(self, quota: Record) -> None:
        """Write into a quota how much of it is used."""
        hard: dict[str, Any] = quota.object.get("spec", {}).get("hard", {})
        used = {word: str(self.used(word, quota.key[0]) if word in COUNTED else 0) for word in hard}
        status = {"hard": hard, "used": used}
        if quota.object.get("status") != status:
            changed = quota.copy()
            changed["status"] = status
            self._storage.put(QUOTAS, changed)
