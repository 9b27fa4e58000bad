"""What stands after the yield of a @resource: it runs once on every exit, with or without try and finally."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio
import pytest

from lifecycle import Scope, Stages, connect, resource
from lifecycle.testing import Bubble, explore_cancellation, run_virtual

Log = list[str]


@resource
async def plain(log: Log) -> AsyncIterator[Log]:
    """The form that the documentation shows."""
    log.append("open")
    yield log
    await asyncio.sleep(0.1)
    log.append("closed")


@resource
async def careful(log: Log) -> AsyncIterator[Log]:
    log.append("open")
    try:
        yield log
    finally:
        await asyncio.sleep(0.1)
        log.append("closed")


@resource
async def in_a_loop(log: Log) -> AsyncIterator[Log]:
    """One generator hands on what another one yields."""

    async def inner() -> AsyncIterator[Log]:
        log.append("open")
        yield log
        await asyncio.sleep(0.1)
        log.append("closed")

    async for value in inner():
        yield value


@resource
async def after_a_handled_error(log: Log) -> AsyncIterator[Log]:
    """The yield stands in an except block, which is none that sees errors of its own."""
    try:
        raise OSError("the first host is down")
    except OSError as error:
        log.append("open")
        yield log
        await asyncio.sleep(0.1 * len(error.args))
    log.append("closed")


@resource
async def below_a_context_manager(log: Log) -> AsyncIterator[Log]:
    async with contextlib.nullcontext():
        log.append("open")
    yield log
    await asyncio.sleep(0.1)
    log.append("closed")


FORMS = [plain, careful, in_a_loop, after_a_handled_error, below_a_context_manager]


@contextlib.asynccontextmanager
async def held(made: AbstractAsyncContextManager[Log]) -> AsyncIterator[Log]:
    async with Scope() as scope:
        yield await scope.enter(made)


@contextlib.asynccontextmanager
async def inline(made: AbstractAsyncContextManager[Log]) -> AsyncIterator[Log]:
    async with Scope() as scope:
        yield await scope.enter_async_context(made)


@contextlib.asynccontextmanager
async def connected(made: AbstractAsyncContextManager[Log]) -> AsyncIterator[Log]:
    async def session(stages: Stages) -> Log:
        return await stages.enter(made)

    async with connect(session) as value:
        yield value


@contextlib.asynccontextmanager
async def stacked(made: AbstractAsyncContextManager[Log]) -> AsyncIterator[Log]:
    async with contextlib.AsyncExitStack() as stack:
        yield await stack.enter_async_context(made)


@contextlib.asynccontextmanager
async def alone(made: AbstractAsyncContextManager[Log]) -> AsyncIterator[Log]:
    async with made as value:
        yield value


async def use(entered: AbstractAsyncContextManager[Log], end: str) -> None:
    """Leave the block in the way that *end* names."""
    async with entered:
        if end == "error":
            raise ValueError("of the body")
        if end == "native cancel":
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(1)
        if end == "timeout":
            async with asyncio.timeout(0.01):
                await asyncio.sleep(1)
        if end == "anyio scope":
            with anyio.CancelScope() as scope:
                scope.cancel()
                await asyncio.sleep(1)
            raise ValueError("of the body")


@pytest.mark.parametrize("make", FORMS)
@pytest.mark.parametrize("enter", [held, inline, connected, stacked, alone])
@pytest.mark.parametrize("end", ["return", "error", "native cancel", "timeout", "anyio scope"])
def test_it_is_released_once_however_the_block_ends(
    make: Callable[[Log], AbstractAsyncContextManager[Log]],
    enter: Callable[[AbstractAsyncContextManager[Log]], AbstractAsyncContextManager[Log]],
    end: str,
) -> None:
    """Through every owner, and the error of the block is the one that comes out."""
    expected = {"error": ValueError, "anyio scope": ValueError, "timeout": TimeoutError}
    log: Log = []

    async def scenario(bubble: Bubble) -> None:
        task = asyncio.create_task(use(enter(make(log)), end))
        await asyncio.wait([task])
        assert task.cancelled() is (end == "native cancel")
        if not task.cancelled():
            assert type(task.exception()) is expected.get(end, type(None))
        assert log == ["open", "closed"]

    run_virtual(scenario)


def test_a_transaction_sees_the_error() -> None:
    """A yield inside a try or a with raises it: rolling back depends on that."""
    log: Log = []

    @contextlib.asynccontextmanager
    async def transaction() -> AsyncIterator[None]:
        try:
            yield
        except BaseException as error:
            log.append(f"rolled back for {error}")
            raise
        log.append("committed")

    @resource
    async def session() -> AsyncIterator[None]:
        async with transaction():
            for _ in (1,):
                yield

    @resource
    async def by_hand() -> AsyncIterator[None]:
        try:
            try:
                raise OSError
            except OSError:
                yield
        except ValueError as error:
            log.append(f"saw {error}")

    async def scenario(bubble: Bubble) -> None:
        with pytest.raises(ValueError, match="body"):
            async with Scope() as scope:
                await scope.enter(session())
                raise ValueError("body")
        async with Scope() as scope:
            await scope.enter(by_hand())
            raise ValueError("body")
        assert log == ["rolled back for body", "saw body"]

    run_virtual(scenario)


def test_a_release_that_fails_after_an_error_loses_neither() -> None:
    """The error of the clean-up has that of the block as its context, or they are raised together by a scope."""

    @resource
    async def broken() -> AsyncIterator[int]:
        yield 1
        raise OSError("could not disconnect")

    async def scenario(bubble: Bubble) -> None:
        with pytest.raises(OSError, match="disconnect") as caught:
            async with broken():
                raise ValueError("body")
        assert isinstance(caught.value.__context__, ValueError)
        with pytest.raises(ExceptionGroup) as group:
            async with Scope() as scope:
                await scope.enter(broken())
                raise ValueError("body")
        assert sorted(type(error).__name__ for error in group.value.exceptions) == ["OSError", "ValueError"]

    run_virtual(scenario)


def test_what_takes_generator_functions_gets_the_same() -> None:
    """Behind the factory is one into which an error may be thrown, as a framework does for its dependencies."""
    log: Log = []
    generator: Callable[[Log], AsyncGenerator[Log, None]] = plain.__wrapped__

    async def scenario(bubble: Bubble) -> None:
        with pytest.raises(ValueError, match="handler"):
            async with contextlib.asynccontextmanager(generator)(log):
                raise ValueError("handler")
        assert log == ["open", "closed"]

    run_virtual(scenario)


def test_struck_anywhere_a_plain_resource_is_released() -> None:
    """Cancelled and failed at every point."""

    async def scenario(bubble: Bubble) -> None:
        bubble.state.live = 0

        @resource
        async def counted() -> AsyncIterator[int]:
            await asyncio.sleep(1)
            bubble.state.live += 1
            yield 1
            bubble.state.live -= 1
            await asyncio.sleep(1)

        async with Scope() as scope:
            await scope.enter(counted())
            await asyncio.sleep(1)

    def nothing_lives(bubble: Any) -> bool:
        return getattr(bubble.state, "live", 0) == 0

    explore_cancellation(scenario, invariants=[nothing_lives]).assert_clean()
