"""Connections that are waited for: what becomes of one that arrives while nobody can look any more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from lifecycle import Scope
from lifecycle.scheduler._ground.patience import Patience

pytestmark = pytest.mark.asyncio


async def test_who_arrives_while_the_server_closes_is_cut_off() -> None:
    """Not failed: it is no error that a server closes."""
    async with Scope() as scope:

        def start(watch: Callable[[], Awaitable[None]]) -> object:
            return scope.start_soon(watch)

        patience = Patience(10, 10.0, start)
        await scope.aclose()
        cut: list[str] = []
        for who in ("one", "another"):
            patience.enter(who, lambda who=who: cut.append(who))  # type: ignore[misc]
        assert cut == ["one", "another"]
        assert len(patience) == 0
