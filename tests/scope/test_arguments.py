"""What a scope says to arguments of a wrong type, and to being entered again: before anything has happened."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from lifecycle import OwnerClosed, ReleaseTimeout, Scope, Stages, connect
from lifecycle.testing import Bubble

from ..loops import virtual


@virtual
async def test_a_scope_that_is_entered_twice_is_told_so(bubble: Bubble) -> None:
    """With the error of every owner, which is a RuntimeError as well."""
    async with Scope("session") as scope:
        with pytest.raises(OwnerClosed, match="'session' is open and has been entered before"):
            await scope.__aenter__()


@virtual
async def test_what_is_not_a_function_is_refused_when_it_is_given(bubble: Bubble) -> None:
    """And nothing is owned."""
    wrong: Any = 3
    async with Scope() as scope:
        with pytest.raises(TypeError, match="factory must be a function"):
            await scope.acquire(wrong)
        with pytest.raises(TypeError, match="release must be a function"):
            await scope.acquire(list, release=wrong)
        for register in scope.push, scope.push_async_exit:
            with pytest.raises(TypeError, match="exit must be a function"):
                register(wrong)
        assert scope.statistics().opened == 0


@asynccontextmanager
async def session() -> AsyncIterator[None]:
    yield


@contextmanager
def lock() -> Iterator[None]:
    yield


async def generated() -> AsyncIterator[None]:
    yield


async def opened() -> None: ...


MISTAKES = {
    "a function": (lambda: session, r"got <function session.*>; call it: session\(\.\.\.\)$"),
    "a coroutine": (
        lambda: opened(),
        r"of opened\(\); await it first, or hand its function to acquire\(\)$",
    ),
    "a generator": (lambda: generated(), r"got <async_generator .*>; decorate its function with @resource$"),
    "a synchronous one": (lambda: lock(), r"it is a synchronous one, which is for enter_context\(\)$"),
    "anything else": (lambda: 3, r"expected an asynchronous context manager, got 3$"),
}


@pytest.mark.parametrize(("make", "said"), MISTAKES.values(), ids=MISTAKES)
@virtual
async def test_what_is_no_context_manager_is_refused_with_what_to_write(bubble: Bubble, make: Any, said: str) -> None:
    """A coroutine is closed, so that nobody hears that it was never awaited; nothing is owned."""

    async def session_of(stages: Stages) -> None:
        with pytest.raises(TypeError, match=said):
            await stages.enter(make())

    async with Scope() as scope, connect(session_of):
        for enter in (scope.enter, scope.enter_async_context):
            with pytest.raises(TypeError, match=said):
                await enter(make())
        with pytest.raises(TypeError, match=r"it is an asynchronous one, which is for enter\(\)$"):
            scope.enter_context(session())  # type: ignore[arg-type]
        assert scope.statistics().opened == 0


@virtual
async def test_what_is_not_a_name_is_refused_when_it_is_given(bubble: Bubble) -> None:
    """For the scope, and for what it owns."""
    wrong: Any = 3
    with pytest.raises(TypeError, match="name must be a string"):
        Scope(wrong)
    async with Scope() as scope:
        with pytest.raises(TypeError, match="name must be a string"):
            await scope.acquire(list, release=list.clear, name=wrong)
        with pytest.raises(TypeError, match="name must be a string"):
            scope.push(lambda *_: None, name=wrong)
        assert scope.statistics().opened == 0


@virtual
async def test_context_managers_go_by_the_name_they_are_given(bubble: Bubble) -> None:
    """However they came in."""

    @contextmanager
    def plain() -> Iterator[None]:
        yield

    @asynccontextmanager
    async def asynchronous() -> AsyncIterator[None]:
        yield

    scope = Scope(close_timeout=1)
    scope.enter_context(plain(), name="lock")
    await scope.enter_async_context(asynchronous(), name="session")
    scope.push(lambda *_: None, name="log")

    async def hang(*_: object) -> None:
        await asyncio.Event().wait()

    scope.push_async_exit(hang, name="farewell")
    assert [thing.name for thing in scope._portrait().things] == ["lock", "session", "log", "farewell"]
    with pytest.raises(ReleaseTimeout, match="context manager 'farewell'"):
        await scope.aclose()
