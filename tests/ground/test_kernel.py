"""The facts of asyncio and anyio that the kernel stands on, and what it makes of them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Generator
from typing import Any

import anyio
import pytest

from lifecycle._ground import kernel, scopes
from lifecycle._ground.foreign import contexts
from lifecycle._ground.requests import Interruption
from lifecycle._ground.starts import spawn_eagerly
from lifecycle.testing import Bubble

from ..loops import on_every_loop, run_on, virtual


async def sleeper(log: list[str]) -> None:
    try:
        await asyncio.sleep(100)
    finally:
        log.append("ended")


@virtual
async def test_a_native_cancel_pierces_an_anyio_shield(bubble: Bubble) -> None:
    """The fact: were it different one day, half of the kernel could go."""
    log: list[str] = []

    async def shielded() -> None:
        with anyio.CancelScope(shield=True):
            await sleeper(log)

    task = asyncio.create_task(shielded())
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.wait([task])
    assert log == ["ended"]
    assert bubble.clock.time() < 50


@virtual
async def test_cancel_waits_for_the_end_of_a_shielded_section(bubble: Bubble) -> None:
    """The shielded section ends by itself; the next wait is cancelled."""
    log: list[str] = []

    async def shielded() -> None:
        with anyio.CancelScope(shield=True):
            await asyncio.sleep(10)
            log.append("section over")
        await sleeper(log)

    task = asyncio.create_task(shielded())
    await asyncio.sleep(1)
    cancellation = kernel.cancel(task, "because")
    assert not cancellation.delivered
    with pytest.raises(asyncio.CancelledError, match="because"):
        await task
    assert log == ["section over", "ended"]
    assert cancellation.delivered
    assert bubble.clock.time() < 12


@virtual
async def test_a_withdrawn_cancellation_of_a_shielded_task_never_arrives(bubble: Bubble) -> None:
    """Withdrawing ends the attempts and leaves no timer."""

    async def shielded() -> str:
        with anyio.CancelScope(shield=True):
            await asyncio.sleep(1)
        await asyncio.sleep(1)
        return "whole"

    task = asyncio.create_task(shielded())
    await asyncio.sleep(0.5)
    assert kernel.cancel(task).withdraw() is False
    assert await task == "whole"


@virtual
async def test_a_task_that_ends_inside_its_shield_leaves_no_timer(bubble: Bubble) -> None:
    """The attempts end with the task; the bubble sees a timer that is left."""

    async def shielded() -> None:
        with anyio.CancelScope(shield=True):
            await asyncio.sleep(0.001)

    task = asyncio.create_task(shielded())
    await asyncio.sleep(0)
    cancellation = kernel.cancel(task)
    await kernel.wait(task)
    assert not cancellation.delivered


@virtual
async def test_the_gap_between_two_shielded_sections_is_not_missed(bubble: Bubble) -> None:
    """A loop over calls in worker threads looks like this: a shield, a bare yield, a shield."""
    sections = 0

    async def shielded_nearly_always() -> None:
        nonlocal sections
        while True:
            with anyio.CancelScope(shield=True):
                await asyncio.sleep(10)
                sections += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(shielded_nearly_always())
    await asyncio.sleep(15)
    kernel.cancel(task)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sections == 2
    assert bubble.clock.time() < 21


@virtual
async def test_a_task_that_cancels_itself_inside_a_shield_is_cancelled_behind_it(bubble: Bubble) -> None:
    """Also where it yields inside the shield, and never waits."""
    log: list[str] = []

    async def main() -> None:
        with anyio.CancelScope(shield=True):
            kernel.cancel(kernel.current_task())
            for _ in range(3):
                await asyncio.sleep(0)
            log.append("section over")
        await sleeper(log)

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(main())
    assert log == ["section over", "ended"]


@virtual
async def test_a_shield_that_another_task_takes_away_is_noticed(bubble: Bubble) -> None:
    """The task makes no step then; anyio itself would cancel it now."""
    section = anyio.CancelScope(shield=True)

    async def shielded() -> None:
        with section:
            await asyncio.sleep(100)

    task = asyncio.create_task(shielded())
    await asyncio.sleep(1)
    kernel.cancel(task)
    section.shield = False
    with pytest.raises(asyncio.CancelledError):
        await task
    assert bubble.clock.time() < 2


@virtual
async def test_only_shields_inside_the_given_scope_count(bubble: Bubble) -> None:
    """A block that ends inside a shield has nothing to do with it."""
    around: list[anyio.CancelScope | None] = []

    async def shielded() -> None:
        with anyio.CancelScope(shield=True):
            around.append(scopes.scope_of_caller())
            await asyncio.sleep(100)

    task = asyncio.create_task(shielded())
    await asyncio.sleep(1)
    assert not kernel.cancel(task).delivered
    assert kernel.cancel(task, around=around[0]).delivered
    with pytest.raises(asyncio.CancelledError):
        await task


@virtual
async def test_a_request_that_is_under_way_keeps_its_message(bubble: Bubble) -> None:
    """anyio knows its own cancellation by the message, and asyncio keeps the latest."""

    async def yielding() -> None:
        await asyncio.sleep(0)

    task = asyncio.create_task(yielding())
    await asyncio.sleep(0)
    task.cancel("theirs")
    kernel.cancel(task, "ours")
    with pytest.raises(asyncio.CancelledError, match="theirs"):
        await task
    assert task.cancelling() == 2


@virtual
async def test_wait_leaves_the_future_alone_when_it_is_cancelled(bubble: Bubble) -> None:
    """Awaiting a future and being cancelled would cancel the future."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    with anyio.move_on_after(1):
        await kernel.wait(future)
    assert not future.done()
    assert await kernel.wait(future, 1) is False
    future.set_result(None)
    assert await kernel.wait(future) is True


