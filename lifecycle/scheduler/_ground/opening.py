"""Entering a scope together with what is to be opened in it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lifecycle import Scope


async def enter_and_open(scope: Scope, opening: Callable[[], Awaitable[None]]) -> None:
    """Enter *scope* and await *opening*; if that fails, leave the scope again.

    Cancellation: what *opening* had put into the scope is released.

    Raises:
        BaseException: what *opening* or a release raised.
    """
    await scope.__aenter__()
    try:
        await opening()
    except BaseException as error:
        await scope.__aexit__(type(error), error, error.__traceback__)
        raise
