"""Connections that are waited for: what becomes of one that arrives while nobody can look any more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import pytest

from lifecycle import Scope
from lifecycle.scheduler._ground import patience as module
from lifecycle.scheduler._ground.patience import HURRY, LOOK, Patience
from lifecycle.testing import Bubble

from ...loops import virtual


@virtual
async def test_while_the_loop_stands_still_nobody_is_late(bubble: Bubble, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has said is read when the loop turns again; who has said nothing has its time from then on."""
    still, clock = 0.0, module.loop_time
    monkeypatch.setattr(module, "loop_time", lambda: clock() + still)
    cut: list[str] = []
    async with Scope() as scope:
        patience = Patience(0, 10.0, scope.start_soon)
        patience.enter("speaks", lambda: cut.append("speaks"))
        patience.enter("is silent", lambda: cut.append("is silent"))
        still = 60.0
        await anyio.sleep(1.5 * LOOK)
        assert cut == []
        patience.leave("speaks")
        await anyio.sleep(HURRY)
        assert cut == ["is silent"]


@pytest.mark.asyncio
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
