"""Registry: what leaves and why, leases, single flight, the sweeper, the close, and every await struck."""

import asyncio
import contextlib
import gc
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from lifecycle import (
    CreationTimeout,
    OwnerClosed,
    RegistrationState,
    Registry,
    ReleaseTimeout,
    RemovalCause,
    Scope,
    StillLent,
    TaskCancelled,
    take_snapshot,
)
from lifecycle.testing import Bubble, explore_cancellation, explore_schedules, run_virtual


class Client:
    """Something that must be closed once, and not in use."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.users = 0
        self.closes = 0

    async def aclose(self) -> None:
        assert not self.users, f"{self.name} was closed under its user"
        self.closes += 1
        await asyncio.sleep(0.1)

    def __repr__(self) -> str:
        return f"<client {self.name}>"


def close(client: Client) -> Awaitable[None]:
    return client.aclose()


class Frozen:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_values_are_found_until_they_leave() -> None:
    """get, in, len and iteration agree; a hit and a miss are counted."""

    async def scenario(bubble: Bubble) -> None:
        async with Registry[str, int]("numbers") as registry:
            registry.put("one", 1)
            assert registry.get("one") == 1
            assert registry.get("two") is None
            assert registry.get("two", 0) == 0
            assert "one" in registry
            assert "two" not in registry
            assert (len(registry), list(registry)) == (1, ["one"])
            statistics = registry.statistics()
            assert (statistics.hits, statistics.misses, statistics.live) == (1, 2, 1)

    run_virtual(scenario)


def test_time_to_live_ends_a_value_exactly_and_by_itself() -> None:
    """A look-up is exact; the sweep finalizes without anybody asking, soon after."""

    async def scenario(bubble: Bubble) -> None:
        client = Client("a")
        async with Registry[str, Client](ttl=10.0, finalizer=close) as registry:
            registration = registry.put("a", client)
            await asyncio.sleep(9.999)
            assert registry.get("a") is client
            await asyncio.sleep(0.001)
            assert "a" not in registry
            await registration.closed()
            assert 10.0 <= asyncio.get_running_loop().time() <= 10.0 * (1 + 1 / 64) + 0.1
            assert (registration.cause, registration.state) == (RemovalCause.EXPIRED, RegistrationState.CLOSED)
            assert client.closes == 1

    run_virtual(scenario)


def test_idle_time_counts_from_the_last_use() -> None:
    """Every hit starts the idle time anew, but never beyond the time to live."""

    async def scenario(bubble: Bubble) -> None:
        async with Registry[str, int](ttl=10.0, idle_ttl=3.0) as registry:
            used, unused = registry.put("used", 1), registry.put("unused", 2)
            for _ in range(4):
                await asyncio.sleep(2.4)
                assert registry.get("used") == 1
            assert unused.cause is RemovalCause.IDLE
            await asyncio.sleep(0.5)
            assert registry.get("used") is None
            assert used.cause is RemovalCause.EXPIRED

    run_virtual(scenario)


def test_a_leased_value_is_not_idle() -> None:
    """However long the lease, the idle time begins when it ends."""

    async def scenario(bubble: Bubble) -> None:
        client = Client("a")
        async with Registry[str, Client](idle_ttl=1.0, finalizer=close) as registry:
            registration = registry.put("a", client)
            async with registry.lease("a") as leased:
                await asyncio.sleep(60)
                assert leased.closes == 0
                assert "a" in registry
            await asyncio.sleep(0.99)
            assert registration.cause is None
            await asyncio.sleep(0.2)
            assert registration.cause is RemovalCause.IDLE

    run_virtual(scenario)


def test_a_value_may_have_its_own_time() -> None:
    """put(ttl=) stands in for the registry's, in both directions, and infinity means no bound."""

    async def scenario(bubble: Bubble) -> None:
        async with Registry[str, int](ttl=5.0) as registry:
            registry.put("short", 1, ttl=1.0)
            registry.put("long", 2, ttl=50.0)
            registry.put("for ever", 3, ttl=float("inf"))
            await asyncio.sleep(2)
            assert set(registry) == {"long", "for ever"}
            await asyncio.sleep(60)
            assert set(registry) == {"for ever"}
            registry._check_invariants()

    run_virtual(scenario)


