"""Tracing: how owners report what lives to one module-level sink, which is None unless tracing is on.

An owner of things that are reported keeps an `Account`, made when it reports the first; others keep their own mark::

    if trace.sink is not None:
        self._account = self._account or trace.Account("scope", self.name)
        self._account.enter(entry, "resource", entry.name)
    ...
    if self._account is not None:
        self._account.leave(entry)

The check of ``trace.sink`` stays at the call site: switched off, it is one global load and no call. Read
it as ``trace.sink`` (never ``from .trace import sink``: a name imported that way would stay ``None``).
A thing enters in the same synchronous step in which it starts to live, and leaves in the step in which it has
ended: a thing that was closed twice, or never, is a failure of the test that looks.

Kinds are free words: ``scope``, ``task manager``, ``task``, ``resource``, ``timer``, ``registry``, ``entry``,
``lease``, ``pool``, ``loan``, ``attempt``, ``pair``, ``server``, ``connection``. Loop tasks are watched by
the test kit itself; a primitive reports a task only to give it an owner path.
"""

from __future__ import annotations

import os
from typing import Any, Protocol

from .frames import Frames, creation_site, is_core

__all__ = ["Account", "Mark", "Sink", "closed", "mark_in", "opened", "sink"]


class Mark(Protocol):
    """What a sink hands out for one live thing; opaque to owners, which only keep it and give it back."""

    @property
    def path(self) -> str:
        """Names of the owners, outermost first, and of the thing itself."""
        ...


class Sink(Protocol):
    """What is told while tracing. Both calls are synchronous and must not raise."""

    def opened(self, kind: str, name: str, owner: Mark | str | None) -> Mark: ...

    def closed(self, mark: Mark) -> None: ...


sink: Sink | None = None


def opened(kind: str, name: str, owner: Mark | str | None = None) -> Mark | None:
    """Report that a thing lives from now on; returns the mark to close it with, None while tracing is off."""
    current = sink
    return None if current is None else current.opened(kind, name, owner)


def closed(mark: Mark | None) -> None:
    """Report that a thing has ended; a mark of None, or one whose sink has gone, is ignored."""
    current = sink
    if mark is not None and current is not None:
        current.closed(mark)


class Account:
    """What one owner has reported: itself, and what it holds.

    Args:
        kind: the owner's kind.
        name: its name.
        above: the account of the owner's owner, if it has one that reports.

    Attributes:
        mark: the owner's own.
    """

    __slots__ = ("_above", "_ended", "_marks", "mark")

    def __init__(self, kind: str, name: str, above: Account | None = None) -> None:
        self.mark: Mark | None = opened(kind, name, None if above is None else above.mark)
        self._marks: dict[Any, Mark | None] = {}
        self._above = above
        self._ended = False
        if above is not None:
            above._marks[self] = None  # which ends before it does

    def enter(self, thing: Any, kind: str, name: str) -> None:
        """Report that the owner holds *thing* from now on."""
        self._marks[thing] = opened(kind, name, self.mark)

    def replace(self, thing: Any, successor: Any) -> None:
        """Note that *successor* continues *thing*."""
        self._marks[successor] = self._marks.pop(thing, None)

    def leave(self, thing: Any) -> None:
        """Report that *thing* has ended, if it was reported."""
        closed(self._marks.pop(thing, None))
        if self._ended:
            self.end()

    def mark_of(self, thing: Any) -> Mark | None:
        """Return the mark of *thing*, None if it was not reported."""
        return self._marks.get(thing)

    @property
    def is_empty(self) -> bool:
        """Whether everything that was reported has ended."""
        return not self._marks

    def end(self) -> None:
        """Report that the owner itself has ended; where it has left things behind, with the last of them."""
        self._ended = True
        if self._marks:
            return
        mark, self.mark = self.mark, None
        closed(mark)
        above, self._above = self._above, None
        if above is not None:
            above.leave(self)


def mark_in(account: Account | None, thing: Any = None) -> Mark | None:
    """Return the mark of *thing*, by default of the owner itself; None where it was not reported."""
    if account is None:
        return None
    return account.mark if thing is None else account.mark_of(thing)


class SiteMark:
    """A live thing of which only the place is kept where it was made."""

    __slots__ = ("name", "owner", "site")

    def __init__(self, name: str, owner: Mark | str | None, site: Frames) -> None:
        self.name = name
        self.owner = owner
        self.site = site

    @property
    def path(self) -> str:
        """Names of the owners, outermost first, and of the thing itself."""
        above = self.owner if isinstance(self.owner, str) else self.owner and self.owner.path
        return f"{above} / {self.name}" if above else self.name


class SiteRecorder:
    """A sink that gives every live thing its creation site, for snapshots to show."""

    def opened(self, kind: str, name: str, owner: Mark | str | None) -> SiteMark:
        """Keep three frames of the caller, this package's own left out."""
        frames = creation_site(depth=24, skip=2)
        return SiteMark(name, owner, tuple(frame for frame in frames if not is_core(frame[0].co_filename))[:3])

    def closed(self, mark: Mark) -> None:
        """Nothing is kept, so there is nothing to forget."""


if os.environ.get("LIFECYCLE_TRACE") == "1":
    sink = SiteRecorder()
