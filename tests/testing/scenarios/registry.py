"""Registry: single flight, leases against expiry, replacement, clear and close while everything is in use."""

from __future__ import annotations

import asyncio
import contextlib

from lifecycle import CreationTimeout, OwnerClosed, Registration, RegistryFull
from lifecycle._group.group import TaskGroup
from lifecycle._registry.registry import Registry
from lifecycle.testing import Bubble
from lifecycle.testing.machines._registry import ChangingKey
from lifecycle.testing.types import Token

from ._table import connect, disconnect, scenario


@scenario
async def registry_single_flight(bubble: Bubble) -> None:
    """Three callers of one key, one of them late, one of another key."""
    async with Registry[str, Token]("clients", finalizer=disconnect) as clients:

        async def user(key: str, arrives: float) -> None:
            await asyncio.sleep(arrives)
            async with clients.lease(key, lambda: connect(bubble, key)) as client:
                await _use(client)

        async with TaskGroup() as group:
            for key, arrives in (("a", 0), ("a", 0), ("a", 0.01), ("b", 0)):
                group.create_task(user(key, arrives))


async def _use(client: Token) -> None:
    for _ in range(2):
        assert not client.releases, f"{client.name} was finalized under its user"
        await asyncio.sleep(0.01)
    assert not client.releases, f"{client.name} was finalized under its user"


@scenario
async def registry_expiry_under_a_lease(bubble: Bubble) -> None:
    """Values expire while they are leased, and are made anew meanwhile."""
    async with Registry[str, Token]("clients", ttl=0.015, finalizer=disconnect) as clients:

        async def user(arrives: float) -> None:
            await asyncio.sleep(arrives)
            async with clients.lease("key", lambda: connect(bubble, "client")) as client:
                await _use(client)

        async with TaskGroup() as group:
            for arrives in (0, 0.02, 0.025):
                group.create_task(user(arrives))


@scenario
async def registry_tells_of_removals(bubble: Bubble) -> None:
    """Values are put in leased, and replaced; each is told of once, before it is finalized."""
    told: dict[Token, int] = {}

    def removed(registration: Registration[str, Token]) -> None:
        assert not registration.value.releases, f"{registration.value.name} was finalized before it was told of"
        told[registration.value] = told.get(registration.value, 0) + 1

    async with Registry[str, Token]("clients", finalizer=disconnect, on_removed=removed) as clients:

        async def user(name: str, arrives: float) -> None:
            await asyncio.sleep(arrives)
            client = await connect(bubble, name)
            async with clients.put_and_lease("key", client):
                await _use(client)

        async with TaskGroup() as group:
            for name, arrives in (("a", 0), ("b", 0), ("c", 0.01)):
                group.create_task(user(name, arrives))
    assert list(told.values()) == [1] * clients.statistics().opened, told


@scenario
async def registry_refuses(bubble: Bubble) -> None:
    """Four want one of two places; what is live, lent or being made is never more."""
    async with Registry[str, Token]("clients", max_size=2, when_full="refuse", finalizer=disconnect) as clients:

        async def make(key: str) -> Token:
            see()
            return await connect(bubble, key)

        def see() -> None:
            now = clients.statistics()
            assert now.live + now.retired - now.pending_close + now.loading <= 2, now

        async def user(key: str, arrives: float) -> None:
            await asyncio.sleep(arrives)
            with contextlib.suppress(RegistryFull):
                async with clients.lease(key, lambda: make(key)) as client:
                    see()
                    clients.discard(key)
                    await _use(client)

        async with TaskGroup() as group:
            for key, arrives in (("a", 0), ("b", 0), ("c", 0.005), ("d", 0.015)):
                group.create_task(user(key, arrives))


@scenario
async def registry_closed_while_in_use(bubble: Bubble) -> None:
    """A holder, a creator, a late caller and two closers."""
    clients = Registry[str, Token]("clients", finalizer=disconnect)
    try:

        async def user(key: str, arrives: float) -> None:
            await asyncio.sleep(arrives)
            with contextlib.suppress(OwnerClosed):
                async with clients.lease(key, lambda: connect(bubble, key)) as client:
                    await _use(client)

        async def closer(arrives: float) -> None:
            await asyncio.sleep(arrives)
            await clients.aclose()

        async with TaskGroup() as group:
            for key, arrives in (("a", 0), ("b", 0.01), ("c", 0.02)):
                group.create_task(user(key, arrives))
            for arrives in (0.015, 0.02):
                group.create_task(closer(arrives))
    finally:
        await clients.aclose()


@scenario
async def registry_replaces_and_evicts(bubble: Bubble) -> None:
    """A full registry, replacements, pops and a clear."""
    async with Registry[str, Token]("clients", max_size=2, finalizer=disconnect) as clients:
        for key in ("a", "b", "a", "c"):
            clients.put(key, await connect(bubble, key))
        with clients.try_lease("a") as client:
            clients.discard("a")
            await _use(client)
        taken = clients.pop("c", None)
        if taken is not None:
            taken.release()
        await clients.clear()
        clients.put("d", await connect(bubble, "d"))


