"""The tasks that both kinds of group run, and what tests ask of them."""

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


async def forever(seen: list[str], name: str = "task", clean_up: float = 0.0) -> None:
    """Wait until cancelled; note the cancellation after the clean-up."""
    try:
        await asyncio.Event().wait()
    finally:
        if clean_up:
            await asyncio.sleep(clean_up)
        seen.append(name)


def kinds(group: BaseExceptionGroup[Any]) -> list[type]:
    """Return the types of the errors in a group."""
    return sorted((type(error) for error in group.exceptions), key=lambda kind: kind.__name__)
