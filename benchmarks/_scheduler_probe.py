"""How a queue of jobs is measured: a closed loop of clients for the rate, single jobs on an idle queue for the latency.

A candidate is an asynchronous context manager that is given a `Probe` and yields ``submit(number)``; its job is
trivial and calls ``probe.ran(number)``, in the loop or in a thread.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass

import psutil

from benchmarks._sizes import sized

OUTSTANDING = 200
"""So many jobs are on their way at most."""

WORKERS = 8

SINGLES = sized(200, 20)
"""So many single jobs are timed on the idle queue."""

Submit = Callable[[int], Awaitable[object]]
Candidate = Callable[["Probe"], AbstractAsyncContextManager[Submit]]


@dataclass(frozen=True)
class Result:
    """What was measured.

    Attributes:
        rate: jobs per second.
        cpu: microseconds of processor time of this process for each job; what a server needs is not in it.
        p50: median of submit-to-start, in milliseconds.
        p99: its 99th percentile.
        slope: bytes by which the process grew with each job, over the second half.
    """

    rate: float
    cpu: float
    p50: float
    p99: float
    slope: float

    def to_dict(self) -> dict[str, float]:
        """Return the result as a plain table."""
        return asdict(self)


class Probe:
    """Counts the jobs of one candidate and tells the clients when there is room for another."""

    def __init__(self) -> None:
        self.started_at = 0.0
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Semaphore(OUTSTANDING)
        self._left = 0
        self._over = asyncio.Event()

    def ran(self, number: int) -> None:
        """Note that a job runs; called by it, in the loop."""
        self.started_at = time.perf_counter()
        self._room.release()
        self._left -= 1
        if not self._left:
            self._over.set()

    def ran_in_thread(self, number: int) -> None:
        """Note that a job runs; called by it, in a thread."""
        self._loop.call_soon_threadsafe(self.ran, number)

    async def measure(self, candidate: Candidate, count: int) -> Result:
        """Measure *candidate* with *count* jobs."""
        async with candidate(self) as submit:
            await self._rate(submit, max(OUTSTANDING, count // 10))
            gc.collect()
            begin = time.process_time()
            rate, slope = await self._growing_rate(submit, count)
            cpu = (time.process_time() - begin) / count * 1e6
            latencies = sorted([await self._latency(submit) for _ in range(SINGLES)])
        return Result(rate, cpu, statistics.median(latencies), latencies[int(SINGLES * 0.99)], slope)

    async def _growing_rate(self, submit: Submit, count: int) -> tuple[float, float]:
        """Return the median rate of ten parts, and the slope of the memory over the second five."""
        rates, sizes = [], []
        part = max(1, count // 10)
        process = psutil.Process()
        for _ in range(10):
            rates.append(await self._rate(submit, part))
            sizes.append(process.memory_info().rss)
        half = sizes[4:]
        at = [part * number for number in range(len(half))]
        return statistics.median(rates), statistics.linear_regression(at, half).slope

    async def _rate(self, submit: Submit, count: int) -> float:
        self._left = count
        self._over.clear()
        numbers = iter(range(count))
        begin = time.perf_counter()
        async with asyncio.TaskGroup() as clients:
            for _ in range(OUTSTANDING):
                clients.create_task(self._client(submit, numbers))
        await self._over.wait()
        return count / (time.perf_counter() - begin)

    async def _client(self, submit: Submit, numbers: object) -> None:
        room = self._room
        for number in numbers:  # type: ignore[attr-defined]
            await room.acquire()
            await submit(number)

    async def _latency(self, submit: Submit) -> float:
        """Return the milliseconds from the call that submits a job to its first line."""
        await asyncio.sleep(0.002)
        self._left = 1
        self._over.clear()
        await self._room.acquire()
        begin = time.perf_counter()
        await submit(0)
        await self._over.wait()
        return (self.started_at - begin) * 1e3
