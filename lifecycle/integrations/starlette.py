"""Starlette and FastAPI: a Scope as the application's lifespan, in one line."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar, cast

from starlette.applications import Starlette

from .. import Scope
from ._application import ApplicationScope, OnFailure, stop_server

__all__ = ["lifespan", "stop_server"]

App = TypeVar("App", bound=Starlette)
State = Mapping[str, Any]


def lifespan(
    setup: Callable[[Scope, App], Awaitable[State | None]],
    *,
    name: str = "application",
    close_timeout: float | None = 30.0,
    on_failure: OnFailure | None = stop_server,
) -> Callable[[App], AbstractAsyncContextManager[State]]:
    """Return a lifespan that holds a scope: *setup* fills it, the shutdown closes it.

    Every handler finds the scope in ``request.app.state.scope``, and what *setup* returns in ``request.state``.
    It also decorates::

        @lifespan
        async def setup(scope: Scope, app: FastAPI) -> None:
            app.state.database = await scope.enter(database())
            scope.start_soon(fixed_rate(refresh, 60.0))

        app = FastAPI(lifespan=setup)

    A failing task of the scope closes it while the application serves. That is logged, and by default the server
    is stopped, because what its handlers rely on is gone.

    Args:
        setup: ``async def setup(scope, app)``; a mapping that it returns becomes the state of every request.
        name: the scope's name.
        close_timeout: seconds that each release may take.
        on_failure: called with the error when the scope fails while the application serves; None to go on serving.

    Raises:
        TypeError: *setup* or *on_failure* cannot be called, or another argument is of a wrong type.
        ValueError: *close_timeout* is negative.
    """
    application = ApplicationScope(setup, name=name, close_timeout=close_timeout, on_failure=on_failure)

    @asynccontextmanager
    async def held(app: App) -> AsyncIterator[State]:
        async with application.opened(app) as (scope, state):
            app.state.scope = scope
            yield cast("State", state)  # None where there is none to share, which every server takes

    return held
