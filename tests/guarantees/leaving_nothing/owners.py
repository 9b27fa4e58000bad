"""Programs with the other owners, of which nothing may be left."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any

from lifecycle import (
    Pool,
    Registry,
    Scope,
    TaskGroup,
    TaskManager,
    amap,
    as_completed,
    fixed_rate,
    gather,
    race,
    take_snapshot,
)

from ._parts import (
    Value,
    cancel_soon,
    case,
    fail,
    fail_later,
    fail_when_cancelled,
    fails,
    forever,
    make,
    pause,
    turn,
)

# Groups


@case
async def group_task_fails() -> None:
    async with TaskGroup() as group:
        group.start_soon(fail)
        group.create_task(fail())
        await forever()


@case
async def group_body_fails() -> None:
    async with TaskGroup() as group:
        group.start_soon(forever, Value())
        fails()


@case
async def group_collects() -> None:
    async with TaskGroup(policy="collect", limit=1) as group:
        group.start_soon(fail)
        group.create_task(fail())


@case
async def group_races() -> None:
    async with TaskGroup(policy="race") as group:
        group.start_soon(fail)
        group.start_soon(pause)
        group.start_soon(forever)


@case
async def group_times_out() -> None:
    async with TaskGroup(timeout=0.001) as group:
        group.start_soon(forever, Value())
        group.start_soon(fail_when_cancelled)


@case
async def group_is_cancelled() -> None:
    async with TaskGroup() as group:
        group.start_soon(forever)
        await turn()
        group.cancel("enough")


@case
async def group_host_is_cancelled_while_it_joins() -> None:
    cancel_soon()
    async with TaskGroup() as group:
        group.start_soon(fail_when_cancelled)
        group.create_task(forever())


@case
async def group_start_fails() -> None:
    async with TaskGroup() as group:
        await group.start(lambda *, task_status: fail())


@case
async def gathers() -> None:
    await gather(make(), make(), limit=1)


@case
async def gather_fails() -> None:
    await gather(fail(), fail(), forever())


@case
async def gather_returns_errors() -> None:
    await gather(fail(), make(), fail_later(), return_exceptions=True)


@case
async def gather_is_cancelled() -> None:
    cancel_soon()
    await gather(forever(), forever())


@case
async def amap_fails() -> None:
    await amap(fail, [Value(), Value()], limit=1)


@case
async def amap_items_fail() -> None:
    def items() -> Iterator[Value]:
        yield Value()
        fails()

    await amap(turn, items(), limit=1)


@case
async def amap_async_items_fail() -> None:
    async def items() -> AsyncIterator[Value]:
        yield Value()
        fails()

    await amap(turn, items(), limit=1)


@case
async def race_is_won() -> None:
    await race(make, forever, fail_later)


@case
async def race_is_lost() -> None:
    await race(fail, fail)


@case
async def completions_fail() -> None:
    async for done in as_completed([fail(), fail_later(), make()]):
        done.done()


@case
async def completions_are_left() -> None:
    async with as_completed([fail(), forever()]) as completions:
        async for _ in completions:
            break


@case
async def completions_source_fails() -> None:
    def awaitables() -> Iterator[Coroutine[Any, Any, None]]:
        yield turn()
        fails()

    async for _ in as_completed(awaitables()):
        pass


@case
async def completions_are_cancelled() -> None:
    cancel_soon()
    async for _ in as_completed([forever()]):
        pass


# Managers and timers


def unheard(*_: object) -> None: ...


@case
async def manager_task_fails() -> None:
    async with TaskManager(on_error=unheard) as manager:
        manager.start_soon(fail)
        await manager.start_soon(turn, Value())


@case
async def manager_cancels_tasks() -> None:
    async with TaskManager(limit=2, drain_timeout=0.001, on_error=unheard) as manager:
        manager.start_soon(forever, Value())
        manager.start_soon(fail_when_cancelled)
        manager.start_soon(forever, Value())


@case
async def manager_start_fails() -> None:
    async with TaskManager() as manager:
        await manager.start(lambda *, task_status: fail())


@case
async def manager_body_fails() -> None:
    async with TaskManager(drain_timeout=0.001) as manager:
        manager.start_soon(forever)
        fails()


@case
async def manager_is_cancelled_while_it_drains() -> None:
    cancel_soon()
    async with TaskManager() as manager:
        manager.start_soon(forever)


@case
async def manager_spawn_is_cancelled() -> None:
    cancel_soon()
    async with TaskManager(limit=1, drain_timeout=0.0) as manager:
        manager.start_soon(forever)
        await manager.spawn(forever, Value())


@case
async def timer_fails() -> None:
    async with Scope() as scope:
        scope.start_soon(fixed_rate(fail, 1.0, on_error="raise"))
        await forever()


@case
async def timer_runs_out_of_time() -> None:
    async with Scope() as scope:
        await scope.start_soon(fixed_rate(forever, 0.001, max_runs=2, run_timeout=0.001, on_error="stop"))


# Lenders


@case
async def registry_creates_and_ends() -> None:
    async with Registry[str, Value](finalizer=turn, max_size=1) as registry:
        await registry.get_or_create("one", make)
        async with registry.lease("two", make):
            await turn()


@case
async def registry_creation_fails() -> None:
    async with Registry[str, Value](failure_ttl=0.001) as registry:
        await gather(*(registry.get_or_create("key", fail_later) for _ in range(3)))


@case
async def registry_creation_fails_at_once() -> None:
    async with Registry[str, Value]() as registry:
        await registry.get_or_create("key", fails)


@case
async def registry_creation_is_cancelled() -> None:
    cancel_soon()
    async with Registry[str, Any]() as registry:
        await registry.get_or_create("key", fail_when_cancelled)


@case
async def registry_creation_takes_too_long() -> None:
    async with Registry[str, Any](create_timeout=0.001) as registry:
        await registry.get_or_create("key", forever)


@case
async def registry_finalizer_fails() -> None:
    async with Registry[str, Value](finalizer=fail_later) as registry:
        registry.put("one", Value())
        registry.put("two", Value())
        fails()


@case
async def pool_lends() -> None:
    async with Pool(make, turn, max_size=1, check=turn, check_bypass=0.0, reset=turn) as pool:
        for _ in range(2):
            async with pool.acquire() as value:
                del value


@case
async def pool_creation_fails() -> None:
    async with Pool[Any](fail_later, turn, max_size=1) as pool, pool.acquire():
        pass


@case
async def pool_ends_fail() -> None:
    async with Pool(make, fail_later, max_size=1) as pool, pool.acquire() as value:
        del value
        fails()


@case
async def pool_borrower_is_cancelled() -> None:
    cancel_soon()
    async with Pool(forever, turn, max_size=1) as pool, pool.acquire():
        pass


@case
async def pool_borrower_waits_too_long() -> None:
    async with Pool(forever, turn, max_size=1) as pool, pool.acquire(timeout=0.001):
        pass


# Looking


@case
async def snapshot() -> None:
    async with Scope() as scope:
        scope.start_soon(forever)
        await scope.acquire(make)
        str(take_snapshot())
