"""What a registry costs beside the caches that people use: hits, sets, eviction, sweeps, single flight, mass expiry.

    python -m benchmarks.registry [--rounds N] [--loop asyncio|uvloop|both]
    python -m benchmarks.registry_soak [--cycles N]

cachetools is the baseline of the synchronous rows and async-lru of the awaited one. cachebox is written in Rust, and
nothing in Python reaches its hits.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import statistics
import time
import tracemalloc
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from typing import Any

from benchmarks._measure import AsyncCase, Row, main, print_rows, warmed_up
from benchmarks._peers import NotInstalled, peer
from benchmarks._sizes import sized
from lifecycle import Registry

aiocache, async_lru, cachebox, cachetools, theine = map(
    peer, ("aiocache", "async_lru", "cachebox", "cachetools", "theine")
)

HOT = range(sized(2_000, 50))
TTL = 600.0
LARGE = sized(10**6, 10_000)

Fill = Callable[[Any], Any]


def by_item(cache: Any) -> tuple[Any, Callable[[int], None]]:
    def put(key: int) -> None:
        cache[key] = key

    return cache, put


def by_set(cache: Any) -> tuple[Any, Callable[[int], None]]:
    return cache, lambda key: cache.set(key, key, timedelta(seconds=TTL))


def ours(registry: Registry[int, int]) -> tuple[Any, Callable[[int], None]]:
    return registry, lambda key: registry.put(key, key)


def caches(size: int) -> dict[str, tuple[Any, Callable[[int], None]]]:
    """Return each cache that is installed by name, with the function that sets an item in it."""
    made: dict[str, tuple[Any, Callable[[int], None]]] = {}
    for name, make in {
        "cachetools.TTLCache": lambda: by_item(cachetools.TTLCache(size, TTL)),
        "lifecycle.Registry": lambda: ours(Registry[int, int](ttl=TTL, max_size=size)),
        "cachebox.TTLCache (Rust)": lambda: by_item(cachebox.TTLCache(size, TTL)),
        "theine": lambda: by_set(theine.Cache(size)),
    }.items():
        with contextlib.suppress(NotInstalled):
            made[name] = make()
    return made


async def close(made: dict[str, tuple[Any, Any]]) -> None:
    await made["lifecycle.Registry"][0].aclose()
    if "theine" in made:
        made["theine"][0].close()


async def compare(cases: dict[str, AsyncCase], *, count: int, rounds: int) -> list[Row]:
    """Time every case in turn in processor time of this thread: what the neighbours on the machine do is not in it."""
    times: dict[str, list[float]] = {}
    cases = await warmed_up(cases, count)
    for _ in range(rounds):
        for name, case in cases.items():
            gc.collect()
            begin = time.thread_time()
            await case(count)
            times.setdefault(name, []).append((time.thread_time() - begin) / count * 1e9)
    return as_rows(times)


async def hits(rounds: int) -> list[Row]:
    made = caches(LARGE)
    names = "cachetools.TTLCache", "lifecycle.Registry", "cachebox.TTLCache (Rust)", "theine"
    tools, registry, box, other = (made[name][0] if name in made else None for name in names)
    plain = dict.fromkeys(HOT, 1)
    for _, put in made.values():
        for key in HOT:
            put(key)

    async def tools_item(count: int) -> None:
        for _ in range(count // len(HOT)):
            for key in HOT:
                tools[key]

    async def registry_get(count: int) -> None:
        for _ in range(count // len(HOT)):
            for key in HOT:
                registry.get(key)

    async def rust(count: int) -> None:
        for _ in range(count // len(HOT)):
            for key in HOT:
                box.get(key)

    async def by_get(count: int) -> None:
        for _ in range(count // len(HOT)):
            for key in HOT:
                tools.get(key)

    async def theine_get(count: int) -> None:
        for _ in range(count // len(HOT)):
            for key in HOT:
                other.get(key)

    def look_up(key: int) -> int:
        return plain[key]

    async def floor(count: int) -> None:
        for _ in range(count // len(HOT)):
            for key in HOT:
                look_up(key)

    cases = {
        "cachetools.TTLCache[key]": (tools, tools_item),
        "lifecycle.Registry.get": (registry, registry_get),
        "cachetools.TTLCache.get": (tools, by_get),
        "cachebox.TTLCache.get (Rust)": (box, rust),
        "theine.Cache.get": (other, theine_get),
        "a dict in a function": (plain, floor),
    }
    installed = {name: case for name, (cache, case) in cases.items() if cache is not None}
    rows = await compare(installed, count=10 * len(HOT), rounds=rounds)
    await close(made)
    return rows


async def timed(rounds: int, prepare: Callable[[], dict[str, tuple[Any, Any]]], work: str) -> list[Row]:
    """Time putting many items into caches that *prepare* makes anew for each round."""
    times: dict[str, list[float]] = {}
    for _ in range(rounds):
        made = prepare()
        for name, (_, put) in made.items():
            keys = list(range(LARGE, LARGE + len(HOT) * 5)) if work == "evict" else list(HOT)
            gc.collect()
            begin = time.thread_time()
            for key in keys:
                put(key)
            times.setdefault(name, []).append((time.thread_time() - begin) / len(keys) * 1e9)
        await close(made)
    return as_rows(times)


def as_rows(times: dict[str, list[float]]) -> list[Row]:
    base = next(iter(times.values()))
    return [
        Row(name, statistics.median(taken), statistics.median(a / b for a, b in zip(taken, base, strict=True)))
        for name, taken in times.items()
    ]


def full() -> dict[str, tuple[Any, Any]]:
    made = caches(len(HOT))
    for _, put in made.values():
        for key in range(2 * len(HOT)):
            put(key)
    return made


async def sweeps(rounds: int, count: int = sized(100_000, 500)) -> list[Row]:
    """Time the removal of many entries that are all due."""
    times: dict[str, list[float]] = {}
    for _ in range(rounds):
        now = [0.0]
        registry = Registry[int, int](ttl=TTL, max_size=LARGE, clock=lambda now=now: now[0])
        sweeping = {"lifecycle.Registry.sweep": (registry.sweep, ours(registry)[1])}
        with contextlib.suppress(NotInstalled):
            tools = cachetools.TTLCache(LARGE, TTL, timer=lambda now=now: now[0])
            per_entry = cachetools.TLRUCache(LARGE, lambda key, value, now: now + TTL, timer=lambda now=now: now[0])
            sweeping = {
                "cachetools.TTLCache.expire": (tools.expire, by_item(tools)[1]),
                **sweeping,
                "cachetools.TLRUCache.expire": (per_entry.expire, by_item(per_entry)[1]),
            }
        for key in range(count):
            for _, put in sweeping.values():
                put(key)
        now[0] = 2 * TTL
        for name, (sweep, _) in sweeping.items():
            gc.collect()
            begin = time.thread_time()
            sweep()
            times.setdefault(name, []).append((time.thread_time() - begin) / count * 1e9)
        await registry.aclose()
    return as_rows(times)


async def awaited(rounds: int) -> list[Row]:
    async def itself(key: int) -> int:
        return key

    registry = Registry[int, int](ttl=TTL, max_size=LARGE)

    def never() -> int:
        raise AssertionError

    for key in HOT:
        registry.put(key, key)

    cached: dict[str, Any] = {}

    def repeat(name: str, decorator: Callable[[], Any]) -> Any:
        async def case(count: int) -> None:
            if name not in cached:
                cached[name] = decorator()(itself)
            function = cached[name]
            for _ in range(max(1, count // len(HOT))):
                for key in HOT:
                    await function(key)

        return case

    async def created(count: int) -> None:
        for _ in range(max(1, count // len(HOT))):
            for key in HOT:
                await registry.get_or_create(key, never)

    async def leased(count: int) -> None:
        for _ in range(max(1, count // len(HOT))):
            for key in HOT:
                async with registry.lease(key):
                    pass

    async def tried(count: int) -> None:
        for _ in range(max(1, count // len(HOT))):
            for key in HOT:
                with registry.try_lease(key):
                    pass

    rows = await compare(
        {
            "async-lru, ttl": repeat("async-lru", lambda: async_lru.alru_cache(maxsize=None, ttl=TTL)),
            "lifecycle.Registry.get_or_create": created,
            "lifecycle.Registry.lease": leased,
            "lifecycle.Registry.try_lease": tried,
            "cachebox.cached (Rust)": repeat("cachebox", lambda: cachebox.cached(cachebox.TTLCache(LARGE, TTL))),
            "aiocache.cached": repeat(
                "aiocache", lambda: aiocache.cached(ttl=int(TTL), key_builder=lambda function, key: str(key))
            ),
        },
        count=5 * len(HOT),
        rounds=rounds,
    )
    await registry.aclose()
    if "async-lru" in cached:
        await cached["async-lru"].cache_close()
    return rows


async def turns_of(work: Callable[[], bool]) -> tuple[list[float], list[float]]:
    """Return the lengths of the loop's turns in milliseconds, by the wall and by the processor, while there is work."""
    wall, processor = [time.perf_counter()], [time.thread_time()]
    while work():
        await asyncio.sleep(0)
        wall.append(time.perf_counter())
        processor.append(time.thread_time())
    return (
        sorted((after - before) * 1e3 for before, after in pairwise(wall)),
        sorted((after - before) * 1e3 for before, after in pairwise(processor)),
    )


