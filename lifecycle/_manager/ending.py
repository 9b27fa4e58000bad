"""Ending: how the block of an owner ends that drains."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Coroutine
from typing import Any

from .._ground import kernel
from .._ground.errors import ReleaseTimeout
from .records import DrainReport


async def end_block(
    owner: object, closing: Coroutine[Any, Any, DrainReport], error: BaseException | None, cancel_timeout: float
) -> None:
    """End the block of an owner that drains: an *error* of the body goes on, else the tasks abandoned are one."""
    try:
        report = await closing
    except CancelledError as held:
        if isinstance(error, CancelledError):
            kernel.conclude(None, kernel.foremost(error, held), error)
        else:
            kernel.conclude(error, held, error)
        return
    if report.abandoned and error is None:
        names = ", ".join(left.name for left in report.abandoned)
        stack = report.abandoned[0].stack
        raise ReleaseTimeout(f"{owner} (abandoned: {names})", cancel_timeout, abandoned=True, stack=stack)
