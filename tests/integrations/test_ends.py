"""How the scope of an application ends, whatever ends it: a cancellation, Ctrl-C, a start that fails half-way."""

import asyncio
import contextlib
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from contextvars import ContextVar
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer as Server
from starlette.applications import Starlette

from lifecycle import Scope, TaskCancelled
from lifecycle.integrations.aiohttp import cleanup_ctx
from lifecycle.integrations.starlette import lifespan
from lifecycle.testing import Bubble, explore_cancellation

from .serving import listening_socket

events: list[str] = []
who: ContextVar[str] = ContextVar("who", default="nobody")


@pytest.fixture(autouse=True)
def _fresh_events() -> None:
    events.clear()


async def released() -> None:
    await asyncio.sleep(0)
    events.append("released")


def stuck() -> None:
    raise OSError("stuck")


async def setup(scope: Scope, app: Any) -> None:
    """Own something whose release takes a while, and on top of it something that cannot be released."""
    scope.push_async_callback(released)
    scope.callback(stuck)


async def slow_setup(scope: Scope, app: Any) -> None:
    """Be half-way for ever."""
    await setup(scope, app)
    await asyncio.Event().wait()


def starlette(setup: Any = setup, **options: Any) -> Starlette:
    return Starlette(lifespan=lifespan(setup, **options))


def aiohttp(*setups: Any) -> web.Application:
    app = web.Application()
    app.cleanup_ctx.extend(cleanup_ctx(setup, on_failure=None) for setup in setups)
    return app


async def serve_starlette(setup: Any) -> None:
    app = starlette(setup)
    async with app.router.lifespan_context(app):
        await asyncio.Event().wait()


async def serve_aiohttp(*setups: Any) -> None:
    runner = web.AppRunner(aiohttp(*setups))
    try:
        await runner.setup()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


every_framework = pytest.mark.parametrize("serve", [serve_starlette, serve_aiohttp])


@every_framework
@pytest.mark.parametrize("setup", [setup, slow_setup])
def test_a_cancellation_releases_everything_and_loses_no_error(serve: Any, setup: Any) -> None:
    """In the start as afterwards: what a release met is raised, and the cancellation still counts."""

    async def main() -> None:
        serving = asyncio.create_task(serve(setup))
        await asyncio.sleep(0.01)
        serving.cancel()
        with pytest.raises(OSError, match="stuck"):
            await serving
        assert serving.cancelling() == 1
        assert events == ["released"]

    asyncio.run(asyncio.wait_for(main(), 20))


