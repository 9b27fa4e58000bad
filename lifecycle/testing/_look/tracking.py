"""Enters things of the outside world into a ledger: files, sockets, processes, transports, anything that closes."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

CLOSERS = ("aclose", "close")

# How to ask a thing of a known kind whether it has ended. Where one can be asked, nothing of it is replaced.
_QUESTIONS: list[tuple[tuple[type, ...], Callable[[Any], bool]]] = [
    ((socket.socket,), lambda thing: thing.fileno() < 0),
    ((asyncio.BaseTransport, asyncio.StreamWriter), lambda thing: thing.is_closing()),
    ((subprocess.Popen,), lambda thing: thing.poll() is not None),
    ((asyncio.subprocess.Process,), lambda thing: thing.returncode is not None),
]


def question_for(thing: object) -> Callable[[], bool] | None:
    """Return a function that says whether a thing has ended, None for a thing that cannot be asked."""
    for kinds, ended in _QUESTIONS:
        if isinstance(thing, kinds):
            return functools.partial(ended, thing)
    if isinstance(getattr(thing, "closed", None), bool):
        return lambda: bool(thing.closed)  # type: ignore[attr-defined]
    return None


def report_closing(thing: Any, ended: Callable[[], None]) -> Any:
    """Return a thing whose ``aclose`` or ``close`` reports its end; the thing itself where that can be arranged.

    Raises:
        TypeError: it has neither.
    """
    methods = [name for name in CLOSERS if callable(getattr(thing, name, None))]
    if not methods:
        raise TypeError(f"{thing!r} has neither aclose() nor close(): acquire a token and release it yourself")
    wrapped = {name: _reporting(getattr(thing, name), ended) for name in methods}
    try:
        for name, method in wrapped.items():
            setattr(thing, name, method)
    except AttributeError:  # its class has slots
        return Tracked(thing, wrapped)
    return thing


def _reporting(method: Callable[..., Any], ended: Callable[[], None]) -> Callable[..., Any]:
    """Wrap a closing method; a close that fails half way has not ended anything."""
    if inspect.iscoroutinefunction(method):

        @functools.wraps(method)
        async def aclose(*args: Any, **kwargs: Any) -> Any:
            result = await method(*args, **kwargs)
            ended()
            return result

        return aclose

    @functools.wraps(method)
    def close(*args: Any, **kwargs: Any) -> Any:
        result = method(*args, **kwargs)
        ended()
        return result

    return close


class Tracked:
    """Stands before a thing whose methods cannot be replaced, and hands everything on."""

    def __init__(self, thing: Any, methods: dict[str, Callable[..., Any]]) -> None:
        self._thing = thing
        self._methods = methods

    def __getattr__(self, name: str) -> Any:
        return self._methods.get(name) or getattr(self._thing, name)

    def __repr__(self) -> str:
        return f"<tracked {self._thing!r}>"


def new_descriptors(before: dict[str, str]) -> list[str]:
    """One line for each file descriptor that was not open before."""
    now = open_descriptors()
    return [f"file descriptor {name} to {now[name]}" for name in now if now[name] != before.get(name)]


def open_descriptors() -> dict[str, str]:
    """Return the open file descriptors of this process, with what each leads to; empty where they cannot be listed."""
    directory = Path("/proc/self/fd")
    found: dict[str, str] = {}
    if directory.is_dir():
        for name in os.listdir(directory):
            try:
                found[name] = os.readlink(directory / name)
            except OSError:  # the descriptor of the listing itself
                continue
    return found
