"""The protocol of the page: uvicorn's, with bounds on what slow clients hold, and the same headers on every answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from .._ground.alarms import Alarms
from .._ground.descriptors import affordable
from .._ground.forks import close_in_children
from .._ground.patience import Patience

if TYPE_CHECKING:
    from asyncio import Transport

HEADERS: Final = [
    ("cache-control", "no-store"),
    ("connection", "close"),
    (
        "content-security-policy",
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; form-action 'none'",
    ),
    ("cross-origin-resource-policy", "same-origin"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
]
"""What every answer says, errors included. A connection is for one request, so that nobody keeps it."""

MOST: Final = 1_024
"""Connections at once, if the process has descriptors enough; what is more is turned away."""

FEW: Final = 32
"""Clients that may take their time, to ask and to read."""

ASKING, READING = 5.0, 20.0
"""Seconds that a client has for its whole request, and from then on until it has read the whole answer."""


class Doorkeeper:
    """What the connections of one page share.

    Args:
        name: the page's, for the log.
        start: starts a task.

    Attributes:
        asking, reading: the connections whose request has not come, and those that have not got their answer.
        alarms: tells of those that were cut off, and of wrong passwords.
        most: how many connections there may be.
    """

    def __init__(self, name: str, start: Callable[[Callable[[], Awaitable[None]]], object]) -> None:
        self.asking = Patience(FEW, ASKING, start)
        self.reading = Patience(FEW, READING, start)
        self.alarms = Alarms(name)
        self.most = affordable(MOST)

    def protocol(self, *args: Any, **settings: Any) -> PageProtocol:
        """Return the protocol of a new connection; uvicorn calls it."""
        return PageProtocol(self, *args, **settings)


class PageProtocol(H11Protocol):
    """One connection, for one request, which comes soon and whose answer is read soon."""

    def __init__(self, keeper: Doorkeeper, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._keeper = keeper
        self._asked = False
        self._release: Callable[[], object] = object

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Take a connection, unless there are too many."""
        super().connection_made(transport)
        self._release = close_in_children(transport.get_extra_info("socket"))
        if len(self.connections) > self._keeper.most:
            self._cut()
        else:
            self._keeper.asking.enter(self, self._cut)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._release()
        self._keeper.asking.leave(self)
        self._keeper.reading.leave(self)
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Take what has come in; from the headers of a request on it is the answer that has to get on."""
        super().handle_events()
        if self.cycle is not None and not self._asked and not self.transport.is_closing():
            self._asked = True
            self._keeper.asking.leave(self)
            self._keeper.reading.enter(self, self._cut)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request of HTTP."""
        self._alarm("no HTTP at the page")
        if self.conn.our_state is not h11.IDLE:
            self.transport.abort()  # it is in the middle of an answer
            return
        head = h11.Response(status_code=400, headers=[*HEADERS, ("content-type", "text/plain; charset=utf-8")])
        for event in (head, h11.Data(data=f"{msg}\n".encode()), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _cut(self) -> None:
        self._alarm("reader of the page cut off that was too slow, or one too many")
        self.transport.abort()

    def _alarm(self, event: str) -> None:
        self._keeper.alarms.tell(event, client=":".join(str(part) for part in self.client or ()))
