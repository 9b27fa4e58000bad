"""Intake: takes connections for a server, leaves them in line while there is no room, and takes the line at the end."""

from __future__ import annotations

import errno
import socket
from asyncio import TimerHandle
from collections.abc import Callable, Sequence
from contextvars import Context
from typing import Any

from .._ground import kernel
from .._ground.logs import OwnerLog
from .listener import Incoming, Listener

logger = OwnerLog("lifecycle.server")

#: What `accept` fails with when the process, or the system, has nothing left to take a connection with.
EXHAUSTION = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

#: Seconds before the next try after a connection could not be taken: the first pause, and the longest.
BACK_OFF = (0.05, 1.0)

#: Seconds without a failure after which there is enough again: what fails after that is told anew.
CALM = 10.0


#: Turns of the loop in which it takes from the line at the end: whoever comes all the time must not keep it.
TURNS = 4096


class Intake:
    """Hands connections on, unless there is no room for one more, or nothing left to take it with.

    Failures come in spells: while there is too little for all, each connection that ends makes room for one more. A
    spell is told once when it begins and once when it is over, and the pauses between its tries grow.

    Args:
        owner: the server's name, for the log.

    Attributes:
        paused: whether connections are left in line at this moment.
        exhausted: how often taking one failed for lack of descriptors or memory.
        ending: whether it takes no more but what is in line, whether there is room or not.
        closed: whether it has come to its end.
    """

    def __init__(self, owner: str) -> None:
        self.paused = False
        self.exhausted = 0
        self.ending = self.closed = False
        self._owner = owner
        self._ended: Callable[[], object] = nothing
        self._turns = TURNS
        self._take: Callable[[Incoming], object] = nothing
        self._has_room: Callable[[], bool] = nothing
        self._listeners: Sequence[Listener] = ()
        self._context: Context | None = None
        self._retry: TimerHandle | None = None
        self._pause = BACK_OFF[0]
        self._failures = 0  # in this spell
        self._last_failure = 0.0

    @property
    def addresses(self) -> tuple[Any, ...]:
        """Where it listens."""
        return tuple(listener.address for listener in self._listeners)

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """What it listens on, where that are sockets."""
        return tuple(one for listener in self._listeners for one in getattr(listener, "sockets", ()))

    def begin(
        self,
        listeners: Sequence[Listener],
        take: Callable[[Incoming], object],
        has_room: Callable[[], bool],
        context: Context,
    ) -> None:
        """Take what comes, until the end.

        Args:
            listeners: where from.
            take: owns a connection from its step on; it never raises for lack of room.
            has_room: whether there is room for another one.
            context: what its timers run in.
        """
        self._listeners, self._take, self._has_room, self._context = listeners, take, has_room, context
        for listener in listeners:
            listener.begin(self._arrived, self._failed)

    def end(self, ended: Callable[[], object]) -> None:
        """Take no more, after what is in line already, some of it in each turn of the loop; then call *ended*. Once."""
        if self.closed:
            ended()
            return
        self.ending = True
        self._ended = ended
        self._stop_retry()
        self._take_line()

    def close(self) -> None:
        """Take nothing more, and reset what is in line. Idempotent."""
        if not self.closed:
            self.ending = self.closed = True
            for listener in self._listeners:
                listener.close()
            self._stop_retry()
            self._end_spell()
            ended, self._take, self._has_room, self._ended = self._ended, nothing, nothing, nothing
            ended()

    def _take_line(self) -> None:
        """Hand on a part of what is in line: all of it at once would hold the loop."""
        self._turns -= 1
        if self.closed:
            return
        if any(listener.take_line() for listener in self._listeners) and self._turns:
            kernel.running_loop().call_soon(self._take_line, context=self._context)
        else:
            self.close()

    def go_on(self) -> None:
        """Take again, if there is room now."""
        if self.paused and not self.ending and self._has_room():
            self.paused = False
            self._stop_retry()
            for listener in self._listeners:
                if not self.paused:  # what one takes may be the last that there is room for
                    listener.resume()

    def _arrived(self, incoming: Incoming) -> bool:
        """Hand on a connection, and return whether another one may come."""
        self._take(incoming)
        if self._failures and self._is_calm():
            self._end_spell()
        if not self.ending and not self._has_room():
            self._stop()
        return self.ending or not self.paused

    def _failed(self, error: OSError) -> None:
        """Leave connections where they are for a while: trying again at once would fail at once."""
        if error.errno in EXHAUSTION:
            self.exhausted += 1
        if self._failures and self._is_calm():
            self._end_spell()
        if not self._failures:
            logger.error("cannot take connections", extra={"owner": self._owner, "error": str(error)})
        self._failures += 1
        loop = kernel.running_loop()
        self._last_failure = loop.time()
        self._stop()
        if self._retry is None:
            self._retry = loop.call_later(self._pause, self._try_again, context=self._context)
            self._pause = min(2 * self._pause, BACK_OFF[1])

    def _is_calm(self) -> bool:
        return kernel.running_loop().time() - self._last_failure > CALM

    def _end_spell(self) -> None:
        failures, self._failures = self._failures, 0
        self._pause = BACK_OFF[0]
        if failures > 1:
            logger.warning("connections could not be taken", extra={"owner": self._owner, "failures": failures})

    def _stop(self) -> None:
        self.paused = True
        for listener in self._listeners:
            listener.pause()

    def _stop_retry(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _try_again(self) -> None:
        self._retry = None
        self.go_on()


def nothing(*_: object) -> bool:
    """Stand in for the server before it listens, and when all is over: what it has of the server is a cycle."""
    return False
