"""Single flight: one creation serves all who ask, and what its end means to each of them."""

import asyncio
import contextlib

import anyio
import pytest

from lifecycle import CreationTimeout, Registry, RemovalCause, TaskCancelled
from lifecycle.testing import Bubble, run_virtual

from .clients import Client, close


def test_one_factory_serves_all_who_ask() -> None:
    """However many ask at once, of both kinds; the next ones hit."""

    async def scenario(bubble: Bubble) -> None:
        made = []

        async def factory() -> str:
            made.append(1)
            await asyncio.sleep(1)
            return "value"

        async def leases(registry: Registry[str, str]) -> str:
            async with registry.lease("a", factory) as value:
                return value

        async with Registry[str, str]() as registry:
            answers = await asyncio.gather(
                *(registry.get_or_create("a", factory) for _ in range(5)), *(leases(registry) for _ in range(5))
            )
            assert (answers, made) == (["value"] * 10, [1])
            assert await registry.get_or_create("a", factory) == "value"
            statistics = registry.statistics()
            assert (statistics.hits, statistics.misses, statistics.loads, statistics.leases) == (1, 10, 1, 0)

    run_virtual(scenario)


@pytest.mark.parametrize("leaver", [0, 1, 2])
def test_a_caller_that_leaves_hurts_nobody(leaver: int) -> None:
    """Also the one that started the factory."""

    async def scenario(bubble: Bubble) -> None:
        async def factory() -> str:
            await asyncio.sleep(1)
            return "value"

        async with Registry[str, str]() as registry:
            callers = [asyncio.create_task(registry.get_or_create("a", factory)) for _ in range(3)]
            await asyncio.sleep(0.5)
            callers[leaver].cancel()
            answers = await asyncio.gather(*callers, return_exceptions=True)
            assert isinstance(answers.pop(leaver), asyncio.CancelledError)
            assert answers == ["value"] * 2

    run_virtual(scenario)


def test_when_all_have_left_the_creation_is_cancelled_and_undone() -> None:
    """The factory's clean-up is waited for; a value that it makes nevertheless is finalized as UNWANTED."""

    async def scenario(bubble: Bubble) -> None:
        client = Client("late")
        events = []

        async def stubborn() -> Client:
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                await asyncio.sleep(1)
                events.append("made")
            return client

        async with Registry[str, Client](finalizer=close) as registry:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await registry.get_or_create("a", stubborn)
            assert events == ["made"]
            assert "a" not in registry
            assert registry.statistics().removals[RemovalCause.UNWANTED] == 1
            registry._check_invariants()
        assert client.closes == 1

    run_virtual(scenario)


def test_a_newcomer_waits_for_a_dying_creation_and_starts_another() -> None:
    """There is never more than one factory of a key, not even while one is being cancelled."""

    async def scenario(bubble: Bubble) -> None:
        running = 0

        async def factory() -> int:
            nonlocal running
            running += 1
            assert running == 1
            try:
                await asyncio.sleep(1)
                return 1
            finally:
                await asyncio.sleep(1)
                running -= 1

        async with Registry[str, int]() as registry:
            first = asyncio.create_task(registry.get_or_create("a", factory))
            await asyncio.sleep(0.5)
            first.cancel()
            await asyncio.sleep(0)
            assert await registry.get_or_create("a", factory) == 1

    run_virtual(scenario)


def test_the_last_to_leave_does_not_wait_for_a_shielded_section() -> None:
    """Such as a call in a thread: its value is undone when it arrives."""

    async def scenario(bubble: Bubble) -> None:
        client = Client("late")

        async def shielded() -> Client:
            with anyio.CancelScope(shield=True):
                await asyncio.sleep(10)
            return client

        async with Registry[str, Client](finalizer=close) as registry:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await registry.get_or_create("a", shielded)
            assert bubble.clock.now == 1.0
        assert client.closes == 1

    run_virtual(scenario)


def test_a_failure_reaches_all_who_wait_and_is_not_kept() -> None:
    """The next caller tries again."""

    async def scenario(bubble: Bubble) -> None:
        calls = []

        async def factory() -> int:
            calls.append(1)
            await asyncio.sleep(1)
            if len(calls) == 1:
                raise OSError("no route")
            return 1

        async with Registry[str, int]() as registry:
            answers = await asyncio.gather(
                *(registry.get_or_create("a", factory) for _ in range(3)), return_exceptions=True
            )
            assert [str(answer) for answer in answers] == ["no route"] * 3
            assert await registry.get_or_create("a", factory) == 1
            assert registry.statistics().load_failures == 1

    run_virtual(scenario)


