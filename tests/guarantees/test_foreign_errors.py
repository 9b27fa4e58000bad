"""Guarantee 6, whatever the error: one that refuses, raises or runs in circles reaches its caller as it is, once.

An owner that touches such an error in the middle of its books loses what stands below; so no owner may.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from lifecycle import (
    ConnectError,
    Pool,
    ReaderWorker,
    Registry,
    Retry,
    Scope,
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
    resource,
    run,
    serve_tcp,
)
from lifecycle._ground.foreign import members
from lifecycle.types import KeptConnection

from ..hostile import with_hostile_errors

Make = Callable[[], Exception]
Fail = Callable[..., Coroutine[Any, Any, Any]]
Place = Callable[[Fail, Callable[..., Any]], Coroutine[Any, Any, object]]

PLACES: dict[str, Place] = {}


def place(raising: Place) -> Place:
    """Enter a place where an error can be met; it is called with functions of either kind that raise it."""
    PLACES[raising.__name__] = raising
    return raising


async def forever() -> None:
    await asyncio.Event().wait()


def error_of(main: Coroutine[Any, Any, object]) -> BaseException | None:
    """Return what *main* raises; caught in the loop, because asyncio's runner asks for words of it."""

    async def catch() -> BaseException | None:
        try:
            async with asyncio.timeout(10.0):
                await main
        except Exception as error:
            return error
        return None

    return asyncio.run(catch())


# Scopes


@place
async def body(fail: Fail, fails: Any) -> None:
    async with Scope():
        fails()


@place
async def task(fail: Fail, fails: Any) -> None:
    async with Scope() as scope:
        scope.start_soon(fail)
        await forever()


@place
async def task_of_a_child(fail: Fail, fails: Any) -> None:
    async with Scope() as scope:
        scope.child().start_soon(fail)
        await forever()


@place
async def start(fail: Fail, fails: Any) -> None:
    async def failing(*, task_status: object) -> None:
        await fail()

    async with Scope() as scope:
        await scope.start(failing)


@place
async def release(fail: Fail, fails: Any) -> None:
    async with Scope() as scope:
        scope.callback(fails)


@place
async def release_that_suspends(fail: Fail, fails: Any) -> None:
    async with Scope() as scope:
        scope.push_async_callback(fail)


@place
async def release_of_a_value(fail: Fail, fails: Any) -> None:
    async with Scope() as scope:
        await scope.acquire(object, release=fail)


@place
async def factory(fail: Fail, fails: Any) -> None:
    async with Scope() as scope:
        await scope.acquire(fail, release=print)


class Manager:
    """A context manager that fails on entering or on leaving; not by `contextlib`, which touches errors."""

    def __init__(self, enter: Fail | None = None, leave: Fail | None = None) -> None:
        self.enter, self.leave = enter, leave

    async def __aenter__(self) -> None:
        if self.enter is not None:
            await self.enter()

    async def __aexit__(self, *_: object) -> None:
        if self.leave is not None:
            await self.leave()


@place
async def entering(fail: Fail, fails: Any) -> None:
    async with Scope() as scope:
        await scope.enter(Manager(enter=fail))


@place
async def leaving(fail: Fail, fails: Any) -> None:
    async with Scope() as scope:
        await scope.enter(Manager(leave=fail))


@place
async def leaving_in_the_host(fail: Fail, fails: Any) -> None:
    async with Scope() as scope:
        await scope.enter_async_context(Manager(leave=fail))


@place
async def exit_function(fail: Fail, fails: Any) -> None:
    async with Scope() as scope:
        scope.push(fails)


@place
async def body_over_a_resource(fail: Fail, fails: Any) -> None:
    @resource
    async def held() -> AsyncIterator[None]:
        try:
            yield
        finally:
            await asyncio.sleep(0)

    async with Scope() as scope:
        await scope.enter(held())
        fails()


# Groups


@place
async def task_of_a_group(fail: Fail, fails: Any) -> None:
    async with TaskGroup() as group:
        group.start_soon(fail)
        await forever()


@place
async def native_task_of_a_group(fail: Fail, fails: Any) -> None:
    async with TaskGroup() as group:
        group.create_task(fail())
        await forever()


@place
async def body_of_a_group(fail: Fail, fails: Any) -> None:
    async with TaskGroup():
        fails()


@place
async def body_that_awaits_a_task_of_its_group(fail: Fail, fails: Any) -> None:
    async with TaskGroup(policy="collect") as group:
        await group.start_soon(fail)


@place
async def gathered(fail: Fail, fails: Any) -> None:
    await gather(fail(), forever())


@place
async def gathered_outcome(fail: Fail, fails: Any) -> None:
    raise (await gather(fail(), return_exceptions=True))[0]


@place
async def mapped(fail: Fail, fails: Any) -> None:
    await amap(fail, [1, 2], limit=1)