@pytest.mark.parametrize("error", [asyncio.CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_application_that_is_ended_from_outside_has_not_failed(
    error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is logged as a failure while it serves, nobody is told, even if a release fails on the way down."""
    failures: list[BaseException] = []

    async def main() -> None:
        app = starlette(on_failure=failures.append)
        async with app.router.lifespan_context(app):
            raise error

    coro = main()
    with pytest.raises((error, OSError, BaseExceptionGroup)):
        asyncio.run(coro)
    assert (events, failures, caplog.records) == (["released"], [], [])


def test_a_lifespan_that_the_end_of_the_loop_finds_open_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    """As by a server that is forced to end; it has not failed either."""
    failures: list[BaseException] = []

    async def fine(scope: Scope, app: Starlette) -> None:
        scope.push_async_callback(released)

    async def main() -> None:
        app = starlette(fine, on_failure=failures.append)
        kept.append(app.router.lifespan_context(app))
        await kept[0].__aenter__()

    kept: list[Any] = []
    asyncio.run(main())
    assert (events, failures, caplog.records) == (["released"], [], [])


def test_what_a_setup_sets_is_seen_by_releases_and_tasks() -> None:
    """And a token is good there, also where the application is started in one task and cleaned up in another."""

    async def setup(scope: Scope, app: Any) -> None:
        token = who.set("setup")
        scope.callback(who.reset, token)
        scope.push_async_callback(look)
        scope.start_soon(stay)
        await asyncio.sleep(0)

    async def look() -> None:
        events.append(f"release sees {who.get()}")

    async def stay() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            events.append(f"task sees {who.get()}")

    async def start_and_clean_up() -> None:
        server = Server(aiohttp(setup))
        await asyncio.create_task(server.start_server())
        await asyncio.create_task(server.close())

    async def in_one_task() -> None:
        app = starlette(setup)
        async with app.router.lifespan_context(app):
            assert who.get() == "setup"
        assert who.get() == "nobody"

    for serve in (start_and_clean_up, in_one_task):
        events.clear()
        asyncio.run(asyncio.wait_for(serve(), 20))
        assert events == ["task sees setup", "release sees setup"]


def test_a_start_that_fails_further_on_cleans_up_what_had_started() -> None:
    """The second context fails; the first is closed."""

    async def first(scope: Scope, app: web.Application) -> None:
        scope.push_async_callback(released)

    async def second(scope: Scope, app: web.Application) -> None:
        scope.callback(events.append, "second released")
        raise OSError("no network")

    async def main() -> None:
        with pytest.raises(OSError, match="no network"):
            await serve_aiohttp(first, second)
        assert events == ["second released", "released"]

    asyncio.run(asyncio.wait_for(main(), 20))


def test_a_release_that_awaits_what_it_has_cancelled_does_not_end_the_clean_up() -> None:
    """Its CancelledError would pass for one of the clean-up, and the contexts that follow would be left open."""

    async def first(scope: Scope, app: web.Application) -> None:
        scope.push_async_callback(released)

    async def second(scope: Scope, app: web.Application) -> None:
        task = asyncio.create_task(asyncio.sleep(3600))

        async def stop() -> None:
            task.cancel()
            await task

        scope.push_async_callback(stop)

    async def main() -> None:
        server = Server(aiohttp(first, second))
        await server.start_server()
        with pytest.raises(TaskCancelled):
            await server.close()
        assert events == ["released"]

    asyncio.run(asyncio.wait_for(main(), 20))


def test_other_lifespans_are_entered_in_the_scope() -> None:
    """That of a mounted application, which no framework runs, and what holds a task group: each at its place."""

    @contextlib.asynccontextmanager
    async def sessions() -> AsyncIterator[None]:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever)
            yield
            group.cancel_scope.cancel()
        events.append("sessions are over")

    async def of_mounted(scope: Scope, app: Starlette) -> dict[str, Any]:
        scope.callback(events.append, "mounted released")
        return {"answer": 42}

    async def setup(scope: Scope, app: Starlette) -> Any:
        await scope.enter(sessions())
        return await scope.enter(mounted.router.lifespan_context(mounted))

    mounted = starlette(of_mounted)

    async def main() -> None:
        app = starlette(setup)
        for _ in range(2):  # and once more, as a test suite does
            events.clear()
            async with app.router.lifespan_context(app) as state:
                assert state == {"answer": 42}
                assert mounted.state.scope is not app.state.scope
            assert events == ["mounted released", "sessions are over"]

    asyncio.run(asyncio.wait_for(main(), 20))


def test_a_setup_that_returns_no_mapping_is_told_so() -> None:
    """Before the framework stumbles over it; what it had opened is closed."""

    async def returns_text(scope: Scope, app: Starlette) -> Any:
        scope.push_async_callback(released)
        return "connection"

    async def main() -> None:
        app = starlette(returns_text)
        with pytest.raises(TypeError, match=r"setup must return a mapping, .* or None; got 'connection'"):
            async with app.router.lifespan_context(app):
                pass
        assert events == ["released"]

    asyncio.run(asyncio.wait_for(main(), 20))


SETUP = """
    import asyncio, os, socket, sys
    from {framework} import {name}

    async def setup(scope, app):
        scope.callback(print, "released", flush=True)
        print("setting up", flush=True)
        await asyncio.sleep(0.5)
        print("set up", flush=True)
"""
UVICORN = """
    import uvicorn
    from fastapi import FastAPI
    uvicorn.run(FastAPI(lifespan=lifespan(setup)), fd=int(sys.argv[1]), log_level="warning", ws="none")
"""
AIOHTTP = """
    from aiohttp import web
    app = web.Application()
    app.cleanup_ctx.append(cleanup_ctx(setup))
    web.run_app(app, sock=socket.socket(fileno=int(sys.argv[1])), print=None)
"""


@pytest.mark.parametrize(
    ("serving", "framework", "name"),
    [
        (UVICORN, "lifecycle.integrations.starlette", "lifespan"),
        (AIOHTTP, "lifecycle.integrations.aiohttp", "cleanup_ctx"),
    ],
    ids=["uvicorn", "aiohttp"],
)
def test_ctrl_c_during_the_start_releases_everything(tmp_path: Path, serving: str, framework: str, name: str) -> None:
    """A real process: whether the server lets the start end first or not, nothing is left, and nothing is said."""
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(SETUP.format(framework=framework, name=name)) + textwrap.dedent(serving))
    with listening_socket() as sock:
        command = [sys.executable, str(program), str(sock.fileno())]
        process = subprocess.Popen(
            command, pass_fds=[sock.fileno()], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "setting up\n"
        process.send_signal(signal.SIGINT)
        said, errors = process.communicate(timeout=30)
    assert said.splitlines()[-1] == "released"
    assert errors == ""


async def started_and_cleaned_up(bubble: Bubble) -> None:
    """Go through an application's life as aiohttp does, which gives a start that failed no clean-up."""

    async def setup(scope: Scope, app: Any) -> None:
        connection = bubble.ledger.acquire("connection")

        async def disconnect() -> None:
            await asyncio.sleep(0.1)
            connection.release()

        scope.push_async_callback(disconnect)
        await asyncio.sleep(0.1)

    context = cleanup_ctx(setup, on_failure=None)({})  # type: ignore[arg-type]
    await anext(context)
    try:
        await asyncio.sleep(0.1)
    finally:
        with contextlib.suppress(StopAsyncIteration):
            await anext(context)


async def lived(bubble: Bubble) -> None:
    """Go through an application's life as Starlette does."""

    async def setup(scope: Scope, app: Any) -> None:
        connection = await scope.acquire(bubble.ledger.acquire, "connection", release=lambda it: it.release())
        assert connection
        await asyncio.sleep(0.1)

    app: Any = SimpleNamespace(state=SimpleNamespace())
    async with lifespan(setup, on_failure=None)(app):
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("scenario", [started_and_cleaned_up, lived])
def test_no_interruption_leaves_anything(scenario: Any) -> None:
    """Struck at every point, twice as well: everything is released once, and the cancellation counts."""
    explore_cancellation(scenario, depth=2).assert_clean()
