"""The owners that are alive, and how an owner describes itself for a snapshot.

An owner enrolls once, when it is made; nothing else is paid until a snapshot is taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from .links import Link
from .trace import Mark


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing that an owner holds.

    Attributes:
        kind: ``"task"``, ``"resource"``, ``"callback"``, ``"context manager"``, ``"entry"``, ...
        name: its name.
        state: where it is in its life.
        since: the loop time at which it began, None where it was not noted.
        owner: the thing itself where it is an owner, which is shown in its place.
        mark: where it was made, while tracing.
        count: how many such things this stands for.
        task: the native task, where it is one.
    """

    kind: str
    name: str
    state: str = ""
    since: float | None = None
    owner: Owner | None = None
    mark: Mark | None = None
    count: int = 1
    task: object = None


@dataclass(frozen=True, slots=True)
class Portrait:
    """How an owner describes itself.

    Attributes:
        kind: ``"scope"``, ``"task manager"``, ...
        name: its name.
        state: ``"open"``, ``"closing"`` or ``"closed"``.
        since: the loop time at which it took in its first thing, None before.
        things: what it holds.
        counts: figures beside them, such as hits or waiters.
        mark: where it was made, while tracing.
        vacant: whether it holds nothing and needs no end: it is shown where another owner holds it, and not by itself.
    """

    kind: str
    name: str
    state: str
    since: float | None
    things: Iterable[Thing]
    counts: Mapping[str, int] = field(default_factory=dict)
    mark: Mark | None = None
    vacant: bool = False


class Owner(Protocol):
    """Whatever enrolls."""

    def _portrait(self) -> Portrait: ...


_owners: set[Link[Any]] = set()


def enroll(owner: Owner) -> None:
    """Make *owner* known to snapshots until it is gone."""
    _owners.add(Link(owner, _owners.discard))


def live_owners() -> list[Owner]:
    """Return the owners that are alive, in no particular order."""
    return [owner for reference in list(_owners) if (owner := reference()) is not None]


def as_owner(thing: object) -> Owner | None:
    """Return *thing* if it is an owner that a snapshot can look into."""
    return thing if hasattr(type(thing), "_portrait") else None  # type: ignore[return-value]
