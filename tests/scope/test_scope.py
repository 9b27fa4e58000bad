"""Scope beyond its guarantees (see tests/guarantees): bodies, children, hand-overs, refusals."""

from __future__ import annotations

import asyncio
import contextlib
import gc

import anyio
import pytest

from lifecycle import OwnerClosed, Scope, TaskManager
from lifecycle.testing import Bubble

from ..loops import on_every_loop, run_on, virtual
from .things import Connection, Transaction, fail_after, noted

# The body


@virtual
async def test_a_failing_task_interrupts_the_body_and_its_error_is_raised_as_it_is(bubble: Bubble) -> None:
    """The body ends at once, all is unwound, and no cancellation stays behind."""
    log: list[str] = []
    with pytest.raises(KeyError, match="planned"):
        async with Scope() as scope:
            scope.callback(log.append, "released")
            scope.start_soon(fail_after, 1, KeyError("planned"))
            await noted(log, "body ended")
    assert log == ["body ended", "released"]
    assert bubble.clock.time() == pytest.approx(1)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(1)


@virtual
async def test_the_bodys_own_error_joins_that_of_the_task(bubble: Bubble) -> None:
    """Both are in the group."""
    with pytest.raises(ExceptionGroup) as info:
        async with Scope() as scope:
            scope.start_soon(fail_after, 1, KeyError("task"))
            try:
                await asyncio.sleep(10)
            finally:
                raise ValueError("body")
    assert {type(error) for error in info.value.exceptions} == {KeyError, ValueError}


@virtual
async def test_cancel_ends_the_block_without_an_error(bubble: Bubble) -> None:
    """As a cancel scope does; later cancels change nothing."""
    async with Scope() as scope:
        asyncio.get_running_loop().call_later(1, scope.cancel, "enough")
        await asyncio.sleep(60)
    assert bubble.clock.time() == pytest.approx(1)
    scope.cancel("again")
    assert scope.closed


@virtual
async def test_cancel_by_the_body_itself_takes_effect_at_its_next_wait(bubble: Bubble) -> None:
    """The body goes on until it waits; a body that does not wait ends well."""
    async with Scope() as scope:
        scope.cancel()
    await asyncio.sleep(0)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@virtual
async def test_an_interruption_waits_for_a_shielded_section_of_the_body(bubble: Bubble) -> None:
    """The shield is respected, and a body that ends in it is not hit afterwards."""
    async with Scope() as scope:
        asyncio.get_running_loop().call_later(1, scope.cancel)
        with anyio.CancelScope(shield=True):
            await asyncio.sleep(10)
    await asyncio.sleep(1)
    assert bubble.clock.time() == pytest.approx(11)


@virtual
async def test_an_outer_cancellation_that_comes_with_an_interruption_is_not_swallowed(bubble: Bubble) -> None:
    """The interruption is ours, the cancellation the caller's."""
    reached = []

    async def body() -> None:
        async with Scope() as scope:
            scope.cancel("ours")
            task = asyncio.current_task()
            assert task is not None
            task.cancel("theirs")
            await asyncio.sleep(10)
        reached.append("after the block")

    task = asyncio.create_task(body())
    await asyncio.wait([task])
    assert task.cancelled()
    assert not reached


@virtual
async def test_timeouts_around_and_inside_a_scope_fire_where_they_stand(bubble: Bubble) -> None:
    """A body that is interrupted inside a timeout does not make it fire, and the other way round."""
    async with asyncio.timeout(100), Scope() as scope:
        scope.start_soon(noted, [], "x")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await asyncio.sleep(10)
        asyncio.get_running_loop().call_later(1, scope.cancel)
        await asyncio.sleep(10)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1), Scope():
            await asyncio.sleep(10)


@virtual
async def test_a_scope_is_entered_once(bubble: Bubble) -> None:
    """Twice is a mistake; after the end it is refused as everything else is."""
    async with Scope("s") as scope:
        with pytest.raises(RuntimeError, match="entered before"):
            await scope.__aenter__()
    with pytest.raises(OwnerClosed, match="it is closed"):
        await scope.__aenter__()


# Without a body


@virtual
async def test_a_failing_task_closes_a_scope_that_has_no_body(bubble: Bubble) -> None:
    """Everything is unwound at once; aclose raises the error, once."""
    log: list[str] = []
    scope = Scope()
    scope.callback(log.append, "released")
    scope.start_soon(fail_after, 1, KeyError("planned"))
    await asyncio.sleep(2)
    assert log == ["released"]
    assert scope.closed
    with pytest.raises(KeyError, match="planned"):
        await scope.aclose()
    await scope.aclose()


