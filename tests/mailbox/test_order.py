"""Mailbox: order, backpressure, and no item lost or doubled, whichever side is cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import random

import pytest

from lifecycle import Mailbox, MailboxFull, OwnerClosed
from lifecycle.testing import Bubble, run_virtual

from ..loops import virtual


@virtual
async def test_where_nobody_has_to_wait_nothing_takes_a_turn_of_the_loop(bubble: Bubble) -> None:
    """Neither sending nor receiving gives the loop away."""
    mailbox: Mailbox[int] = Mailbox(capacity=64)
    turns = []
    asyncio.get_running_loop().call_soon(turns.append, 1)
    for number in range(64):
        await mailbox.send(number)
    assert [await anext(mailbox) for _ in range(64)] == list(range(64))
    assert not turns


@virtual
async def test_a_sender_waits_while_the_mailbox_is_full(bubble: Bubble) -> None:
    """The item of a waiting sender is not in before there is room, and goes in then."""
    mailbox: Mailbox[int] = Mailbox(capacity=1)
    await mailbox.send(1)
    waiting = asyncio.create_task(mailbox.send(2))
    await asyncio.sleep(0.1)
    assert (len(mailbox), mailbox.waiting_senders) == (1, 1)
    assert await anext(mailbox) == 1
    assert await anext(mailbox) == 2
    await waiting


@virtual
async def test_a_sender_that_runs_does_not_wait_for_those_that_are_to_run(bubble: Bubble) -> None:
    """Many senders fill the room that there is in a few turns of the loop, and in the order in which they came."""
    mailbox: Mailbox[tuple[int, int]] = Mailbox(capacity=64)
    order: list[tuple[int, int]] = []
    turns = 0

    async def send(sender: int) -> None:
        for number in range(100):
            order.append((sender, number))
            await mailbox.send((sender, number))

    async def receive() -> None:
        for _ in range(400):
            assert await mailbox.receive() == order.pop(0)

    tasks = [asyncio.create_task(send(sender)) for sender in range(4)]
    tasks.append(asyncio.create_task(receive()))
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        turns += 1
        mailbox._check_invariants()
    for task in tasks:
        await task
    assert turns < 50


@pytest.mark.parametrize("end", ["runs", "is cancelled", "close", "discard", "close, discard"])
@virtual
async def test_what_lies_behind_a_sender_that_is_to_run(bubble: Bubble, end: str) -> None:
    """It has been sent: it is received behind that one's, or without it, also from a mailbox that was closed."""
    mailbox: Mailbox[int] = Mailbox(capacity=4)
    for number in range(4):
        mailbox.send_nowait(number)
    senders = [asyncio.create_task(mailbox.send(number)) for number in (4, 5, 9, 10, 11)]
    await asyncio.sleep(0)
    for number in range(4):
        assert mailbox.receive_nowait() == number
    mailbox.capacity = 6  # 4, 5, 9 and 10 have been told, 11 too; there is room for one more
    for number in (6, 7):
        if number == 6:
            assert mailbox.send_nowait(number)
        else:
            with pytest.raises(MailboxFull):
                mailbox.send_nowait(number)
    mailbox._check_invariants()
    assert (len(mailbox), mailbox.statistics().sent) == (1, 5)
    got: list[int] = []
    if "close" in end:
        mailbox.close()
        mailbox._check_invariants()
    if "discard" in end:
        got += mailbox.discard()
    if end == "is cancelled":
        for task in senders[:2]:
            task.cancel()
    mailbox._check_invariants()
    await asyncio.gather(*senders, return_exceptions=True)
    mailbox._check_invariants()
    got += [mailbox.receive_nowait() for _ in range(len(mailbox))]
    expected = {"runs": [4, 5, 9, 10, 11, 6], "is cancelled": [9, 10, 11, 6], "discard": [6, 4, 5, 9, 10, 11]}
    assert got == expected.get(end, [6])
    assert len(mailbox) == mailbox.waiting_senders == 0


@virtual
async def test_a_close_ends_those_in_line_and_those_that_were_told(bubble: Bubble) -> None:
    """Nothing is kept for either of them."""
    mailbox: Mailbox[int] = Mailbox(capacity=2)
    for number in range(2):
        mailbox.send_nowait(number)
    senders = [asyncio.create_task(mailbox.send(number)) for number in range(5)]
    await asyncio.sleep(0)
    assert mailbox.receive_nowait() == 0
    mailbox.close()
    mailbox._check_invariants()
    await asyncio.wait(senders)
    assert all(isinstance(task.exception(), OwnerClosed) for task in senders)
    assert [mailbox.receive_nowait() for _ in range(len(mailbox))] == [1]
    mailbox._check_invariants()


@virtual
async def test_senders_are_served_in_order_and_nobody_overtakes(bubble: Bubble) -> None:
    """One who comes while another waits gets in line."""
    mailbox: Mailbox[int] = Mailbox(capacity=1)
    await mailbox.send(0)
    tasks = [asyncio.create_task(mailbox.send(number)) for number in (1, 2)]
    await asyncio.sleep(0)
    assert await anext(mailbox) == 0
    late = asyncio.create_task(mailbox.send(3))
    assert [await anext(mailbox) for _ in range(3)] == [1, 2, 3]
    await asyncio.gather(*tasks, late)


