"""Invalidation beats what is in the making; failures answer in nobody else's name."""

from __future__ import annotations

import asyncio
import traceback
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from lifecycle import Registry, RemovalCause
from lifecycle.testing import Bubble

from ..loops import some_turns, virtual
from .clients import Client, close


class Source:
    """What factories read, which takes a second."""

    def __init__(self) -> None:
        self.version = 1
        self.reads = 0

    async def read(self) -> Client:
        self.reads += 1
        client = Client(str(self.version))
        await asyncio.sleep(1)
        return client


async def discard(registry: Registry[str, Client]) -> None:
    assert registry.discard("k")


async def clear(registry: Registry[str, Client]) -> None:
    await registry.clear()


@pytest.mark.parametrize("invalidate", [discard, clear])
@virtual
async def test_what_has_read_the_old_state_does_not_outlive_the_news(
    bubble: Bubble, invalidate: Callable[[Registry[str, Client]], Any]
) -> None:
    """Those who waited get it, leased; who asks afterwards gets a new one, made at once."""
    source = Source()
    async with Registry[str, Client](finalizer=close) as registry:

        async def use() -> str:
            async with registry.lease("k", source.read) as client:
                client.users += 1
                await asyncio.sleep(5)
                client.users -= 1
                return client.name

        early = asyncio.create_task(use())
        await asyncio.sleep(0.5)
        source.version = 2
        await invalidate(registry)
        assert registry.statistics().loading == 1
        late = [asyncio.create_task(use()) for _ in range(2)]
        await asyncio.sleep(0.7)
        assert registry.get("k") is None
        assert await early == "1"
        assert await asyncio.gather(*late) == ["2", "2"]
        assert source.reads == 2
        registry._check_invariants()
        assert registry.statistics().removals[RemovalCause.EXPLICIT] == 1


@virtual
async def test_two_invalidations_in_one_creation(bubble: Bubble) -> None:
    """Each starts a generation; none of the old ones takes the place of the newest, whatever the order of arrival."""
    source = Source()
    async with Registry[str, Client]() as registry:
        asked = []
        for version in (1, 2, 3):
            source.version = version
            asked.append(asyncio.create_task(registry.get_or_create("k", source.read)))
            await asyncio.sleep(0.1)
            assert registry.discard("k") or version == 4
        source.version = 4
        newest = await registry.get_or_create("k", source.read)
        assert newest.name == "4"
        await asyncio.gather(*asked)
        assert registry.get("k") is newest
        assert not registry.discard("other")


@virtual
async def test_a_put_and_a_discard_during_a_creation(bubble: Bubble) -> None:
    """The creation is older than both, and its value does not come back."""
    source = Source()
    async with Registry[str, Client]() as registry:
        asked = asyncio.create_task(registry.get_or_create("k", source.read))
        await some_turns()
        registry.put("k", Client("put"))
        registry.discard("k")
        assert (await asked).name == "1"
        assert registry.get("k") is None


@virtual
async def test_a_detached_creation_is_stopped_by_the_close(bubble: Bubble) -> None:
    """Like any other; and when all its callers have left."""
    source = Source()
    registry = Registry[str, Client](finalizer=close)
    first = asyncio.create_task(registry.get_or_create("k", source.read))
    await some_turns()
    registry.discard("k")
    second = asyncio.create_task(registry.get_or_create("k", source.read))
    await some_turns()
    first.cancel()
    await asyncio.wait([first])
    assert first.cancelled()
    assert registry.statistics().loading == 1
    registry.discard("k")
    await registry.aclose()
    await asyncio.wait([second])
    assert second.exception() is not None
    assert registry.statistics().loading == 0


# Failures