@virtual
async def test_wait_any_returns_at_the_first(bubble: Bubble) -> None:
    """And leaves no callback on the other."""
    loop = asyncio.get_running_loop()
    first, second = loop.create_future(), loop.create_future()
    loop.call_later(1, first.set_result, None)
    await kernel.wait_any(first, second)
    assert first.done()
    assert not second.done()
    assert not second._callbacks


@virtual
async def test_wait_through_holds_native_cancellations_and_counts_stay_exact(bubble: Bubble) -> None:
    """Two cancels while it waits: one is returned, ``cancelling()`` says two, and the waiting goes on."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    task = kernel.current_task()
    loop.call_later(1, task.cancel, "first")
    loop.call_later(2, task.cancel, "second")
    loop.call_later(3, future.set_result, None)
    held = await kernel.wait_through(future)
    assert held is not None
    assert held.args == ("first",)
    assert task.cancelling() == 2
    assert bubble.clock.time() >= 3
    task.uncancel()
    task.uncancel()


@virtual
async def test_wait_through_prefers_the_native_cancellation_to_the_repeated_one(bubble: Bubble) -> None:
    """anyio repeats its own cancellation, so a native one is worth more."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    task = kernel.current_task()
    with anyio.CancelScope() as scope:
        loop.call_later(1, task.cancel, "native")
        loop.call_later(2, scope.cancel)
        loop.call_later(3, future.set_result, None)
        held = await kernel.wait_through(future)
        assert held is not None
        assert not scopes.is_scope_cancellation(held)
        task.uncancel()
    assert bubble.clock.time() >= 3


