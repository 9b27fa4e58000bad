"""Context managers whose exits do with an error, or with a cancellation, what one would rather not see."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio


class Plain:
    """Its exit does nothing. The number is for tests that tell several apart."""

    def __init__(self, number: int = 0) -> None:
        self.number = number

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> bool | None:
        return None


class Reraising(Plain):
    """Its exit raises what it is given, as that of ``asyncio.TaskGroup`` does with a cancellation."""

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> bool | None:
        if error is not None:
            raise error
        return None


class Grouping(Plain):
    """Its exit puts what it is given into a group."""

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> bool | None:
        if error is not None:
            raise BaseExceptionGroup("while leaving", [error])
        return None


class Suppressing(Plain):
    """Its exit says that it has dealt with whatever there was."""

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> bool | None:
        return True


@asynccontextmanager
async def client(number: int = 0) -> AsyncIterator[None]:
    """Hold a task group, and cancel it at the end, as clients of servers do."""
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep, 60)
        try:
            yield
        finally:
            group.cancel_scope.cancel()
