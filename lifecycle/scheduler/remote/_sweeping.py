"""The sweep: from time to time it looks for work elsewhere that no job owns any more, and clears it away.

There should be none: it is what a process has left that was killed between two steps, and what no other way out caught.
So what it finds is counted, told, and worth a question.
"""

from __future__ import annotations

import contextlib
import logging
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, Final

import anyio

from lifecycle import OwnerClosed, Scope

from .._work.error_text import kind_of, text_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from types import TracebackType

    from .._work.beyond import Ended
    from .._work.shared import Shared
    from ._host import RemoteHost

logger = logging.getLogger("lifecycle.scheduler")

PAUSES: Final = (5.0, 10.0, 60.0)
"""Seconds before the first sweep, before the second, which is the first that may delete, and before each after it."""

PATIENCE: Final = 600.0
"""Seconds for one sweep of a host."""

BATCH: Final = 200
"""Jobs that the store is asked about at once."""

KEY: Final = "sweeper of work elsewhere"
"""Under which jobs share it."""


class Sweeper:
    """Sweeps the hosts that a scheduler uses, each for itself; an async context manager.

    A host whose sweep fails or takes too long keeps no other one waiting, and has its turn again.

    Args:
        store: the identity of the scheduler's store.
        ended: says of jobs whether they have ended, None of those that the store cannot know.

    Attributes:
        found: how much it has found and cleared away.
    """

    def __init__(self, store: str, ended: Ended) -> None:
        self.found = 0
        self._store = store
        self._ended = ended
        self._hosts: list[RemoteHost[Any]] = []
        self._scope = Scope("sweeper of work elsewhere")

    def add(self, host: RemoteHost[Any]) -> None:
        """Sweep this host as well, from now on."""
        if any(known is host for known in self._hosts):  # by identity: a host may be equal to another
            return
        self._hosts.append(host)
        with contextlib.suppress(OwnerClosed):  # the scheduler is being closed
            self._scope.start_soon(self._run, host, name="sweeps of work elsewhere")

    async def _run(self, host: RemoteHost[Any]) -> None:
        over = _Over(self._ended)
        for pause in chain(PAUSES, repeat(PAUSES[-1])):
            await anyio.sleep(pause)
            await self._sweep(host, over)

    async def _sweep(self, host: RemoteHost[Any], over: _Over) -> None:
        """Sweep a host once; if it cannot be, that is told."""
        over.begin()
        try:
            with anyio.fail_after(PATIENCE):
                found = await host.sweep(self._store, over.of)
        except Exception as error:
            extra = {"host": repr(host), "error": f"{kind_of(error)}: {text_of(error)}"}
            logger.warning("work elsewhere could not be swept", extra=extra)
            return
        self.found += found
        if found:
            logger.warning("work elsewhere that no job owned", extra={"host": repr(host), "found": found})

    async def __aenter__(self) -> Sweeper:
        await self._scope.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await self._scope.__aexit__(exc_type, error, traceback)


class _Over:
    """Says of a host's jobs whether they are over, from sweep to sweep.

    A job has to be over at two sweeps, one after the other: what follows from its end may be on its way when it is seen
    first.
    """

    def __init__(self, ended: Ended) -> None:
        self._ended = ended
        self._before: frozenset[int] = frozenset()
        self._now: frozenset[int] = frozenset()

    def begin(self) -> None:
        """Begin the next sweep."""
        self._before, self._now = self._now, frozenset()

    async def of(self, jobs: Collection[int]) -> Mapping[int, bool]:
        """Say it of jobs: a restored copy of a store does not know what came after it."""
        wanted, ended = sorted(set(jobs)), dict[int, bool | None]()
        for first in range(0, len(wanted), BATCH):
            ended |= await self._ended(wanted[first : first + BATCH])
        self._now |= {job for job, over in ended.items() if over}
        return {job: bool(over) and job in self._before for job, over in ended.items() if over is not None}


def swept_by(shared: Shared) -> int:
    """Return how much the sweeper of a scheduler has found, 0 where there is none."""
    sweeper: Sweeper | None = shared.peek(KEY)
    return 0 if sweeper is None else sweeper.found


async def sweeper_of(shared: Shared, store: str, ended: Ended) -> Sweeper:
    """Return the sweeper of a scheduler, made when it is first asked for.

    Args:
        shared: what its jobs share.
        store: the identity of its store.
        ended: says of jobs whether they have ended.
    """
    return await shared.get(KEY, lambda: Sweeper(store, ended))
