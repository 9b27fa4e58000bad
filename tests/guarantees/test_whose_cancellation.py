"""Guarantee 7 where cancellations cross: each reaches the one it is meant for, once, as its requester knows it.

An owner interrupts its body with a native cancellation, while others cancel the host; a held context manager is left
in another task, and does with a cancellation what it likes. The host must see exactly what was meant for it.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from typing import Any

import anyio
import pytest

from lifecycle import (
    Pool,
    ReaderWorker,
    Registry,
    Scope,
    Stages,
    TaskCancelled,
    TaskGroup,
    connect,
    keep_connected,
    link,
    resource,
)

from ..exits import Grouping, Plain, Reraising, Suppressing, client
from ..loops import on_every_loop, run_on, some_turns

Block = Callable[[], Any]
on_every_block = pytest.mark.parametrize("block", [Scope, TaskGroup])


async def fail() -> None:
    raise ValueError("task")


async def is_left_alone() -> bool:
    """Return whether nothing is left to be delivered to the calling task."""
    try:
        await asyncio.sleep(0.01)
    except asyncio.CancelledError:
        return False
    return asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]


# An owner and its own body


@on_every_loop
@on_every_block
@pytest.mark.parametrize("moment", ["by the body", "soon", "twice"])
def test_a_cancelled_block_leaves_no_trace(new_loop: Any, block: Block, moment: str) -> None:
    """However late the request comes, and whatever the body awaits then, it is not met behind the block."""

    async def main() -> None:
        gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        gone.cancel()
        with suppress(asyncio.CancelledError):
            async with block() as owner:
                if moment != "by the body":
                    asyncio.get_running_loop().call_soon(owner.cancel)
                if moment != "soon":
                    owner.cancel("enough")
                    await gone  # a cancellation of its own, without suspending
        assert await is_left_alone()

    run_on(new_loop, main())


@on_every_loop
@on_every_block
def test_a_task_that_fails_while_the_body_is_being_left_interrupts_nothing(new_loop: Any, block: Block) -> None:
    """The first interruption is being taken back; a second would be met by whatever comes next."""

    async def main() -> None:
        with pytest.raises((ValueError, ExceptionGroup)):
            async with block() as owner:
                owner.start_soon(fail)
                owner.cancel("enough")
        assert await is_left_alone()

    run_on(new_loop, main())


@on_every_loop
@on_every_block
def test_a_shield_around_the_block_does_not_hold_its_own_interruption_back(new_loop: Any, block: Block) -> None:
    """A failing task, and ``cancel``, end the block; the shield is for what is outside."""

    async def main() -> None:
        async with asyncio.timeout(5):
            with anyio.CancelScope(shield=True):
                with pytest.raises((ValueError, ExceptionGroup)):
                    async with block() as owner:
                        owner.start_soon(fail)
                        await asyncio.sleep(60)
                async with block() as owner:
                    asyncio.get_running_loop().call_soon(owner.cancel)
                    await asyncio.sleep(60)
        assert await is_left_alone()

    run_on(new_loop, main())


@on_every_loop
@on_every_block
def test_a_shield_inside_the_block_holds_its_interruption_back(new_loop: Any, block: Block) -> None:
    """What stands in it comes to its end."""
    log: list[str] = []

    async def main() -> None:
        with anyio.CancelScope(shield=True):
            async with block() as owner:
                with anyio.CancelScope(shield=True):
                    owner.cancel()
                    await asyncio.sleep(0.01)
                    log.append("section over")
                await asyncio.sleep(60)
                log.append("not reached")

    run_on(new_loop, main())
    assert log == ["section over"]


@on_every_loop
@on_every_block
@pytest.mark.parametrize("order", [("ours", "theirs"), ("theirs", "ours")])
@pytest.mark.parametrize("where", ["waiting", "yielding", "before the block"])
def test_a_foreign_cancellation_at_the_same_time_keeps_its_message(
    new_loop: Any, block: Block, order: tuple[str, ...], where: str
) -> None:
    """asyncio makes one error of two requests; the one that the host meets is the foreign one."""

    async def main() -> None:
        owner = block()

        async def host() -> None:
            if where == "before the block":
                asyncio.current_task().cancel("theirs")  # type: ignore[union-attr]
            async with owner:
                if where == "before the block":
                    owner.cancel("ours")
                elif where == "yielding":
                    asyncio.get_running_loop().call_soon(request)
                    await asyncio.sleep(0)
                await asyncio.sleep(60)

        def request() -> None:
            for who in order:
                if who == "ours":
                    owner.cancel("ours")
                else:
                    task.cancel("theirs")

        task = asyncio.create_task(host())
        await asyncio.sleep(0.01 if where == "waiting" else 0)
        if where == "waiting":
            request()
        with pytest.raises(asyncio.CancelledError, match="theirs"):
            await task
        assert task.cancelling() == 1

    run_on(new_loop, main())


# A context manager that is held in another task


class Replacing(Plain):
    """Its exit raises another cancellation than the one it is given."""

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> bool | None:
        if error is not None:
            raise asyncio.CancelledError("its own")
        return None


@asynccontextmanager
async def in_scope(cm: Any) -> AsyncIterator[None]:
    async with Scope() as scope:
        await scope.enter(cm)
        yield


@asynccontextmanager
async def in_child(cm: Any) -> AsyncIterator[None]:
    async with Scope() as scope:
        await scope.child().enter(cm)
        yield


@asynccontextmanager
async def in_connection(cm: Any) -> AsyncIterator[None]:
    async def connector(stages: Stages) -> None:
        await stages.enter(cm)

    async with connect(connector):
        yield


@resource
async def holding(cm: Any) -> AsyncIterator[None]:
    async with cm:
        yield


@asynccontextmanager
async def in_resource(cm: Any) -> AsyncIterator[None]:
    async with Scope() as scope:
        await scope.enter(holding(cm))
        yield


HOLDERS = [in_scope, in_child, in_connection, in_resource]
on_every_holder = pytest.mark.parametrize("held", HOLDERS)

CMS: dict[str, Callable[[], AbstractAsyncContextManager[Any]]] = {
    "re-raising": Reraising,  # type: ignore[dict-item]
    "grouping": Grouping,  # type: ignore[dict-item]
    "suppressing": Suppressing,  # type: ignore[dict-item]
    "replacing": Replacing,  # type: ignore[dict-item]
    "asyncio group": asyncio.TaskGroup,
    "anyio group": anyio.create_task_group,
    "client": client,
    "scope": Scope,
    "task group": TaskGroup,
}
on_every_cm = pytest.mark.parametrize("cm", CMS.values(), ids=CMS)


@on_every_loop
@on_every_cm
@on_every_holder
def test_a_native_cancellation_passes_a_held_context_manager_once(
    new_loop: Any, held: Callable[[Any], Any], cm: Callable[[], Any]
) -> None:
    """As the very request, and once; `cancelling` stays exact."""
    moments: list[str] = []

    async def host() -> None:
        try:
            async with held(cm()):
                await asyncio.sleep(60)
        except asyncio.CancelledError as error:
            moments.append(str(error))
        await asyncio.sleep(0.01)
        moments.append("clean-up went on")

    async def main() -> None:
        task = asyncio.create_task(host())
        await some_turns()
        task.cancel("mine")
        await task
        assert task.cancelling() == 1

    run_on(new_loop, main())
    assert moments == ["mine", "clean-up went on"]


@on_every_loop
@on_every_cm
@on_every_holder
def test_the_deadline_around_a_held_context_manager_is_met(
    new_loop: Any, held: Callable[[Any], Any], cm: Callable[[], Any]
) -> None:
    """Of anyio and of asyncio; both know their own cancellation."""

    async def hold() -> None:
        async with held(cm()):
            await asyncio.sleep(60)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            with anyio.fail_after(0.02):
                await hold()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await hold()
        assert await is_left_alone()

    run_on(new_loop, main())


@on_every_cm
def test_ctrl_c_through_a_held_context_manager_is_a_keyboard_interrupt(cm: Callable[[], Any]) -> None:
    """``asyncio.run`` cancels the main task, and counts."""

    async def main() -> None:
        async with Scope() as scope:
            await scope.enter(cm())
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(60)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())


# A release that raises a cancellation of its own


class Consumer:
    """Its close awaits the task that it has cancelled, which many clients do."""

    async def start(self) -> Consumer:
        self.task = asyncio.create_task(asyncio.sleep(60))
        return self

    async def aclose(self) -> None:
        await asyncio.sleep(0)
        self.task.cancel()
        await self.task

    async def __aenter__(self) -> Consumer:
        return await self.start()

    async def __aexit__(self, *details: object) -> None:
        await self.aclose()


@on_every_loop
@pytest.mark.parametrize("how", ["acquire", "enter", "enter_async_context", "callback", "child"])
def test_a_release_that_raises_a_cancellation_has_failed(new_loop: Any, how: str) -> None:
    """It is a failure of the release, and no cancellation of the host; the body's error stands beside it."""

    async def take(scope: Scope) -> None:
        match how:
            case "acquire":
                await scope.acquire(Consumer().start)
            case "callback":
                scope.push_async_callback((await Consumer().start()).aclose)
            case "child":
                await take_in_child(scope.child())
            case _:
                await getattr(scope, how)(Consumer())

    async def take_in_child(child: Scope) -> None:
        await child.acquire(Consumer().start)

    async def main() -> None:
        with pytest.raises(TaskCancelled, match="was cancelled"):
            async with Scope() as scope:
                await take(scope)
        with pytest.raises(ExceptionGroup) as info:
            async with Scope() as scope:
                await take(scope)
                raise ValueError("the true reason")
        assert [type(error) for error in info.value.exceptions] == [ValueError, TaskCancelled]
        assert await is_left_alone()

    run_on(new_loop, main())


