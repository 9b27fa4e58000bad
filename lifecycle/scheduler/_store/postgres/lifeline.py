"""The lifeline of a scheduler: a connection of its own that says it lives, and hears what others tell."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import anyio

from ..._ground.bridge import Bell
from .connections import Connection, close_connection
from .faults import Fault, fault_of, is_of_connection

logger = logging.getLogger("lifecycle.scheduler")

BEATS: Final = 5
"""Times that it says so during a lease."""

UNHEARD: Final = 0.5
"""Seconds between two looks for what others have done, where they are not heard."""

TELL: Final = """
    SELECT pg_notify('lifecycle', message)
    FROM (SELECT set_config('synchronous_commit', 'off', true)) AS quick, unnest($1::text[]) AS message"""
"""Without waiting for the disk: who commits what it tells holds up all others that do."""

PAUSES: Final = (0.1, 0.25, 0.5, 1.0)
"""Seconds before it connects again; the last one from then on."""


class Lifeline:
    """Beats several times during a lease, and hears messages; it connects again for as long as it lives.

    A connection that listens is never lent to anybody: what comes would pile up in it.

    Args:
        connect: opens a connection.
        number: returns our number, None when we are not registered.
        lease: seconds for which we are taken for alive without a beat.
        heard: called with each message; with an empty one after each beat, and when there was no connection for a
            time: what was told meanwhile is to be looked for.
        beaten: called with what each beat was answered, and how long that took.
        silent: called when there has been no answer for a lease, and when there is one again: the other connections are
            of no use any more.

    Attributes:
        deaf: whether messages may not arrive, so that the others have to be looked at more often: behind a pooler,
            which may give what we listen with to somebody else.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        number: Callable[[], int | None],
        lease: float,
        *,
        heard: Callable[[str], object],
        beaten: Callable[[dict[str, Any], float], object],
        silent: Callable[[], object],
    ) -> None:
        self.deaf = False
        self._connect = connect
        self._number = number
        self._lease = lease
        self._heard = heard
        self._beaten = beaten
        self._silent = silent
        self._bell = Bell()
        self._last_beat = time.monotonic()
        self._broken = False  # whether the last connection was
        self._messages: dict[str, None] = {}  # to be told, each once

    async def run(self) -> None:
        """Live until it is cancelled.

        Cancellation: ends it; the connection is closed.
        """
        tries = 0
        while True:
            try:
                connection = await self._connect()
            except Exception as error:
                if fault_of(error) is Fault.OWN:
                    logger.warning("no lifeline to the database", extra={"reason": str(error)})
                if time.monotonic() - self._last_beat > self._lease:
                    self._silent()
                    self._last_beat = time.monotonic()
                await anyio.sleep(PAUSES[min(tries, len(PAUSES) - 1)])
                tries += 1
                continue
            if self._broken:  # so are the others, maybe without having been told
                self._silent()
            self._broken, beaten = False, self._last_beat
            try:
                await self._live(connection)
            except Exception as error:
                logger.debug("lifeline to the database is lost", exc_info=True)
                self._broken = is_of_connection(error)
                connection.terminate()  # no leave is taken of who does not answer: a lease is short
            finally:
                with anyio.CancelScope(shield=True):
                    await close_connection(connection)
            tries = tries + 1 if self._last_beat == beaten else 0
            if tries:  # a database that takes no beat, because it is full, or only reads, is not asked all the time
                await anyio.sleep(PAUSES[min(tries, len(PAUSES)) - 1])

    async def _live(self, connection: Connection) -> None:
        timeout = max(1.0, self._lease / BEATS)
        await connection.add_listener("lifecycle", self._hear)
        pid = await connection.fetchval("SELECT pg_backend_pid()", timeout=timeout)
        self.deaf = pid != connection.get_server_pid()  # who has taken our call is not who listens
        self._heard("")
        next_beat = 0.0
        while True:
            while self._messages:
                messages, self._messages = list(self._messages), {}
                await connection.fetch(TELL, messages, timeout=timeout)
            number, now = self._number(), time.monotonic()
            if number is not None and now >= next_beat:
                next_beat = now + self._lease / BEATS
                answer = await connection.fetchval("SELECT lifecycle.beat($1)", number, timeout=timeout)
                self._last_beat = time.monotonic()
                self._beaten(json.loads(answer), self._last_beat - now)
                self._heard("")
            wait = max(0.001, next_beat - time.monotonic()) if number else self._lease / BEATS
            if self.deaf:
                wait = min(wait, UNHEARD)
                self._heard("")
            await self._bell.wait(wait)

    def tell(self, messages: list[str]) -> None:
        """Tell the others something; what cannot be told now they find out by themselves."""
        self._messages.update(dict.fromkeys(messages))
        self._bell.ring()

    def _hear(self, connection: Connection, pid: int, channel: str, message: str) -> None:
        if pid != connection.get_server_pid():  # what we tell we know
            self._heard(message)
