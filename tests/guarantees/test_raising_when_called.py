"""A function that raises when it is called, before there is anything to await: told as it is, and nothing is left.

Whatever calls what users hand in has begun other work by then, which must end first; and what was taken for the call (a
slot, a place, a key, a stage) is given back.
"""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import Any

import pytest

from lifecycle import (
    Pool,
    ReaderWorker,
    Registry,
    Scope,
    Stages,
    TaskGroup,
    TaskManager,
    amap,
    as_completed,
    connect,
    fixed_rate,
    gather,
    keep_connected,
    link,
    race,
)

from ..loops import on_every_loop, run_on, some_turns

NewLoop = Callable[[], asyncio.AbstractEventLoop]


class CalledError(Exception):
    """What the function raises."""


def fails(*_: object, **__: object) -> Awaitable[Any]:
    raise CalledError


class Failing:
    """An awaitable that raises where it is awaited, before it gives anything to wait for."""

    def __await__(self) -> Iterator[Any]:
        raise CalledError


class Others:
    """Work that goes on beside it: how much of it has begun, and has ended."""

    def __init__(self) -> None:
        self.begun = self.ended = 0

    async def work(self, *_: object) -> None:
        self.begun += 1
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            self.ended += 1


# Many at once.


async def race_first(others: Others) -> None:
    await race(fails, others.work)


async def race_last(others: Others) -> None:
    await race(others.work, others.work, fails)


async def race_alone(others: Others) -> None:
    await race(fails, fails)


async def gather_what_fails(others: Others) -> None:
    await gather(others.work(), Failing(), others.work())


async def gather_from_a_source(others: Others) -> None:
    await gather(source(others))


async def gather_from_an_asynchronous_source(others: Others) -> None:
    await gather(asynchronous_source(others))


def source(others: Others) -> Iterator[Awaitable[None]]:
    yield others.work()
    yield others.work()
    raise CalledError


async def asynchronous_source(others: Others) -> AsyncIterator[Awaitable[None]]:
    for work in source(others):
        yield work


def fails_for_two(others: Others) -> Callable[[int], Awaitable[None]]:
    return lambda number: fails() if number == 2 else others.work()


async def amap_of_all(others: Others) -> None:
    await amap(fails_for_two(others), range(4))


async def amap_of_some(others: Others) -> None:
    await amap(fails_for_two(others), range(4), limit=3)


async def amap_from_an_asynchronous_source(others: Others) -> None:
    async def numbers() -> AsyncIterator[int]:
        for number in range(4):
            yield number

    await amap(fails_for_two(others), numbers())


async def as_completed_of_what_fails(others: Others) -> None:
    async with as_completed([others.work(), Failing()]) as completions:
        async for handle in completions:
            handle.result()


async def as_completed_from_a_source(others: Others) -> None:
    async for handle in as_completed(source(others)):
        handle.result()


async def as_completed_from_an_asynchronous_source(others: Others) -> None:
    async for handle in as_completed(asynchronous_source(others)):
        handle.result()


# Owners.


def owner_of(kind: Callable[[], Any], start: Callable[[Any], Awaitable[object] | object]) -> Callable[..., Any]:
    async def use(others: Others) -> None:
        async with kind() as owner:
            owner.start_soon(others.work)
            await some_turns()
            started = start(owner)
            if isinstance(started, Awaitable):
                await started

    return use


def manager() -> TaskManager:
    return TaskManager(drain_timeout=0)


async def acquire(others: Others) -> None:
    async with Scope() as scope:
        scope.start_soon(others.work)
        await some_turns()
        await scope.acquire(fails)


async def spawn_with_a_limit(others: Others) -> None:
    async with TaskManager(limit=1, drain_timeout=None) as tasks:
        try:
            await tasks.spawn(fails)
        finally:  # it has left the one slot free
            await tasks.spawn(asyncio.sleep, 0)


async def pool(others: Others) -> None:
    async with Pool(fails, lambda value: None, max_size=1) as values:
        for _ in range(2):  # the one place is free again
            try:
                async with values.acquire():
                    raise AssertionError("nothing was made")
            except CalledError:
                assert values.statistics().size == values.statistics().creating == 0
        raise CalledError