async def mass_expiry(*, frozen: bool, finalizer: Any = None, count: int = LARGE) -> None:
    """Expire a million entries at once in a running loop, and look at the turns of the loop."""
    now = [0.0]
    registry = Registry[int, int](ttl=TTL, clock=lambda: now[0], finalizer=finalizer)
    for key in range(count):
        registry.put(key, key)
    gc.collect()
    if frozen:
        gc.freeze()
    now[0] = 2 * TTL
    begin = time.thread_time()
    registry._sweeper._work_for_a_moment()  # what the timer would call by now
    wall, processor = await turns_of(lambda: registry._departures.closed < count)
    seconds = time.thread_time() - begin
    gc.unfreeze()
    await registry.aclose()
    name = f"gc {'frozen' if frozen else 'on'}, {'no finalizer' if finalizer is None else 'an async finalizer each'}"
    print(
        f"  {name:36} longest turn {processor[-1]:6.2f} ms of processor, {wall[-1]:6.2f} by the wall; "
        f"99% {processor[int(len(processor) * 0.99)]:5.2f}, median {processor[len(processor) // 2]:5.2f}; "
        f"{len(wall)} turns, {seconds / count * 1e9:4.0f} ns per entry"
    )


async def nothing(value: int) -> None:
    """End nothing."""


