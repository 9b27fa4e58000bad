"""A cancellation that comes while a scope takes its own interruption back does not keep it from closing."""

import asyncio

from lifecycle import Scope
from lifecycle.testing import Bubble, explore_cancellation
from lifecycle.testing.faults import CANCELS


def test_a_cancellation_while_the_interruption_is_absorbed() -> None:
    """Whatever the moment of a cancellation, the ledger is emptied."""

    async def scenario(bubble: Bubble) -> None:
        async with Scope() as scope:
            token = bubble.ledger.acquire("connection")
            scope.callback(token.release)
            await asyncio.sleep(1)
            scope.cancel()

    explore_cancellation(scenario, faults=CANCELS).assert_clean()
