"""take_snapshot: who owns what, since when, as a tree; and what grew between two of them."""

import asyncio
import time
from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

from ._ground import kernel
from ._ground.roots import Portrait, Thing, live_owners
from ._ground.trace import Mark

#: How many different lines of things the tree prints under one owner before it sums up the rest.
LINES = 20


@dataclass(frozen=True, slots=True)
class SnapshotNode:
    """An owner, or one of the things that it holds.

    Attributes:
        kind: ``"scope"``, ``"task manager"``, ``"task"``, ``"resource"``, ...
        name: its name.
        state: where it is in its life; empty where it has no states.
        age: seconds since it began, None where it was not noted; of several, the oldest's.
        count: how many alike (kind, name and state) this line stands for.
        counts: figures that an owner gives beside what it holds.
        site: where it was made, innermost call first, while ``LIFECYCLE_TRACE`` is set.
        children: what it holds; owners first.
    """

    kind: str
    name: str
    state: str = ""
    age: float | None = None
    count: int = 1
    counts: dict[str, int] = field(default_factory=dict)
    site: tuple[str, ...] = ()
    children: "tuple[SnapshotNode, ...]" = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the node as plain data, for JSON."""
        plain = self._without_children()
        unfinished = [(self, plain)]
        while unfinished:
            node, its_plain = unfinished.pop()
            for child in node.children:
                below = child._without_children()
                its_plain["children"].append(below)
                unfinished.append((child, below))
        return plain

    def _without_children(self) -> dict[str, Any]:
        plain: dict[str, Any] = {"kind": self.kind, "name": self.name, "state": self.state, "age": self.age}
        return plain | {"count": self.count, "counts": dict(self.counts), "site": list(self.site), "children": []}

    def walk(self, path: tuple[str, ...] = ()) -> "Iterator[tuple[tuple[str, ...], SnapshotNode]]":
        """Yield the node and all below it, each with its path of ``kind 'name'``."""
        unseen: list[tuple[tuple[str, ...], SnapshotNode]] = [(path, self)]
        while unseen:
            above, node = unseen.pop()
            here = (*above, f"{node.kind} {node.name!r}")
            yield here, node
            unseen += [(here, child) for child in reversed(node.children)]

    def __str__(self) -> str:
        parts = [f"{self.kind} {self.name!r}"]
        if self.count > 1:
            parts.append(f"x {self.count:,}")
        parts.extend([self.state] if self.state else [])
        if self.age is not None:
            parts.append(f"{self.age:.1f} s")
        parts.extend(f"{name} {figure:,}" for name, figure in self.counts.items())
        where = f"  [{self.site[0]}]" if self.site else ""
        return ", ".join(parts) + where


@dataclass(frozen=True, slots=True)
class Growth:
    """One line of a comparison.

    Attributes:
        path: the owners and the thing, outermost first, each as ``kind 'name'``.
        before: how many there were.
        after: how many there are.
    """

    path: tuple[str, ...]
    before: int
    after: int

    @property
    def change(self) -> int:
        """How many more there are."""
        return self.after - self.before

    def __str__(self) -> str:
        return f"{self.change:+,}  {' / '.join(self.path)}  ({self.before:,} -> {self.after:,})"


@dataclass(frozen=True, slots=True)
class SnapshotDiff:
    """What differs between two snapshots, the largest growth first."""

    changes: tuple[Growth, ...]

    @property
    def grown(self) -> tuple[Growth, ...]:
        """The lines of which there are more than before."""
        return tuple(change for change in self.changes if change.change > 0)

    def __bool__(self) -> bool:
        return bool(self.changes)

    def __str__(self) -> str:
        return "\n".join(str(change) for change in self.changes) or "nothing changed"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Who owned what at one moment.

    Attributes:
        roots: the owners that no other owner holds, by kind and name.
        unowned: the running loop's tasks that no owner holds, the calling one left out.
    """

    roots: tuple[SnapshotNode, ...]
    unowned: tuple[SnapshotNode, ...]

    def count(self, kind: str) -> int:
        """Return how many things of *kind* have an owner."""
        return sum(node.count for _, node in self._walk() if node.kind == kind)

    def compare_to(self, older: "Snapshot") -> SnapshotDiff:
        """Return what grew or shrank since *older*; things are compared by path, not by identity."""
        before, after = older._amounts(), self._amounts()
        changes = [Growth(path, before[path], after[path]) for path in before | after if before[path] != after[path]]
        return SnapshotDiff(tuple(sorted(changes, key=lambda growth: (-growth.change, growth.path))))

    def to_dict(self) -> dict[str, Any]:
        """Return the snapshot as plain data, for JSON."""
        return {
            "roots": [node.to_dict() for node in self.roots],
            "unowned": [node.to_dict() for node in self.unowned],
        }

    def __str__(self) -> str:
        lines = [f"{len(self.roots):,} owners, {self.count('task'):,} tasks owned, {self._unowned_tasks():,} by nobody"]
        for node in self.roots:
            lines += [str(node), *_branches(node, "")]
        lines += [f"by nobody: {node}" for node in self.unowned]
        return "\n".join(lines)

    def _walk(self) -> "Iterator[tuple[tuple[str, ...], SnapshotNode]]":
        for root in self.roots:
            yield from root.walk()

    def _amounts(self) -> Counter[tuple[str, ...]]:
        amounts: Counter[tuple[str, ...]] = Counter()
        for path, node in self._walk():
            amounts[path] += node.count
        for node in self.unowned:
            amounts["by nobody", f"task {node.name!r}"] += node.count
        return amounts

    def _unowned_tasks(self) -> int:
        return sum(node.count for node in self.unowned)


