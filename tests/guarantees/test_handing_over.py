"""What is handed over between tasks has one end, whoever is struck: mailboxes, broadcasts, and what stands on them."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any, NoReturn

import anyio
import pytest

from lifecycle import Broadcast, Mailbox, OwnerClosed, Scope, TaskGroup, TaskManager
from lifecycle.types import Subscription

from ..loops import on_every_loop, run_on, some_turns


class Hostile:
    """A value on which nothing may depend (G22)."""

    def refuse(self, *_: object) -> NoReturn:
        raise AssertionError("somebody has asked a user's value something")

    __eq__ = __bool__ = __hash__ = __repr__ = __str__ = __len__ = refuse  # type: ignore[assignment]


HOSTILE: list[Any] = [None, 0, "", (), StopAsyncIteration(), asyncio.CancelledError(), ..., Hostile(), Hostile()]


@on_every_loop
def test_no_step_asks_an_item_anything(new_loop: Any) -> None:
    """G22: whatever it is equal to, and whether it is true; also where it is dropped, refused or taken out."""

    async def main() -> None:
        for overflow in ("wait", "drop_oldest", "drop_newest"):
            dropped: list[Any] = []
            mailbox: Mailbox[Any] = Mailbox(capacity=3, overflow=overflow, on_drop=dropped.append)  # type: ignore[arg-type]
            got: list[Any] = []

            async def receive(mailbox: Mailbox[Any] = mailbox, got: list[Any] = got) -> None:
                async for item in mailbox:
                    got.append(item)
                    mailbox.task_done()

            receiver = asyncio.create_task(receive())
            for item in HOSTILE:
                await mailbox.send(item)
            await some_turns()
            repr(mailbox)
            mailbox.send_nowait(HOSTILE[0])
            got += mailbox.discard()
            mailbox.close()
            await receiver
            ends = [*got, *dropped]
            assert len(ends) == len(HOSTILE) + 1
            assert all(any(item is end for end in ends) for item in HOSTILE)

    run_on(new_loop, main())


@on_every_loop
def test_broadcasts_ask_nothing_either(new_loop: Any) -> None:
    """G22: each subscriber gets the very objects."""

    async def main() -> None:
        broadcast: Broadcast[Any] = Broadcast(replay=2, capacity=len(HOSTILE), overflow="disconnect")
        subscription = broadcast.subscribe()
        for item in HOSTILE:
            broadcast.publish_nowait(item)
        late = broadcast.subscribe()
        broadcast.close()
        assert all(a is b for a, b in zip([item async for item in subscription], HOSTILE, strict=True))
        assert all(a is b for a, b in zip([item async for item in late], HOSTILE[-2:], strict=True))

    run_on(new_loop, main())


@on_every_loop
@pytest.mark.parametrize("by", ["cancel", "scope", "timeout", "wait_for", "owner"])
def test_the_host_sees_the_cancellation_that_was_meant_for_it(new_loop: Any, by: str) -> None:
    """G20: of a wait to send, to receive, to join or for the end, and of a publisher's: once, with its message."""

    async def main() -> None:
        full: Mailbox[int] = Mailbox(capacity=1)
        full.send_nowait(1)
        empty: Mailbox[int] = Mailbox()
        crowded: Broadcast[int] = Broadcast(capacity=1, overflow="wait")
        kept: Subscription[int] = crowded.subscribe()
        await crowded.publish(1)
        for wait in (
            lambda: full.send(2), empty.receive, lambda: anext(empty), full.join, full.wait,
            lambda: crowded.publish(2), crowded.subscribe().receive,
        ):  # fmt: skip
            await struck(wait, by)
            assert full.waiting_senders == empty.statistics().waiting_receivers == 0
            assert crowded.statistics().waiting_publishers == 0
        assert (len(full), len(empty), kept.waiting) == (1, 0, 1)

    run_on(new_loop, main())


async def struck(wait: Any, by: str) -> None:
    """Strike a task that waits, and see that it ends by that."""
    ended: list[str] = []

    async def work() -> None:
        try:
            await wait()
        except asyncio.CancelledError as error:
            ended.append(str(error.args[0]) if error.args else "")
            raise

    if by == "cancel":
        task = asyncio.create_task(work())
        await some_turns()
        task.cancel("mine")
        await asyncio.wait([task])
        assert (ended, task.cancelled(), task.cancelling()) == (["mine"], True, 1)
    elif by == "scope":
        with anyio.move_on_after(0.001) as scope:
            await work()
        assert scope.cancelled_caught
    elif by == "owner":
        async with TaskManager() as manager:
            handle = manager.start_soon(work)
            await some_turns()
            handle.cancel("its owner says so")
            await handle.wait()
        assert ended == ["its owner says so"]
    else:
        with pytest.raises(TimeoutError):
            if by == "timeout":
                async with asyncio.timeout(0.001):
                    await work()
            else:
                await asyncio.wait_for(work(), 0.001)
    assert len(ended) == 1
    task_now = asyncio.current_task()
    assert task_now is not None
    assert task_now.cancelling() == 0


@on_every_loop
def test_a_task_goes_on_in_its_own_context(new_loop: Any) -> None:
    """G21: whoever has sent, received or closed what it waited for; and a drop hook runs in the owner's."""
    variable = contextvars.ContextVar("variable", default="nobody")
    seen: list[str] = []

    async def main() -> None:
        variable.set("owner")
        mailbox = Mailbox[int](capacity=1, overflow="wait")
        lossy = Mailbox[int](capacity=1, overflow="drop_oldest", on_drop=lambda _: seen.append(variable.get()))

        async def receive() -> None:
            variable.set("receiver")
            await mailbox.receive()
            assert variable.get() == "receiver"
            with pytest.raises(OwnerClosed):
                await mailbox.receive()
            assert variable.get() == "receiver"

        async def send() -> None:
            variable.set("sender")
            await mailbox.send(1)
            for number in range(2):
                await lossy.send(number)
            mailbox.close()

        async with TaskGroup() as group:
            group.start_soon(receive)
            await some_turns()
            group.start_soon(send)

    run_on(new_loop, main())
    assert seen == ["owner"]


@on_every_loop
def test_a_scope_can_own_them(new_loop: Any) -> None:
    """G14: as context managers, or by their synchronous `close`; who waits in them comes to an end."""

    async def main() -> None:
        async with Scope() as scope:
            mailbox = await scope.enter(Mailbox[int]())
            broadcast = await scope.enter(Broadcast[int]())
            subscription = scope.enter_context(broadcast.subscribe())
            waiting = [asyncio.create_task(mailbox.receive()), asyncio.create_task(subscription.receive())]
            await some_turns()
        await asyncio.wait(waiting)
        assert all(isinstance(task.exception(), OwnerClosed) for task in waiting)
        assert (mailbox.closed, broadcast.closed, subscription.closed) == (True, True, True)

    run_on(new_loop, main())