class ConsumerInTime(Consumer):
    """The same; its start cannot be cancelled."""

    async def start(self) -> Consumer:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        return await super().start()


async def enter_late() -> None:
    async with Scope() as scope:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.01):
                await scope.enter(ConsumerInTime())


async def acquire_late() -> None:
    async with Scope() as scope:
        with suppress(TimeoutError):
            await scope.acquire(ConsumerInTime().start, timeout=0.01)


async def lend() -> None:
    async with Pool(Consumer().start, Consumer.aclose, max_size=1) as pool, pool.acquire():
        pass


async def register() -> None:
    async with Registry[str, Consumer](finalizer=Consumer.aclose) as registry:
        await registry.get_or_create("key", Consumer().start)


async def start_in(stages: Stages) -> None:
    await stages.acquire(Consumer().start)


async def hold() -> None:
    async with connect(start_in):
        pass


async def keep() -> None:
    async with keep_connected(start_in) as kept:
        await kept.get()


async def forever(*_: object) -> None:
    await asyncio.sleep(60)


async def pair() -> None:
    async with ReaderWorker(forever, forever, close=(await Consumer().start()).aclose):
        await asyncio.sleep(0)


async def tie() -> None:
    outcome = await link(forever, lambda: asyncio.sleep(0), close=(await Consumer().start()).aclose)
    raise outcome.errors[0]