def take_snapshot() -> Snapshot:
    """Return who owns what now, walking from the owners that are alive.

    Call it in the loop's thread. It costs a look at everything that is owned; what is not looked at costs nothing.
    """
    walk = _Walk()
    owners = sorted(live_owners(), key=lambda owner: id(owner))
    portraits = {id(owner): owner._portrait() for owner in owners}
    held = {id(thing.owner) for portrait in portraits.values() for thing in portrait.things if thing.owner is not None}
    heads = [portrait for owner, portrait in portraits.items() if owner not in held and not portrait.vacant]
    roots = [walk.node(portrait) for portrait in heads]
    roots = [root for root in roots if root.state != "closed" or root.children]
    return Snapshot(tuple(sorted(roots, key=lambda node: (node.kind, node.name))), walk.unowned())


class _Walk:
    """One walk over the owners: what has been seen, and what time it is."""

    def __init__(self) -> None:
        try:
            self._loop: asyncio.AbstractEventLoop | None = kernel.running_loop()
        except RuntimeError:
            self._loop = None
        self._now = self._loop.time() if self._loop is not None else time.monotonic()
        self._owned: set[Any] = set()

    def node(self, portrait: Portrait) -> SnapshotNode:
        """Return an owner's node with all below it, however deep that is."""
        begun = [self._node(portrait)]
        below: SnapshotNode | None = None
        while begun:
            try:
                begun.append(self._node(begun[-1].send(below)))
                below = None
            except StopIteration as end:
                begun.pop()
                below = end.value
        assert below is not None
        return below

    def _node(self, portrait: Portrait) -> Generator[Portrait, Any, SnapshotNode]:
        """Return an owner's node; yields the owners that it holds, and is sent their nodes."""
        owners: list[SnapshotNode] = []
        plain = []
        for thing in portrait.things:
            self._owned.add(thing.task)
            if thing.owner is not None:
                owners.append((yield thing.owner._portrait()))
            else:
                plain.append(thing)
        return SnapshotNode(
            kind=portrait.kind,
            name=portrait.name,
            state=portrait.state,
            age=self._age(portrait.since),
            counts=dict(portrait.counts),
            site=site_of(portrait.mark),
            children=(*owners, *self._grouped(plain)),
        )

    def unowned(self) -> tuple[SnapshotNode, ...]:
        """Return the loop's tasks that no owner has shown."""
        if self._loop is None:
            return ()
        strangers = kernel.other_tasks() - self._owned
        return tuple(self._grouped([Thing("task", task.get_name()) for task in strangers]))

    def _grouped(self, things: list[Thing]) -> Iterator[SnapshotNode]:
        groups: dict[tuple[str, str, str], list[Thing]] = {}
        for thing in things:
            groups.setdefault((thing.kind, thing.name, thing.state), []).append(thing)
        for (kind, name, state), alike in groups.items():
            ages = [age for thing in alike if (age := self._age(thing.since)) is not None]
            yield SnapshotNode(
                kind=kind,
                name=name,
                state=state,
                age=max(ages, default=None),
                count=sum(thing.count for thing in alike),
                site=site_of(alike[0].mark),
            )

    def _age(self, since: float | None) -> float | None:
        return None if since is None else max(0.0, self._now - since)


def site_of(mark: Mark | None) -> tuple[str, ...]:
    """Return where a thing was made, innermost call first; empty where it was not traced."""
    frames = getattr(mark, "site", None) or ()
    return tuple(f"{code.co_filename}:{line} in {code.co_qualname}" for code, line in frames)


def _branches(node: SnapshotNode, indent: str) -> Iterator[str]:
    """Yield the lines of all that is below *node*."""
    begun = [_twigs(node, indent)]
    while begun:
        for line, child, its_indent in begun[-1]:
            yield line
            if child is not None:
                begun.append(_twigs(child, its_indent))
                break
        else:
            begun.pop()


def _twigs(node: SnapshotNode, indent: str) -> Iterator[tuple[str, SnapshotNode | None, str]]:
    """Yield the lines of what is directly below *node*, each with the node that it is of, and the indent below that."""
    shown, rest = node.children[:LINES], node.children[LINES:]
    for child in shown:
        last = child is shown[-1] and not rest
        yield f"{indent}{'`-' if last else '|-'} {child}", child, indent + ("   " if last else "|  ")
    if rest:
        yield f"{indent}`- and {sum(child.count for child in rest):,} more of {len(rest):,} sorts", None, ""