def test_the_least_recently_used_make_room() -> None:
    """Exactly the least recently used goes, as SIZE; a hit, a lease and a put count as uses, `in` does not."""

    async def scenario(bubble: Bubble) -> None:
        async with Registry[str, int](max_size=3) as registry:
            registrations = {key: registry.put(key, 0) for key in "abc"}
            registry.get("a")
            assert "b" in registry
            registry.put("d", 0)
            assert registrations["b"].cause is RemovalCause.SIZE
            with registry.try_lease("c"):
                pass
            registry.put("e", 0)
            assert list(registry) == ["d", "c", "e"]
            registry._check_invariants()

    run_virtual(scenario)


def test_a_leased_value_is_spared_where_another_can_go() -> None:
    """The oldest that is not leased goes; where all are leased, the oldest, which lives until its lease ends."""

    async def scenario(bubble: Bubble) -> None:
        async with Registry[str, Client](max_size=2, finalizer=close) as registry:
            a = registry.put("a", Client("a"))
            b = registry.put("b", Client("b"))
            with registry.try_lease("a"):
                registry.put("c", Client("c"))
                assert (a.cause, b.cause) == (None, RemovalCause.SIZE)
                with registry.try_lease("c"):
                    registry.put("d", Client("d"))
                    assert a.cause is RemovalCause.SIZE
                    assert a.state is RegistrationState.RETIRED
                    await asyncio.sleep(5)
                    assert a.value.closes == 0
            await a.closed()
            assert a.value.closes == 1

    run_virtual(scenario)


def test_size_may_be_a_weight() -> None:
    """The weights of the live values stay within max_size; what is too heavy alone leaves at once and alone."""

    async def scenario(bubble: Bubble) -> None:
        async with Registry[str, str](max_size=10, weigher=lambda key, value: len(value)) as registry:
            for key in "abc":
                registry.put(key, "xxxx")
                registry._check_invariants()
            assert list(registry) == ["b", "c"]
            heavy = registry.put("d", "x" * 11)
            assert heavy.cause is RemovalCause.SIZE
            assert list(registry) == ["b", "c"]
            assert registry.statistics().weight == 8
            registry.put("b", "x" * 11)
            assert list(registry) == ["c"]

    run_virtual(scenario)


def test_a_replaced_value_leaves_for_its_true_cause() -> None:
    """REPLACED while its time lasts, EXPIRED when it was over already though nobody had swept."""

    clock = Frozen()
    registry = Registry[str, int](ttl=1.0, clock=clock)
    first = registry.put("a", 1)
    second = registry.put("a", 2)
    assert first.cause is RemovalCause.REPLACED
    clock.now += 1.0
    registry.put("a", 3)
    assert second.cause is RemovalCause.EXPIRED
    assert registry.get("a") == 3


def test_removal_is_by_registration() -> None:
    """A registration whose value was replaced removes nothing, though key and value are equal."""

    async def scenario(bubble: Bubble) -> None:
        async with Registry[str, tuple[int]]() as registry:
            old = registry.put("a", (1,))
            new = registry.put("a", (1,))
            assert not old.remove()
            assert not registry.remove(old)
            assert registry.get("a") == (1,)
            assert new.remove()
            assert not new.remove()
            assert new.cause is RemovalCause.EXPLICIT

    run_virtual(scenario)


def test_the_newest_key_object_is_kept() -> None:
    """Replacing goes for the key as well: 1.0 stands in for 1."""
    registry = Registry[float, str](clock=Frozen())
    registry.put(1, "a")
    registry.put(1.0, "b")
    assert [type(key) for key in registry] == [float]
    registry._check_invariants()


def test_pop_hands_ownership_out() -> None:
    """The finalizer is not run; a lease that is out ends nothing."""

    async def scenario(bubble: Bubble) -> None:
        client = Client("a")
        async with Registry[str, Client](finalizer=close) as registry:
            registration = registry.put("a", client)
            async with registry.lease("a"):
                assert registry.pop("a") is client
            await registration.closed()
            with pytest.raises(KeyError):
                registry.pop("a")
            assert registry.pop("a", None) is None
            assert registry.statistics().handed_out == 1
            registry._check_invariants()
        assert client.closes == 0

    run_virtual(scenario)


