"""Faults: what goes wrong on the way, with which requests, and how often."""

from __future__ import annotations

import re
import socket
import struct
from asyncio import BaseTransport
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Delay:
    """The request is acted on after some seconds."""

    seconds: float


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The request is answered with an error, and not acted on.

    Args:
        code: the HTTP status.
        retry_after: whole seconds, said in a header and in the Status.
        raw: a body that is no Status, as proxies in between send one.
    """

    code: int
    retry_after: int | None = None
    message: str = ""
    raw: str | None = None


@dataclass(frozen=True, kw_only=True)
class Reset:
    """The connection is reset, and the request is not acted on."""


@dataclass(frozen=True, kw_only=True)
class Lose:
    """The request is acted on, and the connection reset.

    Args:
        when: "before" the answer, in the "middle" of it, or "after" it.
    """

    when: str = "before"


@dataclass(frozen=True, kw_only=True)
class Break:
    """A watch goes wrong after some events.

    Args:
        how: "end" it properly; "cut" in the middle of a line; "reset"; be "silent" for ever, without bookmarks;
            "garbage": a line that is no JSON, after which it goes on; "gone": an ERROR event with 410, then the end;
            "error": an ERROR event with 500, then the end.
        after: how many events come first, bookmarks included.
    """

    how: str
    after: int = 0


@dataclass(frozen=True, kw_only=True)
class Slow:
    """Each event of a watch, and each piece of a log, is sent some seconds late."""

    seconds: float


Action = Delay | Answer | Reset | Lose | Break | Slow
ACTIONS: dict[str, type[Any]] = {each.__name__.lower(): each for each in (Delay, Answer, Reset, Lose, Break, Slow)}


@dataclass
class Fault:
    """What goes wrong with some requests.

    Args:
        action: what.
        method: of the request, such as POST; None for any.
        verb: such as create, get, list, watch, patch, delete, deletecollection; None for any.
        path: a regular expression that is searched for in path and query.
        nth: with which of the requests that match it begins, counted from 1.
        times: with how many of them; None for all from then on.
    """

    action: Action
    method: str | None = None
    verb: str | None = None
    path: str = ""
    nth: int = 1
    times: int | None = 1
    seen: int = field(default=0, init=False)
    met: int = field(default=0, init=False)

    def takes(self, method: str, verb: str, path: str) -> bool:
        """Return whether a request is met, and count it."""
        if self.method not in (None, method) or self.verb not in (None, verb) or not re.search(self.path, path):
            return False
        self.seen += 1
        if self.seen < self.nth or (self.times is not None and self.met >= self.times):
            return False
        self.met += 1
        return True


class Faults:
    """All faults of a double."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, action: Action, **which: Any) -> Fault:
        """Let something go wrong from now on; see Fault."""
        self._faults.append(Fault(action, **which))
        return self._faults[-1]

    def remove(self, fault: Fault) -> None:
        """Let it go wrong no more."""
        self._faults.remove(fault)

    def clear(self) -> None:
        """Let nothing go wrong."""
        self._faults.clear()

    def take(self, method: str, verb: str, path: str) -> list[Action]:
        """Return what goes wrong with a request."""
        return [fault.action for fault in self._faults if fault.takes(method, verb, path)]


def reset(transport: BaseTransport | None) -> None:
    """End a connection so that its other end gets an error, not an end."""
    if transport is None:
        return
    found = transport.get_extra_info("socket")
    if found is not None:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    abort = getattr(transport, "abort", transport.close)
    abort()