@virtual
async def test_cancel_closes_a_scope_that_has_no_body(bubble: Bubble) -> None:
    """In the background; a later aclose waits for it."""
    log: list[str] = []
    scope = Scope()
    scope.start_soon(noted, log, "task")
    await asyncio.sleep(0)
    scope.cancel()
    await scope.aclose()
    assert log == ["task"]


@virtual
async def test_a_body_may_close_its_own_scope(bubble: Bubble) -> None:
    """What it owned is gone when aclose returns; the rest of the body is refused."""
    log: list[str] = []
    async with Scope() as scope:
        scope.start_soon(noted, log, "task")
        await asyncio.sleep(0)
        await scope.aclose()
        assert log == ["task"]
        with pytest.raises(OwnerClosed):
            scope.start_soon(noted, log, "late")


def test_a_forgotten_close_is_a_warning() -> None:
    """The warning names the scope."""
    scope = Scope("forgotten")
    scope.callback(str)
    with pytest.warns(ResourceWarning, match="scope 'forgotten' was dropped"):
        del scope
        gc.collect()


# Children


@virtual
async def test_an_error_of_a_child_without_a_body_reaches_the_parent(bubble: Bubble) -> None:
    """The child is unwound, then the parent's body is interrupted and the error raised there."""
    log: list[str] = []
    with pytest.raises(KeyError, match="planned"):
        async with Scope("parent") as parent:
            parent.callback(log.append, "parent released")
            child = parent.child()
            child.callback(log.append, "child released")
            child.start_soon(fail_after, 1, KeyError("planned"))
            await asyncio.sleep(60)
    assert log == ["child released", "parent released"]


@virtual
async def test_a_child_with_a_body_raises_its_errors_itself(bubble: Bubble) -> None:
    """The parent goes on."""
    async with Scope("parent") as parent:
        with pytest.raises(KeyError):
            async with parent.child("inner") as child:
                child.start_soon(fail_after, 1, KeyError("planned"))
                await asyncio.sleep(60)
        await asyncio.sleep(1)
        assert parent.statistics().live == 0


@virtual
async def test_a_closing_parent_ends_the_body_of_a_child_first(bubble: Bubble) -> None:
    """The child's body runs in some other task, which loses nothing under its hands."""
    log: list[str] = []

    async def serve(parent: Scope) -> None:
        async with parent.child("request") as request:
            request.callback(log.append, "request released")
            await noted(log, "request body ended")

    async with Scope("parent") as parent:
        parent.callback(log.append, "parent released")
        parent.start_soon(serve, parent)
        await asyncio.sleep(1)
    assert log == ["request body ended", "request released", "parent released"]


@virtual
async def test_an_idle_child_leaves_its_parent_when_it_is_closed(bubble: Bubble) -> None:
    """An owner that lives for ten years holds only what is alive."""
    async with Scope() as parent:
        for _ in range(100):
            await parent.child().aclose()
        assert parent.statistics().live == 0
        assert parent.statistics().opened == 100


def test_wrong_things_are_refused_before_anything_happens() -> None:
    """Types and values, with a message that says what was expected."""
    for timeout, error in ((-1, ValueError), (float("nan"), ValueError), ("3", TypeError), (True, TypeError)):
        with pytest.raises(error, match="close_timeout"):
            Scope(close_timeout=timeout)  # type: ignore[arg-type]

    @virtual
    async def check(bubble: Bubble) -> None:
        async with Scope() as scope:
            with pytest.raises(TypeError, match="async function"):
                scope.start_soon(print, "x")  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="async function"):
                scope.create_task(42)  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="asynchronous context manager"):
                await scope.enter(contextlib.nullcontext)  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="a context manager"):
                scope.enter_context(3)  # type: ignore[arg-type]
            assert scope.statistics().opened == 0

    check()


# Everywhere


@on_every_loop
def test_a_whole_service_on_every_loop(new_loop) -> None:  # type: ignore[no-untyped-def]
    """Inside an anyio task group and an asyncio.timeout, with eager tasks and on uvloop."""
    log: list[str] = []

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(noted, log, "neighbour", 0.01)
            with anyio.move_on_after(0.05):
                async with asyncio.timeout(10), Scope("service") as scope:
                    await scope.acquire(Connection, log)
                    manager = await scope.enter(TaskManager(drain_timeout=0))
                    manager.start_soon(noted, log, "background")
                    scope.start_soon(noted, log, "task")
                    await scope.enter(Transaction(log))
                    await asyncio.sleep(3600)
        assert log == ["neighbour", "roll back for CancelledError", "task", "background", "aclose"]

    run_on(new_loop, main())
