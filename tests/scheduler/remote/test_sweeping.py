"""Sweeps of work elsewhere on virtual time: when they come, what may be called over, and who keeps nobody waiting."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

import anyio
import pytest

from lifecycle.scheduler.remote import Over
from lifecycle.scheduler.remote._sweeping import BATCH, PATIENCE, Sweeper
from lifecycle.testing import Bubble, explore_cancellation, faults, run_virtual

CANCELS = [faults.CANCEL, faults.CANCEL_TWICE, faults.CANCEL_SCOPE]
Sweep = Callable[[Over], Awaitable[int]]


class Swept:
    """A host that notes when it was swept."""

    def __init__(self, sweep: Sweep | None = None, name: str = "host") -> None:
        self.times: list[float] = []
        self.said: list[Mapping[int, bool]] = []
        self.cancelled = 0
        self.name = name
        self._sweep = sweep

    def __repr__(self) -> str:
        return f"<{self.name}>"

    async def sweep(self, store: str, over: Over) -> int:
        """Look for work of this store."""
        assert store == "s"
        self.times.append(anyio.current_time())
        try:
            return await self._sweep(over) if self._sweep else 0
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def asking(self, jobs: Collection[int], over: Over) -> int:
        """Ask for jobs, and find as many as are over."""
        said = await over(jobs)
        self.said.append(said)
        return sum(said.values())


async def ended(jobs: Collection[int]) -> dict[int, bool | None]:
    """Say of even jobs that they have ended, of odd ones that they have not, and of large ones nothing."""
    await anyio.sleep(0)
    return {job: None if job > 10**6 else job % 2 == 0 for job in jobs}


def host(*, raises: BaseException | None = None, hangs: bool = False, name: str = "host") -> Swept:
    """Return a host whose sweep goes wrong."""

    async def sweep(_over: Over) -> int:
        if raises is not None:
            raise raises
        if hangs:
            await anyio.sleep_forever()
        return 0

    return Swept(sweep, name)


async def swept(*hosts: Any, seconds: float) -> Sweeper:
    """Sweep hosts for so many seconds."""
    async with Sweeper("s", ended) as sweeper:
        for one in hosts:
            sweeper.add(one)
        await anyio.sleep(seconds)
    return sweeper


def test_the_first_sweeps_come_soon_and_then_one_a_minute() -> None:
    """After 5, 10, and then 60 seconds; and none when it is closed."""

    async def scenario(_bubble: Bubble) -> None:
        one = Swept()
        await swept(one, seconds=200)
        assert one.times == [5, 15, 75, 135, 195]
        await anyio.sleep(200)
        assert len(one.times) == 5

    run_virtual(scenario)


def test_a_host_that_comes_later_or_twice_has_its_own_turns_once() -> None:
    """It is the same by identity: hosts may be equal."""

    async def scenario(_bubble: Bubble) -> None:
        one, two = Swept(), Swept()
        async with Sweeper("s", ended) as sweeper:
            sweeper.add(one)
            await anyio.sleep(30)
            for _ in range(2):
                sweeper.add(one)
                sweeper.add(two)
            await anyio.sleep(70)
        assert one.times == [5, 15, 75]
        assert two.times == [35, 45]
        sweeper.add(Swept())  # a job that begins while all is closed

    run_virtual(scenario)


def test_a_job_has_to_be_over_at_two_sweeps_of_a_host_one_after_the_other() -> None:
    """What follows from its end may be on its way; of what the store cannot know nothing is said."""
    state = {1: False, 2: True, 10**7: True}
    asked: list[list[int]] = [[2], [2], [1, 2], [1], [2], [1, 2, 10**7]]

    async def scenario(_bubble: Bubble) -> None:
        async def of(jobs: Collection[int]) -> dict[int, bool | None]:
            return {job: None if job > 10**6 else state[job] for job in jobs}

        left = list(asked)
        one, other = Swept(), Swept()

        async def sweep(over: Over) -> int:
            if len(left) == 3:
                state[1] = True
            return await one.asking(left.pop(0), over)

        one._sweep = sweep
        other._sweep = lambda over: other.asking([1, 2], over)
        async with Sweeper("s", of) as sweeper:
            sweeper.add(one)
            sweeper.add(other)
            await anyio.sleep(260)
        assert one.said == [{2: False}, {2: True}, {1: False, 2: True}, {1: False}, {2: False}, {1: False, 2: True}]
        assert other.said[:2] == [{1: False, 2: False}, {1: False, 2: True}]
        assert sweeper.found == sum(sum(said.values()) for said in one.said + other.said)

    run_virtual(scenario)


def test_the_store_is_asked_for_many_jobs_in_parts() -> None:
    """Each job once, however often the host names it."""

    async def scenario(_bubble: Bubble) -> None:
        parts: list[list[int]] = []

        async def of(jobs: Collection[int]) -> dict[int, bool | None]:
            parts.append(list(jobs))
            return dict.fromkeys(jobs, True)

        one = Swept()
        jobs = list(range(1, 2 * BATCH + 2)) * 2
        one._sweep = lambda over: one.asking(jobs, over)
        async with Sweeper("s", of) as sweeper:
            sweeper.add(one)
            await anyio.sleep(6)
        assert [len(part) for part in parts] == [BATCH, BATCH, 1]
        assert sorted(job for part in parts for job in part) == list(range(1, 2 * BATCH + 2))
        assert sweeper.found == 0

    run_virtual(scenario)


@pytest.mark.parametrize("error", [OSError("no"), ValueError("no"), ExceptionGroup("g", [OSError("no")])], ids=str)
def test_a_host_whose_sweep_raises_is_told_of_and_has_its_turn_again(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """The others have theirs."""

    async def scenario(_bubble: Bubble) -> None:
        bad, good = host(raises=error, name="bad"), Swept()
        await swept(bad, good, seconds=80)
        assert bad.times == good.times == [5, 15, 75]

    with caplog.at_level(logging.WARNING, "lifecycle.scheduler"):
        run_virtual(scenario)
    told = [record for record in caplog.records if record.message == "work elsewhere could not be swept"]
    assert [vars(record)["host"] for record in told] == ["<bad>"] * 3


def test_a_host_whose_sweep_hangs_keeps_nobody_waiting_and_has_its_turn_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is cut off after a while, and told of."""

    async def scenario(_bubble: Bubble) -> None:
        bad, good = host(hangs=True, name="bad"), Swept()
        await swept(bad, good, seconds=PATIENCE + 400)
        assert good.times[:4] == [5, 15, 75, 135]
        assert len(good.times) == 2 + (PATIENCE + 385) // 60
        assert bad.times == [5, 5 + PATIENCE + 10]
        assert bad.cancelled == 2  # the second time by the closing

    run_virtual(scenario)
    assert [vars(record)["host"] for record in caplog.records] == ["<bad>"]