def test_discard_and_clear_remove_and_finalize() -> None:
    """discard says whether there was a value; clear waits for the finalizers of all that is not leased."""

    async def scenario(bubble: Bubble) -> None:
        clients = [Client(str(number)) for number in range(40)]
        async with Registry[int, Client](finalizer=close) as registry:
            for number, client in enumerate(clients):
                registry.put(number, client)
            assert registry.discard(0)
            assert not registry.discard(0)
            async with registry.lease(1):
                await registry.clear()
                assert len(registry) == 0
                assert [client.closes for client in clients[:3]] == [1, 0, 1]
                assert all(client.closes for client in clients[2:])
                registry._check_invariants()
            registry.put(1, Client("new"))
            assert registry.statistics().removals[RemovalCause.EXPLICIT] == 40

    run_virtual(scenario)


def test_clear_does_not_wait_for_what_comes_later() -> None:
    """Values that are put and leave meanwhile do not keep clear waiting."""

    async def scenario(bubble: Bubble) -> None:
        async def end(seconds: float) -> None:
            await asyncio.sleep(seconds)

        async with Registry[str, float](finalizer=end) as registry:
            registry.put("quick", 1.0)
            clearing = asyncio.create_task(registry.clear())
            await asyncio.sleep(0.5)
            registry.put("slow", 20.0)
            registry.discard("slow")
            await clearing
            assert bubble.clock.now == 1.0

    run_virtual(scenario)


# Leases


def test_the_last_lease_finalizes_a_value_that_has_left() -> None:
    """Two leases, a removal between them, a new value under the key meanwhile."""

    async def scenario(bubble: Bubble) -> None:
        async with Registry[str, Client](finalizer=close) as registry:
            first = registry.put("a", Client("first"))
            async with registry.lease("a") as one:
                lease = registry.lease("a")
                async with lease as two:
                    assert one is two
                    assert lease.registration is first
                    assert lease.discard()
                    assert not lease.discard()
                    async with registry.lease("a", lambda: Client("second")) as other:
                        assert other is not one
                await asyncio.sleep(1)
                assert first.value.closes == 0
                assert first.leases == 1
            await first.closed()
            assert first.value.closes == 1
            registry._check_invariants()

    run_virtual(scenario)


def test_a_lease_without_value_or_factory_is_a_key_error() -> None:
    """Both kinds say so on entering, and neither leases anything."""

    async def scenario(bubble: Bubble) -> None:
        async with Registry[str, int](ttl=1.0) as registry:
            registry.put("expired", 1, ttl=0.0)
            for key in ("none", "expired"):
                with pytest.raises(KeyError), registry.try_lease(key):
                    pytest.fail("was entered")
                with pytest.raises(KeyError):
                    async with registry.lease(key):
                        pytest.fail("was entered")
            assert registry.statistics().leases == 0

    run_virtual(scenario)


def test_a_lease_is_used_by_one_block_at_a_time() -> None:
    """Entering it again inside its block, and asking it outside of it, are errors; a second block is fine."""

    async def scenario(bubble: Bubble) -> None:
        async with Registry[str, int]() as registry:
            registry.put("a", 1)
            for _ in range(2):
                lease = registry.lease("a")
                async with lease:
                    with pytest.raises(RuntimeError, match="held already"):
                        await lease.__aenter__()
                with pytest.raises(RuntimeError, match="not held"):
                    lease.discard()
            attempt = registry.try_lease("a")
            with attempt, pytest.raises(RuntimeError, match="held already"):
                attempt.__enter__()
            assert registry.statistics().leases == 0

    run_virtual(scenario)


# Single flight


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
            assert registry._failures is not None
            assert len(registry._failures) <= 1024
            await asyncio.sleep(6)
            assert len(registry._failures) == 0

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
    """Everybody who waits gets CreationTimeout, which says where it hung."""

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