@place
async def raced(fail: Fail, fails: Any) -> None:
    await race(fail, fail)


@place
async def completed(fail: Fail, fails: Any) -> None:
    async for done in as_completed([fail()]):
        assert done.exception() is not None
        await done


# Managers, timers, pairs


@place
async def background_task(fail: Fail, fails: Any) -> None:
    errors: list[BaseException] = []
    async with TaskManager(limit=1, on_error=lambda _, error: errors.append(error)) as manager:
        manager.start_soon(fail)
        await manager.start_soon(asyncio.sleep, 0)
    raise errors[0]


@place
async def timer(fail: Fail, fails: Any) -> None:
    async with Scope() as scope:
        scope.start_soon(fixed_rate(fail, 1.0, on_error="raise"))
        await forever()


@place
async def reader(fail: Fail, fails: Any) -> None:
    async with ReaderWorker(fail, lambda _: forever()) as pair:
        assert str((await pair.wait()).first)
        raise (await pair.wait()).errors[0]


@place
async def worker(fail: Fail, fails: Any) -> None:
    async with ReaderWorker(lambda _: forever(), fail):
        await asyncio.sleep(0.01)


@place
async def close_of_a_pair(fail: Fail, fails: Any) -> None:
    async with ReaderWorker(lambda _: forever(), lambda _: forever(), close=fail):
        await asyncio.sleep(0.01)


@place
async def linked_loop(fail: Fail, fails: Any) -> None:
    raise (await link(forever, fail)).errors[0]


# Lenders


@place
async def creation(fail: Fail, fails: Any) -> None:
    async with Registry[str, object](failure_ttl=10.0) as registry:
        await registry.get_or_create("key", fail)


@place
async def creation_for_two(fail: Fail, fails: Any) -> None:
    async with Registry[str, object]() as registry:
        await gather(*(registry.get_or_create("key", fail) for _ in range(2)))


@place
async def finalizer(fail: Fail, fails: Any) -> None:
    async with Registry[str, object](finalizer=fail) as registry:
        registry.put("key", object())


@place
async def creation_of_a_pool(fail: Fail, fails: Any) -> None:
    async with Pool[object](fail, fail, max_size=1) as pool, pool.acquire():
        pass


@place
async def destruction(fail: Fail, fails: Any) -> None:
    async with Pool(object, fail, max_size=1) as pool, pool.acquire():
        pass


@place
async def body_of_a_loan(fail: Fail, fails: Any) -> None:
    async with Pool(object, id, max_size=1) as pool, pool.acquire():
        fails()


# Connects

SURE = Retry(attempts=1, retry_on=KeyError)


async def nothing_to_do(_: object) -> None: ...


@place
async def stage(fail: Fail, fails: Any) -> None:
    async def connector(stages: Any) -> None:
        await stages.step(fail(), name="greeting")

    with pytest.raises(ConnectError) as caught:
        await connect(connector, retry=Retry(attempts=1, retry_on=KeyError))
    assert caught.value.stage == "greeting"
    assert caught.value.__cause__ is not None
    raise caught.value.__cause__


@place
async def rollback(fail: Fail, fails: Any) -> None:
    async def connector(stages: Any) -> None:
        await stages.acquire(object, release=fail)
        raise OSError

    with pytest.raises(ConnectError) as caught:
        await connect(connector)
    raise caught.value.rollback_errors[0]


@place
async def kept_connector(fail: Fail, fails: Any) -> None:
    kept: KeptConnection[None] = keep_connected(fail, retry=SURE)
    with pytest.raises(ConnectError) as caught:
        await kept.get()
    with pytest.raises(ConnectError):
        await kept.aclose()
    assert caught.value.__cause__ is not None
    raise caught.value.__cause__


@place
async def kept_reader(fail: Fail, fails: Any) -> None:
    async def connector(stages: Any) -> None:
        stages.start_soon(fail)

    with pytest.raises(ConnectError) as caught:
        async with keep_connected(connector, retry=SURE):
            await forever()
    assert caught.value.__cause__ is not None
    raise caught.value.__cause__


@place
async def kept_report(fail: Fail, fails: Any) -> None:
    downs: list[Any] = []
    async with keep_connected(nothing_to_do, on_down=downs.append, retry=Retry(retry_on=Exception)) as kept:
        with contextlib.suppress(Exception):
            async with kept.use():
                fails()
        await kept.get()
    assert [down.generation for down in downs] == [1, 2]
    raise downs[0].error


@place
async def kept_release(fail: Fail, fails: Any) -> None:
    async def connector(stages: Any) -> None:
        await stages.acquire(object, release=fail)

    async with keep_connected(connector) as kept:
        await kept.get()