@scenario
async def registry_factories_that_need_each_other(bubble: Bubble) -> None:
    """A value made of two others that are shared, one of them in a circle, which is refused at once."""
    async with Registry[str, Token]("clients", finalizer=disconnect) as clients:

        async def joined() -> Token:
            async with clients.lease("part", lambda: connect(bubble, "part")) as part:
                await _use(part)
                return await connect(bubble, "whole")

        async def circular() -> Token:
            return await clients.get_or_create("circle", circular)

        async def user(key: str) -> None:
            async with clients.lease(key, joined) as client:
                await _use(client)

        async def lost() -> None:
            with contextlib.suppress(RuntimeError):
                async with asyncio.timeout(5):
                    await clients.get_or_create("circle", circular)

        async with TaskGroup() as group:
            for key in ("a", "a", "b"):
                group.create_task(user(key))
            group.create_task(lost())


@scenario
async def registry_factory_fails(bubble: Bubble) -> None:
    """A factory that fails for all who wait, and one whose callers all leave."""

    async def fails() -> Token:
        token = await connect(bubble, "half made")
        token.release()
        raise KeyError("planned")

    async with Registry[str, Token]("clients", finalizer=disconnect) as clients:

        async def user() -> None:
            with contextlib.suppress(KeyError):
                await clients.get_or_create("key", fails)

        async def impatient() -> None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.005):
                    await clients.get_or_create("slow", lambda: connect(bubble, "slow"))
            await asyncio.sleep(0)

        async with TaskGroup() as group:
            for _ in range(2):
                group.create_task(user())
                group.create_task(impatient())
        assert "slow" not in clients, "a value that nobody waited for any more is kept"


@scenario
async def registry_of_long_and_short_lives(bubble: Bubble) -> None:
    """Values for an hour and for an instant; a sweep and a user of another one beside them."""
    async with Registry[str, Token]("clients", ttl=3600, finalizer=disconnect) as clients:
        clients.put("long", await connect(bubble, "long"))
        clients.put("short", await connect(bubble, "short"), ttl=0.01)

        async def user() -> None:
            for _ in range(3):
                async with clients.lease("used", lambda: connect(bubble, "used")) as client:
                    await _use(client)

        async with TaskGroup() as group:
            group.create_task(user())
            await asyncio.sleep(0.015)
            clients.sweep()
            assert "short" not in clients, "a value is offered after its time"


@scenario
async def registry_factory_is_late(bubble: Bubble) -> None:
    """A factory swallows the end of its time, and its value comes when nobody may have it any more."""

    async def swallow() -> Token:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(5)
        return await connect(bubble, "late")

    async with Registry[str, Token]("clients", finalizer=disconnect, create_timeout=0.02) as clients:
        began = bubble.clock.time()
        with contextlib.suppress(CreationTimeout):
            async with clients.lease("a", swallow):
                assert bubble.clock.time() <= began + 0.02, "a factory whose time was up has succeeded"


@scenario
async def registry_discards_in_flight(bubble: Bubble) -> None:
    """A creation is invalidated while it is awaited: whoever asks after the news gets nothing that is older."""
    version = 0
    async with Registry[str, Token]("clients", finalizer=disconnect) as clients:

        async def user(arrives: float) -> None:
            await asyncio.sleep(arrives)
            asked = version
            async with clients.lease("a", lambda: connect(bubble, str(version))) as client:
                assert int(client.name) >= asked, "what is older than the news was handed out"
                await _use(client)

        async with TaskGroup() as group:
            for arrives in (0, 0.005, 0.015):
                group.create_task(user(arrives))
            for news in (1, 2):
                await asyncio.sleep(0.004)
                version = news
                clients.discard("a")


@scenario
async def registry_serves_old_values(bubble: Bubble) -> None:
    """An old value is leased while a new one is made, once, and where that fails, until there are news."""
    making = 0
    up, news = True, False

    async def make() -> Token:
        nonlocal making
        making += 1
        try:
            assert making == 1 or news, "two are made at the same time"
            await asyncio.sleep(0.01)
            if not up:
                raise ConnectionError("planned")
            return await connect(bubble, "client")
        finally:
            making -= 1

    async with Registry[str, Token](
        "clients", ttl=0.1, stale_ttl=0.05, stale_on_error=0.2, finalizer=disconnect
    ) as clients:

        async def user(*, waits: bool = True) -> None:
            begin = bubble.clock.time()
            async with clients.lease("key", make) as client:
                assert waits or bubble.clock.time() == begin, "an old value was waited for"
                await _use(client)

        clients.put("key", await connect(bubble, "first"))
        await asyncio.sleep(0.1)
        async with TaskGroup() as group:
            for _ in range(2):
                group.create_task(user(waits=False))
        assert clients.statistics().loads or clients.statistics().load_failures, "no new one is made"
        up = False
        await asyncio.sleep(0.16)
        await user()
        await asyncio.sleep(0.2)
        up = True
        await user()
        clients.put("key", await connect(bubble, "put"), ttl=0.0)
        await user(waits=False)
        news = True
        clients.discard("key")
        await user()


@scenario
async def registry_keys_change(bubble: Bubble) -> None:
    """Values are put again under their leases, their keys change, and they go by their time and by the close."""
    async with Registry[ChangingKey, Token]("clients", ttl=0.05, finalizer=disconnect) as clients:
        keys = [ChangingKey(name) for name in "abc"]

        async def user(key: ChangingKey) -> None:
            async with clients.lease(key, lambda: connect(bubble, key.name)) as client:
                clients.put(key, client)
                key.changes += 1
                await _use(client)

        async with TaskGroup() as group:
            for key in keys:
                group.create_task(user(key))
        if "a" in {key.name for key in clients}:
            await asyncio.sleep(0.04)
