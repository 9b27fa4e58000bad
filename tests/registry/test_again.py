"""The same value put in again, and steps inside which a user's code does something to the registry."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from lifecycle import OwnerClosed, Registry, RemovalCause, TaskCancelled
from lifecycle.testing import Bubble

from ..loops import LOOPS, run_on, some_turns, virtual
from .clients import Client, close


@pytest.mark.parametrize("weigher", [None, lambda key, value: 1])
@virtual
async def test_the_same_value_is_renewed(bubble: Bubble, weigher: Any) -> None:
    """It keeps its registration and leases, is not finalized, and its time begins anew."""
    options = {} if weigher is None else {"weigher": weigher, "max_size": 10}
    async with Registry[str, Client](ttl=10.0, finalizer=close, **options) as registry:
        client = Client("a")
        first = registry.put("a", client)
        await asyncio.sleep(9.0)
        async with registry.lease("a"):
            assert registry.put("a", client) is first
            assert first.leases == 1
        await asyncio.sleep(9.0)
        assert registry.get("a") is client
        assert registry.put("a", client, ttl=1.0) is first
        assert first.expires_at == bubble.clock.now + 1.0
        await asyncio.sleep(2.0)
        assert first.cause is RemovalCause.EXPIRED
        assert client.closes == 1
        registry._check_invariants()


@virtual
async def test_an_idle_time_begins_anew_too(bubble: Bubble) -> None:
    """And the place in the order of use."""
    async with Registry[str, Client](idle_ttl=10.0, max_size=2, finalizer=close) as registry:
        client, other = Client("a"), Client("b")
        registry.put("a", client)
        registry.put("b", other)
        await asyncio.sleep(9.0)
        registry.put("a", client)
        assert list(registry) == ["b", "a"]
        await asyncio.sleep(9.0)
        assert (client.closes, other.closes) == (0, 1)


@virtual
async def test_weights_are_taken_anew(bubble: Bubble) -> None:
    """What has grown makes others go; what has grown too big alone goes itself."""
    weights = {"a": 1, "b": 1}
    async with Registry[str, Client](max_size=5, weigher=lambda key, _: weights[key], finalizer=close) as registry:
        a, b = Client("a"), Client("b")
        registry.put("a", a)
        registry.put("b", b)
        weights["a"] = 5
        registry.put("a", a)
        assert list(registry) == ["a"]
        registry._check_invariants()
        weights["a"] = 6
        registry.put("a", a)
        assert not list(registry)
        registry._check_invariants()
        await asyncio.sleep(1)
        assert (a.closes, b.closes) == (1, 1)


@virtual
async def test_a_factory_that_puts_what_it_returns(bubble: Bubble) -> None:
    """Its value is there once, with the time that it was put in with."""
    async with Registry[str, Client](finalizer=close) as registry:

        async def make() -> Client:
            client = Client("a")
            registry.put("a", client, ttl=5.0)
            return client

        async with registry.lease("a", make) as client:
            await asyncio.sleep(1.0)
            assert registry.get("a") is client
        assert not client.closes
        assert registry.statistics().opened == 1


@virtual
async def test_what_an_unwanted_factory_has_put_stays(bubble: Bubble) -> None:
    """Its callers have gone, but the value is the registry's."""
    async with Registry[str, Client](finalizer=close) as registry:

        async def make() -> Client:
            client = Client("a")
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                registry.put("a", client)
            return client

        task = asyncio.create_task(registry.get_or_create("a", make))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.sleep(1)
        client = registry.get("a")
        assert client is not None
        assert not client.closes


@pytest.mark.parametrize("asynchronous", [True, False])
@virtual
async def test_a_put_by_the_factory_wins(bubble: Bubble, asynchronous: bool) -> None:
    """Of either kind; what the factory returns is finalized."""
    async with Registry[str, Client](finalizer=close) as registry:
        put, made = Client("put"), Client("made")

        def make() -> Client:
            registry.put("a", put)
            return made

        async def make_later() -> Client:
            return make()

        assert await registry.get_or_create("a", make_later if asynchronous else make) is put
        await asyncio.sleep(1)
        assert (put.closes, made.closes) == (0, 1)


@pytest.mark.parametrize("asynchronous", [True, False])
@virtual
async def test_the_weigher_is_asked_once(bubble: Bubble, asynchronous: bool) -> None:
    """And what it says then, which may be too much, cannot end what is leased."""
    answers = iter([100, 1, 100])
    async with Registry[str, Client](max_size=10, weigher=lambda *_: next(answers), finalizer=close) as registry:
        client = Client("a")

        async def make() -> Client:
            return client

        async with registry.lease("a", make if asynchronous else lambda: client):
            await asyncio.sleep(1)
            assert not client.closes
            assert next(answers) == 1
        await asyncio.sleep(1)
        assert client.closes == 1


