"""Leftovers: work in a durable store that no living scheduler takes is told of, and taken as soon as it can be."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import anyio

from .._ground.errors import StoreBusy, StoreError
from .._work.handlers import registered_handlers

if TYPE_CHECKING:
    from .._store.protocol import Store
    from .._store.waiting import LeftWork

logger = logging.getLogger("lifecycle.scheduler")

FIRST_LOOK: Final = 3.0
"""Seconds after the start: what a process has left that has just ended is taken by then."""

INTERVAL: Final = 60.0
"""Seconds between two looks."""

REMINDER: Final = 3600.0
"""Seconds after which the same is told again."""

NAMED: Final = 20
"""Handlers and flows that one record names at most."""


class Leftovers:
    """Looks once a minute for work that nobody takes.

    Its handler was renamed, its module is not imported, its flow is not served: it waits for ever, and nothing else
    would say so. A handler that has been registered since the start gets its jobs here.

    Args:
        store: a durable one.
        name: the scheduler's, for logs.

    Attributes:
        counts: how much there was at the last look, by the handler, or as ``flow NAME`` by the flow.
    """

    def __init__(self, store: Store, name: str) -> None:
        self.counts: Mapping[str, int] = {}
        self._store = store
        self._name = name
        self._tell_again = 0.0

    async def watch(self) -> None:
        """Look again and again, until the store fails, which others report.

        Cancellation: ends the watching.
        """
        await anyio.sleep(FIRST_LOOK)
        while True:
            try:
                await self.look()
            except StoreBusy:
                pass
            except StoreError:
                return
            await anyio.sleep(INTERVAL)

    async def look(self) -> None:
        """Look once.

        Cancellation: what can be taken is taken, or not.

        Raises:
            StoreError: the store cannot be used any more.
        """
        left = await self._store.left_work()
        known = registered_handlers()
        if any(handler in known for handler in left.handlers):
            await self._store.adopt_jobs(frozenset(known))
            self._store.look_again()
            left = await self._store.left_work()
        # What is left for a handler that is known is a great many: they are being taken over.
        self._note(left._replace(handlers={name: jobs for name, jobs in left.handlers.items() if name not in known}))

    def _note(self, left: LeftWork) -> None:
        counts = {**left.handlers, **{f"flow {flow}": runs for flow, runs in left.flows.items()}}
        now = time.monotonic()
        if counts and (counts.keys() - self.counts.keys() or now >= self._tell_again):
            self._tell_again = now + REMINDER
            names = ", ".join(f"{name} ({count:,})" for name, count in sorted(counts.items())[:NAMED])
            more = f" and {len(counts) - NAMED:,} more" if len(counts) > NAMED else ""
            advice = "register the handler, serve the flow, or cancel the work"
            extra = {"owner": self._name, "handlers": names + more, "advice": advice}
            logger.warning("work that no scheduler takes", extra=extra)
        self.counts = counts