def test_failures_are_kept_where_that_was_asked() -> None:
    """For failure_ttl seconds, bounded in number; discard and clear forget them."""

    async def scenario(bubble: Bubble) -> None:
        calls = []

        async def factory() -> int:
            calls.append(1)
            raise OSError("no route")

        async with Registry[int, int](failure_ttl=5.0) as registry:
            for _ in range(3):
                with pytest.raises(OSError, match="no route"):
                    await registry.get_or_create(1, factory)
            assert len(calls) == 1
            await asyncio.sleep(5)
            with pytest.raises(OSError, match="no route"):
                await registry.get_or_create(1, factory)
            registry.discard(1)
            with pytest.raises(OSError, match="no route"):
                await registry.get_or_create(1, factory)
            assert len(calls) == 3
            for number in range(3000):
                with pytest.raises(OSError, match="no route"):
                    await registry.get_or_create(number, factory)
            assert registry._creations.failures is not None
            assert len(registry._creations.failures) <= 1024
            await asyncio.sleep(6)
            assert len(registry._creations.failures) == 0

    run_virtual(scenario)


def test_a_synchronous_factory_needs_no_task() -> None:
    """Its value is there in the same step, leased where a lease asked for it."""

    async def scenario(bubble: Bubble) -> None:
        async with Registry[str, int](max_size=1, weigher=lambda key, value: value) as registry:
            assert await registry.get_or_create("a", lambda: 1) == 1
            async with registry.lease("heavy", lambda: 2) as value:
                assert value == 2
                assert "heavy" not in registry
            registry._check_invariants()

    run_virtual(scenario)


def test_a_put_during_a_creation_wins() -> None:
    """Callers get what was put; what the factory made is finalized."""

    async def scenario(bubble: Bubble) -> None:
        made, put = Client("made"), Client("put")

        async def factory() -> Client:
            await asyncio.sleep(1)
            return made

        async with Registry[str, Client](finalizer=close) as registry:
            caller = asyncio.create_task(registry.get_or_create("a", factory))
            await asyncio.sleep(0.5)
            registry.put("a", put)
            assert await caller is put
            await asyncio.sleep(1)
            assert (made.closes, put.closes) == (1, 0)

    run_virtual(scenario)


def test_a_factory_that_takes_too_long_is_cancelled_and_named() -> None:
    """All callers that wait get CreationTimeout, which says where it hung."""

    async def scenario(bubble: Bubble) -> None:
        async def hangs() -> int:
            await asyncio.Event().wait()
            return 1

        async with Registry[str, int]("slow", create_timeout=2.0) as registry:
            with pytest.raises(CreationTimeout, match=r"'a' in registry 'slow' took longer than 2 s") as caught:
                await registry.get_or_create("a", hangs)
            assert "hangs" in caught.value.stack[0]
            assert isinstance(caught.value, TimeoutError)

    run_virtual(scenario)


def test_a_factory_that_ignores_its_cancellations_is_abandoned() -> None:
    """Callers are told, and what it makes in the end is finalized."""

    async def scenario(bubble: Bubble) -> None:
        client = Client("late")

        async def ignores() -> Client:
            end = asyncio.get_running_loop().time() + 10
            while (left := end - asyncio.get_running_loop().time()) > 0:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(left)
            return client

        async with Registry[str, Client](create_timeout=2.0, finalizer=close) as registry:
            with pytest.raises(CreationTimeout):
                await registry.get_or_create("a", ignores)
            assert bubble.clock.now == 5.0  # cancelled after 2 s and after 4 s, abandoned a grace later
            assert await registry.get_or_create("a", lambda: Client("next"))
            await asyncio.sleep(8)
            assert client.closes == 1

    run_virtual(scenario)


def test_a_cancelled_factory_is_no_cancellation_of_its_callers() -> None:
    """Wherever its task was cancelled from, those who wait get an error and not a CancelledError."""

    async def scenario(bubble: Bubble) -> None:
        async def cancels_itself() -> int:
            raise asyncio.CancelledError("odd")

        async def waits() -> int:
            await asyncio.sleep(10)
            return 1

        async with Registry[str, int]() as registry:
            with pytest.raises(TaskCancelled, match="odd"):
                await registry.get_or_create("a", cancels_itself)
            for pause in (0.0, 1.0):  # before its first step, and later
                caller = asyncio.create_task(registry.get_or_create("b", waits))
                await asyncio.sleep(0)
                await asyncio.sleep(pause)
                next(iter(registry._creations.chores.live)).cancel()
                with pytest.raises(TaskCancelled):
                    await caller
            registry._check_invariants()

    run_virtual(scenario)
