"""Crossings: what goes from one task to another: interruptions, shields, and the cancellation that an exit is given."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import anyio

from lifecycle import OwnerClosed, Pool, Scope, TaskCancelled, TaskGroup, TaskManager

from ...exits import Grouping, Reraising
from ._table import scenario

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from lifecycle.testing import Bubble


async def shielded_nearly_always(bubble: Bubble) -> None:
    """Work as a loop over worker threads does: a shield, a bare yield, a shield."""
    with bubble.ledger.acquire("loop", kind="work"):
        while True:
            with anyio.CancelScope(shield=True):
                await asyncio.sleep(0.02)
            await asyncio.sleep(0)


@scenario
async def crossing_shielded_loops_are_stopped(bubble: Bubble) -> None:
    """By a scope, a group and a manager, at the end of the section at hand."""
    began = bubble.clock.time()
    async with Scope("loops", close_timeout=5) as scope:
        scope.start_soon(shielded_nearly_always, bubble)
        manager = await scope.enter(TaskManager("loops", drain_timeout=0, cancel_timeout=5))
        manager.start_soon(shielded_nearly_always, bubble)
        async with TaskGroup() as group:
            group.start_soon(shielded_nearly_always, bubble)
            await asyncio.sleep(0.03)
            group.cancel()
    assert bubble.clock.time() - began < 1


async def wait_to_be_ended(owner: Scope | TaskGroup) -> None:
    timer = asyncio.get_running_loop().call_later(0.01, owner.cancel)
    try:
        await asyncio.sleep(60)
    finally:
        timer.cancel()


@scenario
async def crossing_blocks_inside_a_shield(bubble: Bubble) -> None:
    """A block that is asked to end ends, whatever shield is around it."""
    began = bubble.clock.time()
    with anyio.CancelScope(shield=True):
        async with Scope("inside") as scope:
            await wait_to_be_ended(scope)
        async with TaskGroup() as group:
            await wait_to_be_ended(group)
    assert bubble.clock.time() - began < 1


@scenario
async def crossing_requests_while_a_block_is_left(bubble: Bubble) -> None:
    """The owner is asked twice, the second time while its body is being left; nothing of it is met behind the block."""
    for owner in (Scope(), TaskGroup()):
        async with owner:
            asyncio.get_running_loop().call_soon(owner.cancel)
            owner.cancel()
        await asyncio.sleep(0.01)


def words_of_cancellation(task: asyncio.Task[None]) -> tuple[object, ...]:
    """Return what the cancellation says by which *task* has ended."""
    try:
        task.result()
    except asyncio.CancelledError as error:
        return error.args
    return ()


@scenario
async def crossing_two_requests_at_once(bubble: Bubble) -> None:
    """An owner ends its block in the step in which its host is cancelled: the host meets the message of the other."""
    for make, ours_first, waits in itertools.product((Scope, TaskGroup), (True, False), (True, False)):
        owner: Scope | TaskGroup = make()

        async def host(owner: Scope | TaskGroup = owner) -> None:
            async with owner:
                await asyncio.sleep(0)
                await asyncio.sleep(60)

        hosting = asyncio.create_task(host(), name="host")
        try:
            await asyncio.sleep(0.01 if waits else 0)
        finally:
            if ours_first:
                owner.cancel("the owner's")
            asked = hosting.cancel("the other's")
            owner.cancel("the owner's")
            await asyncio.wait([hosting])
        if asked and hosting.cancelled():
            assert "the owner's" not in words_of_cancellation(hosting), "the host met the request of its owner"


@scenario
async def crossing_a_gap_between_two_shields(bubble: Bubble) -> None:
    """A task that is out of its shields only while it yields, and one that another task takes out of its shield."""

    async def yields() -> None:
        with bubble.ledger.acquire("yielding", kind="work"):
            while True:
                with anyio.CancelScope(shield=True):
                    await asyncio.sleep(0.01)
                    await asyncio.sleep(0)
                await asyncio.sleep(0)

    async def sits() -> None:
        nonlocal shield
        with bubble.ledger.acquire("sitting", kind="work"), anyio.CancelScope(shield=True) as shield:
            await asyncio.sleep(60)

    def take_shield_away() -> None:
        shield.shield = False

    shield = anyio.CancelScope()
    began = bubble.clock.time()
    timer = asyncio.get_running_loop().call_later(0.035, take_shield_away)
    try:
        async with Scope("gaps", close_timeout=5) as scope:
            scope.start_soon(yields)
            scope.start_soon(sits)
            await asyncio.sleep(0.015)
    finally:
        timer.cancel()
    assert bubble.clock.time() - began < 1


@asynccontextmanager
async def swallowing(bubble: Bubble, name: str) -> AsyncIterator[None]:
    """Swallow whatever comes, after a wait."""
    with bubble.ledger.acquire(name, kind="session"):
        with suppress(BaseException):
            yield
        await asyncio.sleep(0.01)


@scenario
async def crossing_a_held_exit_swallows(bubble: Bubble) -> None:
    """The deadline around it is met nevertheless, and no cancellation is left over."""
    with anyio.move_on_after(0.05) as deadline:
        async with Scope("deadline") as scope:
            await scope.enter(swallowing(bubble, "first"))
            await scope.enter(swallowing(bubble, "second"))
            await asyncio.sleep(60)
    assert deadline.cancelled_caught
    await asyncio.sleep(0.01)


async def fail() -> None:
    raise ValueError("while leaving")


@scenario
async def crossing_requests_beside_an_error(bubble: Bubble) -> None:
    """The request comes after the error of the block: to the exits around it, and to a block that begins meanwhile."""
    met: list[type[BaseException] | None] = []
    reached: list[str] = []

    async def suppress_failure(kind: type[BaseException] | None, *_: object) -> bool:
        met.append(kind)
        return kind is ValueError

    async def in_a_block() -> None:
        try:
            async with Scope("around") as around:
                for _ in range(2):
                    around.push_async_exit(suppress_failure)
                async with Scope("inside") as inside:
                    inside.push_async_callback(fail)
                    await asyncio.sleep(60)
        except asyncio.CancelledError as error:
            if error.args == ("mine",) and met[0] is ValueError:
                assert met[1] is asyncio.CancelledError
            raise

    async def before_a_block() -> None:
        with suppress(ValueError):
            async with Scope("first") as first:
                first.push_async_callback(fail)
                await asyncio.sleep(60)
        async with Scope("second") as second:
            second.cancel()
            await asyncio.sleep(60)
        await asyncio.sleep(0)
        reached.append("the end")

    async with Scope("hosts") as scope:
        hosts = [scope.start_soon(in_a_block), scope.start_soon(before_a_block)]
        await asyncio.sleep(0.01)
        for host in hosts:
            host.cancel("mine")
            await host.wait()
    assert not reached


@scenario
async def crossing_a_held_exit_raises(bubble: Bubble) -> None:
    """What it was given, alone or in a group: the deadline around it is met, and nothing went wrong beside it."""
    for make in (Reraising, Grouping, asyncio.TaskGroup, anyio.create_task_group):
        for enter in (Scope.enter, Scope.enter_async_context):
            with anyio.move_on_after(0.02) as deadline:
                async with Scope("deadline") as scope:
                    lower = bubble.ledger.acquire("lower", kind="session")
                    scope.callback(lower.release)
                    await enter(scope, make())
                    await asyncio.sleep(60)
            assert deadline.cancelled_caught
            await asyncio.sleep(0)


@scenario
async def crossing_a_release_cancels_its_own_task(bubble: Bubble) -> None:
    """It awaits the task that it has cancelled, as clients do: it has failed, and its host was not cancelled."""

    async def open_loop() -> asyncio.Task[None]:
        return asyncio.create_task(asyncio.sleep(60), name="loop")

    async def close(loop: asyncio.Task[None]) -> None:
        loop.cancel("of the release")
        await loop

    host = asyncio.current_task()
    assert host is not None
    try:
        async with Scope("client") as scope:
            await scope.acquire(open_loop, release=close)
            await asyncio.sleep(0.01)
    except TaskCancelled:
        pass
    except asyncio.CancelledError:
        assert host.cancelling(), "the release was taken for a cancellation of its host"
        raise
    await asyncio.sleep(0)


@scenario
async def crossing_closed_from_inside(bubble: Bubble) -> None:
    """By a task of a held manager, and a member of a group in a task of a child: neither close waits for itself."""
    began = bubble.clock.time()
    async with Scope("root", close_timeout=5) as root:

        async def closes() -> None:
            with bubble.ledger.acquire("closing", kind="work"):
                await asyncio.sleep(0.01)
                await root.aclose()

        async def hosts() -> None:
            async with TaskGroup() as group:
                group.start_soon(closes)

        manager = await root.enter(TaskManager("held", drain_timeout=5, cancel_timeout=5))
        manager.start_soon(closes)
        root.child().start_soon(hosts)
        await root.wait()
    assert bubble.clock.time() - began < 1


@scenario
async def crossing_closes_in_a_first_step(bubble: Bubble) -> None:
    """What begins inside the step of its starter, which waits for it only then, does not wait for that."""
    began = bubble.clock.time()
    async with TaskManager("eager", eager=True) as eager:

        async def ask(question: Callable[[], Awaitable[object]]) -> None:
            await eager.start_soon(as_coroutine, question)

        async with TaskManager("closed", drain_timeout=5) as closed:
            closed.start_soon(ask, closed.aclose)
        async with TaskManager("drained", drain_timeout=5) as drained:
            drained.start_soon(ask, drained.drain)
        async with Pool(object, lambda _: None, max_size=1, close_timeout=5) as pool, pool.acquire():
            await ask(pool.drain)
    assert bubble.clock.time() - began < 1


async def as_coroutine(question: Callable[[], Awaitable[object]]) -> None:
    await question()


@scenario
async def crossing_released_early(bubble: Bubble) -> None:
    """A value is released before its turn, and a close meanwhile waits for that: once, and before what is below."""
    gone = []

    async def release(value: str) -> None:
        with bubble.ledger.acquire("releasing", kind="work"):
            await asyncio.sleep(0.01)
            gone.append(value)

    async def closes() -> None:
        await asyncio.sleep(0.005)
        await scope.aclose()

    try:
        async with Scope("early", close_timeout=5) as scope:
            scope.callback(gone.append, "below")
            value = await scope.acquire(lambda: "value", release=release)
            scope.start_soon(closes)
            await scope.release(value)
    finally:
        assert gone in ([], ["below"], ["value", "below"])
    assert gone == ["value", "below"]


async def waited_for_as_one_of_several(inside: Callable[[], Awaitable[None]]) -> None:
    """Wait for *inside* and for what ends before and with it, again and again until all have ended."""
    ending = [asyncio.create_task(asyncio.sleep(delay), name="before") for delay in (0.01, 0.02, 0.03)]
    ending.append(asyncio.create_task(as_coroutine(inside), name="inside"))
    try:
        for first in asyncio.as_completed(ending):
            await first
    finally:
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)


async def make_with_a_release(closes: Callable[[], Awaitable[None]]) -> None:
    async with Scope("inside") as inside:
        inside.push_async_callback(waited_for_as_one_of_several, closes)


async def turns_later(turns: int, *calls: Callable[[], Awaitable[object]]) -> None:
    """Make *calls* so many turns after one of the others has ended."""
    await asyncio.sleep(0.01)
    for _ in range(turns):
        await asyncio.sleep(0)
    for call in calls:
        await call()


@scenario
async def crossing_a_close_by_one_of_several(bubble: Bubble) -> None:
    """Who waits for the closer among others is between two waits when it closes, and again when it goes on."""
    began = bubble.clock.time()
    for turns in range(4):
        async with Scope("around") as scope:
            manager = await scope.enter(TaskManager())
            closes = partial(turns_later, turns, manager.drain, scope.aclose)
            manager.start_soon(waited_for_as_one_of_several, closes)
            await asyncio.sleep(0.05)
        with suppress(OwnerClosed):
            async with Scope("making") as scope:
                closes = partial(turns_later, turns, scope.aclose)
                await scope.acquire(partial(make_with_a_release, closes), release=lambda _: None)
    assert bubble.clock.time() - began < 1, "a close has waited for itself"
