"""The scheduler that used to leak, in miniature: each fault of casebook C in a few lines, doing the same jobs."""

from __future__ import annotations

import asyncio
import heapq
from typing import Any

from benchmarks._soak_mix import CLUSTERS, Client, Mix


class LeakyScheduler:
    """Runs the hostile mix and keeps what the original kept.

    * the heap keeps what was cancelled, the index keeps what has run (C1);
    * results stay in a table (C2), contexts and outputs as well (C5, C6);
    * background syncs are tasks that nobody owns, kept in a list so that they are not lost (C9);
    * a client for each job instead of each cluster, never closed (A).
    """

    def __init__(self, workers: int) -> None:
        self._heap: list[tuple[int, int]] = []
        self._tasks: dict[int, asyncio.Task[Any]] = {}
        self._contexts: dict[int, dict[str, Any]] = {}
        self._results: dict[int, Any] = {}
        self._clients: dict[int, Client] = {}
        self._syncs: list[asyncio.Task[None]] = []
        self._room = asyncio.Semaphore(workers)

    async def run(self, mix: Mix, number: int) -> None:
        """Run one job, and forget nothing."""
        heapq.heappush(self._heap, (0, number))
        self._contexts[number] = {"variables": {"number": number}, "outputs": []}
        async with self._room:
            self._tasks[number] = asyncio.create_task(self._attempts(mix, number))
            while not (await asyncio.wait([self._tasks[number]], timeout=0.01))[0]:
                self._tasks[number].cancel()

    async def _attempts(self, mix: Mix, number: int) -> None:
        for attempt in (1, 2):
            try:
                client = self._clients[number] = Client(CLUSTERS[number % len(CLUSTERS)])
                result = await mix.work(number, attempt, client)
                self._syncs.append(asyncio.create_task(asyncio.sleep(0)))
                self._contexts[number]["outputs"].append(result)
                self._results[number] = result
                return
            except Exception as error:
                self._contexts[number]["error"] = error
