"""@resource and @background: what they take, what runs once, where errors go."""

import asyncio
import inspect
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

import anyio
import pytest

from lifecycle import LifecycleError, Scope, TaskHandle, background, resource, run
from lifecycle.testing import Bubble, explore_cancellation, run_virtual
from lifecycle.types import OwnedResource

events: list[str] = []


@pytest.fixture(autouse=True)
def _fresh_events() -> None:
    events.clear()


@resource
async def connection(name: str, *, fail: str = "") -> AsyncGenerator[str, None]:
    """Connect."""
    events.append(f"open {name}")
    await asyncio.sleep(0)
    if fail == "early":
        raise OSError("refused")
    try:
        yield name
    except ValueError as error:
        events.append(f"saw {error}")
        if fail == "suppress":
            return
        if fail == "replace":
            raise OSError("replaced") from error
        raise
    finally:
        await asyncio.sleep(0)
        events.append(f"close {name}")


def test_a_scope_enters_a_resource_and_releases_it_once() -> None:
    """The value, the clean-up at its place, and a factory that makes a new one each time."""

    async def scenario(bubble: Bubble) -> None:
        async with Scope() as scope:
            assert await scope.enter(connection("a")) == "a"
            assert await scope.enter(connection("b")) == "b"
            events.append("body")
        assert events == ["open a", "open b", "body", "close b", "close a"]

    run_virtual(scenario)


def test_it_is_an_async_context_manager_for_one_use() -> None:
    """With async with; a second entry is refused with what to do; leaving twice cleans up once."""

    async def scenario(bubble: Bubble) -> None:
        owned = connection("a")
        assert isinstance(owned, OwnedResource)
        assert isinstance(owned, AbstractAsyncContextManager)
        async with owned as value:
            assert value == "a"
            with pytest.raises(RuntimeError, match=r"'connection' is in use; call connection\(\) again"):
                await owned.__aenter__()
        assert await owned.__aexit__(None, None, None) is False
        assert events == ["open a", "close a"]
        with pytest.raises(RuntimeError, match="is released"):
            await owned.__aenter__()
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(connection("b"))

    run_virtual(scenario)


def test_errors_pass_into_the_generator() -> None:
    """It sees the block's error, and may let it pass, deal with it or replace it."""

    async def scenario(bubble: Bubble) -> None:
        with pytest.raises(ValueError, match="body") as caught:
            async with connection("a"):
                raise ValueError("body")
        assert caught.value.__cause__ is None
        assert events == ["open a", "saw body", "close a"]
        async with connection("a", fail="suppress"):
            raise ValueError("body")
        with pytest.raises(OSError, match="replaced"):
            async with connection("a", fail="replace"):
                raise ValueError("body")
        with pytest.raises(OSError, match="refused"):
            async with connection("a", fail="early"):
                pass

    run_virtual(scenario)


@pytest.mark.parametrize("error", [StopAsyncIteration("x"), StopIteration("x"), RuntimeError("x"), KeyError("x")])
def test_every_kind_of_error_comes_out_as_it_went_in(error: Exception) -> None:
    """Also those that Python itself wraps when they leave a generator."""

    async def scenario(bubble: Bubble) -> None:
        with pytest.raises(type(error)) as caught:
            async with connection("a"):
                raise error
        assert caught.value is error

    run_virtual(scenario)


def test_a_generator_that_never_yields_or_yields_twice_is_an_error() -> None:
    """With its name, and it has been closed."""
    finished = []

    @resource
    async def never() -> AsyncIterator[int]:
        for number in list[int]():
            yield number

    @resource
    async def twice() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            finished.append("twice")

    @resource
    async def stubborn() -> AsyncIterator[int]:
        try:
            yield 1
        except ValueError:
            yield 2

    async def scenario(bubble: Bubble) -> None:
        with pytest.raises(RuntimeError, match="never' yielded nothing; it must yield its value once"):
            async with never():
                pass
        with pytest.raises(RuntimeError, match="twice' yielded a second time"):
            async with twice():
                pass
        with pytest.raises(RuntimeError, match="stubborn' yielded a second time"):
            async with stubborn():
                raise ValueError
        assert finished == ["twice"]

    run_virtual(scenario)