@pytest.mark.parametrize("leave", ["pop", "expire", "discard"])
@virtual
async def test_a_put_forgets_the_failure(bubble: Bubble, leave: str) -> None:
    """It is older than the success, which may have gone again."""

    async def fail() -> Client:
        raise OSError

    source = Source()
    async with Registry[str, Client](failure_ttl=100.0) as registry:
        with pytest.raises(OSError):
            await registry.get_or_create("k", fail)
        registry.put("k", Client("put"), ttl=1.0)
        if leave == "pop":
            registry.pop("k")
        elif leave == "expire":
            await asyncio.sleep(2)
        else:
            registry.discard("k")
        assert (await registry.get_or_create("k", source.read)).name == "1"


@pytest.mark.parametrize("asynchronous", [True, False])
@virtual
async def test_a_kept_failure_is_told_in_nobodys_name(bubble: Bubble, asynchronous: bool) -> None:
    """Every further caller gets a copy without the others' frames and errors, which are not kept either."""

    class Request:
        pass

    def fail() -> Client:
        raise OSError(5, "no such row")

    async def fail_later() -> Client:
        await asyncio.sleep(0)
        return fail()

    async def serve(name: str) -> tuple[weakref.ref[Request], str]:
        request = Request()
        try:
            raise LookupError(name)
        except LookupError:
            try:
                await registry.get_or_create("k", fail_later if asynchronous else fail)
            except OSError as error:
                return weakref.ref(request), "".join(traceback.format_exception(error))
        raise AssertionError

    async with Registry[str, Client](failure_ttl=100.0) as registry:
        told = [await asyncio.create_task(serve(name)) for name in "ABC"]
        await some_turns()
        assert registry.statistics().load_failures == 1
    for name, (request, text) in zip("ABC", told, strict=True):
        assert request() is None
        assert [f"LookupError: {other}" in text for other in "ABC"] == [other == name for other in "ABC"]
        assert ".fail" in text or "in fail" in text
        assert "[Errno 5] no such row" in text


@virtual
async def test_callers_of_one_failing_creation_have_errors_of_their_own(bubble: Bubble) -> None:
    """Where it can be copied; where not, the one has the traceback of its factory and of its last caller."""

    class Whole(Exception):
        pass

    class Slotted(Exception):
        __slots__ = ("more",)

    class Particular(Exception):
        def __init__(self, *, code: int) -> None:
            super().__init__(f"code {code}")

    for make, copied in ((Whole, True), (Slotted, False), (lambda: Particular(code=1), False)):

        async def fail(make: Any = make) -> int:
            await asyncio.sleep(1)
            raise make()

        async with Registry[str, int]() as registry:
            errors = await asyncio.gather(
                *(registry.get_or_create("k", fail) for _ in range(3)), return_exceptions=True
            )
        assert len({type(error) for error in errors}) == 1
        assert len({id(error) for error in errors}) == (3 if copied else 1)


# Circles


@virtual
async def test_a_circle_across_two_registries_is_told(bubble: Bubble) -> None:
    """At once, not after the time that a creation may take."""
    async with Registry[str, int]() as one, Registry[str, int]() as other:

        async def first() -> int:
            return await other.get_or_create("b", second)

        async def second() -> int:
            return await one.get_or_create("a", first)

        with pytest.raises(RuntimeError, match="asks for 'a' itself"):
            await one.get_or_create("a", first)
        assert bubble.clock.now == 0.0


@virtual
async def test_a_circle_through_a_task_of_a_group_is_told(bubble: Bubble) -> None:
    """Also where the factory waits for a task that waits."""
    async with Registry[str, int]() as registry:

        async def first() -> int:
            async with asyncio.TaskGroup() as group:
                task = group.create_task(registry.get_or_create("b", second))
            return task.result()

        async def second() -> int:
            await asyncio.sleep(0)
            return await registry.get_or_create("a", first)

        with pytest.raises(ExceptionGroup) as caught:
            await registry.get_or_create("a", first)
        assert caught.group_contains(RuntimeError, match="asks for 'a' itself")
        assert bubble.clock.now == 0.0
