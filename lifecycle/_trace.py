"""How primitives tell a ledger what lives: one module-level sink, None unless somebody looks.

Three functions, no import but the standard library. The life of a thing is three lines at its owner::

    self._token = _trace.opened("scope", self.name) if _trace.sink is not None else None
    entry.token = _trace.opened("resource", name, owner=self._token) if _trace.sink is not None else None
    ...
    if entry.token is not None:
        _trace.closed(entry.token)

The check of ``_trace.sink`` stays at the call site: switched off, it is one global load and no call. Read
it as ``_trace.sink`` (never ``from ._trace import sink``: a name imported that way would stay ``None``).
``opened`` is called in the same synchronous step in which the thing starts to live, ``closed`` in the step
in which it has ended: a thing that was closed twice, or never, is a failure of the test that looks.

Kinds are free words: ``scope``, ``task manager``, ``task``, ``resource``, ``timer``, ``registry``, ``entry``,
``lease``, ``pool``, ``loan``, ``attempt``, ``pair``, ``server``, ``connection``. Loop tasks are watched by
the test kit itself; a primitive reports a task only to give it an owner path.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from types import CodeType, FrameType

    Frames = tuple[tuple[CodeType, int], ...]

__all__ = ["Sink", "Token", "closed", "creation_site", "opened", "sink"]


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


def creation_site(depth: int = 3, *, skip: int = 1) -> Frames:
    """Capture up to ``depth`` raw ``(code, line)`` pairs, innermost first, without touching a source file.

    Code objects and line numbers only: a kept frame object would pin every local variable of its function.

    Args:
        depth: How many frames to keep.
        skip: Frames to leave out at the inner end; 0 keeps the caller of this function.
    """
    frame: FrameType | None = sys._getframe(1)
    kept: list[tuple[CodeType, int]] = []
    while frame is not None and len(kept) < depth + skip:
        kept.append((frame.f_code, frame.f_lineno))
        frame = frame.f_back
    return tuple(kept[skip:])


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
        return SiteToken(name, owner, tuple(frame for frame in frames if not _is_ours(frame[0]))[:3])

    def closed(self, token: Token) -> None:
        """Nothing is kept, so there is nothing to forget."""


def _is_ours(code: CodeType) -> bool:
    return os.path.dirname(code.co_filename) == _HERE


_HERE = os.path.dirname(__file__)

if os.environ.get("LIFECYCLE_TRACE") == "1":
    sink = SiteRecorder()
