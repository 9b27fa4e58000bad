"""How a scheduler of the tests gets its store: with a lease that a test can wait for."""

from __future__ import annotations

from typing import Any

from lifecycle.scheduler._store.postgres.store import PostgresStore


def store_for(address: str, name: str, lease: float | None = None) -> Any:
    """Return what to give a `Scheduler`: the address, or a store with this lease, 1 second at least."""
    return address if lease is None else PostgresStore(address, name=name, lease=lease, max_crashes=None)
