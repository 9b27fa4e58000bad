"""What looks after the file of a durable store: counts, checks, deletes what has ended, shrinks and copies."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any, Protocol

from .._ground.checks import check_integer, check_name, check_seconds
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
        """Delete jobs that have ended, and runs as a whole, some at a time; return how many jobs that were.

        What has not ended stays, and so does all of a run that has not.

        Raises:
            TypeError, ValueError: an argument is not right, see `check_purge`. Nothing was deleted.
            StoreError: the store cannot be changed; what was deleted before is.
        """

    def vacuum(self) -> tuple[int, int]:
        """Give back what is free; return the bytes before and after."""

    def backup(self, target: str | os.PathLike[str], *, overwrite: bool = False) -> int:
        """Copy the store as it is at one moment; return the bytes of the copy."""


def check_purge(older_than: float, keep: int | None, name: str | None) -> None:
    """Check what `StoreUpkeep.purge` is asked for."""
    check_seconds(older_than, "older_than", needed=True)
    if keep is not None:
        check_integer(keep, "keep", 0, 2**53)
    check_name(name)


class OutsideUpkeep(StoreUpkeep, Protocol):
    """Looks after a store from outside, as the command line does."""

    def export(self) -> Generator[dict[str, Any], None, None]:
        """Return everything that the store knows, as it is at one moment."""
