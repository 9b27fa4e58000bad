"""Bound: what is used in one event loop at a time, and says so to those who use it from elsewhere."""

from __future__ import annotations

import sys
from asyncio import AbstractEventLoop
from collections.abc import Callable
from threading import get_ident

from .errors import WrongLoop
from .kernel import current_loop

#: Returns what tells one place of use from another, for a check that has to be quick: the running loop; on 3.11, which
#: asks the system for the number of the process each time, the thread.
here: Callable[[], object] = current_loop if sys.version_info >= (3, 12) else get_ident


class Bound:
    """Something that belongs to the loop that used it last, as long as that is there.

    It can be made before there is a loop, and used by another one when nobody of the last one waits for it.

    Args:
        label: what it is, for errors.
    """

    __slots__ = ("_home", "_label", "_loop")

    def __init__(self, label: str) -> None:
        self._label = label
        self._loop: AbstractEventLoop | None = None
        self._home: object = None  # what `here` returns to those who may use it

    def _bind(self) -> None:
        """Check that the caller may use it.

        Raises:
            WrongLoop: it is used in another loop, or in the loop of another thread.
        """
        loop, running = self._loop, current_loop()
        if running is loop and here() == self._home:
            return
        if loop is not None and not loop.is_closed():
            if loop.is_running() or (running is not None and self._is_awaited()):
                raise WrongLoop(
                    f"{self._label} is used by another event loop, or by that of another thread; use it in one at a "
                    "time. Another thread can call it with loop.call_soon_threadsafe() or, what has to wait, with "
                    "asyncio.run_coroutine_threadsafe()"
                )
            if running is None:  # between two runs of its loop
                return
        if loop is not None:
            self._forget_waiters()
        self._loop, self._home = running, here()

    def _is_awaited(self) -> bool:
        """Return whether anybody waits, in the loop that it belongs to."""
        raise NotImplementedError

    def _forget_waiters(self) -> None:
        """Let go of those who waited: they went with their loop."""
        raise NotImplementedError
