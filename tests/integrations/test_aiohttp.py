"""aiohttp with a scope as a clean-up context, served for real on loopback."""

import asyncio
import logging
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import BaseTestServer
from aiohttp.test_utils import TestServer as Server

from lifecycle import Scope, fixed_rate, resource
from lifecycle.integrations.aiohttp import SCOPE, cleanup_ctx

from .serving import listening_socket

DATABASE = web.AppKey("database", str)
events: list[str] = []


@pytest.fixture(autouse=True)
def _fresh_events() -> None:
    events.clear()


@resource
async def database(url: str) -> AsyncIterator[str]:
    events.append(f"open {url}")
    try:
        yield url
    finally:
        events.append(f"close {url}")


@cleanup_ctx
async def setup(scope: Scope, app: web.Application) -> None:
    """Open a database and start a timer on top of it."""
    app[DATABASE] = await scope.enter(database("db"))

    async def beat() -> None:
        events.append("beat")

    scope.start_soon(fixed_rate(beat, 3600))


async def show(request: web.Request) -> web.Response:
    return web.json_response({"url": request.app[DATABASE], "tasks": request.app[SCOPE].statistics().tasks})


def application() -> web.Application:
    app = web.Application()
    app.router.add_get("/", show)
    app.cleanup_ctx.append(setup)
    return app


async def get(server: BaseTestServer) -> dict[str, object]:
    async with aiohttp.ClientSession() as client, client.get(server.make_url("/")) as response:
        answer: dict[str, object] = await response.json()
        return answer


def test_the_scope_lives_as_long_as_the_application() -> None:
    """Opened before the first request, reachable from a handler, closed after the last one; nothing is left."""

    async def main() -> None:
        before = asyncio.all_tasks()
        app = application()
        async with Server(app) as server:
            assert await get(server) == {"url": "db", "tasks": 1}
            assert events == ["open db", "beat"]
        assert events == ["open db", "beat", "close db"]
        assert app[SCOPE].closed
        await asyncio.sleep(0)
        assert asyncio.all_tasks() - before == set()

    asyncio.run(asyncio.wait_for(main(), 20))


def test_it_may_be_started_in_one_task_and_cleaned_up_in_another() -> None:
    """As fixtures of a test framework do."""

    async def main() -> None:
        server = Server(application())
        await asyncio.create_task(server.start_server())
        assert (await asyncio.create_task(get(server)))["url"] == "db"
        await asyncio.create_task(server.close())
        assert events == ["open db", "beat", "close db"]

    asyncio.run(asyncio.wait_for(main(), 20))


def test_a_setup_that_fails_keeps_the_server_from_starting() -> None:
    """And what it had opened is closed."""

    async def failing(scope: Scope, app: web.Application) -> None:
        await scope.enter(database("db"))
        raise OSError("no network")

    async def main() -> None:
        app = web.Application()
        app.cleanup_ctx.append(cleanup_ctx(failing))
        with pytest.raises(OSError, match="no network"):
            async with Server(app):
                pass
        assert events == ["open db", "close db"]

    asyncio.run(asyncio.wait_for(main(), 20))


def test_a_failing_task_closes_the_scope_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """on_failure gets the error at once; the clean-up raises it."""

    async def main() -> None:
        failures: list[BaseException] = []

        async def setup(scope: Scope, app: web.Application) -> None:
            await scope.enter(database("db"))

            async def task() -> None:
                await asyncio.sleep(0.05)
                raise OSError("lost")

            scope.start_soon(task)

        app = web.Application()
        app.cleanup_ctx.append(cleanup_ctx(setup, on_failure=failures.append))
        server = Server(app)
        await server.start_server()
        while "close db" not in events:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)
        assert [str(error) for error in failures] == ["lost"]
        with pytest.raises(OSError, match="lost"):
            await server.close()

    caplog.set_level(logging.CRITICAL)
    asyncio.run(asyncio.wait_for(main(), 20))
    assert "failed while the application serves" in caplog.text


PROGRAM = """
    import asyncio, socket, sys
    from aiohttp import web
    from lifecycle.integrations.aiohttp import cleanup_ctx

    async def setup(scope, app):
        scope.callback(print, "released", flush=True)
        async def task():
            await asyncio.sleep(0.2)
            raise OSError("lost")
        scope.start_soon(task)

    app = web.Application()
    app.cleanup_ctx.append(cleanup_ctx(setup))
    web.run_app(app, sock=socket.socket(fileno=int(sys.argv[1])), print=None)
"""


def test_by_default_a_failed_scope_stops_the_server(tmp_path: Path) -> None:
    """A real process: run_app ends by its own handling of SIGTERM, and the error ends it."""
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM))
    with listening_socket() as sock:
        ended = subprocess.run(
            [sys.executable, str(program), str(sock.fileno())],
            pass_fds=[sock.fileno()],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert "released" in ended.stdout
    assert "failed while the application serves" in ended.stderr
    assert "OSError: lost" in ended.stderr
    assert ended.returncode not in (None, -signal.SIGKILL)
