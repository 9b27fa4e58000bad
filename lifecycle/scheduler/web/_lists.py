"""Lists of jobs that a reader of the page narrows down, by what stands behind the question mark of the address."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from .._store.records import JobRecord, JobStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._engine.scheduler import Scheduler

LISTED: Final = 1_000
"""Jobs in a list at most."""


async def list_jobs(scheduler: Scheduler, query: Mapping[str, str]) -> Sequence[JobRecord]:
    """Return the newest jobs that a query asks for, the newest first.

    Cancellation: nothing has happened.

    Raises:
        ValueError: something in the query cannot be understood.
        OwnerClosed: the scheduler is not open.
        StoreError: the store cannot be used any more.
    """
    if unknown := sorted(query.keys() - _FILTERS.keys()):
        raise ValueError(f"unknown filter {unknown[0]!r}; there are {', '.join(_FILTERS)}")
    wanted = {name: _FILTERS[name](text) for name, text in query.items()}
    limit = wanted.pop("limit", 100)
    if not 1 <= limit <= LISTED:
        raise ValueError(f"limit must be from 1 to {LISTED:,}, got {limit}")
    return (await scheduler.jobs(limit=limit, **wanted))[::-1]


def _time(text: str) -> datetime | float:
    for kind in (float, datetime.fromisoformat):
        with contextlib.suppress(ValueError):
            return kind(text)
    raise ValueError(f"expected seconds since 1970, or ISO 8601 with an offset, got {text!r}")


_FILTERS: Final[dict[str, Callable[[str], Any]]] = {
    "status": lambda text: [JobStatus(one) for one in text.split(",")],
    "run": int,
    "flow": str,
    "name": str,
    "since": _time,
    "until": _time,
    "limit": int,
}
