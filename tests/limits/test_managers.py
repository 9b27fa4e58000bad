"""A task manager under bounds by key and in a time."""

import asyncio
import contextvars
from typing import Any

import pytest

from lifecycle import ManagerFull, OwnerClosed, Rate, TaskManager, TaskStatus, limit_by
from lifecycle.testing import Bubble

from ..loops import on_every_loop, run_on, some_turns, virtual


def host_of(url: str, *_: object) -> str:
    """Return the first letter."""
    if not url:
        raise LookupError("no host")
    return url[0]


BY_HOST = limit_by(host_of, limit=1)


@virtual
async def test_a_full_key_lets_the_others_pass(bubble: Bubble) -> None:
    """It holds no slot meanwhile; whichever way tasks are started, in one line."""
    begun: list[tuple[str, float]] = []

    async def fetch(url: str, *, task_status: Any = None) -> str:
        begun.append((url, bubble.clock.time()))
        if task_status is not None:
            task_status.started(url)
        await asyncio.sleep(1)
        return url

    async with TaskManager("crawler", limit=2, limit_by=BY_HOST) as crawler:
        for url in ("a1", "a2"):
            crawler.start_soon(fetch, url)
        started = asyncio.create_task(crawler.start(fetch, "a3"))
        spawned = asyncio.create_task(crawler.spawn(fetch, "b1"))
        made = crawler.create_task(fetch("b2"), limit_key="b")
        free = crawler.create_task(fetch("c"), limit_key=None)
        await some_turns()
        assert (crawler.statistics().running, crawler.statistics().pending) == (2, 3)
        crawler._check_invariants()
        assert await started == "a3"
        assert (await made, await free, await (await spawned)) == ("b2", "c", "b1")
    assert begun == [("a1", 0.0), ("b2", 0.0), ("a2", 1.0), ("c", 1.0), ("a3", 2.0), ("b1", 2.0)]
    assert crawler._quotas is not None
    assert crawler._quotas.turns.keys == 0
    crawler._quotas.turns._check_invariants()


@virtual
async def test_a_rate_spreads_the_starts(bubble: Bubble) -> None:
    """And what has failed to start, or was dropped, has used nothing that is not given back."""
    times: list[float] = []

    async def note() -> None:
        times.append(bubble.clock.time())

    async with TaskManager(rate=Rate(2)) as manager:
        handles = [manager.start_soon(note) for _ in range(5)]
        handles[2].cancel()
    assert times == [0.0, 0.5, 1.0, 1.5]
    assert handles[2].status is TaskStatus.CANCELLED
    assert manager.statistics().discarded == 1


@virtual
async def test_errors_of_the_key_are_the_callers(bubble: Bubble) -> None:
    """Nothing has happened then; the same for what is no async function, a full line and a missing key."""
    async with TaskManager("crawler", limit=1, limit_by=BY_HOST, pending_limit=1) as crawler:

        async def fetch(url: str) -> None:
            await asyncio.sleep(1)

        with pytest.raises(LookupError, match="no host"):
            crawler.start_soon(fetch, "")
        with pytest.raises(LookupError, match="no host"):
            await crawler.spawn(fetch, "")
        with pytest.raises(TypeError, match="expected an async function"):
            crawler.start_soon(str.upper, "a")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="give it a limit_key="):
            crawler.create_task(fetch("a"))
        with pytest.raises(TypeError, match="unhashable"):
            crawler.create_task(fetch("a"), limit_key=[])
        assert crawler._quotas is not None
        assert crawler._quotas.turns.keys == 0
        crawler.start_soon(fetch, "a")
        crawler.start_soon(fetch, "b")
        with pytest.raises(ManagerFull):
            crawler.start_soon(fetch, "c")
        assert crawler.statistics().rejected == 1
    with pytest.raises(OwnerClosed):
        crawler.start_soon(fetch, "a")
    async with TaskManager() as plain:
        with pytest.raises(TypeError, match="has no limit_by"):
            plain.create_task(fetch("a"), limit_key="a")


@on_every_loop
@pytest.mark.parametrize("eager", [False, True])
def test_tasks_that_end_in_any_way_give_back_what_they_had(new_loop: Any, eager: bool) -> None:
    """Returned, failed, cancelled, cancelled by others before their first step, dropped from the line."""

    async def work(key: str, what: str) -> None:
        if what == "fails":
            raise ValueError(what)
        await asyncio.sleep(0.001 if what == "returns" else 60)

    async def main() -> None:
        async with TaskManager(limit=3, limit_by=BY_HOST, eager=eager, on_error=lambda *_: None) as manager:
            for key in "aabbccddee":
                for what in ("returns", "fails"):
                    manager.start_soon(work, key, what)
                manager.start_soon(work, key, "hangs").cancel()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            await manager.drain()
            manager._check_invariants()
            assert manager._quotas is not None
            manager._quotas.turns._check_invariants()
            assert manager._quotas.turns.keys == manager._quotas.turns.all.held == 0

    run_on(new_loop, main())


@virtual
async def test_who_drains_from_inside_lends_its_key_too(bubble: Bubble) -> None:
    """What stands in line for the same key runs meanwhile."""
    done: list[str] = []

    async def drains(key: str) -> None:
        await manager.drain()
        done.append("drained")

    async def works(key: str) -> None:
        done.append(key)

    async with TaskManager(limit=1, limit_by=BY_HOST) as manager:
        manager.start_soon(drains, "a")
        manager.start_soon(works, "a")
    assert done == ["a", "drained"]
    assert manager._quotas is not None
    assert manager._quotas.turns.all.lent == 0


@virtual
async def test_closing_drops_what_waits_for_its_rate(bubble: Bubble) -> None:
    """After the drain; callers of spawn are refused at once, and no timer is left."""

    async def work() -> None:
        pass

    async with TaskManager(rate=Rate(1, per=100.0), drain_timeout=1.0) as manager:
        handles = [manager.start_soon(work) for _ in range(3)]
        caller = asyncio.create_task(manager.spawn(work))
        await some_turns()
        manager.close()
        with pytest.raises(OwnerClosed):
            await caller
    assert [handle.status for handle in handles] == [TaskStatus.FINISHED] + [TaskStatus.CANCELLED] * 2
    assert bubble.clock.time() == 1.0


@virtual
async def test_a_limit_of_nothing_is_a_pause(bubble: Bubble) -> None:
    """For a manager with keys and for one without: who is at work goes on, nobody begins."""
    for by in (None, BY_HOST):
        async with TaskManager(limit=0, limit_by=by) as manager:
            handles = [manager.start_soon(asyncio.sleep, 1) if by is None else manager.start_soon(nap, "a")]
            await asyncio.sleep(5)
            assert handles[0].status is TaskStatus.PENDING
            manager.limit = 1
            await handles[0]


async def nap(_: str) -> None:
    """Take a second."""
    await asyncio.sleep(1)


who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


@on_every_loop
def test_a_task_in_line_for_its_key_starts_in_its_submitters_context(new_loop: Any) -> None:
    """G21 here, too: for a key, for a rate, and for a slot."""

    async def sees(name: str) -> None:
        assert who.get() == name
        who.set("another task")
        await asyncio.sleep(0)

    async def main() -> None:
        async with TaskManager(limit_by=limit_by(lambda name: name[0], limit=1), rate=Rate(1000)) as manager:

            def submit(name: str) -> Any:
                who.set(name)
                return manager.start_soon(sees, name)

            handles = [contextvars.copy_context().run(submit, name) for name in ("a1", "a2", "b1", "b2", "a3")]
            for handle in handles:
                await handle

    run_on(new_loop, main())
