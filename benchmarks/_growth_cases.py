"""What `benchmarks.growth` measures, and tests/test_growth.py counts: every operation of every owner, with n of a kind.

A case is an async function of a size and a `Laps`; what a lap encloses is one row, and the rest of the case is not
measured. A lap says how many operations it holds: by default as many as the size.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from typing import Any

from lifecycle import (
    Pool,
    ReaderWorker,
    Registry,
    Scope,
    TaskGroup,
    TaskManager,
    amap,
    as_completed,
    connect,
    fixed_rate,
    gather,
    once,
    race,
    serve_tcp,
    take_snapshot,
)

#: Encloses a row: its name, and how many operations it holds.
Laps = Callable[[str, int], AbstractContextManager[None]]
Case = Callable[[int, Laps], Awaitable[None]]

CASES: dict[str, Case] = {}


def case(function: Case) -> Case:
    """Make *function* one of the cases."""
    CASES[function.__name__.removesuffix("_")] = function
    return function


# What is owned


def nothing(*_: object) -> None:
    pass


def fails(*_: object) -> None:
    raise ValueError


async def returns(*_: object) -> int:
    return 0


async def suspends(*_: object) -> None:
    await asyncio.sleep(0)


async def fails_later(*_: object) -> None:
    await asyncio.sleep(0)
    raise ValueError


async def waits(*_: object) -> None:
    await asyncio.Event().wait()


async def waits_and_fails(*_: object) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        raise ValueError


@asynccontextmanager
async def manages() -> AsyncIterator[None]:
    yield


@contextmanager
def manages_at_once() -> Iterator[None]:
    yield


async def settle(turns: int = 4) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)


# Scopes


def closing(kind: str, fill: Callable[[Scope, int], Awaitable[None]]) -> None:
    """Make a case of a scope that is filled and closed."""

    async def run(n: int, laps: Laps) -> None:
        scope = Scope()
        with laps("take in", n):
            await fill(scope, n)
        await settle()
        with laps("statistics, each", n):
            scope.statistics()
        with laps("close", n), suppress(Exception, ExceptionGroup):
            await scope.aclose()

    CASES[f"scope: {kind}"] = run


def each(add: Callable[[Scope], object]) -> Callable[[Scope, int], Awaitable[None]]:
    """Fill a scope by a call for each."""

    async def fill(scope: Scope, n: int) -> None:
        for _ in range(n):
            added = add(scope)
            if asyncio.iscoroutine(added):
                await added

    return fill


async def by_turns(scope: Scope, n: int) -> None:
    for _ in range(n // 2):
        scope.callback(nothing)
        scope.push(nothing)


async def nested(scope: Scope, n: int) -> None:
    for _ in range(n):
        scope = scope.child()
        scope.push_async_callback(suspends)


async def tasks_that_end(scope: Scope, n: int) -> None:
    for _ in range(n):
        scope.start_soon(returns)


closing("callbacks", each(lambda scope: scope.callback(nothing)))
closing("failing callbacks", each(lambda scope: scope.callback(fails)))
closing("exits", each(lambda scope: scope.push(nothing)))
closing("failing exits", each(lambda scope: scope.push(fails)))
closing("exits and callbacks by turns", by_turns)
closing("asynchronous callbacks", each(lambda scope: scope.push_async_callback(returns)))
closing("suspending callbacks", each(lambda scope: scope.push_async_callback(suspends)))
closing("failing asynchronous callbacks", each(lambda scope: scope.push_async_callback(fails_later)))
closing("acquired values", each(lambda scope: scope.acquire(returns, release=nothing)))
closing("values made at once", each(lambda scope: scope.acquire(object, release=nothing)))
closing("failing releases", each(lambda scope: scope.acquire(object, release=fails)))
closing("entered", each(lambda scope: scope.enter(manages())))
closing("entered inline", each(lambda scope: scope.enter_async_context(manages())))
closing("entered at once", each(lambda scope: scope.enter_context(manages_at_once())))
closing("empty children", each(lambda scope: scope.child()))
closing("children", each(lambda scope: scope.child().callback(nothing)))
closing("tasks", each(lambda scope: scope.start_soon(waits)))
closing("tasks that have ended", tasks_that_end)
closing("tasks that fail when stopped", each(lambda scope: scope.start_soon(waits_and_fails)))


@case
async def scope_pop_all(n: int, laps: Laps) -> None:
    scope = Scope()
    for _ in range(n):
        scope.push(nothing)
    with laps("pop_all, each", n):
        heir = scope.pop_all()
    await heir.aclose()
    await scope.aclose()


@case
async def scope_closed_by_its_task(n: int, laps: Laps) -> None:
    scope = Scope()
    for _ in range(n):
        scope.push(nothing)
    with laps("close from inside", n):
        await scope.start_soon(scope.aclose).wait()


@case
async def scope_failing_tasks(n: int, laps: Laps) -> None:
    with suppress(ExceptionGroup), laps("tasks that fail", n):
        async with Scope() as scope:
            for _ in range(n):
                scope.start_soon(fails_later)
            await waits()


@case
async def scope_closers(n: int, laps: Laps) -> None:
    scope = Scope()
    scope.push_async_callback(suspends)
    with laps("close at once", n):
        await asyncio.gather(*[scope.aclose() for _ in range(n)])


# Managers


@case
async def manager(n: int, laps: Laps) -> None:
    manager = TaskManager(drain_timeout=0)
    with laps("start_soon", n):
        for _ in range(n):
            manager.start_soon(waits)
    await settle()
    with laps("statistics, each", n):
        manager.statistics()
    with laps("close", n):
        await manager.aclose()


@case
async def manager_drain(n: int, laps: Laps) -> None:
    manager = TaskManager()
    for _ in range(n):
        manager.start_soon(suspends)
    with laps("drain of n tasks", n):
        await manager.drain()
    with laps("spawn", n):
        for _ in range(n):
            await manager.spawn(returns)
    await manager.aclose()


@case
async def manager_drainers(n: int, laps: Laps) -> None:
    manager = TaskManager()
    event = asyncio.Event()
    manager.start_soon(event.wait)
    with laps("n drains from outside", n):
        drains = [asyncio.create_task(manager.drain()) for _ in range(n)]
        await asyncio.sleep(0)
        event.set()
        await asyncio.gather(*drains)
    with laps("n drains from inside", n):
        for _ in range(n):
            manager.start_soon(manager.drain)
        await manager.drain()
    with laps("n drains given up", n):
        event.clear()
        manager.start_soon(event.wait)
        drains = [asyncio.create_task(manager.drain()) for _ in range(n)]
        await asyncio.sleep(0)
        for drain in drains:
            drain.cancel()
        await asyncio.wait(drains)
    with laps("n drains of n tasks", n):
        drains = [asyncio.create_task(manager.drain()) for _ in range(n)]
        for _ in range(n):
            manager.start_soon(suspends)
        event.set()
        await asyncio.gather(*drains)
    await manager.aclose()


@case
async def manager_closers(n: int, laps: Laps) -> None:
    manager = TaskManager()
    manager.start_soon(suspends)
    with laps("n closes from outside", n):
        await asyncio.gather(*[manager.aclose() for _ in range(n)])
    manager = TaskManager()
    with laps("n closes from inside", n):
        for _ in range(n):
            manager.start_soon(manager.aclose)
        await settle()
        await manager.aclose()


@case
async def manager_queue(n: int, laps: Laps) -> None:
    manager = TaskManager(limit=2)
    with laps("queue", n):
        for _ in range(n):
            manager.start_soon(returns)
    with laps("work the line off", n):
        await manager.drain()
    callers = [asyncio.create_task(manager.spawn(suspends)) for _ in range(n)]
    with laps("n callers of spawn", n):
        await asyncio.gather(*callers)
        await manager.drain()
    blocked = [manager.start_soon(waits) for _ in range(n)]
    with laps("cancel from the end of the line", n):
        for handle in reversed(blocked):
            handle.cancel()
    await settle()
    for _ in range(n):
        manager.start_soon(waits)
    with laps("cancel and close", n):
        manager.cancel()
        await manager.aclose()


@case
async def manager_failing_tasks(n: int, laps: Laps) -> None:
    manager = TaskManager(on_error=nothing)
    with laps("tasks that fail", n):
        for _ in range(n):
            manager.start_soon(fails_later)
        await manager.drain()
    await manager.aclose()


# Groups


@case
async def group_(n: int, laps: Laps) -> None:
    with laps("start_soon and join", n):
        async with TaskGroup() as group:
            for _ in range(n):
                group.start_soon(suspends)
    with laps("create_task and join", n):
        async with TaskGroup() as group:
            for _ in range(n):
                group.create_task(suspends())
    with laps("under a limit", n):
        async with TaskGroup(limit=10) as group:
            for _ in range(n):
                group.start_soon(suspends)
    with laps("create_task under a limit", n):
        async with TaskGroup(limit=10) as group:
            for _ in range(n):
                group.create_task(suspends())
    with laps("cancel", n):
        async with TaskGroup() as group:
            for _ in range(n):
                group.start_soon(waits)
            await asyncio.sleep(0)
            group.cancel()
    with laps("tasks that fail", n), suppress(ExceptionGroup):
        async with TaskGroup(policy="collect") as group:
            for _ in range(n):
                group.start_soon(fails_later)


@case
async def results(n: int, laps: Laps) -> None:
    with laps("gather", n):
        await gather(suspends() for _ in range(n))
    with laps("gather with exceptions", n):
        await gather((fails_later() for _ in range(n)), return_exceptions=True)
    with laps("amap", n):
        await amap(suspends, range(n))
    with laps("amap under a limit", n):
        await amap(suspends, range(n), limit=10)
    with laps("race", n):
        await race(returns, *[waits] * n)
    with laps("as_completed", n):
        async with as_completed(suspends() for _ in range(n)) as completions:
            async for _ in completions:
                pass
    with laps("as_completed, left", n):
        async with as_completed([returns(), *(waits() for _ in range(n))]) as completions:
            async for _ in completions:
                break


# Registries and pools


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
    with laps("remove the first half", n // 2):
        for key in range(n // 2):
            registry.discard(key)
    with laps("close", n):
        await registry.aclose()


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


# Connects, pairs, servers, timers


@case
async def connects(n: int, laps: Laps) -> None:
    async def session(stages: Any) -> None:
        for _ in range(n):
            await stages.acquire(object, release=nothing)

    async def fails_after(stages: Any) -> None:
        await session(stages)
        raise ValueError

    attempt = connect(session)
    with laps("n stages", n):
        await attempt
    with laps("close of n stages", n):
        await attempt.scope.aclose()
    with laps("n stages rolled back", n), suppress(Exception):
        await connect(fails_after)


@case
async def pair(n: int, laps: Laps) -> None:
    async def read(send: Callable[[int], Awaitable[None]]) -> None:
        for item in range(n):
            await send(item)

    async def work(items: AsyncIterator[int]) -> None:
        async for _ in items:
            pass

    for capacity in (1, 64, n):
        with laps(f"n items, {'room for all' if capacity == n else f'room for {capacity}'}", n):
            async with ReaderWorker(read, work, capacity=capacity) as pair:
                await pair.wait()


@case
async def pair_crowd(n: int, laps: Laps) -> None:
    async def read(send: Callable[[int], Awaitable[None]]) -> None:
        with laps("n senders, room for n/2", n):
            await asyncio.gather(*[send(item) for item in range(n)])
            full.set()
            await emptied.wait()
        await asyncio.gather(*[send(item) for item in range(n)])

    async def work(items: AsyncIterator[int]) -> None:
        for _ in range(n):
            await anext(items)
        await full.wait()
        receivers = [asyncio.ensure_future(anext(items)) for _ in range(n)]
        await asyncio.sleep(0)
        with laps("n receivers that leave", n):
            for receiver in reversed(receivers):
                receiver.cancel()
            await asyncio.wait(receivers)
        with laps("n receivers", n):
            receivers = [asyncio.ensure_future(anext(items)) for _ in range(n)]
            await asyncio.sleep(0)
            emptied.set()
            await asyncio.gather(*receivers)

    full, emptied = asyncio.Event(), asyncio.Event()
    async with ReaderWorker(read, work, capacity=max(1, n // 2)) as pair:
        await pair.wait()


@case
async def server(n: int, laps: Laps) -> None:
    async def handle(stream: Any) -> None:
        with suppress(Exception):
            await stream.receive()

    n = min(n, 400)  # both ends of each are descriptors of this process
    async with serve_tcp(handle, port=0) as server:
        with laps("take n connections", n):
            streams = [(await asyncio.open_connection("127.0.0.1", server.port))[1] for _ in range(n)]
            while server.statistics().live < n:
                await asyncio.sleep(0)
        with laps("close with n connections", n):
            await server.aclose()
        for stream in streams:
            stream.close()


@case
async def timers(n: int, laps: Laps) -> None:
    async with Scope() as scope:
        with laps("start n timers", n):
            for _ in range(n):
                scope.start_soon(once(suspends, 600.0))
            await settle()
        with laps("close n timers", n):
            await scope.aclose()
    with laps("n timers, one run due each", n):
        async with TaskGroup() as group:
            for _ in range(n):
                group.start_soon(once(suspends, 0.0))
    with laps("n runs of one timer", n):
        await fixed_rate(suspends, 1e-6, missed="burst", max_runs=n)()
    with laps("n runs of one timer at once", n):
        await fixed_rate(suspends, 1e-6, missed="burst", max_runs=n, max_instances=n)()


# Snapshots


@case
async def snapshots(n: int, laps: Laps) -> None:
    async with Scope() as scope, TaskManager(drain_timeout=0) as manager:
        for number in range(n):
            scope.push(nothing, name=f"thing {number}")
            manager.start_soon(waits, name=f"task {number}")
        await settle()
        with laps("take_snapshot, each", n):
            snapshot = take_snapshot()
        with laps("compare, each", n):
            take_snapshot().compare_to(snapshot)
        with laps("print, each", n):
            str(snapshot)
        owners = [Scope(f"scope {number}") for number in range(n)]
        with laps("take_snapshot of n owners, each", n):
            take_snapshot()
        for owner in owners:
            await owner.aclose()


def silence() -> None:
    """Keep what fails on purpose out of the log."""
    logging.getLogger("lifecycle").setLevel(logging.CRITICAL)