@virtual
async def test_waiting_under_a_cancelled_scope_does_not_spin(bubble: Bubble) -> None:
    """Guarantee 16: anyio would repeat its cancellation in every loop iteration."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    with anyio.CancelScope() as scope:
        scope.cancel()
        loop.call_later(60, future.set_result, None)
        before = bubble.loop.steps
        await kernel.wait_through(future)
        assert bubble.loop.steps - before < 20
    assert bubble.clock.time() >= 60


@virtual
async def test_deliver_later_cancels_at_the_next_wait(bubble: Bubble) -> None:
    """The error goes first, the cancellation follows at the next suspension, and the count stays."""
    task = kernel.current_task()
    task.cancel("held")
    with pytest.raises(asyncio.CancelledError) as info:
        await asyncio.sleep(1)
    kernel.deliver_later(info.value)
    with pytest.raises(asyncio.CancelledError, match="held"):
        await asyncio.sleep(1)
    assert task.cancelling() == 1
    task.uncancel()


@virtual
async def test_deliver_later_spares_code_after_a_timeout_that_took_its_request_back(bubble: Bubble) -> None:
    """An error passes through ``asyncio.timeout``, which uncancels: nothing may hit what comes after it."""
    with pytest.raises(OSError, match="rollback"):
        async with asyncio.timeout(1):
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError as cancelled:
                kernel.deliver_later(cancelled)
                raise OSError("rollback") from None
    await asyncio.sleep(1)
    assert kernel.current_task().cancelling() == 0


@virtual
async def test_deliver_later_tells_the_request_of_a_scope_from_one_that_was_taken_back(bubble: Bubble) -> None:
    """The scope is cancelled in the very loop iteration in which the timeout has taken its request back."""
    with anyio.CancelScope() as scope:
        with pytest.raises(OSError, match="rollback"):
            async with asyncio.timeout(1):
                try:
                    await asyncio.sleep(10)
                except asyncio.CancelledError as cancelled:
                    scope.cancel()
                    kernel.deliver_later(cancelled)
                    raise OSError("rollback") from None
        await asyncio.sleep(0)
    assert scope.cancelled_caught
    assert kernel.current_task().cancelling() == 0


@virtual
async def test_a_native_request_that_is_folded_into_one_by_a_scope_is_delivered_later(bubble: Bubble) -> None:
    """Two requests in one step are one exception, with the words of the scope, which does not take it for its own."""
    task = kernel.current_task()
    with pytest.raises(OSError, match="rollback"):
        with anyio.CancelScope() as scope:
            bubble.loop.call_later(1, lambda: (scope.cancel(), task.cancel()))
            with pytest.raises(asyncio.CancelledError) as folded:
                await asyncio.sleep(10)
            assert scopes.is_scope_cancellation(folded.value)
            kernel.deliver_later(folded.value)
            raise OSError("rollback")
    with pytest.raises(asyncio.CancelledError) as info:
        await asyncio.sleep(1)
    assert not scopes.is_scope_cancellation(info.value)
    assert task.cancelling() == 1
    task.uncancel()


@virtual
async def test_of_two_cancellations_a_native_one_is_foremost(bubble: Bubble) -> None:
    """Otherwise the first; a scope repeats its own."""
    first, second = asyncio.CancelledError("first"), asyncio.CancelledError("second")
    scopes = asyncio.CancelledError("Cancelled via cancel scope 1")
    assert kernel.foremost(None, None) is None
    assert kernel.foremost(None, first) is first
    assert kernel.foremost(first, None) is first
    assert kernel.foremost(first, second) is first
    assert kernel.foremost(first, scopes) is first
    assert kernel.foremost(scopes, first) is first
    assert kernel.foremost(scopes, None) is scopes


@virtual
async def test_of_two_cancellations_the_one_that_is_lost_without_its_error_is_foremost(bubble: Bubble) -> None:
    """An owner and a timeout take theirs back by the count, and a scope knows its own where it is the context."""
    scopes = asyncio.CancelledError("Cancelled via cancel scope 1")
    ours, silent = asyncio.CancelledError(Interruption("ours")), asyncio.CancelledError()
    told = asyncio.CancelledError("because")
    rising = [scopes, ours, silent, told]
    for less, more in itertools.combinations(rising, 2):
        assert kernel.foremost(less, more) is more
        assert kernel.foremost(more, less) is more
    assert all(scopes in contexts(error) for error in rising)


@virtual
async def test_a_scope_cancellation_is_left_to_anyio(bubble: Bubble) -> None:
    """anyio counts and repeats its cancellations by itself."""
    with anyio.CancelScope() as scope:
        scope.cancel()
        with pytest.raises(asyncio.CancelledError) as info:
            await asyncio.sleep(1)
        assert scopes.is_scope_cancellation(info.value)
        kernel.deliver_later(info.value)
    await asyncio.sleep(0)
    assert kernel.current_task().cancelling() == 0


@virtual
async def test_absorb_takes_out_a_request_that_was_taken_back(bubble: Bubble) -> None:
    """Before 3.13 uncancelling leaves an undelivered request in place."""
    task = kernel.current_task()
    task.cancel()
    task.uncancel()
    assert await kernel.absorb_cancellation(task, 0) is None
    await asyncio.sleep(0)


@virtual
async def test_absorb_returns_a_request_of_somebody_else(bubble: Bubble) -> None:
    """Only what was taken back is taken out."""
    task = kernel.current_task()
    task.cancel("somebody else")
    held = await kernel.absorb_cancellation(task, 0)
    assert held is not None
    assert held.args == ("somebody else",)
    task.uncancel()


@on_every_loop
def test_spawning_respects_names_contexts_and_factories(new_loop) -> None:  # type: ignore[no-untyped-def]
    """On every kind of loop a task has its name, and an eager one has made its first step."""

    async def body() -> str:
        await asyncio.sleep(0)  # an eager task gets its name after its first step
        return kernel.current_task().get_name()

    async def main() -> None:
        assert await kernel.spawn(body(), "named") == "named"
        assert await spawn_eagerly(body(), "eager one") == "eager one"
        assert await kernel.spawn_kept(body(), "kept") == "kept"

    run_on(new_loop, main())


@virtual
async def test_suspended_at_names_the_whole_chain(bubble: Bubble) -> None:
    """The innermost call comes last; our own files are left out, and what stands for a coroutine is seen through."""

    async def inner() -> None:
        await asyncio.sleep(10)

    class Request:
        def __await__(self) -> Generator[Any, None, None]:
            return inner().__await__()

    async def outer() -> None:
        await Request()

    task = asyncio.create_task(outer())
    await asyncio.sleep(0)
    chain = kernel.suspended_at(task)
    assert [line.rpartition(" in ")[2].rpartition(".")[2] for line in chain] == ["outer", "inner", "sleep"]
    task.cancel()
    await asyncio.wait([task])
