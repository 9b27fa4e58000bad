"""What holds jobs back in a store, as a table, for ``lifecycle limits``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...scheduler._words import duration
from ._lines import say_json, say_table

if TYPE_CHECKING:
    from lifecycle import Rate

    from ...scheduler._store.limit_record import LimitRecord


def print_limits(limits: Sequence[LimitRecord], *, as_json: bool) -> None:
    """Print limits, one line each."""
    if as_json:
        for limit in limits:
            say_json(limit.to_dict())
        return
    head = ("of", "name", "state", "running", "limit", "rate", "weight", "ready")
    say_table(head, [_cells(limit) for limit in limits], right=(3, 4, 5, 6, 7))


def _rate(rate: Rate) -> str:
    at_once = f", {rate.burst} at once" if rate.burst > 1 else ""
    return f"{rate.number} per {duration(rate.per)}{at_once}"


def _cells(limit: LimitRecord) -> tuple[str, ...]:
    return (
        limit.kind,
        limit.name,
        "paused" if limit.paused else "open",
        str(limit.running),
        "" if limit.limit is None else str(limit.limit),
        "" if limit.rate is None else _rate(limit.rate),
        f"{limit.weight:g}" if limit.kind == "queue" else "",
        f"{limit.ready:,}{'+' if limit.ready >= 10_000 else ''}",
    )