def test_a_factory_that_ignores_its_cancellation_is_given_up() -> None:
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
            assert bubble.clock.now == 3.0
            assert await registry.get_or_create("a", lambda: Client("next"))
            await asyncio.sleep(8)
            assert client.closes == 1

    run_virtual(scenario)


def test_a_cancelled_factory_is_no_cancellation_of_its_callers() -> None:
    """Whoever cancelled its task, those who wait get an error and not a CancelledError."""

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
                next(iter(registry._chores.live)).task.cancel()
                with pytest.raises(TaskCancelled):
                    await caller
            registry._check_invariants()

    run_virtual(scenario)


# Finalizers


def test_finalizers_run_together_in_tasks_of_the_registry() -> None:
    """Neither the caller's cancellation nor its timeouts reach them, and one slow one does not hold the others."""

    async def scenario(bubble: Bubble) -> None:
        ended = []

        async def end(seconds: float) -> None:
            await asyncio.sleep(seconds)
            ended.append(seconds)

        async with Registry[int, float](finalizer=end) as registry:
            for number, seconds in enumerate((5.0, 1.0, 2.0)):
                registry.put(number, seconds)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await registry.clear()
            registry.put(3, 0.1)
            registry.discard(3)
            await asyncio.sleep(10)
            assert ended == [0.1, 1.0, 2.0, 5.0]

    run_virtual(scenario)


def test_many_finalizers_are_bounded() -> None:
    """However many values leave at once, few finalizers are suspended at the same time, and all are run."""

    async def scenario(bubble: Bubble) -> None:
        now = most = total = 0

        async def end(number: int) -> None:
            nonlocal now, most, total
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.1)
            now -= 1
            total += 1

        async with Registry[int, int](finalizer=end) as registry:
            for number in range(200):
                registry.put(number, number)
            await registry.clear()
            assert 2 <= most <= 16
            assert total == 200

    run_virtual(scenario)


def test_a_failing_finalizer_is_logged_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    """While the registry is open nobody waits for it, so the log gets it; synchronous ones as well."""

    async def scenario(bubble: Bubble) -> None:
        def fails(value: int) -> None:
            raise OSError("gone already")

        async with Registry[str, int]("odd", finalizer=fails) as registry:
            registration = registry.put("a", 1)
            registry.discard("a")
            await registration.closed()
            assert registry.statistics().close_errors == 1

    with caplog.at_level(logging.ERROR, "lifecycle.registry"):
        run_virtual(scenario)
    assert "registry 'odd': finalizing 'a' failed" in caplog.text


@pytest.mark.parametrize("stubborn", [False, True])
def test_a_finalizer_that_takes_too_long_is_ended(stubborn: bool) -> None:
    """It is cancelled, or given up if it ignores that; the next ones are run, and the error names the key."""

    async def scenario(bubble: Bubble) -> None:
        ended = []

        async def end(value: str) -> None:
            while value == "hangs":
                try:
                    await asyncio.sleep(20)
                    return
                except asyncio.CancelledError:
                    if not stubborn:
                        raise
            ended.append(value)

        registry = Registry[str, str](finalizer=end, close_timeout=2.0)
        for value in ("first", "hangs", "last"):
            registry.put(value, value)
        with pytest.raises(
            ReleaseTimeout, match=r"releasing 'hangs' of registry 'registry' took longer than 2 s"
        ) as caught:
            await registry.aclose()
        assert caught.value.abandoned == stubborn
        assert ended == ["first", "last"]
        assert bubble.clock.now == (3.0 if stubborn else 2.0)
        registry._check_invariants()
        await asyncio.sleep(60)

    run_virtual(scenario)


# Closing


def test_closing_finalizes_all_and_loses_no_error() -> None:
    """Two failures come as a group, with the body's error if there is one."""

    async def scenario(bubble: Bubble) -> None:
        ended = []

        async def end(value: int) -> None:
            await asyncio.sleep(0.1)
            ended.append(value)
            if value % 2:
                raise OSError(value)

        with pytest.raises(ExceptionGroup) as caught:
            async with Registry[int, int](finalizer=end) as registry:
                for number in range(4):
                    registry.put(number, number)
                raise KeyError("body")
        assert sorted(ended) == [0, 1, 2, 3]
        leaves = [type(error) for error in flatten(caught.value)]
        assert leaves.count(OSError) == 2
        assert leaves.count(KeyError) == 1

    run_virtual(scenario)


