"""Mailbox: joining, closing, taking out, changing the capacity, and what it says of itself."""

from __future__ import annotations

import asyncio
import gc
import weakref

import anyio
import pytest

from lifecycle import Mailbox, OwnerClosed, TaskGroup, TimeoutExpired, take_snapshot
from lifecycle._ground.waking import MANY

from ..loops import on_every_loop, run_on, some_turns, virtual


@on_every_loop
def test_workers_share_what_is_sent(new_loop: object) -> None:
    """Every item is received once, and the block of the workers ends by itself."""
    done: list[int] = []

    async def work(mailbox: Mailbox[int]) -> None:
        async for number in mailbox:
            await asyncio.sleep(0)
            done.append(number)
            mailbox.task_done()

    async def main() -> None:
        async with TaskGroup() as group, Mailbox[int](capacity=3) as mailbox:
            for _ in range(4):
                group.start_soon(work, mailbox)
            for number in range(100):
                await mailbox.send(number)
            await mailbox.join()
            assert sorted(done) == list(range(100))

    run_on(new_loop, main())  # type: ignore[arg-type]


@virtual
async def test_a_woken_receiver_keeps_its_place(bubble: object) -> None:
    """One that comes in the step in which another was told of an item does not take that, nor a place before it."""
    mailbox: Mailbox[int] = Mailbox()
    order: list[tuple[str, int]] = []

    async def receive(name: str) -> None:
        order.append((name, await mailbox.receive()))

    tasks = [asyncio.create_task(receive(name)) for name in ("first", "second")]
    await some_turns()
    await mailbox.send(1)
    late = mailbox.receive()
    assert late.send(None) is not None  # in this very step, and it has to wait
    await mailbox.send(2)
    await mailbox.send(3)
    await asyncio.wait(tasks)
    assert order == [("first", 1), ("second", 2)]
    assert (len(mailbox), mailbox.statistics().waiting_receivers) == (1, 1)
    late.close()
    assert await mailbox.receive() == 3


# Joining


@virtual
async def test_join_waits_for_what_is_being_done(bubble: object) -> None:
    """Not for what was dropped or taken out; and not for what came to be done in between only."""
    mailbox: Mailbox[int] = Mailbox(capacity=2, overflow="drop_oldest")
    await mailbox.join()
    for number in range(4):
        mailbox.send_nowait(number)
    joiner = asyncio.create_task(mailbox.join())
    assert await mailbox.receive() == 2
    await some_turns()
    assert mailbox.discard() == [3]
    assert not joiner.done()
    mailbox.task_done()
    mailbox.send_nowait(4)  # before the joiner has run
    await some_turns()
    assert not joiner.done()
    assert mailbox.discard() == [4]
    await joiner
    with pytest.raises(ValueError, match="more often than items were received"):
        mailbox.task_done()


@virtual
async def test_an_item_that_is_still_in_cannot_be_done(bubble: object) -> None:
    """So that a join does not end with it inside."""
    mailbox: Mailbox[int] = Mailbox()
    mailbox.send_nowait(1)
    with pytest.raises(ValueError):
        mailbox.task_done()


@virtual
async def test_join_may_have_a_bound(bubble: object) -> None:
    """The error says how many are not done; nothing is left of the wait."""
    mailbox: Mailbox[int] = Mailbox("m")
    mailbox.send_nowait(1)
    await mailbox.receive()
    with pytest.raises(TimeoutExpired, match="1 items are not done") as caught:
        await mailbox.join(timeout=1)
    assert caught.value.timeout == 1
    assert not mailbox._joiners
    with pytest.raises(ValueError):
        await mailbox.join(timeout=-1)


@virtual
async def test_leaving_the_block_ends_the_joins(bubble: object) -> None:
    """The receiver of the item has failed: nobody would ever report it."""
    async with Mailbox[int]() as mailbox:
        mailbox.send_nowait(1)
        await mailbox.receive()
        joiner = asyncio.create_task(mailbox.join())
        await some_turns()
    with pytest.raises(OwnerClosed, match="1 of its items not done: its block was left"):
        await joiner
    with pytest.raises(OwnerClosed):
        await mailbox.join()


@virtual
async def test_after_a_close_join_waits_for_what_receivers_have(bubble: object) -> None:
    """Also where the rest was taken out."""
    mailbox: Mailbox[int] = Mailbox()
    mailbox.send_nowait(1)
    mailbox.send_nowait(2)
    await mailbox.receive()
    mailbox.close()
    assert mailbox.discard() == [2]
    joiner = asyncio.create_task(mailbox.join())
    await some_turns()
    assert not joiner.done()
    mailbox.task_done()
    await joiner


# Closing


