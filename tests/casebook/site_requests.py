"""Requests for storage sites: by priority, bounded, and gone when they are not wanted any more.

A request is a key of a registry. Its creation waits for a site in a scheduler, the most urgent first; who asks for the
same key waits for the same site; when all who asked have left, the request leaves the queue; the answer stays for a
while.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

import anyio

from lifecycle import Registry, Scope
from lifecycle.scheduler import Scheduler


class SiteRequests:
    """A queue of requests for sites.

    Args:
        assign: finds a site for a request; called for as many requests at once as there are sites.
        sites: how many sites there are.
        ttl: seconds for which an answer can be asked for again.
        most_waiting: how many requests may wait.
        most_answers: how many answers are kept.
        clock: the clock of the answers' time to live.
    """

    def __init__(
        self,
        assign: Callable[[str], Awaitable[str]],
        *,
        sites: int = 4,
        ttl: float = 600.0,
        most_waiting: int = 1_000,
        most_answers: int = 1_000,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.answers: Registry[str, str] = Registry("answers", ttl=ttl, max_size=most_answers, clock=clock)
        self.queue = Scheduler(workers=sites, name="site requests", drain_timeout=0.0)
        self.waiting = 0
        self._assign = assign
        self._most_waiting = most_waiting
        self._scope = Scope("site requests")

    async def __aenter__(self) -> Self:
        await self._scope.__aenter__()
        await self._scope.enter(self.queue)
        await self._scope.enter(self.answers)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await self._scope.__aexit__(exc_type, error, traceback)

    async def site_for(self, request: str, priority: int = 0) -> str:
        """Return the site for a request.

        Cancellation: when no other caller waits for the same request, it leaves the queue.

        Raises:
            anyio.WouldBlock: too many requests wait.
        """
        if self.waiting >= self._most_waiting and request not in self.answers:
            raise anyio.WouldBlock
        return await self.answers.get_or_create(request, lambda: self._wait(request, priority))

    async def _wait(self, request: str, priority: int) -> str:
        self.waiting += 1
        try:
            job = await self.queue.submit(self._assign, request, priority=priority, name=f"site for {request}")
            try:
                return str((await job.wait()).unwrap())
            finally:
                await job.cancel("nobody waits for it any more")  # does nothing when it has ended
        finally:
            self.waiting -= 1
