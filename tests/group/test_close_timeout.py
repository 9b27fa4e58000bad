"""close_timeout: what a group has cancelled is cancelled again, and abandoned a grace later; what it joins is not."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest

from lifecycle import ReleaseTimeout, TaskGroup, gather, race
from lifecycle.testing import Bubble
from lifecycle.testing.types import VirtualLoop

from ..loops import run_on, virtual
from .tasks import Boom, after


class Deaf:
    """A task that swallows *times* cancellations, and notes when they came."""

    def __init__(self, times: int = 99) -> None:
        self.times = times
        self.cancelled_at: list[float] = []
        self.may_end = asyncio.Event()
        self.error: BaseException | None = None

    async def run(self) -> str:
        """Wait, whatever happens."""
        while not self.may_end.is_set():
            try:
                await self.may_end.wait()
            except asyncio.CancelledError:
                self.cancelled_at.append(asyncio.get_running_loop().time())
                if len(self.cancelled_at) > self.times:
                    raise
        if self.error is not None:
            raise self.error
        return "late"

    async def let_go(self) -> None:
        """Let it end, and wait until it has."""
        self.may_end.set()
        await asyncio.sleep(0.1)


def begin(group: TaskGroup, way: str, deaf: Deaf) -> Any:
    """Start the task in one of the two ways."""
    return group.create_task(deaf.run(), name="deaf") if way == "task" else group.start_soon(deaf.run, name="deaf")


WAYS = pytest.mark.parametrize("way", ["task", "handle"])


@WAYS
def test_a_task_that_swallows_its_cancellation_gets_another(way: str) -> None:
    """``close_timeout`` after the first; then the group ends as if nothing had been."""

    async def main() -> None:
        deaf = Deaf(times=1)
        async with TaskGroup(close_timeout=5) as group:
            begin(group, way, deaf)
            await asyncio.sleep(1)
            group.cancel()
        assert deaf.cancelled_at == [1.0, 6.0]
        assert (group.statistics().cancelled, group.statistics().abandoned) == (1, 0)
        group._members._check_invariants()

    run_on(VirtualLoop, main())


@WAYS
def test_a_task_that_ignores_both_is_abandoned_and_named(way: str, caplog: pytest.LogCaptureFixture) -> None:
    """A grace after the second; its late end is counted, and its late error is logged."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        deaf = Deaf()
        with pytest.raises(ExceptionGroup) as caught:
            async with TaskGroup(name="pages", close_timeout=5) as group:
                begin(group, way, deaf)
                await asyncio.sleep(1)
                raise Boom
        assert loop.time() == 1.0 + 5.0 + 1.0
        boom, left = sorted(caught.value.exceptions, key=lambda error: type(error).__name__)
        assert isinstance(boom, Boom)
        assert isinstance(left, ReleaseTimeout)
        assert (left.resource, left.timeout, left.abandoned) == ("task 'deaf' of task group 'pages'", 5.0, True)
        assert left.stack[-1].endswith("in Event.wait")
        statistics = group.statistics()
        assert (statistics.running, statistics.abandoned, group.closed) == (0, 1, True)
        group._members._check_invariants()
        deaf.error = Boom("late")
        await deaf.let_go()
        statistics = group.statistics()
        assert (statistics.failed, statistics.abandoned) == (1, 0)
        group._members._check_invariants()

    run_on(VirtualLoop, main())
    (record,) = caplog.records
    assert (record.name, record.getMessage()) == ("lifecycle.group", "abandoned task failed")
    assert (record.owner, record.task) == ("pages", "deaf")  # type: ignore[attr-defined]
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], Boom)


@virtual
async def test_the_grace_is_no_longer_than_the_bound(bubble: Bubble) -> None:
    """A bound of nothing abandons at once."""
    deaf = Deaf()
    with pytest.raises(ExceptionGroup):
        async with TaskGroup(close_timeout=0) as group:
            group.start_soon(deaf.run)
            await asyncio.sleep(1)
            group.cancel()
    assert bubble.clock.time() == 1.0
    await deaf.let_go()


@virtual
async def test_without_a_bound_a_group_waits_for_ever(bubble: Bubble) -> None:
    """One cancellation, as in asyncio."""
    deaf = Deaf()
    async with TaskGroup(close_timeout=None) as group:
        group.start_soon(deaf.run)
        asyncio.get_running_loop().call_later(3600, deaf.may_end.set)
        await asyncio.sleep(1)
        group.cancel()
    assert bubble.clock.time() == 3600.0
    assert deaf.cancelled_at == [1.0]


@virtual
async def test_tasks_that_are_only_joined_have_no_bound(bubble: Bubble) -> None:
    """However long they take; and one that outlives the others by far."""
    async with TaskGroup(close_timeout=1) as group:
        tasks = [group.create_task(after(seconds, seconds)) for seconds in (10.0, 3600.0)]
    assert [task.result() for task in tasks] == [10.0, 3600.0]


@WAYS
def test_a_shield_holds_the_second_cancellation_back_as_well(way: str) -> None:
    """Cancelled outside of the shield, a task cleans up inside one for longer than the bound: its error is not lost."""

    async def main() -> None:
        async def careful() -> None:
            try:
                await asyncio.sleep(3600)
            finally:
                with anyio.CancelScope(shield=True):
                    await asyncio.sleep(5.5)
                    raise Boom

        with pytest.raises(ExceptionGroup) as caught:
            async with TaskGroup(policy="race", close_timeout=5) as group:
                if way == "task":
                    group.create_task(careful())
                else:
                    group.start_soon(careful)
                await asyncio.sleep(1)
                group.cancel()
        assert [type(error) for error in caught.value.exceptions] == [Boom]
        assert asyncio.get_running_loop().time() == 6.5

    run_on(VirtualLoop, main())


@virtual
async def test_a_cancelled_host_gets_its_cancellation_after_the_error(bubble: Bubble) -> None:
    """Neither is lost."""
    deaf = Deaf()
    seen: list[str] = []

    async def host() -> None:
        try:
            async with TaskGroup(close_timeout=2) as group:
                group.start_soon(deaf.run)
        except* ReleaseTimeout:
            seen.append("named")
        await asyncio.sleep(10)
        seen.append("not reached")

    task = asyncio.create_task(host())
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["named"]
    assert bubble.clock.time() == 1.0 + 2.0 + 1.0
    await deaf.let_go()


@virtual
async def test_what_is_built_on_a_group_is_bounded_with_it(bubble: Bubble) -> None:
    """gather and race cancel, cancel again after half a minute, and raise what they had to abandon."""
    deaf = Deaf()
    with pytest.raises(ExceptionGroup, match="gather"):
        await gather(deaf.run(), after(1, Boom()))
    assert bubble.clock.time() == 1.0 + 30.0 + 1.0
    with pytest.raises(ReleaseTimeout, match=r"task '.*run' of task group 'race' took longer than 30 s"):
        await race(deaf.run, lambda: after(1, "won"))
    assert bubble.clock.time() == 32.0 + 32.0
    assert deaf.cancelled_at == [1.0, 31.0, 33.0, 63.0]
    await deaf.let_go()


@virtual
async def test_no_timer_is_left_when_all_end_in_time(bubble: Bubble) -> None:
    """The clock does not go on to the bound."""
    async with TaskGroup() as group:
        group.start_soon(asyncio.sleep, 3600)
        await asyncio.sleep(1)
        group.cancel()
    assert bubble.clock.time() == 1.0
    assert group._ladder is None
