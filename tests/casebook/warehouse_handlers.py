"""What the robots of the warehouse do."""

from __future__ import annotations

from collections import Counter
from typing import Any

import anyio

from lifecycle.scheduler import Context, handler

asked: Counter[int] = Counter()
"""How often a site was asked for, for each order."""


@handler("warehouse.plan")
async def plan(order: int, goods: list[str]) -> dict[str, Any]:
    """Return the moves for an order."""
    return {"moves": [f"{order}:{good}" for good in goods]}


@handler("warehouse.move")
async def move(what: str, *, context: Context) -> str:
    """Move something."""
    context.log(f"moving {what}")
    await anyio.sleep(0.01)
    return what.upper()


@handler("warehouse.site")
async def site(order: int) -> int:
    """Return the site of an order; there is none the first two times."""
    asked[order] += 1
    if asked[order] < 3:
        raise LookupError(f"no site for {order}")
    return order * 10


@handler("warehouse.label")
async def label() -> None:
    """Never end."""
    await anyio.sleep_forever()


@handler("warehouse.weigh")
async def weigh(things: list[Any]) -> int:
    """Return how many there are."""
    return len(things)
