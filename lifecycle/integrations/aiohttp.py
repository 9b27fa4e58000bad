"""aiohttp: a Scope as a clean-up context of the application, in one line."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import web

from .. import Scope
from ._application import ApplicationScope, OnFailure, stop_server

__all__ = ["SCOPE", "cleanup_ctx", "stop_server"]

#: Where the scope is: ``app[SCOPE]``, in handlers ``request.app[SCOPE]``.
SCOPE = web.AppKey("lifecycle_scope", Scope)


def cleanup_ctx(
    setup: Callable[[Scope, web.Application], Awaitable[None]],
    *,
    name: str = "application",
    close_timeout: float | None = 30.0,
    on_failure: OnFailure | None = stop_server,
) -> Callable[[web.Application], AsyncIterator[None]]:
    """Return a clean-up context that holds a scope: *setup* fills it at the start, the clean-up closes it.

    Every handler finds the scope in ``request.app[SCOPE]``. It also decorates::

        @cleanup_ctx
        async def setup(scope: Scope, app: web.Application) -> None:
            app[DATABASE] = await scope.enter(database())

        app.cleanup_ctx.append(setup)

    The application may be started in one task and cleaned up in another. A failing task of the scope closes it while
    the application serves. That is logged, and by default the server is stopped, because what its handlers rely on
    is gone.

    Args:
        setup: ``async def setup(scope, app)``.
        name: the scope's name.
        close_timeout: seconds that each release may take.
        on_failure: called with the error when the scope fails while the application serves; None to go on serving.

    Raises:
        TypeError: *setup* or *on_failure* cannot be called, or another argument is of a wrong type.
        ValueError: *close_timeout* is negative.
    """
    application = ApplicationScope(setup, name=name, close_timeout=close_timeout, on_failure=on_failure)

    async def held(app: web.Application) -> AsyncIterator[None]:
        # The block of the application's scope belongs to a task of its own: aiohttp promises no task for this one.
        async with Scope(f"keeper of {name}", close_timeout=None) as starting:
            app[SCOPE] = await starting.enter(application.opened(app, lambda scope, _: scope), name=name)
            keeper = starting.pop_all()
        try:
            yield
        finally:
            await keeper.aclose()

    return held
