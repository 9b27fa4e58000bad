"""Upkeep: looking after the file of a durable store from the program that works on it."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import anyio.to_thread

from .._ground.errors import StoreError
from .._store.protocol import Store
from .._store.store_facts import StoreFacts
from .._store.upkeep import StoreUpkeep

T = TypeVar("T")


class Upkeep:
    """Looks after the store of an open scheduler, which goes on meanwhile; see ``Scheduler.upkeep``.

    Each call works in a thread, with a connection of its own. All raise StoreError when the store cannot be used, or is
    one in memory, which needs none.
    """

    def __init__(self, store: Callable[[], Store]) -> None:
        self._store = store

    async def facts(self) -> StoreFacts:
        """Return what the store holds: its size, how many jobs are in which state, who works on it.

        Cancellation: ends the waiting.
        """
        return await self._ask(lambda upkeep: upkeep.facts())

    async def check(self) -> tuple[str, ...]:
        """Return what is wrong with the store, one line each; nothing when it is sound.

        Cancellation: ends the waiting.
        """
        return await self._ask(lambda upkeep: upkeep.check())

    async def purge(
        self,
        *,
        older_than: float = 0.0,
        keep: int | None = None,
        name: str | None = None,
        succeeded: bool = False,
        dry_run: bool = False,
    ) -> int:
        """Delete jobs that have ended, and runs as a whole; return how many jobs that were.

        Cancellation: ends the waiting; it is done nevertheless.

        Args:
            older_than: seconds since its end that a job, or its whole run, must have.
            keep: how many of the newest jobs stay, whatever their age.
            name: only jobs by themselves of this name, and runs of the flow of this name.
            succeeded: only what has succeeded: of a run, only if all its jobs have.
            dry_run: delete nothing, and say how many it would be.

        Raises:
            TypeError, ValueError: an argument is not right. Nothing was deleted.
        """
        return await self._ask(
            lambda upkeep: upkeep.purge(
                older_than=older_than, keep=keep, name=name, succeeded=succeeded, dry_run=dry_run
            )
        )

    async def vacuum(self) -> tuple[int, int]:
        """Rewrite the file without what is free in it; return its bytes before and after. Nobody writes meanwhile.

        Cancellation: ends the waiting; it is done nevertheless.
        """
        return await self._ask(lambda upkeep: upkeep.vacuum())

    async def backup(self, target: str | os.PathLike[str], *, overwrite: bool = False) -> int:
        """Copy the store, as it is at one moment, into the file *target*; return the bytes of the copy.

        The copy appears under its name when it is whole, and on the disk.

        Cancellation: ends the waiting; it is done nevertheless.

        Raises:
            FileExistsError: *target* is there, and is not to be overwritten, or a process works on it.
        """
        return await self._ask(lambda upkeep: upkeep.backup(target, overwrite=overwrite))

    async def _ask(self, question: Callable[[StoreUpkeep], T]) -> T:
        keeper = self._store().upkeep()
        if keeper is None:
            raise StoreError("the store is in memory: there is no file to look after")
        return await anyio.to_thread.run_sync(partial(question, keeper), abandon_on_cancel=True)
