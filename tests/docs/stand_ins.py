"""What the short examples in docstrings leave out: the world that they speak of, in its smallest form."""

import asyncio
from types import SimpleNamespace
from typing import Any, Self


class Connection:
    """Something to own."""

    def __init__(self, *_: object) -> None:
        """Make one, wherever it may lead."""

    closed = False

    async def aclose(self) -> None:
        """Release it."""
        self.closed = True

    close = aclose

    async def execute(self, *_: object) -> None:
        """Do something with it."""

    run = execute
    ping = execute
    get = execute
    work = execute
    send = execute

    def __aiter__(self) -> Self:
        """Give what comes in."""
        return self

    async def __anext__(self) -> str:
        """Return the end of it."""
        raise StopAsyncIteration


class Terminal(Connection):
    """Something that gives lines."""

    async def readline(self) -> str:
        """Return the end of the input."""
        return ""


class Line(Connection):
    """Something that is read from."""

    async def read(self) -> None:
        """Read for a while."""
        await forever()

    async def log_in(self) -> None:
        """Say who is there."""


async def connect(*_: object) -> Connection:
    """Return something to own."""
    return Connection()


async def disconnect(connection: Connection) -> None:
    """Release it."""
    await connection.aclose()


async def forever(*_: object) -> None:
    """Run until cancelled."""
    await asyncio.Event().wait()


async def work(*_: object) -> None:
    """Do something that takes a moment."""
    await asyncio.sleep(0)


async def page(url: str) -> str:
    """Return a page."""
    return url


#: The examples that speak of a program under ``lifecycle.run``.
UNDER_RUN = {"lifecycle.background", "lifecycle.create_background_task"}

#: What each example needs, by the name of the public thing whose docstring it is in.
WORLD: dict[str, dict[str, Any]] = {
    "lifecycle.link": {"client": Connection(), "server": Connection()},
    "lifecycle.Mailbox": {"deliver": work, "orders": ["one", "two"]},
    "lifecycle.Pool": {"Connection": Connection, "connect": connect},
    "lifecycle.ReaderWorker": {"connection": Terminal()},
    "lifecycle.Registry": {"Client": Connection, "cluster": "north", "connect": connect, "job": "count"},
    "lifecycle.Scope": {
        "address": ("localhost", 1),
        "connect": connect,
        "disconnect": disconnect,
        "keep_alive": forever,
        "serve": work,
    },
    "lifecycle.scheduler.Scheduler": {"fetch": work, "url": "somewhere"},
    "lifecycle.Limiter": {"fetch": page, "host_of": len, "url": "somewhere"},
    "lifecycle.limit_by": {"fetch": page, "host_of": len, "url": "somewhere"},
    "lifecycle.TaskGroup": {"fetch": work, "urls": ["one", "two"]},
    "lifecycle.as_completed": {"fetch": page, "urls": ["one", "two"]},
    "lifecycle.connect": {"Session": Connection, "close_stream": disconnect, "log_in": work, "open_stream": connect},
    "lifecycle.dial": {
        "address": "north",
        "asyncpg": SimpleNamespace(connect=connect),
        "health": "/",
        "httpx": SimpleNamespace(AsyncClient=Connection),
        "redis": SimpleNamespace(asyncio=SimpleNamespace(from_url=Connection)),
        "url": "north",
    },
    "lifecycle.background": {"user": "ann"},
    "lifecycle.keep_connected": {"Session": Line, "open_stream": connect, "subscribe_again": work},
    "lifecycle.Retry": {"asyncpg": SimpleNamespace(CannotConnectNowError=OSError)},
    "lifecycle.fixed_rate": {"poll": work},
    "lifecycle.resource": {"connect": connect},
    "lifecycle.TaskManager": {"send_welcome": work, "user": "ann"},
}