@virtual
async def test_closing_lets_everybody_come_to_an_end(bubble: object) -> None:
    """Twice, with cancelled waiters on the way, and with several of each kind."""
    mailbox: Mailbox[int] = Mailbox("m", capacity=1)
    mailbox.send_nowait(0)
    senders = [asyncio.create_task(mailbox.send(number)) for number in range(1, 4)]
    await some_turns()
    senders[0].cancel()
    mailbox.close("enough")
    mailbox.close("again")
    results = await asyncio.gather(*senders, return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError, OwnerClosed, OwnerClosed]
    assert "enough" in str(results[1])
    with pytest.raises(OwnerClosed, match="enough"):
        mailbox.send_nowait(1)
    waiting = asyncio.create_task(mailbox.wait())
    await some_turns()
    assert not waiting.done()
    assert [item async for item in mailbox] == [0]
    await waiting
    with pytest.raises(OwnerClosed, match=r"nothing is left in mailbox 'm'.*enough"):
        await mailbox.receive()
    with pytest.raises(OwnerClosed):
        mailbox.receive_nowait()
    await mailbox.wait()


@virtual
async def test_closing_frees_every_receiver(bubble: object) -> None:
    """What is in goes to those before; the others are told of the end."""
    mailbox: Mailbox[int] = Mailbox()

    async def collect() -> list[int]:
        return [item async for item in mailbox]

    receivers = [asyncio.create_task(collect()) for _ in range(5)]
    await some_turns()
    for number in range(3):
        mailbox.send_nowait(number)
    mailbox.close()
    assert sorted(item for items in await asyncio.gather(*receivers) for item in items) == [0, 1, 2]


@pytest.mark.parametrize("cancelled", [0, 1, 1_500])
@virtual
async def test_a_crowd_is_told_of_the_end_in_parts(bubble: object, cancelled: int) -> None:
    """So that no step takes long; those who are cancelled meanwhile break no chain."""
    for kind in ("receivers", "senders"):
        mailbox: Mailbox[int] = Mailbox(capacity=1)
        if kind == "senders":
            mailbox.send_nowait(0)
        step = mailbox.receive if kind == "receivers" else lambda: mailbox.send(1)  # noqa: B023
        crowd = [asyncio.create_task(step()) for _ in range(3_000)]
        await some_turns()
        mailbox.close()
        line = mailbox._receivers if kind == "receivers" else mailbox._senders
        assert len(line.places) == 3_000 - MANY
        for task in crowd[:cancelled]:
            task.cancel()
        done, pending = await asyncio.wait(crowd, timeout=5)
        assert not pending
        assert sum(task.cancelled() for task in done) == cancelled
        assert all(isinstance(task.exception(), OwnerClosed) for task in done if not task.cancelled())


@pytest.mark.parametrize("wait", ["join", "wait"])
@virtual
async def test_a_crowd_that_waits_for_the_end_is_told_in_parts(bubble: object, wait: str) -> None:
    """Each tells one more, but only while it is so: those that look again, and wait again, do not go round for ever."""
    mailbox: Mailbox[int] = Mailbox()
    await mailbox.send(0)
    crowd = [asyncio.create_task(getattr(mailbox, wait)()) for _ in range(3 * MANY)]
    await some_turns()

    def end() -> None:
        mailbox.close()
        mailbox.receive_nowait()
        mailbox.task_done()

    if wait == "join":
        mailbox.receive_nowait()
        mailbox.task_done()
        mailbox.send_nowait(1)  # before any of them has run
        await some_turns()
        assert not any(task.done() for task in crowd)
    end()
    line = mailbox._joiners if wait == "join" else mailbox._waiters
    assert len(line.places) == 2 * MANY
    for task in crowd[MANY : 2 * MANY : 2]:
        task.cancel()
    _, pending = await asyncio.wait(crowd, timeout=5)
    assert not pending
    assert not line


@pytest.mark.parametrize("way", ["more room", "discard"])
@virtual
async def test_a_crowd_gets_room_in_parts(bubble: object, way: str) -> None:
    """In the order in which it came."""
    mailbox: Mailbox[int] = Mailbox(capacity=3 * MANY)
    for _ in range(3 * MANY):
        mailbox.send_nowait(-1)
    crowd = [asyncio.create_task(mailbox.send(number)) for number in range(3 * MANY)]
    await some_turns()
    if way == "discard":
        mailbox.discard()
    else:
        mailbox.capacity = None
    assert len(mailbox._senders.places) == 2 * MANY
    await asyncio.wait(crowd, timeout=5)
    assert mailbox.discard()[-3 * MANY :] == list(range(3 * MANY))


@virtual
async def test_discard_leaves_what_a_receiver_was_told_of(bubble: object) -> None:
    """It takes it when it runs; where it is cancelled instead, after a close, the item is dropped."""
    dropped: list[int] = []
    mailbox = Mailbox(on_drop=dropped.append)
    receiver = asyncio.create_task(mailbox.receive())
    await some_turns()
    for number in (1, 2):
        mailbox.send_nowait(number)
    assert mailbox.discard() == [2]
    assert await receiver == 1
    receiver = asyncio.create_task(mailbox.receive())
    waiting = asyncio.create_task(mailbox.wait())
    await some_turns()
    mailbox.send_nowait(3)
    mailbox.close()
    assert mailbox.discard() == []
    receiver.cancel()
    await waiting
    assert dropped == [3]


