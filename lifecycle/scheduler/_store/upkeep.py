"""What looks after the file of a durable store: counts, checks, deletes what has ended, shrinks and copies."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any, Protocol

from .store_facts import StoreFacts


class StoreUpkeep(Protocol):
    """Looks after a store; each call blocks, and works on a connection of its own. `Upkeep` says what they do."""

    def facts(self) -> StoreFacts:
        """Return what the store holds."""

    def check(self) -> tuple[str, ...]:
        """Return what is wrong with the store, one line each."""

    def purge(
        self,
        *,
        older_than: float = 0.0,
        keep: int | None = None,
        name: str | None = None,
        succeeded: bool = False,
        dry_run: bool = False,
    ) -> int:
        """Delete what has ended; return how many jobs that were."""

    def vacuum(self) -> tuple[int, int]:
        """Give back what is free; return the bytes before and after."""

    def backup(self, target: str | os.PathLike[str], *, overwrite: bool = False) -> int:
        """Copy the store as it is at one moment; return the bytes of the copy."""


class OutsideUpkeep(StoreUpkeep, Protocol):
    """Looks after a store from outside, as the command line does."""

    def export(self) -> Generator[dict[str, Any], None, None]:
        """Return everything that the store knows, as it is at one moment."""