def flatten(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in flatten(inner)]
    return [error]


def test_a_close_waits_for_leases_and_names_those_that_stay() -> None:
    """A value is never finalized under its lease, not even by the close; it is when the lease ends."""

    async def scenario(bubble: Bubble) -> None:
        registry = Registry[str, Client]("kept", finalizer=close, close_timeout=5.0)
        brief, long = Client("brief"), Client("long")
        registry.put("brief", brief)
        registration = registry.put("long", long)

        async def holds(key: str, seconds: float) -> None:
            async with registry.lease(key):
                await asyncio.sleep(seconds)

        async with asyncio.TaskGroup() as group:
            group.create_task(holds("brief", 2))
            group.create_task(holds("long", 20))
            await asyncio.sleep(1)
            with pytest.raises(StillLent, match="'long'") as caught:
                await registry.aclose()
            assert len(caught.value.borrowed) == 1
            assert (brief.closes, long.closes) == (1, 0)
            assert registry.closed
        await registration.closed()
        assert long.closes == 1
        registry._check_invariants()

    run_virtual(scenario)


def test_a_closed_registry_refuses_and_finalizes_what_it_is_offered() -> None:
    """put, get_or_create and lease are refused; the offered value is not lost."""

    async def scenario(bubble: Bubble) -> None:
        registry = Registry[str, Client](finalizer=close)
        await registry.aclose()
        client = Client("offered")
        with pytest.raises(OwnerClosed):
            registry.put("a", client)
        with pytest.raises(OwnerClosed):
            await registry.get_or_create("a", lambda: Client("never"))
        with pytest.raises(OwnerClosed):
            async with registry.lease("a", lambda: Client("never")):
                pass
        with pytest.raises(OwnerClosed):
            async with registry:
                pass
        await asyncio.sleep(1)
        assert client.closes == 1

    run_virtual(scenario)


def test_a_close_ends_creations_and_tells_those_who_wait() -> None:
    """They get OwnerClosed; a value that is made nevertheless is finalized as CLOSED."""

    async def scenario(bubble: Bubble) -> None:
        client = Client("late")

        async def stubborn() -> Client:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(10)
            return client

        registry = Registry[str, Client](finalizer=close)
        callers = [asyncio.create_task(registry.get_or_create("a", stubborn)) for _ in range(2)]
        await asyncio.sleep(1)
        await registry.aclose()
        for caller in callers:
            with pytest.raises(OwnerClosed):
                await caller
        assert client.closes == 1
        assert registry.statistics().removals[RemovalCause.CLOSED] == 1

    run_virtual(scenario)


def test_close_is_idempotent_from_any_task() -> None:
    """A second closer waits for the first; a cancelled first one closes all the same, and is cancelled then."""

    async def scenario(bubble: Bubble) -> None:
        client = Client("a")
        registry = Registry[str, Client](finalizer=close)
        registry.put("a", client)
        first = asyncio.create_task(registry.aclose())
        await asyncio.sleep(0)
        first.cancel()
        await registry.aclose()
        assert client.closes == 1
        with pytest.raises(asyncio.CancelledError):
            await first
        await registry.aclose()

    run_virtual(scenario)


@pytest.mark.parametrize("late", [False, True])
def test_a_task_of_the_registry_may_close_it(late: bool) -> None:
    """Factories and finalizers that close their own registry deadlock nobody."""

    async def scenario(bubble: Bubble) -> None:
        async def end(value: int) -> None:
            await registry.aclose()

        async def factory() -> int:
            await registry.aclose()
            return 2

        registry = Registry[str, int](finalizer=end, close_timeout=30.0)
        registration = registry.put("a", 1)
        caller = asyncio.create_task(registry.get_or_create("b", factory))
        if not late:
            registry.discard("a")
        await asyncio.sleep(1)
        await registry.aclose()
        with pytest.raises(OwnerClosed):
            await caller
        await registration.closed()
        assert bubble.clock.now < 5.0
        assert registry.closed

    run_virtual(scenario)


