"""Registries and pools: n values, keys, borrowers and creations."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from lifecycle import Pool, Registry, cached

from ._kinds import Laps, case, nothing, settle, suspends


@case
async def registry(n: int, laps: Laps) -> None:
    registry: Registry[int, int] = Registry(ttl=600.0, finalizer=nothing)
    with laps("put", n):
        for key in range(n):
            registry.put(key, key)
    with laps("get", n):
        for key in range(n):
            registry.get(key)
    with laps("replace", n):
        for key in range(n):
            registry.put(key, key)
    with laps("lease", n):
        for key in range(n):
            async with registry.lease(key):
                pass
    with laps("statistics", 1):
        registry.statistics()
        len(registry)
    with laps("remove the first half", n // 2):
        for key in range(n // 2):
            registry.discard(key)
    with laps("close", n):
        await registry.aclose()


@case
async def lender_blocks(n: int, laps: Laps) -> None:
    with laps("a block with n values of a registry", n):
        async with Registry[int, int](finalizer=nothing) as registry:
            registrations = [registry.put(key, key) for key in range(n)]
            for key in range(0, n, 4):
                lease = registry.lease(key)
                async with lease:
                    lease.discard()
                lease_now = registry.try_lease(key + 1)
                with lease_now:
                    lease_now.discard()
            for registration in reversed(registrations[2::4]):
                registration.remove()
            registry.close()
    with laps("n waiters for the end of one value", n):
        waiting = [asyncio.create_task(registrations[0].closed()) for _ in range(n)]
        await asyncio.wait(waiting)
    with laps("a block with n values of a pool", n):
        async with Pool[object](object, nothing, max_size=n) as pool:
            for _ in range(n):
                async with pool.acquire():
                    pass
            pool.close()


@case
async def registry_eviction(n: int, laps: Laps) -> None:
    async with Registry[int, int](idle_ttl=600.0, max_size=max(1, n // 2), finalizer=nothing) as registry:
        with laps("put and evict", n):
            for key in range(n):
                registry.put(key, key)
        await registry.clear()
        for key in range(n // 2):
            registry.put(key, key)
            registry.try_lease(key).__enter__()
        with laps("evict among leased values", n // 2):
            for key in range(n, n + n // 2):
                registry.put(key, key)
        leases = list(registry._leases.holders)
        with laps("close with leases", n), laps("give the leases back", n):
            closing = asyncio.create_task(registry.aclose())
            for index, lease in enumerate(leases):
                lease._give_back()
                if index % 10 == 0:
                    await asyncio.sleep(0)
            await closing


@case
async def registry_expiry(n: int, laps: Laps) -> None:
    now = [0.0]
    registry: Registry[int, int] = Registry(ttl=60.0, clock=lambda: now[0], finalizer=nothing)
    for key in range(n):
        registry.put(key, key, ttl=1.0 + key)
    now[0] = 2.0 * n
    with laps("sweep", n):
        registry.sweep()
    for key in range(n):
        registry.put(key, key)
    with laps("clear", n):
        await registry.clear()
    await registry.aclose()


@case
async def registry_told(n: int, laps: Laps) -> None:
    async with Registry[int, int](finalizer=nothing, on_removed=nothing) as registry:
        for key in range(n):
            registry.put(key, key)
        with laps("n replaced, told of", n):
            for key in range(n):
                registry.put(key, -1 - key)
            await registry.drain()
        with laps("n cleared, told of", n):
            await registry.clear()


@case
async def registry_waiters(n: int, laps: Laps) -> None:
    async with Registry[int, int]() as registry:
        with laps("n callers of one key", n):
            await asyncio.gather(*[registry.get_or_create(0, suspends) for _ in range(n)])  # type: ignore[arg-type]
        with laps("n keys created at once", n):
            await asyncio.gather(*[registry.get_or_create(1 + key, suspends) for key in range(n)])  # type: ignore[arg-type]
        callers = [asyncio.create_task(registry.get_or_create(-1, returns_never)) for _ in range(n)]
        await asyncio.sleep(0)
        with laps("n callers that leave", n):
            for caller in reversed(callers):
                caller.cancel()
            await asyncio.wait(callers)
        callers = [asyncio.create_task(registry.get_or_create(2 * n + key, returns_never)) for key in range(n)]
        await asyncio.sleep(0)
        with laps("close with n creations", n):
            await registry.aclose()
        await asyncio.gather(*callers, return_exceptions=True)


async def returns_never() -> int:
    await asyncio.Event().wait()
    return 0


@case
async def pool(n: int, laps: Laps) -> None:
    pool: Pool[object] = Pool(object, nothing, max_size=n)
    loans = [pool.acquire() for _ in range(n)]
    with laps("borrow n new values", n):
        for loan in loans:
            await loan.__aenter__()
    with laps("statistics, each", n):
        pool.statistics()
        len(pool)
    with laps("give back", n):
        for loan in loans:
            await loan.__aexit__(None, None, None)
    with laps("borrow again", n):
        for loan in loans:
            await loan.__aenter__()
    with laps("drain", n):
        drain = asyncio.create_task(pool.drain())
        for index, loan in enumerate(loans):
            await loan.__aexit__(None, None, None)
            if index % 10 == 0:
                await asyncio.sleep(0)
        await drain
    for loan in loans:
        await loan.__aenter__()
    with laps("close with n lent", n):
        closing = asyncio.create_task(pool.aclose())
        for index, loan in enumerate(loans):
            await loan.__aexit__(None, None, None)
            if index % 10 == 0:
                await asyncio.sleep(0)
        await closing


@case
async def pool_of_slow_values(n: int, laps: Laps) -> None:
    async def make() -> object:
        await asyncio.sleep(0)
        return object()

    pool: Pool[object] = Pool(make, suspends, max_size=n, reset=suspends)

    async def use() -> None:
        async with pool.acquire():
            await settle(2)

    with laps("create n at once", n):
        await asyncio.gather(*[use() for _ in range(n)])
    with laps("close with n idle", n):
        await pool.aclose()


@case
async def pool_line(n: int, laps: Laps) -> None:
    async with Pool[object](object, nothing, max_size=2) as pool:

        async def use() -> None:
            async with pool.acquire(timeout=600.0):
                await asyncio.sleep(0)

        with laps("n borrowers of two values", n):
            await asyncio.gather(*[use() for _ in range(n)])
        async with pool.acquire(), pool.acquire():
            borrowers = [asyncio.create_task(use()) for _ in range(n)]
            await asyncio.sleep(0)
            with laps("n borrowers that leave", n):
                for borrower in reversed(borrowers):
                    borrower.cancel()
                await asyncio.wait(borrowers)
            borrowers = [asyncio.create_task(use()) for _ in range(n)]
            await asyncio.sleep(0)
            closing = asyncio.create_task(pool.aclose())
            with laps("close with n in line", n):
                await asyncio.gather(*borrowers, return_exceptions=True)
        await closing


@case
async def registry_odds(n: int, laps: Laps) -> None:
    async def fails_to_make() -> int:
        raise ValueError

    registry: Registry[int, int] = Registry(finalizer=suspends, failure_ttl=600.0)
    registrations = [registry.put(key, key) for key in range(n)]
    with laps("iterate", n):
        for key in registry:
            assert key in registry
    with laps("look at n values", n):
        for key in registry:
            registry.peek(key)
        assert len(registry.values()) == len(registry.items())
    with laps("pop", n // 2):
        for key in range(0, n, 2):
            registry.pop(key)
    with laps("remove", n // 2):
        for key in range(n - 1, 0, -2):
            registry.remove(registrations[key])
    registry.put(0, 0)
    with laps("n leases of one key", n):
        leases = [registry.try_lease(0) for _ in range(n)]
        for lease in leases:
            lease.__enter__()
    with laps("n leases of one registration", n):
        registration = registry.put(0, 0)
        for _ in range(n):
            with registration.lease():
                pass
            async with registration.lease():
                pass
    with laps("put and lease", n):
        for key in range(n):
            with registry.put_and_lease(n + key, key):
                pass
    with laps("drain of n leases", n):
        drains = asyncio.create_task(registry.drain())
        for index, lease in enumerate(leases):
            lease.__exit__(None, None, None)
            if index % 10 == 0:
                await asyncio.sleep(0)
        await drains
    with laps("n failures that are remembered", n):
        for key in range(n):
            with suppress(ValueError):
                await registry.get_or_create(key, fails_to_make)
    with laps("n waiters for a close", n):
        waiting = [asyncio.create_task(registry.wait()) for _ in range(n)]
        await asyncio.sleep(0)
        await registry.aclose()
        await asyncio.wait(waiting)


@case
async def registry_drainers(n: int, laps: Laps) -> None:
    registry: Registry[int, int] = Registry(finalizer=suspends)
    registry.put(0, 0)
    with laps("n drains", n):
        async with registry.lease(0):
            drains = [asyncio.create_task(registry.drain()) for _ in range(n)]
            await asyncio.sleep(0)
        await asyncio.wait(drains)
    with laps("n closes", n):
        await asyncio.gather(*[registry.aclose() for _ in range(n)])


@case
async def cached_(n: int, laps: Laps) -> None:
    @cached(max_size=n)
    async def get(key: int) -> int:
        return key

    with laps("make n", n):
        for key in range(n):
            await get(key)
    with laps("find n", n):
        for key in range(n):
            await get(key)
    with laps("discard n", n):
        for key in range(n):
            get.discard(key)
        get.statistics()
    await get.aclose()


@case
async def cached_method(n: int, laps: Laps) -> None:
    class Asked:
        @cached(max_size=n)
        async def get(self, key: int) -> int:
            return key

    asked = Asked()
    with laps("make n", n):
        for key in range(n):
            await asked.get(key)
    with laps("discard n", n):
        for key in range(n):
            asked.get.discard(key)
    await asked.get.aclose()


@case
async def cached_ended(n: int, laps: Laps) -> None:
    @cached(max_size=n)
    async def get(key: int) -> int:
        return key

    for key in range(n):
        await get(key)
    with laps("clear n", n):
        await get.clear()
    for key in range(n):
        await get(key)
    with laps("close with n", n):
        await get.aclose()


@case
async def pool_odds(n: int, laps: Laps) -> None:
    pool: Pool[object] = Pool(object, nothing, max_size=n, leak_threshold=600.0, max_idle=600.0)
    with laps("try_acquire", n):
        loans = [pool.acquire() for _ in range(n)]
        for loan in loans:
            await loan.__aenter__()
        for loan in loans:
            await loan.__aexit__(None, None, None)
        tries = [pool.try_acquire() for _ in range(n)]
        for loan_now in tries:
            loan_now.__enter__()
    with laps("discard", n // 2):
        for loan_now in tries[: n // 2]:
            loan_now.discard()
            loan_now.__exit__(None, None, None)
    for loan_now in tries[n // 2 :]:
        loan_now.__exit__(None, None, None)
    with laps("resize", n // 2):
        pool.resize(1)
        await settle()
    pool.resize(n)
    loans = [pool.acquire() for _ in range(n)]
    for loan in loans:
        await loan.__aenter__()
    for loan in loans:
        await loan.__aexit__(None, None, None)
    with laps("expire", n):
        pool.expire()
        await settle()
    async with pool.acquire():
        with laps("n drains", n):
            drains = [asyncio.create_task(pool.drain()) for _ in range(n)]
            await asyncio.sleep(0)
    await asyncio.wait(drains)
    with laps("n closes", n):
        await asyncio.gather(*[pool.aclose() for _ in range(n)])


@case
async def pool_ready(n: int, laps: Laps) -> None:
    async def make() -> object:
        await asyncio.sleep(0)
        return object()

    async with Pool[object](make, nothing, max_size=n, min_size=n) as pool:
        with laps("n wait until n values are ready", n):
            await asyncio.gather(*[pool.wait_ready() for _ in range(n)])


@case
async def pool_timeouts(n: int, laps: Laps) -> None:
    async with Pool[object](object, nothing, max_size=1) as pool, pool.acquire():

        async def use() -> None:
            async with pool.acquire(timeout=0.0):
                pass

        with laps("n borrowers that time out", n):
            await asyncio.gather(*[use() for _ in range(n)], return_exceptions=True)
        borrowers = [asyncio.create_task(pool.acquire().__aenter__()) for _ in range(n)]
        await asyncio.sleep(0)
        with laps("n borrowers that leave", n):
            for borrower in reversed(borrowers):
                borrower.cancel()
            await asyncio.wait(borrowers)
