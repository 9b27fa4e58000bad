"""ApplicationScope: what all web frameworks share, one scope while the application serves."""

from __future__ import annotations

import signal
from asyncio import CancelledError
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from .. import Scope
from .._ground.checks import checked_async, checked_name, checked_sync, checked_timeout
from .._ground.logs import OwnerLog
from .._ground.watchers import tell_failure

logger = OwnerLog("lifecycle.integrations")

App = TypeVar("App")
T = TypeVar("T")
V = TypeVar("V")

OnFailure = Callable[[BaseException], object]


def stop_server(error: BaseException) -> None:
    """End the process as its service manager would: with a SIGTERM to the server's own handler.

    Where SIGTERM has no handler, in a test for instance, nothing happens.
    """
    if callable(signal.getsignal(signal.SIGTERM)):
        signal.raise_signal(signal.SIGTERM)


class ApplicationScope(Generic[App, T]):
    """Holds a scope that *setup* fills while an application serves.

    Args:
        setup: ``async def setup(scope, app)``.
        name: the scope's name.
        close_timeout: seconds that each release may take.
        on_failure: called with the error when the scope fails while the application serves.

    Raises:
        TypeError: *setup* or *on_failure* cannot be called, or another argument is of a wrong type.
        ValueError: *close_timeout* is negative.
    """

    def __init__(
        self,
        setup: Callable[[Scope, App], Awaitable[T]],
        *,
        name: str,
        close_timeout: float | None,
        on_failure: OnFailure | None,
    ) -> None:
        checked_async(setup, "setup must be an async function (scope, app)")
        if on_failure is not None:
            checked_sync(on_failure, "on_failure")
        checked_timeout(close_timeout, "close_timeout")
        self._setup = setup
        self._name = checked_name(name, "application")
        self._close_timeout = close_timeout
        self._on_failure = on_failure

    @asynccontextmanager
    async def opened(self, app: App, given: Callable[[Scope, T], V]) -> AsyncIterator[V]:
        """Hold the scope, and give what *given* makes of it and of what *setup* returned.

        The only generator between the framework and the scope: the end of the loop closes all that it finds, at once,
        and one that holds another would find it running.

        Cancellation: closes the scope.

        Raises:
            BaseException: what *setup*, *given*, a task of the scope or a release raised.
        """
        failed = False
        try:
            async with Scope(self._name, close_timeout=self._close_timeout) as scope:
                filled = await self._setup(scope, app)
                value = given(scope, filled)
                try:
                    yield value
                except BaseException:
                    # Whatever else ends the block (Ctrl-C, the end of the loop) ends the application from outside.
                    failed = bool(scope._errors)
                    raise
        except BaseException as error:
            if failed and not isinstance(error, CancelledError):
                logger.critical(
                    "scope failed while the application serves", exc_info=error, extra={"owner": self._name}
                )
                if self._on_failure is not None:
                    self._tell(self._on_failure, error)
            raise

    def _tell(self, on_failure: OnFailure, error: BaseException) -> None:
        try:
            on_failure(error)
        except BaseException as failure:
            tell_failure(logger, "on_failure failed", failure, owner=self._name)