def test_a_scope_owns_a_registry() -> None:
    """`await scope.enter(registry)`: closed at its place, after the tasks that came later."""

    async def scenario(bubble: Bubble) -> None:
        client = Client("a")

        async def uses(registry: Registry[str, Client]) -> None:
            async with registry.lease("a") as leased:
                leased.users += 1
                try:
                    await asyncio.sleep(60)
                finally:
                    leased.users -= 1

        async with Scope() as scope:
            registry = await scope.enter(Registry[str, Client](finalizer=close))
            registry.put("a", client)
            scope.start_soon(uses, registry)
            await asyncio.sleep(1)
        assert client.closes == 1

    run_virtual(scenario)


def test_a_forgotten_close_is_a_warning() -> None:
    """It names the registry and what was in it; a registry without finalizer owns nothing that could leak."""

    def forgets(**options: Any) -> None:
        registry = Registry[str, int]("forgotten", clock=Frozen(), **options)
        registry.put("a", 1)
        del registry
        gc.collect()

    with pytest.warns(ResourceWarning, match="registry 'forgotten' was dropped with 1 values"):
        forgets(finalizer=print)
    forgets()


# Sweeping


def test_sweep_is_exact_and_may_be_limited() -> None:
    """With a clock of its own a registry needs no loop; what is due is due to the millisecond."""
    clock = Frozen()
    registry = Registry[int, int](clock=clock)
    for number in range(100):
        registry.put(number, number, ttl=number / 1000)
    clock.now += 0.05
    assert registry.sweep(limit=10) == 10
    assert len(registry) == 90
    assert registry.sweep() == 41
    registry._check_invariants()
    assert registry.sweep() == 0
    clock.now += 1000
    assert registry.sweep() == 49
    assert len(registry._wheel) == 0


def test_buckets_do_not_outlive_what_was_in_them() -> None:
    """A long time to live and a quick removal leave nothing in the wheel, however often."""
    clock = Frozen()
    registry = Registry[int, int](clock=clock, ttl=86_400.0)
    for number in range(5000):
        clock.now += 1000.0 * 86.4
        registry.put(number, number)
        registry.discard(number)
    assert len(registry._wheel._buckets) <= 200


def test_mass_expiry_works_in_turns() -> None:
    """The loop goes round many times while tens of thousands expire, and nothing is forgotten."""

    async def scenario() -> int:
        registry = Registry[int, int](ttl=0.05)
        for number in range(60_000):
            registry.put(number, number)
        turns = 0
        while len(registry):
            await asyncio.sleep(0 if len(registry) < 60_000 else 0.01)
            turns += 1
        registry._check_invariants()
        await registry.aclose()
        return turns

    assert asyncio.run(scenario()) > 10


def test_clearing_many_works_in_turns() -> None:
    """All are out in the same step, and worked off while others run; a put meanwhile is kept."""

    async def scenario() -> None:
        registry = Registry[int, int](ttl=100.0, max_size=100_000)
        for number in range(60_000):
            registry.put(number, number)
        clearing = asyncio.create_task(registry.clear())
        await asyncio.sleep(0)
        assert len(registry) == 0
        assert registry._condemned
        registry._check_invariants()
        registry.put(1, 1)
        await clearing
        assert (len(registry), registry.statistics().closed) == (1, 60_000)
        await registry.aclose()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"ttl": -1.0}, ValueError),
        ({"idle_ttl": "1"}, TypeError),
        ({"max_size": 0}, ValueError),
        ({"weigher": lambda key, value: 1}, ValueError),
        ({"close_timeout": True}, TypeError),
        ({"failure_ttl": float("nan")}, ValueError),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any], error: type[Exception]) -> None:
    """Before anything else happens."""
    with pytest.raises(error):
        Registry(**options)


