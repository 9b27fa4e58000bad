"""Keys that change after they were put in, and keys that raise: one of them takes nothing down but itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from lifecycle import Registry, RemovalCause
from lifecycle.testing import Bubble

from ..loops import virtual


class Key:
    """A key whose hash and equality are what somebody has made of it."""

    def __init__(self, what: object) -> None:
        self.what = what
        self.raises: type[BaseException] | None = None

    def __hash__(self) -> int:
        if self.raises is not None:
            raise self.raises
        return hash(self.what)

    def __eq__(self, other: object) -> bool:
        if self.raises is not None:
            raise self.raises
        return isinstance(other, Key) and self.what == other.what

    def __repr__(self) -> str:
        return f"<key {self.what}>"


def become_another(key: Key) -> None:
    key.what = "changed"


def become_the_neighbour(key: Key) -> None:
    key.what = "neighbour"


def raise_from_now_on(key: Key) -> None:
    key.raises = LookupError


CHANGES: list[Callable[[Key], None]] = [become_another, become_the_neighbour, raise_from_now_on]
SIZES: list[dict[str, Any]] = [{}, {"max_size": 10}, {"max_size": 10, "weigher": lambda key, value: 1}]

changed = pytest.mark.parametrize("change", CHANGES)
sized = pytest.mark.parametrize("size", SIZES, ids=["unbounded", "bounded", "weighed"])


class Three:
    """A registry with a key that has changed between two others, and what was finalized."""

    def __init__(self, change: Callable[[Key], None], **options: Any) -> None:
        self.ended: list[str] = []
        self.registry = Registry[Any, str]("three", finalizer=self.ended.append, close_timeout=1.0, **options)
        self.key, self.neighbour = Key("itself"), Key("neighbour")
        self.before = self.registry.put("before", "before")
        self.lost = self.registry.put(self.key, "lost")
        self.after = self.registry.put(self.neighbour, "after")
        change(self.key)

    async def check(self, *ended: str) -> None:
        await asyncio.sleep(0.01)
        assert sorted(self.ended) == sorted(ended)
        self.registry._check_invariants()

    async def close(self) -> None:
        await self.registry.aclose()
        await self.check("before", "lost", "after")
        assert self.registry.statistics().closed == 3


@changed
@sized
@virtual
async def test_removal_by_registration_needs_no_key(
    bubble: Bubble, change: Callable[[Key], None], size: dict[str, Any]
) -> None:
    """The very value goes, once; what has a key that is equal now stays and is found."""
    three = Three(change, **size)
    assert three.lost.remove()
    assert not three.lost.remove()
    assert three.lost.cause is RemovalCause.EXPLICIT
    await three.check("lost")
    assert three.registry.get("before") == "before"
    assert three.registry.get(three.neighbour) == "after"
    await three.close()


@changed
@sized
@pytest.mark.parametrize("time", [{"ttl": 1.0}, {"idle_ttl": 1.0}], ids=["ttl", "idle_ttl"])
@virtual
async def test_what_is_due_goes_by_itself(
    bubble: Bubble, change: Callable[[Key], None], size: dict[str, Any], time: dict[str, Any]
) -> None:
    """And what is put in later, too."""
    three = Three(change, **size, **time)
    await asyncio.sleep(2.0)
    await three.check("before", "lost", "after")
    three.registry.put("later", "later")
    await asyncio.sleep(2.0)
    await three.check("before", "lost", "after", "later")
    await three.registry.aclose()


@changed
@virtual
async def test_what_is_due_and_has_no_end_goes_by_itself(bubble: Bubble, change: Callable[[Key], None]) -> None:
    """Values without a finalizer expire on a way of their own."""
    registry: Registry[Any, str] = Registry(ttl=1.0)
    registrations = [registry.put(Key(name), name) for name in ("before", "itself", "neighbour")]
    change(registrations[1].key)
    await asyncio.sleep(2.0)
    assert [registration.cause for registration in registrations] == [RemovalCause.EXPIRED] * 3
    assert not len(registry)
    registry._check_invariants()
    await registry.aclose()


@changed
@sized
@virtual
async def test_clear_and_close_end_everything(
    bubble: Bubble, change: Callable[[Key], None], size: dict[str, Any]
) -> None:
    """The one and the other."""
    three = Three(change, **size)
    await three.registry.clear()
    await three.check("before", "lost", "after")
    await three.close()
    await Three(change, **size).close()


@changed
@virtual
async def test_the_least_recently_used_makes_room(bubble: Bubble, change: Callable[[Key], None]) -> None:
    """Also with a changed key, and past one that is leased."""
    three = Three(change, max_size=3)
    with three.registry.try_lease("before"):
        three.registry.put(Key(1), "fourth")
        await three.check("lost")
        three.registry.put(Key(2), "fifth")
        await three.check("lost", "after")
    await three.registry.aclose()


@changed
@virtual
async def test_a_leased_one_that_is_put_back_is_not_lost(bubble: Bubble, change: Callable[[Key], None]) -> None:
    """Eviction takes it out, sees its lease, and takes another."""
    registry: Registry[Any, str] = Registry(max_size=2)
    key = Key("itself")
    first = registry.put(key, "leased")
    registry.put(Key("neighbour"), "free")
    with registry.try_lease(key):
        registry.get(Key("neighbour"))
        change(key)
        registry.put("third", "third")
        registry._check_invariants()
        assert first.cause is None
        assert len(registry) == 2
    assert first.remove()
    registry._check_invariants()
    await registry.aclose()


@changed
@virtual
async def test_a_creation_ends_whose_key_changes_meanwhile(bubble: Bubble, change: Callable[[Key], None]) -> None:
    """All who wait get its value, or the key's own error; nothing hangs, and the value is finalized."""
    ended: list[str] = []
    registry: Registry[Any, str] = Registry(finalizer=ended.append, failure_ttl=1.0)
    key = Key("itself")

    async def make() -> str:
        await asyncio.sleep(1.0)
        change(key)
        return "made"

    async def fail() -> str:
        await asyncio.sleep(1.0)
        change(other)
        raise OSError

    answers = await asyncio.gather(*(registry.get_or_create(key, make) for _ in range(2)), return_exceptions=True)
    assert answers == ["made", "made"] or [type(answer) for answer in answers] == [LookupError] * 2
    other = Key("other")
    (answer,) = await asyncio.gather(registry.get_or_create(other, fail), return_exceptions=True)
    assert type(answer) is OSError
    assert registry.statistics().loading == 0
    await asyncio.sleep(5.0)  # in which what is kept of the failure goes
    registry._check_invariants()
    await registry.aclose()
    assert ended == ["made"]


