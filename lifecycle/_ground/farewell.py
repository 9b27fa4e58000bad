"""Farewell: telling owners that their event loop ends, which asyncio itself tells asynchronous generators alone."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from functools import partial
from typing import Protocol

from . import kernel
from .links import Link
from .per_loop import kept_by_loop


class Leaver(Protocol):
    """An owner as far as it has to know of the end of its loop."""

    def _loop_ends(self) -> None:
        """Take note that the loop in which it lives will be closed next; it may not raise."""


class Farewell:
    """Those who are told when one loop ends."""

    def __init__(self) -> None:
        self._owners: dict[Link[Leaver], None] = {}
        self._last_words = self._wait()
        # Its first step makes it known to the loop; it comes to a yield at once and never suspends.
        with suppress(StopIteration):
            self._last_words.asend(None).send(None)
        loop = kernel.running_loop()
        # Closed by hand, without a word to its generators, it has no other place to ask for a call.
        loop.close = partial(_close, loop, self)  # type: ignore[method-assign]

    def add(self, owner: Leaver) -> None:
        """Have *owner* told, unless it is gone by then; it may be told twice, and has to be told where it is."""
        self._owners[Link(owner, self._forget)] = None

    def _forget(self, link: Link[Leaver]) -> None:
        self._owners.pop(link, None)

    async def _wait(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            self.tell()

    def tell(self) -> None:
        """Tell all that have been added."""
        owners, self._owners = self._owners, {}
        for link in owners:
            owner = link()
            if owner is not None:
                owner._loop_ends()


def _close(loop: AbstractEventLoop, farewell: Farewell) -> None:
    """Close *loop*, after its farewell."""
    if not loop.is_running():  # as it refuses to be closed then
        vars(loop).pop("close", None)  # a cycle
        farewell.tell()
    type(loop).close(loop)


_farewell_of: Callable[[AbstractEventLoop], Farewell] = kept_by_loop("_lifecycle_farewell", Farewell)


def tell_at_end(owner: Leaver) -> None:
    """Have *owner* told when the running loop is about to be closed.

    That is when it shuts its asynchronous generators down, as ``asyncio.run`` and every runner of tests have it do, or
    else when its ``close`` is called.
    """
    _farewell_of(kernel.running_loop()).add(owner)
