"""Registry: what is kept, what is replaced, evicted and removed, and for which cause."""

import asyncio
from typing import Any

import pytest

from lifecycle import Registry, RemovalCause, take_snapshot
from lifecycle.testing import Bubble, run_virtual

from .clients import Client, Frozen, close


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
                    assert repr(a) == "<Registration 'a' retired>"
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
    """REPLACED while its time lasts, EXPIRED when it was over already though no sweep had come."""

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
            one = [1]  # two tuples of a literal would be the same one
            old = registry.put("a", tuple(one))
            new = registry.put("a", tuple(one))
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
