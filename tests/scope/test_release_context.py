"""In which context a scope releases: what is synchronous sees the variables of the task that closes it."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from lifecycle import Scope

from ..loops import on_every_loop, run_on

span: ContextVar[str] = ContextVar("span", default="outside")


class Span:
    """Sets a variable, and back when it is closed, which only its own context can do."""

    def __init__(self) -> None:
        self._token = span.set("inside")

    def close(self) -> None:
        span.reset(self._token)


@contextlib.contextmanager
def spanned() -> Iterator[None]:
    token = span.set("inside")
    yield
    span.reset(token)


@contextlib.asynccontextmanager
async def traced() -> Any:
    token = span.set("inside")
    await asyncio.sleep(0)
    yield
    span.reset(token)


async def by_callback(scope: Scope) -> None:
    scope.callback(span.reset, span.set("inside"))


async def by_release(scope: Scope) -> None:
    await scope.acquire(Span)


async def by_context_manager(scope: Scope) -> None:
    scope.enter_context(spanned())


async def by_held_context_manager(scope: Scope) -> None:
    await scope.enter(traced())


async def by_child(scope: Scope) -> None:
    child = scope.child()
    child.push_async_callback(asyncio.sleep, 0.001)
    child.callback(span.reset, span.set("inside"))
    child.push_async_callback(asyncio.sleep, 0.001)


async def by_grandchild(scope: Scope) -> None:
    child = scope.child().child()
    child.enter_context(spanned())
    child.push_async_callback(asyncio.sleep, 0)


async def nothing() -> None:
    pass


async def a_while() -> None:
    await asyncio.sleep(0.001)


async def plain_factory(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.get_running_loop().set_task_factory(lambda loop, coro, **how: asyncio.Task(coro, loop=loop, **how))
    await main()


KINDS = [by_callback, by_release, by_context_manager, by_held_context_manager, by_child, by_grandchild]


@on_every_loop
@pytest.mark.parametrize("above", [None, nothing, a_while])
@pytest.mark.parametrize("kind", KINDS)
def test_a_token_is_good_whatever_lies_above(
    new_loop: Callable[[], asyncio.AbstractEventLoop], above: Any, kind: Any
) -> None:
    """With and without a block, on every kind of loop: as if the releases were written out in the closing task."""

    async def main() -> None:
        for block in (True, False):
            scope = Scope()
            async with scope if block else contextlib.nullcontext():
                await kind(scope)
                assert span.get() == "inside"
                for _ in range(2 if above is not None else 0):
                    scope.push_async_callback(above)
            if not block:
                await scope.aclose()
            assert span.get() == "outside"

    run_on(new_loop, main())


def test_a_task_factory_of_ones_own_keeps_the_context() -> None:
    """Also one that takes no context, where a held context manager has to do with a copy."""

    async def main() -> None:
        async with Scope() as scope:
            await by_held_context_manager(scope)
            assert span.get() == "inside"
        assert span.get() == "outside"

    async def simple() -> None:
        asyncio.get_running_loop().set_task_factory(lambda loop, coro: asyncio.Task(coro, loop=loop))
        async with Scope() as scope:
            await scope.enter(traced())
            scope.callback(span.reset, span.set("inside"))
            scope.push_async_callback(a_while)
        assert span.get() == "outside"

    asyncio.run(plain_factory(main))
    if sys.version_info < (3, 14):  # where asyncio itself hands a context to every factory
        asyncio.run(simple())


def test_a_task_factory_that_refuses_fails_what_was_to_be_made() -> None:
    """The caller gets its error, nothing is left in the scope, and no coroutine unawaited."""

    def refuse(loop: Any, coro: Any, **how: Any) -> Any:
        coro.close()
        raise OSError("no more tasks")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        scope = Scope()
        for make in (lambda: scope.enter(traced()), lambda: scope.acquire(a_while, release=print)):
            loop.set_task_factory(refuse)
            with pytest.raises(OSError, match="no more tasks"):
                await make()
            loop.set_task_factory(None)
        assert scope.statistics().live == 0
        await scope.aclose()

    asyncio.run(main())
