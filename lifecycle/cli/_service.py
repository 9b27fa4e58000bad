"""Service: what ``lifecycle serve`` and ``worker`` run: a scheduler, with a control server and a page or not."""

from __future__ import annotations

import gc
import importlib
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

import anyio

from lifecycle import LifecycleError, Scope

from ..scheduler._engine.scheduler import Scheduler
from ..scheduler._ground.addresses import is_loopback
from ..scheduler._ground.errors import FlowError
from ..scheduler._ground.events import Event
from ..scheduler._ground.text import quote
from ..scheduler._work.handlers import registered_handlers
from ..scheduler._work.loading import HandlerModuleError, load_handlers
from ..scheduler.control import ControlServer
from ._flow_files import FlowFiles
from ._password import PasswordFileError, read_password
from ._reload import Reload
from ._signals import ServiceSignals
from ._timetable import put_schedules

T = TypeVar("T")


@dataclass(frozen=True)
class Service:
    """What to serve, and where.

    Attributes:
        files: the flows that clients may run, and that run by themselves when they have a schedule.
        control: host and port of the control server, None for none.
        password: what clients have to give.
        web: host and port of the page, None for none.
    """

    files: FlowFiles
    control: tuple[str, int] | None = None
    password: str | None = field(default=None, repr=False)
    web: tuple[str, int] | None = None

    @classmethod
    def read(
        cls,
        flows: Sequence[Path],
        handlers: Sequence[str],
        address: str | None,
        password_file: Path | None,
        web: str | None = None,
    ) -> Service:
        """Return the service that a command line describes; handlers are registered.

        Raises:
            FlowError: something is not valid; the error lists all problems found.
        """
        problems: list[str] = []
        for module in filter(None, handlers):
            _register(module, problems)
        files = FlowFiles(flows)
        if not problems:  # else each flow would miss the same handlers
            files, problems = files.read()
        password = _read_password(password_file, problems)
        control = None if address is None else _read_address("--control", address, password, problems)
        page = None if web is None else _read_address("--web", web, password, problems)
        if page is not None:
            _check_extra(problems)
        if problems:
            raise FlowError(problems)
        return cls(files, control, password, page)

    async def run(
        self, scheduler: Scheduler, on_event: Callable[[Event], object], signals: ServiceSignals | None = None
    ) -> None:
        """Serve until cancelled; after a SIGHUP serve the flows as their files are then.

        Cancellation: the scheduler drains; meanwhile clients can look at jobs and cancel them, but submit none.

        Raises:
            FlowError: a flow has a schedule, and the store one of the same name that is not the flow's.
            StoreError: the store cannot be opened, or not be used any more.
            FlowError: an address cannot be listened on.
        """
        control = self._control_of(scheduler)
        async with scheduler, Scope("signals") as scope:
            await put_schedules(scheduler, self.files.served)
            if signals is not None:
                scope.start_soon(signals.on_hang_up, Reload(self.files, scheduler, control), name="reload")
            await self._serve(scheduler, control, on_event)

    def _control_of(self, scheduler: Scheduler) -> ControlServer | None:
        if self.control is None:
            return None
        host, port = self.control
        return ControlServer(scheduler, host=host, port=port, password=self.password, flows=self.files.served)

    async def _serve(
        self, scheduler: Scheduler, control: ControlServer | None, on_event: Callable[[Event], object]
    ) -> None:
        async with self._clients(control, on_event):
            # What has been loaded stays: with it in every full collection, a PING took 350 ms at worst while a thousand
            # clients came and went, without it 13 (benchmarks/serve.py).
            gc.collect()
            gc.freeze()
            async with self._page(scheduler, on_event):
                try:
                    await anyio.sleep_forever()
                finally:
                    # Not only when its block is left: clients can look and cancel until the last job is out.
                    await scheduler.aclose()

    @asynccontextmanager
    async def _clients(self, control: ControlServer | None, on_event: Callable[[Event], object]) -> AsyncIterator[None]:
        """Serve clients for the block, or say what is worked on where there are none."""
        if self.control is None or control is None:
            known = {
                "handlers": sorted(registered_handlers()),
                "flows": sorted(flow.name for flow in self.files.served),
            }
            on_event(Event("working", data=known))
            yield
            return
        host, port = self.control
        async with _at(f"--control {host}:{port}", control):
            on_event(Event("listening", data={"host": host, "port": control.port}))
            yield

    @asynccontextmanager
    async def _page(self, scheduler: Scheduler, on_event: Callable[[Event], object]) -> AsyncIterator[None]:
        """Serve the page for the block, if there is to be one."""
        if self.web is None:
            yield
            return
        from ..scheduler.web import WebServer

        host, port = self.web
        server = WebServer(scheduler, host=host, port=port, password=self.password)
        async with _at(f"--web {host}:{port}", server) as page:
            on_event(Event("page", data={"host": host, "port": page.port}))
            yield


@asynccontextmanager
async def _at(option: str, server: AbstractAsyncContextManager[T, bool | None]) -> AsyncIterator[T]:
    """Enter a server for the block; that it cannot listen is told with the option that says where.

    Raises:
        FlowError: it cannot listen there.
    """
    async with AsyncExitStack() as stack:
        try:
            entered = await stack.enter_async_context(server)
        except OSError as error:
            if isinstance(error, LifecycleError):
                raise
            inner = error.__cause__ if isinstance(error.__cause__, OSError) else error
            raise FlowError([f"{option}: cannot listen there: {inner.strerror or inner}"]) from error
        yield entered


def _register(module: str, problems: list[str]) -> None:
    try:
        table = load_handlers(module, Path.cwd())
    except HandlerModuleError as error:
        problems.append(f"--handlers: {error}")
        return
    for name in table:
        handler = table.get(name)
        assert handler is not None
        try:
            registered_handlers().add(handler)
        except ValueError as error:
            problems.append(f"--handlers: {error}")


def _check_extra(problems: list[str]) -> None:
    for needed in ("starlette", "uvicorn"):
        try:
            importlib.import_module(needed)
        except ModuleNotFoundError:
            problems.append(f"--web: needs {needed}: pip install 'asyncio-lifecycle[web]'")
            return


_ADDRESS: Final = re.compile(r"(?:\[([^\[\]]+)\]|([^\[\]]+)):([0-9]{1,5})")


def _read_address(option: str, address: str, password: str | None, problems: list[str]) -> tuple[str, int]:
    match = _ADDRESS.fullmatch(address)
    if match is None or int(match[3]) > 65_535:
        problems.append(f"{option}: expected HOST:PORT, got {quote(address)}")
        return "127.0.0.1", 0
    host, port = match[1] or match[2], match[3]
    if password is None and not is_loopback(host):
        problems.append(f"{option} {address}: only with --password-file beyond this machine")
    return host, int(port)


def _read_password(path: Path | None, problems: list[str]) -> str | None:
    if path is None:
        return None
    try:
        return read_password(path)
    except PasswordFileError as error:
        problems.append(f"--password-file: {error}")
        return None