@virtual
async def test_what_a_block_leaves_can_be_taken_out(bubble: object) -> None:
    """Also when a receiver that was told of one was cancelled."""
    async with Mailbox[int]() as mailbox:
        receiver = asyncio.create_task(mailbox.receive())
        await some_turns()
        for number in (1, 2):
            mailbox.send_nowait(number)
        receiver.cancel()
    await asyncio.wait([receiver])
    assert mailbox.discard() == [1, 2]
    assert mailbox.empty


@virtual
async def test_discard_makes_room(bubble: object) -> None:
    """Those who wait for it go on."""
    mailbox: Mailbox[int] = Mailbox(capacity=2)
    for number in range(2):
        mailbox.send_nowait(number)
    senders = [asyncio.create_task(mailbox.send(number)) for number in (2, 3)]
    await some_turns()
    assert mailbox.discard() == [0, 1]
    await asyncio.wait_for(asyncio.gather(*senders), 1)
    assert mailbox.discard() == [2, 3]


# The capacity


@virtual
async def test_the_capacity_may_change(bubble: object) -> None:
    """More of it lets as many go on; with less nothing is dropped, and senders wait longer."""
    mailbox: Mailbox[int] = Mailbox(capacity=1)
    mailbox.send_nowait(0)
    senders = [asyncio.create_task(mailbox.send(number)) for number in (1, 2, 3)]
    await some_turns()
    mailbox.capacity = 3
    await some_turns()
    assert (len(mailbox), mailbox.full, mailbox.capacity) == (3, True, 3)
    mailbox.capacity = 1
    assert [await mailbox.receive() for _ in range(2)] == [0, 1]
    await some_turns()
    assert (len(mailbox), mailbox.full, mailbox.waiting_senders) == (1, True, 1)
    assert [await mailbox.receive() for _ in range(2)] == [2, 3]
    await asyncio.gather(*senders)
    with pytest.raises(ValueError):
        mailbox.capacity = 0
    mailbox.capacity = None
    for number in range(1_000):
        mailbox.send_nowait(number)
    assert (mailbox.full, mailbox.capacity) == (False, None)


# What it says of itself


@virtual
async def test_what_it_says_of_itself(bubble: object) -> None:
    """Its figures close: what was sent is waiting, received, dropped or discarded."""
    mailbox: Mailbox[int] = Mailbox("orders", capacity=2)
    receivers = [asyncio.create_task(mailbox.receive()) for _ in range(2)]
    await some_turns()
    assert mailbox.statistics().waiting_receivers == 2
    for number in range(4):
        mailbox.send_nowait(number)
    await asyncio.gather(*receivers)
    sender = asyncio.create_task(mailbox.send(5))
    await some_turns()
    statistics = mailbox.statistics()
    assert (statistics.name, statistics.state, statistics.capacity) == ("orders", "open", 2)
    assert (statistics.waiting, statistics.waiting_senders, statistics.high_water) == (2, 1, 2)
    assert (statistics.sent, statistics.received, statistics.unfinished) == (4, 2, 4)
    assert repr(mailbox) == "<mailbox 'orders': open, 2 waiting>"
    (node,) = [child for child in take_snapshot().roots if child.name == "orders"]
    assert (node.kind, node.state) == ("mailbox", "open")
    mailbox.close()
    await asyncio.wait([sender])
    assert sender.exception() is not None
    assert (mailbox.closed, mailbox.empty, mailbox.statistics().state) == (True, False, "closing")
    mailbox.discard()
    assert (mailbox.empty, mailbox.statistics().state, mailbox.statistics().refused) == (True, "closed", 1)
    assert mailbox  # whether there is anything in it or not


@virtual
async def test_a_received_item_is_let_go_of(bubble: object) -> None:
    """As is one that was dropped, or refused: the mailbox keeps what is in, and no more."""

    class Item:
        pass

    mailbox: Mailbox[Item] = Mailbox(capacity=1, overflow="drop_oldest")
    gone = []
    for _ in range(3):
        item = Item()
        gone.append(weakref.ref(item))
        await mailbox.send(item)
    del item
    await mailbox.receive()
    gc.collect()
    assert [reference() for reference in gone] == [None] * 3


# Cancellation, of every kind


@on_every_loop
def test_a_wait_for_loses_nothing(new_loop: object) -> None:
    """Whenever its time is over: in the turn of the hand-over, too; and the iteration goes on."""

    async def main() -> None:
        mailbox: Mailbox[int] = Mailbox(capacity=4)
        got: list[int] = []

        async def send() -> None:
            for number in range(300):
                await mailbox.send(number)
                for _ in range(number % 4):
                    await asyncio.sleep(0)
            mailbox.close()

        sender = asyncio.create_task(send())
        iterator = aiter(mailbox)
        turns = 0
        while True:
            turns += 1
            try:
                with anyio.fail_after(0) if turns % 3 else anyio.CancelScope():
                    async with asyncio.timeout(0 if turns % 2 else None):
                        got.append(await anext(iterator))
            except TimeoutError:
                await asyncio.sleep(0)
            except StopAsyncIteration:
                break
        await sender
        assert got == list(range(300))

    run_on(new_loop, main())  # type: ignore[arg-type]