@virtual
async def test_a_finalizer_that_puts_does_not_keep_the_close_busy(bubble: Bubble) -> None:
    """What it offers is refused, and stays its own."""
    offered: list[int] = []

    def finalize(value: int) -> None:
        offered.append(value)
        registry.put("grave", value + 1)

    registry = Registry[str, int](finalizer=finalize)
    registry.put("a", 1)
    with pytest.raises(OwnerClosed, match="stays its own"):
        await registry.aclose()
    assert offered == [1]


@pytest.mark.parametrize("asynchronous", [True, False])
@virtual
async def test_a_finalizer_that_cancels_its_task_hits_no_other(bubble: Bubble, asynchronous: bool) -> None:
    """The next value has a finalizer of its own."""
    ended: list[str] = []

    def cancel_myself() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    async def slowly(value: str) -> None:
        if value == "bad":
            cancel_myself()
            return
        await asyncio.sleep(1)
        ended.append(value)

    def finalize(value: str) -> Any:
        if value == "bad" and not asynchronous:
            return cancel_myself()
        return slowly(value)

    registry = Registry[str, str](finalizer=finalize)
    for name in ("bad", "good", "better"):
        registry.put(name, name)
    await registry.aclose()
    assert sorted(ended) == ["better", "good"]


@pytest.mark.parametrize("weight", [0.0, 1.0])
@virtual
async def test_a_lease_longer_than_the_idle_time_is_left_alone(bubble: Bubble, weight: float) -> None:
    """Nobody looks after it before it comes back, however short the idle time is; then it goes."""
    async with Registry[str, Client](idle_ttl=weight, finalizer=close) as registry:
        client = Client("a")
        async with registry.lease("a", lambda: client):
            await asyncio.sleep(5.0)
            assert registry._sweeper._timer is None
        await asyncio.sleep(weight + 0.5)
        assert client.closes == 1


@pytest.mark.skipif(sys.version_info < (3, 12), reason="there are no eager tasks")
def test_an_eager_task_of_the_factory_joins_its_creation() -> None:
    """The factory's plain part asks for the same key: one factory runs, and both are told."""
    runs: list[object] = []

    async def main() -> None:
        async with Registry[str, object]() as registry:
            inner: list[asyncio.Task[object]] = []

            async def make() -> object:
                runs.append(made := object())
                await some_turns()
                return made

            def factory() -> Any:
                if not inner:
                    inner.append(asyncio.create_task(registry.get_or_create("k", make)))
                return make()

            outer = await registry.get_or_create("k", factory)
            assert [outer] == runs == await asyncio.gather(*inner)

    run_on(LOOPS["eager"], main())


def test_a_refused_task_takes_nothing_down() -> None:
    """A task factory that refuses for a while: what is in line is finalized later, and keys are free."""
    refuses = False
    ended: list[str] = []

    def factory(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
        if refuses:
            raise RuntimeError("no task now")
        return asyncio.Task(coro, loop=loop, **options)

    async def make() -> str:
        return "made"

    async def main() -> None:
        nonlocal refuses
        asyncio.get_running_loop().set_task_factory(factory)
        async with Registry[str, str](finalizer=ended.append) as registry:
            registry.put("a", "a")
            refuses = True
            assert registry.discard("a")
            with pytest.raises(RuntimeError, match="no task now"):
                await registry.get_or_create("b", make)
            refuses = False
            assert await registry.get_or_create("b", make) == "made"
        assert ended == ["a", "made"]

    asyncio.run(main())


@virtual
async def test_a_factory_that_raises_a_cancellation_cancels_nobody(bubble: Bubble) -> None:
    """A synchronous one either: its caller gets the error of a creation that was cancelled."""

    def fail() -> str:
        raise asyncio.CancelledError("of its own")

    async with Registry[str, str]() as registry:
        with pytest.raises(TaskCancelled, match="of its own"):
            await registry.get_or_create("a", fail)


@virtual
async def test_ttl_jitter_spreads_the_ends(bubble: Bubble) -> None:
    """Values that were made together end one after the other, none of them late."""
    async with Registry[int, int](ttl=10.0, ttl_jitter=0.5) as registry:
        ends = [registry.put(number, number).expires_at - bubble.clock.now for number in range(100)]
        assert all(5.0 <= end <= 10.0 for end in ends)
        assert len(set(ends)) > 90
        assert registry.put(-1, 1, ttl=7.0).expires_at == bubble.clock.now + 7.0
