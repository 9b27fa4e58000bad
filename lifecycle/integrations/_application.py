"""What all web frameworks share: one scope while the application serves."""

from __future__ import annotations

import logging
import signal
from asyncio import CancelledError
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from .. import Scope

logger = logging.getLogger("lifecycle.integrations")

App = TypeVar("App")
T = TypeVar("T")

OnFailure = Callable[[BaseException], object]


def stop_server(error: BaseException) -> None:
    """End the process as its service manager would: with a SIGTERM to the server's own handler.

    Where SIGTERM has no handler, in a test for instance, nothing happens.
    """
    if callable(signal.getsignal(signal.SIGTERM)):
        signal.raise_signal(signal.SIGTERM)


@asynccontextmanager
async def application_scope(
    setup: Callable[[Scope, App], Awaitable[T]],
    app: App,
    *,
    name: str,
    close_timeout: float | None,
    on_failure: OnFailure | None,
) -> AsyncIterator[tuple[Scope, T]]:
    """Hold a scope that *setup* has filled; call *on_failure* when it fails before it is asked to close.

    Cancellation: closes the scope.

    Raises:
        BaseException: what *setup*, a task of the scope or a release raised.
    """
    serving = False
    try:
        async with Scope(name, close_timeout=close_timeout) as scope:
            filled = await setup(scope, app)
            serving = True
            yield scope, filled
            serving = False
    except BaseException as error:
        if serving and not isinstance(error, CancelledError):
            logger.critical("scope failed while the application serves", exc_info=error, extra={"owner": name})
            if on_failure is not None:
                on_failure(error)
        raise


def checked_setup(setup: Any) -> Any:
    """Return *setup* if it can be called.

    Raises:
        TypeError: it cannot.
    """
    if not callable(setup):
        raise TypeError(f"setup must be an async function (scope, app), got {setup!r}")
    return setup