def test_a_put_that_fails_changes_nothing() -> None:
    """An unhashable key, a bad time, a weigher that raises."""

    def weigh(key: object, value: int) -> int:
        return 10 // value

    registry = Registry[Any, int](clock=Frozen(), max_size=100, weigher=weigh)
    registry.put("a", 1)
    for attempt in (
        lambda: registry.put([], 1),
        lambda: registry.put("a", 1, ttl=-1.0),
        lambda: registry.put("a", 0),
    ):
        with pytest.raises((TypeError, ValueError, ZeroDivisionError)):
            attempt()
        registry._check_invariants()
    assert registry.get("a") == 1


# Every await struck


def opener(bubble: Bubble, name: str) -> Callable[[], Awaitable[Any]]:
    async def open_it() -> Any:
        await asyncio.sleep(0.01)
        return bubble.ledger.acquire(name, kind="client")

    return open_it


async def end(token: Any) -> None:
    await asyncio.sleep(0.01)
    token.release()


async def lease_and_expire(bubble: Bubble) -> None:
    """Three lease one key, one of them discards it, one comes late; the registry is small and short of time."""
    async with Registry[str, Any](
        "clients", idle_ttl=0.05, ttl=0.2, max_size=2, finalizer=end, close_timeout=1.0
    ) as registry:

        async def uses(key: str, *, discard: bool = False, wait: float = 0.02) -> None:
            lease = registry.lease(key, opener(bubble, key))
            async with lease as token:
                await asyncio.sleep(wait)
                assert not token.releases, "finalized under its lease"
                if discard:
                    lease.discard()
                await asyncio.sleep(0.01)
                assert not token.releases, "finalized under its lease"

        async with asyncio.TaskGroup() as group:
            group.create_task(uses("a"))
            group.create_task(uses("a", discard=True))
            group.create_task(uses("b", wait=0.1))
            await asyncio.sleep(0.02)
            group.create_task(uses("a"))
            group.create_task(uses("c"))
        await registry.clear()
    registry._check_invariants()


async def create_and_leave(bubble: Bubble) -> None:
    """Three wait for one creation and two of them leave, while others create and the registry is closed."""
    registry = Registry[str, Any]("clients", finalizer=end, close_timeout=1.0, create_timeout=1.0)

    async def asks() -> None:
        with contextlib.suppress(Exception):
            await registry.get_or_create("a", opener(bubble, "a"))

    try:
        callers = [asyncio.create_task(asks()) for _ in range(3)]
        await asyncio.sleep(0.005)
        callers[0].cancel()
        callers[1].cancel()
        await asyncio.sleep(0.003)
        callers[2].cancel()
        late = asyncio.create_task(asks())
        await asyncio.wait([*callers, late])
    finally:
        await registry.aclose()
    registry._check_invariants()


@pytest.mark.parametrize("scenario", [lease_and_expire, create_and_leave], ids=lambda function: function.__name__)
def test_no_interruption_leaves_anything(scenario: Any) -> None:
    """Cancellations and errors at every point of every user task: nothing is left, nothing released twice or early."""
    explore_cancellation(scenario, schedules=2).assert_clean()


@pytest.mark.parametrize("scenario", [lease_and_expire, create_and_leave], ids=lambda function: function.__name__)
def test_no_order_leaves_anything(scenario: Any) -> None:
    """A few hundred orders of the ready tasks."""
    explore_schedules(scenario, runs=300).assert_clean()


def test_a_snapshot_shows_what_a_registry_holds() -> None:
    """Values, leases, creations and finalizers, under the registry's name."""

    async def scenario(bubble: Bubble) -> None:
        async def slow() -> Client:
            await asyncio.sleep(1)
            return Client("slow")

        async with Registry[str, Client]("clients", finalizer=close) as registry:
            registry.put("a", Client("a"))
            caller = asyncio.create_task(registry.get_or_create("slow", slow))
            async with registry.lease("a"):
                registry.put("a", Client("b"))
                await asyncio.sleep(0)
                text = str(take_snapshot())
            for line in ("registry 'clients'", "entry \"'a'\", retired, leased", "creation of 'slow'", "leases 1"):
                assert line in text, text
            await caller

    run_virtual(scenario)