@virtual
async def test_one_who_gets_in_line_behind_a_sender_told_of_room_gets_the_rest_of_it(bubble: Bubble) -> None:
    """It waits only until that one has run, and not until somebody receives again."""
    mailbox: Mailbox[int] = Mailbox(capacity=2)
    await mailbox.send(1)
    await mailbox.send(2)
    waiting = asyncio.create_task(mailbox.send(3))
    await asyncio.sleep(0)
    assert [await anext(mailbox), await anext(mailbox)] == [1, 2]
    async with asyncio.timeout(1):
        await mailbox.send(4)
    await waiting
    assert [await anext(mailbox), await anext(mailbox)] == [3, 4]


@virtual
async def test_a_cancelled_sender_has_not_sent(bubble: Bubble) -> None:
    """Not even when it was cancelled in the step in which it was told of room; the next one gets the room."""
    mailbox: Mailbox[str] = Mailbox(capacity=1)
    await mailbox.send("first")
    cancelled = asyncio.create_task(mailbox.send("cancelled"))
    following = asyncio.create_task(mailbox.send("following"))
    await asyncio.sleep(0)
    assert await anext(mailbox) == "first"
    cancelled.cancel()
    await asyncio.wait([cancelled])
    assert cancelled.cancelled()
    assert await anext(mailbox) == "following"
    await following


@virtual
async def test_a_cancelled_receiver_has_taken_nothing(bubble: Bubble) -> None:
    """Not even when it was cancelled in the step in which an item came; the next one gets the item."""
    mailbox: Mailbox[str] = Mailbox(capacity=4)
    cancelled = asyncio.create_task(anext_of(mailbox))
    following = asyncio.create_task(anext_of(mailbox))
    await asyncio.sleep(0)
    await mailbox.send("item")
    cancelled.cancel()
    await asyncio.wait([cancelled])
    assert cancelled.cancelled()
    assert await following == "item"


async def anext_of(mailbox: Mailbox[str]) -> str:
    return await anext(mailbox)


@virtual
async def test_the_end_refuses_senders_and_lets_receivers_finish(bubble: Bubble) -> None:
    """Whoever waits for room is refused, what is in comes out, and then the iteration ends."""
    mailbox: Mailbox[int] = Mailbox("p", capacity=1)
    await mailbox.send(1)
    waiting = asyncio.create_task(mailbox.send(2))
    await asyncio.sleep(0)
    mailbox.close("its worker has ended")
    with pytest.raises(OwnerClosed, match="mailbox 'p' does not take an item: its worker has ended"):
        await waiting
    with pytest.raises(OwnerClosed):
        await mailbox.send(3)
    assert [item async for item in mailbox] == [1]


@virtual
async def test_the_end_wakes_a_waiting_receiver(bubble: Bubble) -> None:
    """Its iteration ends."""
    mailbox: Mailbox[int] = Mailbox(capacity=1)

    async def collect() -> list[int]:
        return [item async for item in mailbox]

    receiver = asyncio.create_task(collect())
    await asyncio.sleep(0)
    mailbox.close("over")
    assert await receiver == []


@pytest.mark.parametrize("seed", range(30))
def test_no_item_is_lost_or_doubled_under_random_cancellation(seed: int) -> None:
    """What `send` has returned for comes out exactly once, in order per sender; what it raised for does not."""
    dice = random.Random(seed)

    async def scenario(bubble: Bubble) -> None:
        mailbox: Mailbox[tuple[int, int]] = Mailbox(capacity=dice.randint(1, 3))
        sent: list[tuple[int, int]] = []
        received: list[tuple[int, int]] = []

        async def sender(name: int) -> None:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)
            for number in range(40):
                try:
                    await mailbox.send((name, number))
                except asyncio.CancelledError:
                    continue
                sent.append((name, number))
                if dice.random() < 0.3:
                    with contextlib.suppress(asyncio.CancelledError):
                        await asyncio.sleep(0)

        async def receiver() -> None:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)
            while True:
                try:
                    received.append(await anext(mailbox))
                except asyncio.CancelledError:
                    continue
                except StopAsyncIteration:
                    return
                if dice.random() < 0.3:
                    with contextlib.suppress(asyncio.CancelledError):
                        await asyncio.sleep(0)

        senders = [asyncio.create_task(sender(name)) for name in range(3)]
        receivers = [asyncio.create_task(receiver()) for _ in range(2)]
        await asyncio.sleep(0.01)  # none of them is cancelled before its first step
        while not all(task.done() for task in senders):
            await asyncio.sleep(0)
            if dice.random() < 0.5:
                dice.choice([*senders, *receivers]).cancel()
        mailbox.close("over")
        await asyncio.wait(receivers)
        assert sorted(received) == sorted(sent)

    run_virtual(scenario, seed=seed)
