"""The tasks that groups in tests are made of, and what tests ask of them."""

import asyncio
from typing import Any


class Boom(Exception):
    """An error of a task."""


async def after(seconds: float, value: Any = None) -> Any:
    """Return the value, or raise it."""
    await asyncio.sleep(seconds)
    if isinstance(value, BaseException):
        raise value
    return value


async def forever(log: list[Any], name: Any = "task") -> None:
    """Wait until cancelled, and note it."""
    try:
        await asyncio.Event().wait()
    finally:
        log.append(name)


def kinds(group: BaseExceptionGroup[Any]) -> list[str]:
    """Return the names of the types of the errors in a group."""
    return sorted(type(error).__name__ for error in group.exceptions)


def me() -> asyncio.Task[Any]:
    """Return the running task."""
    task = asyncio.current_task()
    assert task is not None
    return task
