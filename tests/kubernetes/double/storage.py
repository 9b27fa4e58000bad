"""All objects, each with the number of the change that made it what it is, and the changes for those who watch."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from .kinds import BY_NAME, KINDS, Kind
from .statuses import Object, encoded

Key = tuple[str, str]  # namespace, which is empty outside of all, and name


class Record:
    """One state of one object; it is never changed, so many may hold it."""

    __slots__ = ("_encoded", "_events", "kind", "object")

    def __init__(self, kind: Kind, object: Object) -> None:  # noqa: A002
        self.kind = kind
        self.object = object
        self._encoded: bytes | None = None
        self._events: dict[str, bytes] = {}

    @property
    def meta(self) -> dict[str, Any]:
        """The metadata."""
        meta: dict[str, Any] = self.object["metadata"]
        return meta

    @property
    def key(self) -> Key:
        """What it is called."""
        return self.meta.get("namespace", ""), self.meta["name"]

    def encoded(self) -> bytes:
        """Return it as JSON."""
        if self._encoded is None:
            self._encoded = encoded(self.object)
        return self._encoded

    def event(self, word: str) -> bytes:
        """Return it as a line of a watch."""
        if word not in self._events:
            self._events[word] = b'{"type":"%s","object":%s}\n' % (word.encode(), self.encoded())
        return self._events[word]

    def copy(self) -> Object:
        """Return the object for somebody who is going to change it."""
        copied: Object = json.loads(self.encoded())
        return copied


class Change(NamedTuple):
    """What happened to one object.

    Args:
        version: the number of the change.
        before: None for a new object.
        after: the object as it was when it went, for one that is gone.
        gone: whether it is.
    """

    version: int
    before: Record | None
    after: Record
    gone: bool


Bucket = tuple[str, str, str]  # "all", "name" or "label"; and which


class Table:
    """The objects of one kind, the changes to them, and who watches which of them.

    Watchers are kept by the most telling thing that they ask for, so that a change finds those that it concerns and
    does not ask ten thousand others.
    """

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.records: dict[Key, Record] = {}
        self.spaces: dict[str, dict[str, Record]] = {}
        self.history: list[Change] = []
        self.watchers: dict[Bucket, dict[Callable[[Change], None], None]] = {}

    def apply(self, change: Change) -> None:
        """Take a change in."""
        key = change.after.key
        if change.gone:
            del self.records[key], self.spaces[key[0]][key[1]]
        else:
            self.records[key] = self.spaces.setdefault(key[0], {})[key[1]] = change.after
        self.history.append(change)

    def since(self, version: int) -> list[Change]:
        """Return the changes after a version."""
        return self.history[bisect_right(self.history, version, key=lambda change: change.version) :]

    def at(self, version: int, namespace: str) -> list[Record]:
        """Return the objects of a namespace, or of all, as they were at a version, in the order of their names."""
        state = dict(self.records)
        for change in reversed(self.since(version)):
            if change.before is None:
                state.pop(change.after.key, None)
            else:
                state[change.before.key] = change.before
        return [state[key] for key in sorted(state) if not namespace or key[0] == namespace]

    def now(self, namespace: str) -> list[Record]:
        """Return the objects of a namespace, or of all, in the order of their names."""
        if namespace:
            space = self.spaces.get(namespace, {})
            return [space[name] for name in sorted(space)]
        return [self.records[key] for key in sorted(self.records)]

    def tell(self, change: Change) -> None:
        """Hand a change to those whom it may concern."""
        meta = change.after.meta
        buckets: dict[Bucket, None] = {("all", "", ""): None, ("name", meta["name"], ""): None}
        for record in (change.before, change.after):
            if record is not None:
                for key, value in record.meta.get("labels", {}).items():
                    buckets["label", key, value] = None
        for bucket in buckets:
            for watcher in list(self.watchers.get(bucket, ())):
                watcher(change)

    def watch(self, bucket: Bucket, watcher: Callable[[Change], None]) -> Callable[[], None]:
        """Hand changes to a watcher from now on; what comes back ends that."""
        self.watchers.setdefault(bucket, {})[watcher] = None

        def end() -> None:
            watchers = self.watchers.get(bucket, {})
            watchers.pop(watcher, None)
            if not watchers:
                self.watchers.pop(bucket, None)

        return end


class Storage:
    """All tables, and the one number that counts the changes.

    Args:
        journal: a file that every change is written to, so that a process which is killed finds all again; None for
            memory alone.
        history: how many changes of a kind are kept at least; after twice as many the older ones are forgotten.
    """

    def __init__(self, journal: Path | None = None, history: int = 20_000) -> None:
        self.version = 1
        self.compacted = 0
        self.tables = {kind: Table(kind) for kind in KINDS}
        self.owned: dict[str, dict[tuple[Kind, Key], None]] = {}  # by the uid of an owner
        self.listeners: list[Callable[[Change], None]] = []
        self._history = history
        self._journal: IO[bytes] | None = None
        if journal is not None:
            self._read(journal)
            self._journal = journal.open("ab", buffering=0)

    def get(self, kind: Kind, namespace: str, name: str) -> Record | None:
        """Return an object, or None."""
        return self.tables[kind].records.get((namespace, name))

    def put(self, kind: Kind, object: Object) -> Record:  # noqa: A002
        """Keep an object, new or changed, under a new version; one in which nothing changed stays what it is."""
        key = (object["metadata"].get("namespace", ""), object["metadata"]["name"])
        before = self.tables[kind].records.get(key)
        if before is not None:
            object["metadata"]["resourceVersion"] = before.meta["resourceVersion"]
            if before.object == object:
                return before
        self.version += 1
        object["metadata"]["resourceVersion"] = str(self.version)
        after = Record(kind, object)
        self._happen(Change(self.version, before, after, False))
        return after

    def remove(self, record: Record) -> Record:
        """Remove an object; return its last state."""
        self.version += 1
        last = record.copy()
        last["metadata"]["resourceVersion"] = str(self.version)
        after = Record(record.kind, last)
        self._happen(Change(self.version, self.get(record.kind, *record.key), after, True))
        return after

    def dependents(self, uid: str) -> Iterator[Record]:
        """Return what names this as an owner."""
        for kind, key in list(self.owned.get(uid, ())):
            yield self.tables[kind].records[key]

    def compact(self, version: int | None = None) -> None:
        """Forget the changes up to a version, by default all."""
        self.compacted = self.version if version is None else version
        for table in self.tables.values():
            table.history = table.since(self.compacted)

    def close(self) -> None:
        """Close the journal."""
        if self._journal is not None:
            self._journal.close()

    def _happen(self, change: Change) -> None:
        if self._journal is not None:
            self._journal.write(
                b'{"gone":%s,"object":%s}\n' % (str(change.gone).lower().encode(), change.after.encoded())
            )
        self._take(change)
        self.tables[change.after.kind].tell(change)
        for listener in self.listeners:
            listener(change)

    def _take(self, change: Change) -> None:
        table = self.tables[change.after.kind]
        table.apply(change)
        place = (table.kind, change.after.key)
        for record, there in ((change.before, False), (change.after, not change.gone)):
            for owner in record.meta.get("ownerReferences", ()) if record is not None else ():
                if there:
                    self.owned.setdefault(owner["uid"], {})[place] = None
                elif owner["uid"] in self.owned:
                    self.owned[owner["uid"]].pop(place, None)
                    if not self.owned[owner["uid"]]:
                        del self.owned[owner["uid"]]
        if len(table.history) > 2 * self._history:
            self.compacted = max(self.compacted, table.history[self._history].version)
            table.history = table.since(self.compacted)

    def _read(self, journal: Path) -> None:
        """Take in all that the journal tells; a last line that was not written to its end is as if it had not been."""
        if not journal.exists():
            return
        lines = journal.read_bytes().split(b"\n")
        if lines.pop():
            journal.write_bytes(b"".join(line + b"\n" for line in lines))
        for line in lines:
            told = json.loads(line)
            kind = BY_NAME[told["object"]["apiVersion"], told["object"]["kind"]]
            after = Record(kind, told["object"])
            self.version = int(after.meta["resourceVersion"])
            self._take(Change(self.version, self.get(kind, *after.key), after, told["gone"]))
