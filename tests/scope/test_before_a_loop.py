"""A scope before there is an event loop: what does not wait needs none, as in ``contextlib.AsyncExitStack``."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import warnings
from collections.abc import Iterator

import pytest

from lifecycle import OwnerClosed, Scope, take_snapshot
from lifecycle.testing import Bubble, run_virtual

Log = list[str]


@contextlib.contextmanager
def noted(log: Log, name: str) -> Iterator[None]:
    yield
    log.append(name)


async def note(log: Log, name: str) -> None:
    await asyncio.sleep(0)
    log.append(name)


class Exit:
    def __init__(self, log: Log) -> None:
        self._log = log

    async def __aenter__(self) -> Exit:
        return self

    async def __aexit__(self, *details: object) -> None:
        self._log.append("exit")


def filled(log: Log) -> Scope:
    """Return a scope with one of each thing that can be registered without waiting."""
    scope = Scope("early")
    scope.callback(log.append, "callback")
    scope.enter_context(noted(log, "context manager"))
    scope.push(lambda *details: log.append("pushed"))
    scope.push_async_exit(Exit(log))
    scope.push_async_callback(note, log, "async callback")
    scope.child("inner").callback(log.append, "child")
    return scope


EXPECTED = ["child", "async callback", "exit", "pushed", "context manager", "callback"]


def test_all_that_is_synchronous_works_before_there_is_a_loop() -> None:
    """It is released in a loop later, in order; it counts and shows meanwhile."""
    log: Log = []
    scope = filled(log)
    assert scope.statistics().live == 6
    assert "callbacks" in str(take_snapshot())
    heir = scope.pop_all()
    heir.callback(log.append, "of the heir")

    async def main(bubble: Bubble) -> None:
        async with heir:
            heir.callback(log.append, "in the loop")
        await scope.aclose()

    run_virtual(main)
    assert log == ["in the loop", "of the heir", *EXPECTED]


def test_what_comes_first_in_the_loop_tells_the_time() -> None:
    """A thing that was registered before has no time on a loop's clock."""
    scope = filled([])

    async def main(bubble: Bubble) -> None:
        assert scope._portrait().since is None
        await asyncio.sleep(3)
        async with scope:
            scope.child()
            assert scope._portrait().since == asyncio.get_running_loop().time()

    run_virtual(main)


def test_a_closed_scope_refuses_without_a_loop_as_well() -> None:
    """And releases at once what it is offered and needs no loop."""
    scope = Scope()
    asyncio.run(scope.aclose())
    with pytest.raises(OwnerClosed):
        scope.child()
    with pytest.raises(OwnerClosed):
        scope.enter_context(contextlib.nullcontext())
    with pytest.raises(OwnerClosed):
        scope.callback(print, "never called")


@pytest.mark.parametrize("offer", ["start_soon", "create_task"])
def test_a_task_needs_a_loop(offer: str) -> None:
    """It is refused without one: its coroutine is closed, and nothing of it is left in the ledger for the close."""
    scope = Scope()
    coro = note([], "never")
    with pytest.raises(RuntimeError, match="no running event loop"):
        scope.create_task(coro) if offer == "create_task" else scope.start_soon(lambda: coro)
    assert inspect.getcoroutinestate(coro) == inspect.CORO_CLOSED
    assert scope.statistics().live == 0

    async def main(bubble: Bubble) -> None:
        await scope.aclose()
        assert bubble.clock.now == 0

    run_virtual(main)


def test_a_scope_without_a_body_is_cancelled_in_a_loop_only() -> None:
    """Without one nothing happens to it, and no coroutine is made in vain."""
    log: Log = []
    scope = filled(log)
    with warnings.catch_warnings(record=True) as complaints, pytest.raises(RuntimeError):
        warnings.simplefilter("always")
        scope.cancel()
    gc.collect()
    assert not complaints
    asyncio.run(scope.aclose())
    assert log == EXPECTED