def test_a_resource_that_was_never_entered_is_nothing() -> None:
    """Its generator never began, so nothing is acquired and nothing complained about."""

    async def scenario(bubble: Bubble) -> None:
        connection("a")
        assert events == []

    run_virtual(scenario)


def test_a_factory_looks_like_its_function() -> None:
    """Name, documentation, signature and the function itself: what a container looks at."""
    assert connection.__name__ == "connection"  # type: ignore[attr-defined]
    assert connection.__doc__ == "Connect."
    assert list(inspect.signature(connection).parameters) == ["name", "fail"]
    assert inspect.isasyncgenfunction(connection.__wrapped__)  # type: ignore[attr-defined]
    assert repr(connection) == "resource factory 'connection'"


def test_a_resource_may_be_a_method() -> None:
    """Of an object that has what it needs."""

    class Service:
        prefix = "service "

        @resource
        async def connect(self, name: str) -> AsyncIterator[str]:
            yield self.prefix + name

    async def scenario(bubble: Bubble) -> None:
        async with Service().connect("a") as value:
            assert value == "service a"

    run_virtual(scenario)


def test_a_resource_may_hold_anyio_scopes() -> None:
    """A task group inside, entered and left by one task of the scope's, closed from another."""

    @resource
    async def group() -> AsyncIterator[Any]:
        async with anyio.create_task_group() as tasks:
            yield tasks
            tasks.cancel_scope.cancel()

    async def scenario(bubble: Bubble) -> None:
        scope = Scope()
        tasks = await scope.enter(group())
        tasks.start_soon(anyio.sleep_forever)
        closing = asyncio.create_task(scope.aclose())
        await closing

    run_virtual(scenario)


def test_struck_anywhere_a_resource_is_released() -> None:
    """Cancelled and failed at every point: what was opened is closed, exactly once."""

    async def scenario(bubble: Bubble) -> None:
        bubble.state.live = 0

        @resource
        async def counted() -> AsyncIterator[int]:
            await asyncio.sleep(1)
            bubble.state.live += 1
            try:
                yield 1
            finally:
                await asyncio.sleep(1)
                bubble.state.live -= 1

        async with Scope() as scope:
            await scope.enter(counted())
            await asyncio.sleep(1)

    explore_cancellation(scenario, invariants=[lambda bubble: getattr(bubble.state, "live", 0) == 0]).assert_clean()


@pytest.mark.parametrize("wrong", [print, 5, asyncio.sleep])
@pytest.mark.parametrize("decorator", [resource, background])
def test_what_they_do_not_take(decorator: Callable[[Any], Any], wrong: Any) -> None:
    """A synchronous function, no function; @resource no coroutine function either."""
    if decorator is background and wrong is asyncio.sleep:
        return
    with pytest.raises(TypeError, match=f"@{decorator.__name__} takes an async"):
        decorator(wrong)


@background
async def send(to: str, *, delay: float = 0.0) -> str:
    """Send."""
    await asyncio.sleep(delay)
    if to == "nobody":
        raise OSError("no such address")
    events.append(f"sent to {to}")
    return to


def test_a_background_function_starts_when_it_is_called() -> None:
    """The call returns the handle of a task that run() drains; name, documentation and parameters are kept."""

    async def main() -> TaskHandle[str]:
        handle = send("ada", delay=0.01)
        assert isinstance(handle, TaskHandle)
        assert handle.name == "send"
        return handle

    handle = run(main)
    assert handle.result() == "ada"
    assert events == ["sent to ada"]
    assert (send.__name__, send.__doc__) == ("send", "Send.")
    assert list(inspect.signature(send).parameters) == ["to", "delay"]


def test_an_error_in_the_background_is_logged_with_its_name(caplog: pytest.LogCaptureFixture) -> None:
    """And nothing else happens."""

    async def main() -> None:
        send("nobody")

    caplog.set_level(logging.ERROR)
    run(main)
    (record,) = caplog.records
    assert (record.getMessage(), record.task) == ("background task failed", "send")  # type: ignore[attr-defined]


def test_outside_of_run_a_background_call_is_refused() -> None:
    """With a word on what to do, and no coroutine left unawaited."""

    async def main() -> None:
        with pytest.raises(LifecycleError, match=r"lifecycle\.run"):
            send("ada")

    asyncio.run(main())
