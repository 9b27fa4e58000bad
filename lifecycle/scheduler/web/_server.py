"""WebServer: uvicorn as a resource, started and stopped in order, without signal handlers of its own."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import anyio
import uvicorn

from lifecycle import Scope, TaskHandle

from .._engine.scheduler import Scheduler
from .._ground.addresses import check_password
from .._ground.forks import close_in_children
from .._ground.opening import enter_and_open
from ._application import make_application
from ._protocol import HEADERS, Doorkeeper


class _Uvicorn(uvicorn.Server):
    """Leaves signals to the process, and sets an event when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = anyio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them alone."""
        yield


@dataclass(frozen=True, slots=True)
class WebStatistics:
    """What a web server has done, and what it serves.

    Attributes:
        name: the server's name.
        connections: how many are open.
        requests: how many have ever come.
    """

    name: str
    connections: int
    requests: int


class WebServer:
    """Serves the page of a scheduler, and the same as JSON, for as long as its block lasts.

    Do not use it to publish a page: it shows everything. Without a password it answers this machine only.

    Args:
        scheduler: what is shown.
        host: where to listen; anywhere but on the machine itself only with a password.
        port: 0 for any that is free.
        password: what readers have to give (HTTP Basic, with any user name); None for no password.
        name: for errors and statistics; "web page" unless given.

    Attributes:
        name: the same.
        host: where it listens.
        port: where it listens; as given until it does.

    Raises:
        ValueError: the host is not this machine and there is no password, or the password is empty.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        password: str | None,
        name: str | None = None,
    ) -> None:
        check_password("the web page", host, password)
        self._scheduler = scheduler
        self._address = (host, port)
        self._password = password
        self._scope = Scope("web page" if name is None else name)
        self._server: _Uvicorn | None = None
        self.name: str = self._scope.name
        self.host: str = host
        self.port: int = port

    async def __aenter__(self) -> Self:
        """Listen.

        Cancellation: what had been opened is closed again.

        Raises:
            OwnerClosed: it has been entered before, or is closed.
            OSError: the address cannot be listened on.
        """
        await enter_and_open(self._scope, self._open)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        """Answer what has been asked, and stop listening.

        Cancellation: everything is released before it goes on.
        """
        return await self._scope.__aexit__(exc_type, error, traceback)

    async def aclose(self) -> None:
        """Answer what has been asked, and stop listening. Idempotent; a second caller waits for the first.

        Cancellation: held back until that is done, which is bounded.
        """
        await self._scope.aclose()

    async def wait(self) -> None:
        """Wait until it is closed, which somewhere else does.

        Cancellation: ends the waiting, and changes nothing.
        """
        await self._scope.wait()

    @property
    def closed(self) -> bool:
        """Whether it has come to its end."""
        return self._scope.closed

    def statistics(self) -> WebStatistics:
        """Return what it serves and what it has done."""
        if self._server is None:
            return WebStatistics(self.name, 0, 0)
        state = self._server.server_state
        return WebStatistics(self.name, len(state.connections), state.total_requests)

    async def _open(self) -> None:
        listening = _listen(*self._address)
        self._scope.callback(listening.close)
        self._scope.callback(close_in_children(listening))
        self.port = listening.getsockname()[1]
        keeper = Doorkeeper(self.name, self._scope.start_soon)
        config = uvicorn.Config(
            make_application(self._scheduler, self._password, keeper.alarms),
            http=keeper.protocol,  # type: ignore[arg-type]  # uvicorn says class, and calls it
            headers=HEADERS,
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            log_level="error",  # its warnings are about what anybody can send
            server_header=False,
            proxy_headers=False,
            h11_max_incomplete_event_size=16_384,
            timeout_graceful_shutdown=2,
        )
        server = self._server = _Uvicorn(config)
        serving = self._scope.start_soon(server.serve, [listening], name="uvicorn")
        self._scope.push_async_callback(_stop, server, serving)
        await server.listening.wait()


async def _stop(server: uvicorn.Server, serving: TaskHandle[None]) -> None:
    server.should_exit = True
    await serving.wait()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise OSError(error.errno, f"cannot listen on {host}:{port} for the web page: {error.strerror}") from error
