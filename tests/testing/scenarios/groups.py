"""TaskGroup, gather, amap, as_completed and race: joining, limits, failures, nesting, late arrivals."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
from typing import TYPE_CHECKING, Any

import anyio

from lifecycle import OwnerClosed, TaskGroup, amap, as_completed, gather, race

from ._table import Gauge, scenario, work

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterator

    from lifecycle.testing import Bubble


@scenario
async def group_joins(bubble: Bubble) -> None:
    """Three members, one of them late, in a limit of two."""
    async with TaskGroup(limit=2) as group:
        for number in range(3):
            group.start_soon(work, bubble, f"member {number}", 0.02)
        await asyncio.sleep(0.01)
        group.create_task(work(bubble, "late", 0.01))


@scenario
async def group_fails_fast(bubble: Bubble) -> None:
    """One member fails, the others are cancelled with their clean-up, in a group within a group."""

    failed = False

    async def fails() -> None:
        nonlocal failed
        await asyncio.sleep(0.02)
        failed = True
        raise KeyError("planned")

    async with TaskGroup() as outer:
        outer.start_soon(work, bubble, "neighbour", 0.05)
        with contextlib.suppress(BaseExceptionGroup):
            async with TaskGroup() as inner:
                inner.start_soon(fails)
                inner.start_soon(work, bubble, "sibling", 1)
                await asyncio.sleep(5)
        assert not failed or bubble.clock.time() < 0.5, "the group waited for siblings of one that failed"
        await asyncio.sleep(0)


@scenario
async def group_ends_at_once(bubble: Bubble) -> None:
    """Where tasks begin while they are being started: one cancels the group in its first step, another fails."""
    if sys.version_info < (3, 12):
        return
    loop = asyncio.get_running_loop()
    loop.set_task_factory(asyncio.eager_task_factory)
    begun = False

    async def cancels(group: TaskGroup) -> None:
        group.cancel()
        await work(bubble, "leader", 1)

    async def fails() -> None:
        raise KeyError("planned")

    async def sibling() -> None:
        nonlocal begun
        begun = True
        await work(bubble, "sibling", 1)

    try:
        async with TaskGroup() as group:
            group.create_task(cancels(group))
        async with TaskGroup() as group:
            group.start_soon(work, bubble, "member", 1)
            group.start_soon(cancels, group)
        with contextlib.suppress(BaseExceptionGroup):
            async with TaskGroup() as group:
                group.start_soon(fails)
                group.create_task(sibling())
        assert begun, "the group had ended before its body could go on"
        await asyncio.sleep(0)
        assert bubble.clock.time() < 0.5, "the group waited for a task that had ended it"
    finally:
        loop.set_task_factory(None)


@scenario
async def group_collects(bubble: Bubble) -> None:
    """Errors cancel nobody; they come together in the end."""

    async def fails(delay: float) -> None:
        await asyncio.sleep(delay)
        raise KeyError("planned")

    with contextlib.suppress(BaseExceptionGroup):
        async with TaskGroup(policy="collect") as group:
            group.start_soon(fails, 0.01)
            group.start_soon(fails, 0.02)
            group.start_soon(work, bubble, "member", 0.03)
    await asyncio.sleep(0)


@scenario
async def group_times_out(bubble: Bubble) -> None:
    """The group's own timeout inside a longer one and around a shielded section."""

    async def shielded() -> None:
        with anyio.CancelScope(shield=True):
            await work(bubble, "shielded", 0.04)

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1), TaskGroup(timeout=0.02) as group:
            group.start_soon(shielded)
            group.start_soon(work, bubble, "member", 1)
            await asyncio.sleep(5)
    await asyncio.sleep(0)


@scenario
async def group_ends_in_time(bubble: Bubble) -> None:
    """A timeout that is not needed leaves no timer."""
    async with TaskGroup(timeout=5) as group:
        group.start_soon(work, bubble, "member", 0.01)


@scenario
async def group_start_and_cancel(bubble: Bubble) -> None:
    """A handshake, then a cancel of the whole group from inside."""

    async def serves(*, task_status: anyio.abc.TaskStatus[str] = anyio.TASK_STATUS_IGNORED) -> None:
        with bubble.ledger.acquire("server"):
            await asyncio.sleep(0.01)
            task_status.started("ready")
            await asyncio.sleep(1)

    async with TaskGroup() as group:
        await group.start(serves)
        group.start_soon(work, bubble, "member", 1)
        await asyncio.sleep(0.01)
        group.cancel("enough")