def peers_at_mass_expiry(count: int = LARGE) -> None:
    now = [0.0]
    try:
        tools = cachetools.TTLCache(count, TTL, timer=lambda: now[0])
    except NotInstalled as error:
        print(f"  left out: {error}")
        return
    for key in range(count):
        tools[key] = key
    now[0] = 2 * TTL
    begin = time.thread_time()
    tools[0] = 0
    print(f"  {'cachetools.TTLCache, the next set':36} longest turn {(time.thread_time() - begin) * 1e3:7.2f} ms")


def memory(count: int = sized(300_000, 1_000)) -> None:
    print("\nmemory per entry, integers as keys, one shared value")
    for name in caches(1):
        tracemalloc.start()
        registry, put = caches(LARGE)[name]
        before = tracemalloc.get_traced_memory()[0]
        for key in range(count):
            put(key)
        after = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        print(f"  {name:44} {(after - before) / count:10.0f} B")
        if name == "lifecycle.Registry":
            registry._sweeper.stop()


async def benchmark(options: argparse.Namespace) -> None:
    rounds = options.rounds
    print_rows("hit, exact LRU, time to live, statistics", await hits(rounds), {"lifecycle.Registry.get": 0.65})
    rows = await timed(rounds, lambda: caches(LARGE), "set")
    print_rows("set, new keys", rows, {"lifecycle.Registry": 0.6})
    rows = await timed(rounds, full, "evict")
    print_rows("set that evicts", rows, {"lifecycle.Registry": 0.4})
    rows = await sweeps(sized(max(3, rounds // 2), 1))
    print_rows("sweep, per entry that is due", rows, {"lifecycle.Registry.sweep": 0.6})
    rows = await awaited(rounds)
    print_rows("get or create, hit", rows, {"lifecycle.Registry.get_or_create": 0.4})
    print(f"\n{LARGE:,} entries expire at once in a running loop (goal: typically < 1 ms, never > 5 ms with gc frozen)")
    for finalizer in (None, nothing):
        for frozen in (True, False):
            await mass_expiry(frozen=frozen, finalizer=finalizer)
    peers_at_mass_expiry()
    memory()


if __name__ == "__main__":
    main(__doc__, benchmark)
