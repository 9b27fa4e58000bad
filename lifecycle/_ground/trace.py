"""How primitives tell a ledger what lives: one module-level sink, None unless somebody looks.

The life of a thing is three lines at its owner::

    self._token = trace.opened("scope", self.name) if trace.sink is not None else None
    entry.token = trace.opened("resource", name, owner=self._token) if trace.sink is not None else None
    ...
    if entry.token is not None:
        trace.closed(entry.token)

The check of ``trace.sink`` stays at the call site: switched off, it is one global load and no call. Read
it as ``trace.sink`` (never ``from .trace import sink``: a name imported that way would stay ``None``).
``opened`` is called in the same synchronous step in which the thing starts to live, ``closed`` in the step
in which it has ended: a thing that was closed twice, or never, is a failure of the test that looks.

Kinds are free words: ``scope``, ``task manager``, ``task``, ``resource``, ``timer``, ``registry``, ``entry``,
``lease``, ``pool``, ``loan``, ``attempt``, ``pair``, ``server``, ``connection``. Loop tasks are watched by
the test kit itself; a primitive reports a task only to give it an owner path.
"""

from __future__ import annotations

import os
from typing import Protocol

from .frames import Frames, creation_site, is_core

__all__ = ["Sink", "Token", "closed", "opened", "sink"]


class Token(Protocol):
    """What a sink hands out for one live thing; opaque to primitives, which only keep it and give it back."""

    @property
    def path(self) -> str:
        """Names of the owners, outermost first, and of the thing itself."""
        ...


class Sink(Protocol):
    """Whoever looks: a ledger. Both calls are synchronous and must not raise."""

    def opened(self, kind: str, name: str, owner: Token | str | None) -> Token: ...

    def closed(self, token: Token) -> None: ...


sink: Sink | None = None


def opened(kind: str, name: str, owner: Token | str | None = None) -> Token | None:
    """Report that a thing lives from now on; returns the token to close it with, None when nobody looks."""
    current = sink
    return None if current is None else current.opened(kind, name, owner)


def closed(token: Token | None) -> None:
    """Report that a thing has ended; a token of None, or one whose sink has gone, is ignored."""
    current = sink
    if token is not None and current is not None:
        current.closed(token)


class SiteToken:
    """A live thing of which only the place is kept where it was made."""

    __slots__ = ("name", "owner", "site")

    def __init__(self, name: str, owner: Token | str | None, site: Frames) -> None:
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

    def opened(self, kind: str, name: str, owner: Token | str | None) -> SiteToken:
        """Keep three frames of the caller, this package's own left out."""
        frames = creation_site(depth=24, skip=2)
        return SiteToken(name, owner, tuple(frame for frame in frames if not is_core(frame[0].co_filename))[:3])

    def closed(self, token: Token) -> None:
        """Nothing is kept, so there is nothing to forget."""


if os.environ.get("LIFECYCLE_TRACE") == "1":
    sink = SiteRecorder()