@on_every_loop
@pytest.mark.parametrize("owner", [enter_late, acquire_late, lend, register, hold, keep, pair, tie])
def test_every_owner_takes_a_cancellation_that_its_release_raises_for_a_failure(
    new_loop: Any, owner: Callable[[], Any]
) -> None:
    """Of what came too late for its caller as well, and of what frees the loops of a pair."""

    async def main() -> None:
        with pytest.raises(TaskCancelled, match="was cancelled"):
            await owner()
        assert await is_left_alone()

    run_on(new_loop, main())


# A cancellation that waits until the error beside it has been raised


@on_every_loop
@pytest.mark.parametrize("between", [nullcontext, asyncio.TaskGroup])
def test_a_request_that_is_still_to_be_delivered_is_known_to_the_next_exit(
    new_loop: Any, between: Callable[[], Any]
) -> None:
    """The inner block raises its error, and owes the host the request; the outer exits meet one after the other.

    Since 3.13 a group of asyncio's owes it as well, once it has raised errors.
    """
    met: list[str] = []

    class Noting(Plain):
        async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
            met.append("an error" if isinstance(error, Exception) else str(error))
            return True

    async def fail_to_close() -> None:
        raise ValueError("inner")

    async def host() -> None:
        async with Scope() as outer:
            for _ in range(3):
                await outer.enter_async_context(Noting())
            async with between(), Scope() as inner:
                inner.push_async_callback(fail_to_close)
                await asyncio.sleep(60)
        await asyncio.sleep(0)
        met.append("left alone")

    async def main() -> None:
        task = asyncio.create_task(host())
        await some_turns()
        task.cancel("mine")
        await task
        assert task.cancelling() == 1

    run_on(new_loop, main())
    assert met == ["an error", "mine", "None", "left alone"]


@on_every_loop
def test_a_request_that_is_still_to_be_delivered_is_none_of_the_next_block(new_loop: Any) -> None:
    """It is met in the next block, whose own interruption at the same time does not take its place."""

    async def fail_to_close() -> None:
        raise ValueError("inner")

    async def host() -> None:
        with suppress(ValueError):
            async with Scope() as first:
                first.push_async_callback(fail_to_close)
                await asyncio.sleep(60)
        async with Scope() as second:
            second.cancel("ours")
            await asyncio.sleep(60)

    async def main() -> None:
        task = asyncio.create_task(host())
        await some_turns()
        task.cancel("mine")
        with pytest.raises(asyncio.CancelledError, match="mine"):
            await task
        assert task.cancelling() == 1

    run_on(new_loop, main())


@on_every_loop
def test_what_asyncio_repeats_of_a_scopes_cancellation_is_left_to_the_scope(new_loop: Any) -> None:
    """Since 3.13 its group repeats it without the message by which anyio knows it, and the scope was not left by it."""

    async def main() -> None:
        with anyio.move_on_after(0.01) as deadline:
            async with Scope() as outer:
                await outer.enter_async_context(Suppressing())
                async with asyncio.TaskGroup():
                    try:
                        await asyncio.sleep(60)
                    finally:
                        raise ValueError("while leaving")
            await asyncio.sleep(60)
        assert deadline.cancelled_caught
        assert await is_left_alone()

    run_on(new_loop, main())
