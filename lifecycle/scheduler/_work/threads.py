"""Sync handlers in worker threads: a thread is a resource of its block and is never abandoned in silence.

A thread cannot be ended from outside. So stopping its block asks the handler to stop (``context.stopping``) and then
waits for it: a retry never runs beside the attempt before it, and a job that is ``cancelled`` has no more effects. The
wait is bounded by the ``close_timeout`` of the job's scope; past it the error names the handler, and the job is not
tried again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import anyio
import anyio.to_thread

from .._ground.bridge import Bridge
from .._ground.errors import ThreadAbandoned


class _Raised:
    """What was raised, as a result: who hands it over may look at it, and an error may break whoever looks at it."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


class ThreadCall:
    """One call in a worker thread.

    Args:
        function: called without arguments.
        stop: set when the call is not wanted any more.
    """

    def __init__(self, function: Callable[[], Any], stop: threading.Event) -> None:
        self._function = function
        self._stop = stop
        self._bridge = Bridge()
        self._over = anyio.Event()
        self._lock = threading.Lock()
        self._begun = False
        self._withdrawn = False

    async def run(self, limiter: anyio.CapacityLimiter) -> Any:
        """Return what the function returns.

        Cancellation: the thread goes on; `end` asks it to stop and waits for it.
        """
        outcome = await anyio.to_thread.run_sync(self._in_thread, abandon_on_cancel=True, limiter=limiter)
        if type(outcome) is _Raised:
            try:
                raise outcome.error
            finally:
                del outcome  # the traceback keeps this frame: a cycle
        return outcome

    async def end(self, name: str, timeout: float) -> None:
        """Ask the function to stop and wait until it has returned; it does not begin after this.

        Raises:
            ThreadAbandoned: it has not returned within *timeout* seconds.
        """
        self._stop.set()
        with self._lock:
            self._withdrawn = True
            begun = self._begun
        if begun:
            with anyio.move_on_after(timeout):
                await self._over.wait()
            if not self._over.is_set():
                raise ThreadAbandoned(
                    f"the thread of handler {name!r} was abandoned and still runs: it had not returned {timeout:g} s "
                    "after it was asked to stop; let the handler look at context.stopping"
                )

    def _in_thread(self) -> Any:
        with self._lock:
            if self._withdrawn:
                return None
            self._begun = True
        try:
            return self._function()
        except BaseException as error:
            return _Raised(error)
        finally:
            self._bridge.call(self._over.set)