@with_hostile_errors
@pytest.mark.parametrize("raising", PLACES.values(), ids=PLACES)
def test_every_error_reaches_its_caller_as_it_is(make: Make, raising: Place) -> None:
    """The very object, once, and nothing beside it."""
    error = make()

    async def fail(*_: object) -> None:
        await asyncio.sleep(0)
        raise error

    def fails(*_: object) -> None:
        raise error

    caught = error_of(raising(fail, fails))
    while type(caught) is ExceptionGroup and caught is not error:
        assert len(caught.exceptions) == 1
        caught = caught.exceptions[0]
    assert caught is error


@pytest.mark.parametrize("raising", PLACES.values(), ids=PLACES)
def test_a_generator_exit_that_was_raised_is_an_error(raising: Place) -> None:
    """It looks like the end of a coroutine that is closed, which is no failure; but no coroutine is."""
    error = GeneratorExit("own")

    async def fail(*_: object) -> None:
        await asyncio.sleep(0)
        raise error

    def fails(*_: object) -> None:
        raise error

    async def catch() -> BaseException | None:
        try:
            async with asyncio.timeout(10):
                await raising(fail, fails)
        except BaseException as caught:
            return caught
        return None

    caught = asyncio.run(catch())
    assert caught is error or (isinstance(caught, BaseExceptionGroup) and caught.exceptions == (error,))


@with_hostile_errors
def test_what_stands_below_is_released(make: Make) -> None:
    """Also with an error of the body and one of every release above it; all are raised."""
    errors = [make() for _ in range(4)]
    released: list[str] = []

    def fails(error: Exception) -> None:
        raise error

    async def fail(error: Exception) -> None:
        await asyncio.sleep(0)
        raise error

    async def main() -> None:
        async with Scope() as scope:
            scope.callback(released.append, "released")
            scope.push_async_callback(fail, errors[0])
            scope.callback(fails, errors[1])
            await scope.enter(Manager(leave=lambda: fail(errors[2])))
            raise errors[3]

    caught = error_of(main())
    assert isinstance(caught, ExceptionGroup)
    told = [id(inner) for inner in members(caught)]
    assert all(told.count(id(error)) == 1 for error in errors)
    assert released == ["released"]


@with_hostile_errors
def test_the_end_of_the_process_is_not_lost_among_them(make: Make) -> None:
    """A release that exits does so, whatever others have met; they are its context."""
    error = make()

    async def leave() -> None:
        async with Scope() as inner:
            inner.callback(fails)
            raise SystemExit(4)

    def fails() -> None:
        raise error

    class Suppressing:
        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> bool:
            return True

    async def main() -> None:
        async with Scope() as scope:
            scope.push_async_callback(leave)
            scope.enter_context(Suppressing())
            raise KeyError

    with pytest.raises(SystemExit) as caught:
        asyncio.run(main())
    assert caught.value.code == 4
    assert caught.value.__context__ is error


@with_hostile_errors
def test_an_error_that_only_the_log_is_told_of_costs_its_owner_nothing(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """A background task, a handler of a server: the record has the error, and the owner goes on."""
    error = make()

    async def fail(*_: object) -> None:
        raise error

    async def main() -> None:
        async with TaskManager() as manager, serve_tcp(fail, "127.0.0.1", 0) as server:
            manager.start_soon(fail)
            streams, writer = await asyncio.open_connection("127.0.0.1", server.port)
            await streams.read()
            writer.close()
            await writer.wait_closed()

    logging.raiseExceptions, before = False, logging.raiseExceptions
    try:
        asyncio.run(main())
    finally:
        logging.raiseExceptions = before
    told = [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert [id(one) for one in told] == [id(error), id(error)]


@with_hostile_errors
def test_run_raises_what_main_raised(make: Make) -> None:
    """As it is."""
    error = make()

    async def main() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        run(main)
    assert caught.value is error


def test_an_error_that_two_places_report_is_raised_alone() -> None:
    """A connection that broke under its reader breaks its close by the same object."""
    error = ConnectionResetError()

    async def close(_: object) -> None:
        raise error

    async def main() -> None:
        async with Scope() as scope:
            await scope.acquire(object, release=close)
            raise error

    assert error_of(main()) is error


@pytest.mark.parametrize("depth", [10, 300])
def test_children_may_be_nested_by_the_hundred(depth: int) -> None:
    """All of them are closed, the innermost first, and every error is raised."""
    closed: list[int] = []

    def close(number: int) -> None:
        closed.append(number)
        raise ValueError(number)

    async def main() -> None:
        async with Scope() as scope:
            for number in range(depth):
                scope = scope.child()
                scope.callback(close, number)

    caught = error_of(main())
    assert closed == list(reversed(range(depth)))
    assert isinstance(caught, ExceptionGroup)
    assert sum(isinstance(inner, ValueError) for inner in members(caught)) == depth