@changed
@virtual
async def test_everything_else_works_beside_it(bubble: Bubble, change: Callable[[Key], None]) -> None:
    """Iteration, the snapshot, leases, replacement."""
    three = Three(change, max_size=5, idle_ttl=100.0)
    assert len(list(three.registry)) == 3
    assert len(three.registry._portrait().things) == 3
    async with three.registry.lease(three.neighbour) as value:
        assert value == "after"
    three.registry.put("before", "new")
    await three.check("before")
    three.registry.discard("before")
    await three.check("before", "new")
    await three.registry.aclose()
    await three.check("before", "new", "lost", "after")


@virtual
async def test_it_is_said_once(bubble: Bubble, caplog: pytest.LogCaptureFixture) -> None:
    """With the key and its type."""
    registry: Registry[Any, int] = Registry("jobs")
    registrations = [registry.put(Key(number), number) for number in range(10)]
    with caplog.at_level(logging.ERROR, "lifecycle.registry"):
        for registration in registrations:
            registration.key.what = -registration.value - 1
            assert registration.remove()
    (record,) = caplog.records
    assert (record.msg, record.owner, record.key, record.type) == ("key has changed", "jobs", "<key -1>", "Key")
    await registry.aclose()


@virtual
async def test_a_removal_during_a_mass_removal_finds_nothing(bubble: Bubble) -> None:
    """What a clear has taken out is not taken out again, also where its key has changed."""
    ended: list[str] = []
    registry: Registry[Any, str] = Registry(finalizer=ended.append)
    registrations = [registry.put(Key(number), str(number)) for number in range(2000)]
    registry._sweeper.set_all_aside(RemovalCause.EXPLICIT)
    become_another(registrations[5].key)
    assert not registrations[5].remove()
    assert not registrations[6].remove()
    await registry.aclose()
    assert len(ended) == 2000


@virtual
async def test_a_clock_that_fails_once_stops_no_sweep(bubble: Bubble, caplog: pytest.LogCaptureFixture) -> None:
    """What is due goes a little later."""
    ended: list[str] = []
    broken = False

    def clock() -> float:
        if broken:
            raise OSError
        return asyncio.get_running_loop().time()

    registry = Registry[str, str](ttl=1.0, clock=clock, finalizer=ended.append)
    registry.put("a", "a")
    broken = True
    await asyncio.sleep(1.5)
    broken = False
    await asyncio.sleep(1.5)
    assert ended == ["a"]
    assert "sweep failed" in caplog.messages
    await registry.aclose()


@virtual
async def test_a_put_that_meets_a_key_that_raises_has_changed_nothing(bubble: Bubble) -> None:
    """Of a creation in progress, too: the value is still the caller's."""
    registry: Registry[Any, str] = Registry(finalizer=id)
    key = Key("itself")
    creation = asyncio.create_task(registry.get_or_create(key, lambda: asyncio.sleep(1, "made")))
    await asyncio.sleep(0.5)
    raise_from_now_on(key)
    with pytest.raises(LookupError):
        registry.put(Key("itself"), "put")
    assert registry.statistics().opened == 0
    await asyncio.wait([creation])
    await registry.aclose()


@sized
@virtual
async def test_a_key_that_has_become_its_neighbour_loses_no_value(bubble: Bubble, size: dict[str, Any]) -> None:
    """A put under it finds the neighbour's entry and, with that gone, its own of before, which is the same object."""
    ended: list[str] = []
    registry = Registry[Key, str](finalizer=ended.append, **size)
    neighbour, key = Key(0), Key(1)  # whose places in a dict are side by side
    registry.put(neighbour, "neighbour")
    registry.put(key, "lost")
    key.what = 0
    registry.put(key, "later")
    registry._check_invariants()
    assert registry.get(neighbour) == "later"
    await registry.aclose()
    assert sorted(ended) == ["later", "lost", "neighbour"]
