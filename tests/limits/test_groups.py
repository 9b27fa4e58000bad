"""Task groups and amap under bounds by key and in a time."""

import asyncio
from typing import Any

import pytest

from lifecycle import Rate, TaskGroup, amap, limit_by
from lifecycle.testing import Bubble

from ..loops import on_every_loop, run_on, some_turns, virtual
from .test_managers import BY_HOST


@virtual
async def test_a_full_key_lets_the_others_pass(bubble: Bubble) -> None:
    """Whichever way tasks are started, in one line."""
    begun: list[tuple[str, float]] = []

    async def fetch(url: str, *, task_status: Any = None) -> str:
        begun.append((url, bubble.clock.time()))
        if task_status is not None:
            task_status.started(url)
        await asyncio.sleep(1)
        return url

    async with TaskGroup(limit=2, limit_by=BY_HOST) as group:
        first = group.start_soon(fetch, "a1")
        second = group.create_task(fetch("a2"), limit_key="a")
        third = group.start_soon(fetch, "b1")
        fourth = group.create_task(fetch("c"), limit_key=None)
        assert await group.start(fetch, "a3") == "a3"
    assert [first.result(), second.result(), third.result(), fourth.result()] == ["a1", "a2", "b1", "c"]
    assert begun == [("a1", 0.0), ("b1", 0.0), ("a2", 1.0), ("c", 1.0), ("a3", 2.0)]
    quotas = group._members._quotas
    assert quotas is not None
    assert quotas.turns.keys == quotas.turns.all.held == 0
    group._members._check_invariants()


@on_every_loop
@pytest.mark.parametrize("how", ["end", "fail", "group cancelled", "cancelled before the first step", "cancelled late"])
def test_whatever_becomes_of_them_nothing_stays(new_loop: Any, how: str) -> None:
    """Of tasks at work and in line, native ones and handles."""

    async def work(_: str) -> None:
        await asyncio.sleep(0.001)
        if how == "fail":
            raise ValueError(how)

    async def main() -> None:
        group = TaskGroup(limit_by=BY_HOST, rate=Rate(10_000))
        try:
            async with group:
                members = [group.start_soon(work, key) for key in "aabb"]
                members += [group.create_task(work(key), limit_key=key) for key in "aabb"]  # type: ignore[misc]
                if how == "group cancelled":
                    await some_turns()
                    group.cancel()
                elif how.startswith("cancelled"):
                    if how == "cancelled late":
                        await some_turns()
                    for task in asyncio.all_tasks() - {asyncio.current_task()}:
                        task.cancel()
        except* ValueError:
            assert how == "fail"
        quotas = group._members._quotas
        assert quotas is not None
        quotas.turns._check_invariants()
        assert quotas.turns.all.held == quotas.turns.waiting == quotas.queued == 0
        assert not group._members._places

    run_on(new_loop, main())


@virtual
async def test_a_key_is_asked_for_before_anything_has_happened(bubble: Bubble) -> None:
    """Its error is the caller's, and a coroutine that is refused is closed."""

    async def fetch(url: str) -> None:
        raise AssertionError

    async with TaskGroup(limit_by=BY_HOST) as group:
        with pytest.raises(LookupError, match="no host"):
            group.start_soon(fetch, "")
        with pytest.raises(LookupError, match="no host"):
            await group.start(fetch, "")
        with pytest.raises(TypeError, match="give it a limit_key="):
            group.create_task(fetch("a"))
        with pytest.raises(TypeError, match="expected an async function"):
            group.start_soon(str.upper, "a")  # type: ignore[arg-type]
        assert group._members._quotas is not None
        assert group._members._quotas.turns.keys == 0
    async with TaskGroup() as plain:
        with pytest.raises(TypeError, match="has no limit_by"):
            plain.create_task(fetch("a"), limit_key="a")


@virtual
async def test_amap_takes_others_while_a_key_is_full(bubble: Bubble) -> None:
    """Results in order of the items; at most so many at once and of each key; a rate spreads the calls."""
    begun: list[tuple[str, float]] = []

    async def fetch(url: str) -> str:
        begun.append((url, bubble.clock.time()))
        await asyncio.sleep(1)
        return url.upper()

    urls = ["a1", "a2", "a3", "b1", "b2"]
    assert await amap(fetch, iter(urls), limit=2, limit_by=BY_HOST) == ["A1", "A2", "A3", "B1", "B2"]
    assert begun == [("a1", 0.0), ("b1", 0.0), ("a2", 1.0), ("b2", 1.0), ("a3", 2.0)]
    begun.clear()
    assert await amap(fetch, urls, rate=Rate(2)) == ["A1", "A2", "A3", "B1", "B2"]
    assert [time - begun[0][1] for _, time in begun] == [0.0, 0.5, 1.0, 1.5, 2.0]


@virtual
async def test_amap_by_key_takes_no_endless_number_of_items(bubble: Bubble) -> None:
    """A thousand wait at most; the first error ends it all."""
    taken = 0

    def endless() -> Any:
        nonlocal taken
        while True:
            taken += 1
            yield taken

    async def call(number: int) -> None:
        await asyncio.sleep(1)
        if number == 3:
            raise ValueError("the third")

    with pytest.raises(ValueError, match="the third"):
        await amap(call, endless(), limit_by=limit_by(lambda _: "one", limit=1))
    assert taken <= 1005
