"""Starlette and FastAPI with a scope as their lifespan, served by uvicorn on loopback."""

import asyncio
import logging
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import Depends, FastAPI, Request
from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import JSONResponse
from starlette.routing import Route
from uvicorn.lifespan.on import LifespanOn

from lifecycle import Scope, TaskManager, fixed_rate, resource
from lifecycle.integrations.starlette import lifespan

from .serving import listening_socket, served

events: list[str] = []


@pytest.fixture(autouse=True)
def _fresh_events() -> None:
    events.clear()


@resource
async def database(url: str) -> AsyncIterator[dict[str, str]]:
    events.append(f"open {url}")
    try:
        yield {"url": url}
    finally:
        events.append(f"close {url}")


async def setup(scope: Scope, app: Starlette) -> dict[str, Any]:
    """Open a database, start a timer on top of it, and share both."""
    connection = await scope.enter(database("db"))

    async def beat() -> None:
        events.append("beat")

    scope.start_soon(fixed_rate(beat, 3600))
    return {"database": connection}


def starlette_app() -> Starlette:
    async def show(request: StarletteRequest) -> JSONResponse:
        statistics = request.app.state.scope.statistics()
        return JSONResponse({"url": request.state.database["url"], "tasks": statistics.tasks})

    return Starlette(routes=[Route("/", show)], lifespan=lifespan(setup))


def fastapi_app() -> Starlette:
    app = FastAPI(lifespan=lifespan(setup))

    @app.get("/")
    async def show(request: Request) -> dict[str, Any]:
        statistics = request.app.state.scope.statistics()
        return {"url": request.state.database["url"], "tasks": statistics.tasks}

    return app


@pytest.mark.parametrize("make", [starlette_app, fastapi_app])
def test_the_scope_lives_as_long_as_the_application(make: Callable[[], Starlette]) -> None:
    """Opened before the first request, reachable from a handler, closed after the last one; nothing is left."""

    async def main() -> None:
        before = asyncio.all_tasks()
        app = make()
        async with served(app) as url, httpx.AsyncClient() as client:
            assert (await client.get(url)).json() == {"url": "db", "tasks": 1}
            assert events == ["open db", "beat"]
        assert events == ["open db", "beat", "close db"]
        assert app.state.scope.closed
        assert asyncio.all_tasks() - before == set()

    asyncio.run(asyncio.wait_for(main(), 20))


def test_a_setup_that_fails_keeps_the_server_from_starting(caplog: pytest.LogCaptureFixture) -> None:
    """And what it had opened is closed."""

    async def failing(scope: Scope, app: Starlette) -> None:
        await scope.enter(database("db"))
        raise OSError("no network")

    async def main() -> None:
        app = Starlette(lifespan=lifespan(failing))
        config = uvicorn.Config(app, lifespan="on", log_level="critical")
        starting = LifespanOn(config)
        await starting.startup()
        assert starting.should_exit
        assert events == ["open db", "close db"]

    asyncio.run(asyncio.wait_for(main(), 20))


def test_a_failing_task_closes_the_scope_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """on_failure gets the error while the server still runs; without a handler of SIGTERM the default does nothing."""

    async def main() -> None:
        failures: list[BaseException] = []
        broken = asyncio.Event()

        async def setup(scope: Scope, app: FastAPI) -> None:
            await scope.enter(database("db"))

            async def task() -> None:
                await broken.wait()
                raise OSError("lost")

            scope.start_soon(task)

        for on_failure in ({"on_failure": failures.append}, {}):
            broken.clear()
            events.clear()
            app = FastAPI(lifespan=lifespan(setup, **on_failure))  # type: ignore[arg-type]
            async with served(app) as url, httpx.AsyncClient() as client:
                broken.set()
                while "close db" not in events:
                    await asyncio.sleep(0.01)
                assert (await client.get(url)).status_code == 404
        assert [str(error) for error in failures] == ["lost"]

    caplog.set_level(logging.CRITICAL)
    asyncio.run(asyncio.wait_for(main(), 20))
    assert "scope failed while the application serves" in caplog.text


def test_an_application_on_its_way_down_is_no_failure() -> None:
    """A release that fails at the shutdown is an error of the shutdown: on_failure is not called."""

    async def main() -> None:
        failures: list[BaseException] = []

        async def setup(scope: Scope, app: Starlette) -> None:
            async def release() -> None:
                events.append("released")
                raise OSError("close failed")

            scope.push_async_callback(release)

        async with served(Starlette(lifespan=lifespan(setup, on_failure=failures.append))):
            pass
        assert events == ["released"]
        assert failures == []

    asyncio.run(asyncio.wait_for(main(), 20))


PROGRAM = """
    import asyncio, sys, uvicorn
    from fastapi import FastAPI
    from lifecycle.integrations.starlette import lifespan

    async def setup(scope, app):
        scope.callback(print, "released", flush=True)
        async def task():
            await asyncio.sleep(0.2)
            raise OSError("lost")
        scope.start_soon(task)

    uvicorn.run(FastAPI(lifespan=lifespan(setup)), fd=int(sys.argv[1]), log_level="critical", ws="none")
"""


def test_by_default_a_failed_scope_stops_the_server(tmp_path: Path) -> None:
    """A real process: uvicorn ends by its own handling of SIGTERM, after the scope was unwound."""
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
    assert ended.returncode in (-signal.SIGTERM, 0)


def test_background_work_that_outlives_its_request() -> None:
    """A task manager in the scope: a handler starts work and answers; the shutdown waits for the work."""

    async def main() -> None:
        async def setup(scope: Scope, app: FastAPI) -> None:
            app.state.tasks = await scope.enter(TaskManager("mail"))

        app = FastAPI(lifespan=lifespan(setup))

        async def send(to: str) -> None:
            await asyncio.sleep(0.2)
            events.append(f"sent to {to}")

        @app.post("/{to}")
        async def post(to: str, request: Request) -> None:
            request.app.state.tasks.start_soon(send, to)

        async with served(app) as url, httpx.AsyncClient() as client:
            await client.post(f"{url}/ada")
            assert events == []
        assert events == ["sent to ada"]

    asyncio.run(asyncio.wait_for(main(), 20))


def test_a_resource_as_a_dependency() -> None:
    """FastAPI takes the generator behind a resource, opens it for a request and closes it afterwards."""

    async def main() -> None:
        app = FastAPI()

        async def url() -> str:
            return "per request"

        @resource
        async def session(url: str = Depends(url)) -> AsyncIterator[str]:
            events.append(f"open {url}")
            yield url
            events.append(f"close {url}")

        @app.get("/")
        async def show(value: str = Depends(session.__wrapped__)) -> str:  # type: ignore[attr-defined]
            return value

        async with served(app) as address, httpx.AsyncClient() as client:
            assert (await client.get(address)).json() == "per request"
        assert events == ["open per request", "close per request"]

    asyncio.run(asyncio.wait_for(main(), 20))


def test_what_is_no_setup_is_refused() -> None:
    """At once, not when the server starts."""
    with pytest.raises(TypeError, match="setup must be an async function"):
        lifespan(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="on_failure must be a function"):
        lifespan(setup, on_failure="stop")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="close_timeout must be 0 or more"):
        lifespan(setup, close_timeout=-1.0)