@scenario
async def gather_with_a_limit(bubble: Bubble) -> None:
    """Four coroutines through two slots, and a fifth that fails."""

    async def fails() -> None:
        await asyncio.sleep(0.03)
        raise KeyError("planned")

    with contextlib.suppress(KeyError):
        await gather(*[work(bubble, f"job {number}", 0.01) for number in range(4)], fails(), limit=2)
    await asyncio.sleep(0)


@scenario
async def amap_over_an_async_source(bubble: Bubble) -> None:
    """A map over items that come slowly, and one over items that are there."""

    async def source() -> AsyncIterator[int]:
        with bubble.ledger.acquire("source"):
            for number in range(3):
                await asyncio.sleep(0.01)
                yield number

    async def double(number: int) -> int:
        await work(bubble, f"item {number}", 0.01)
        return 2 * number

    await amap(double, source(), limit=2)
    await amap(double, range(3), limit=2)


@scenario
async def as_completed_over_a_source_that_fails(bubble: Bubble) -> None:
    """The source raises what would end the loop over its results; it is an error there, and the rest is joined."""

    def source() -> Iterator[Coroutine[Any, Any, None]]:
        yield work(bubble, "first", 0.01)
        yield work(bubble, "second", 5)
        raise StopAsyncIteration("planned")

    looped = False
    with contextlib.suppress(RuntimeError):
        async for _ in as_completed(source()):
            pass
        looped = True
    assert not looped, "the loop took an error of its source for its end"
    await asyncio.sleep(0)


@scenario
async def race_of_three(bubble: Bubble) -> None:
    """The fastest wins, the others end with their clean-up."""

    async def runner(delay: float) -> float:
        await work(bubble, f"runner {delay}", delay)
        return delay

    await race(lambda: runner(0.01), lambda: runner(0.02), lambda: runner(5))
    assert bubble.clock.time() < 1, "the race waited for those who lost it"


@scenario
async def race_of_those_that_never_wait(bubble: Bubble) -> None:
    """One fails at once, one is there at once, and one fails before it can meet its cancellation: it has lost too."""
    ran = []

    async def fails() -> None:
        ran.append("failed")
        raise KeyError("planned")

    async def is_there() -> None:
        ran.append("won")

    with contextlib.suppress(KeyError, BaseExceptionGroup):
        await race(fails, is_there, fails)
        ran.append("over")
    assert "won" not in ran or "over" in ran, "one that lost the race has failed it"


@scenario
async def group_contended_and_closed(bubble: Bubble) -> None:
    """Two members work and two wait in line; one comes late, one leaves the line, and one ends it all."""
    gauge = Gauge(bubble, 2)
    async with TaskGroup(limit=2) as group:
        members = [group.create_task(gauge.work(f"member {number}", 0.03)) for number in range(4)]

        async def comes_late() -> None:
            await asyncio.sleep(0.02)
            with contextlib.suppress(OwnerClosed):
                group.start_soon(gauge.work, "late", 0.03)

        async def ends_it() -> None:
            await asyncio.sleep(0.045)
            group.cancel("enough")

        async with TaskGroup() as others:
            others.create_task(comes_late())
            others.create_task(ends_it())
            await asyncio.sleep(0.01)
            members[3].cancel()


@scenario
async def group_race_in_line(bubble: Bubble) -> None:
    """A race through two slots: one fails, one wins, the third never begins or loses."""

    async def fails() -> None:
        await asyncio.sleep(0.01)
        raise KeyError("planned")

    with contextlib.suppress(BaseExceptionGroup):
        async with TaskGroup(limit=2, policy="race") as group:
            group.start_soon(fails)
            group.start_soon(work, bubble, "winner", 0.02)
            group.start_soon(work, bubble, "loser", 0.03)
    await asyncio.sleep(0)


@scenario
async def as_completed_to_the_end(bubble: Bubble) -> None:
    """Four through two slots, one of them fails; whoever consumes is slower than they are."""

    async def fails() -> None:
        await asyncio.sleep(0.01)
        raise KeyError("planned")

    jobs = [work(bubble, "long", 0.03), fails(), work(bubble, "short", 0.01), work(bubble, "last", 0.01)]
    async with as_completed(jobs, limit=2) as completions:
        async for handle in completions:
            assert handle.done(), "a task was handed out before its end"
            await asyncio.sleep(0.005)


@scenario
async def as_completed_left_early(bubble: Bubble) -> None:
    """The first two of a slow source without end; the source and the rest are seen off."""

    async def source() -> AsyncIterator[Coroutine[Any, Any, str]]:
        with bubble.ledger.acquire("source"):
            for number in itertools.count():
                await asyncio.sleep(0.005)
                yield work(bubble, f"job {number}", 0.01)

    seen = 0
    async with as_completed(source(), limit=2) as completions:
        async for _ in completions:
            seen += 1
            if seen == 2:
                break
