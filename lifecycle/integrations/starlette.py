"""Starlette and FastAPI: a Scope as the application's lifespan, in one line."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
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
    is stopped, because what its handlers rely on is gone. Whatever else ends the lifespan (a cancellation, Ctrl-C, the
    end of the loop) closes the scope, and is no failure.

    Servers handle requests in contexts of their own: a context variable that *setup* sets is seen by the tasks and the
    releases of the scope, not by handlers. They have the state.

    Args:
        setup: ``async def setup(scope, app)``; a mapping that it returns becomes the state of every request. What takes
            for ever is for it to bound: no server ends a start that hangs.
        name: the scope's name.
        close_timeout: seconds that each release may take.
        on_failure: called with the error when the scope fails while the application serves; None to go on serving.

    Raises:
        TypeError: *setup* or *on_failure* cannot be called, or another argument is of a wrong type.
        ValueError: *close_timeout* is negative.
    """
    application = ApplicationScope(setup, name=name, close_timeout=close_timeout, on_failure=on_failure)

    def held(app: App) -> AbstractAsyncContextManager[State]:
        def given(scope: Scope, state: object) -> State:
            if state is not None and not isinstance(state, Mapping):
                raise TypeError(f"setup must return a mapping, the state of every request, or None; got {state!r}")
            app.state.scope = scope
            return cast("State", state)  # None where there is none to share, which every server takes

        return application.opened(app, given)

    return held