async def registry(others: Others) -> None:
    values: Registry[str, object]
    async with Registry() as values:
        for _ in range(2):
            try:
                async with values.lease("key", fails):
                    raise AssertionError("nothing was made")
            except CalledError:
                assert values.statistics().live == values.statistics().loading == 0
        raise CalledError


async def pair_reader(others: Others) -> None:
    async with ReaderWorker(fails, others.work):
        await asyncio.Event().wait()


async def pair_worker(others: Others) -> None:
    async with ReaderWorker(others.work, fails):
        await asyncio.Event().wait()


async def linked(others: Others) -> None:
    await link(others.work, fails)


def keeping(step: Callable[[Stages], Any], **hooks: Any) -> Callable[..., Any]:
    async def use(others: Others) -> None:
        async def connector(stages: Stages) -> None:
            stages.start_soon(others.work)
            await some_turns()
            started = step(stages)
            if isinstance(started, Awaitable):
                await started

        async with keep_connected(connector, **hooks):
            await others.work()

    return use


async def kept_connector(others: Others) -> None:
    async with keep_connected(fails):
        await others.work()


async def timer(others: Others) -> None:
    async with TaskGroup() as group:
        group.start_soon(others.work)
        group.start_soon(fixed_rate(fails, 0.001, on_error="raise"))


def connecting(step: Callable[[Stages], Any]) -> Callable[..., Any]:
    async def use(others: Others) -> None:
        async def connector(stages: Stages) -> None:
            stages.start_soon(others.work)
            await some_turns()
            started = step(stages)
            if isinstance(started, Awaitable):
                await started

        await connect(connector)

    return use


USES: dict[str, Callable[[Others], Coroutine[Any, Any, None]]] = {
    use.__name__: use
    for use in (
        race_first, race_last, race_alone, gather_what_fails, gather_from_a_source, gather_from_an_asynchronous_source,
        amap_of_all, amap_of_some, amap_from_an_asynchronous_source, as_completed_of_what_fails,
        as_completed_from_a_source, as_completed_from_an_asynchronous_source, acquire, spawn_with_a_limit, pool,
        registry, pair_reader, pair_worker, linked, kept_connector, timer,
    )
}  # fmt: skip
for name, kind in {"group": TaskGroup, "manager": manager, "scope": Scope}.items():
    USES[f"{name}.start_soon"] = owner_of(kind, lambda owner: owner.start_soon(fails))
    USES[f"{name}.start"] = owner_of(kind, lambda owner: owner.start(fails))
USES["manager.spawn"] = owner_of(manager, lambda owner: owner.spawn(fails))
USES["stages.start_soon"] = connecting(lambda stages: stages.start_soon(fails))
USES["stages.acquire"] = connecting(lambda stages: stages.acquire(fails))
USES["stages.step"] = connecting(lambda stages: stages.step(Failing()))
USES["kept.acquire"] = keeping(lambda stages: stages.acquire(fails))
USES["kept.start_soon"] = keeping(lambda stages: stages.start_soon(fails))
USES["kept.replay"] = keeping(lambda stages: None, replay=fails)


def holds(error: BaseException) -> bool:
    """Whether it is the one error, alone in its group or as the cause of a failed connect."""
    if isinstance(error, BaseExceptionGroup):
        return len(error.exceptions) == 1 and holds(error.exceptions[0])
    return isinstance(error.__cause__ or error, CalledError)


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@on_every_loop
def test_what_raises_when_it_is_called(use: Callable[[Others], Coroutine[Any, Any, None]], new_loop: NewLoop) -> None:
    """The error comes out alone; all that ran beside it has ended, and no coroutine is left unawaited."""
    others = Others()

    async def main() -> None:
        with pytest.raises((CalledError, ExceptionGroup, ConnectionError)) as raised:
            await asyncio.wait_for(use(others), 30)
        assert holds(raised.value), raised.value
        assert others.begun == others.ended

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run_on(new_loop, main())
        gc.collect()