def test_a_store_that_cannot_say_is_no_end_of_the_sweeps() -> None:
    """Nothing is over then."""

    async def scenario(_bubble: Bubble) -> None:
        async def of(_jobs: Collection[int]) -> dict[int, bool | None]:
            raise ConnectionError("the store is away")

        one = Swept()
        one._sweep = lambda over: one.asking([2], over)
        async with Sweeper("s", of) as sweeper:
            sweeper.add(one)
            await anyio.sleep(80)
        assert (one.times, one.said, sweeper.found) == ([5, 15, 75], [], 0)

    run_virtual(scenario)


def test_sweeps_that_are_struck_anywhere_leave_nothing() -> None:
    """Whoever is cancelled: the one who closes, or a sweep; what was found before is counted."""

    async def scenario(bubble: Bubble) -> None:
        one = Swept()
        one._sweep = lambda over: one.asking([2, 4], over)
        bubble.state.hosts = [one, host(raises=OSError("no")), host(hangs=True)]
        bubble.state.sweeper = await swept(*bubble.state.hosts, seconds=20)

    async def then(bubble: Bubble) -> None:
        if hasattr(bubble.state, "sweeper"):
            assert bubble.state.sweeper.found in (0, 2)

    for target in ("main", "sweeps of work elsewhere"):
        report = explore_cancellation(
            scenario, faults=CANCELS, targets=[target], then=then, may_swallow=[target], budget=40
        )
        report.assert_clean()
