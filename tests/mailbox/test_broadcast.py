"""Broadcast: every subscriber gets every item in one order; a slow one is its own affair, or the publisher waits."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from lifecycle import (
    Broadcast,
    LifecycleError,
    MailboxEmpty,
    MailboxFull,
    OwnerClosed,
    SubscriberTooSlow,
    TaskGroup,
    WrongLoop,
    take_snapshot,
)
from lifecycle._ground.waking import MANY
from lifecycle.types import Subscription

from ..collection import without_collection
from ..loops import on_every_loop, run_on, some_turns, virtual


def taken(subscription: Subscription[Any]) -> list[Any]:
    """Return what lies in a subscription."""
    return [subscription.receive_nowait() for _ in range(subscription.waiting)]


@on_every_loop
def test_everybody_gets_everything_in_order(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Whether they read along, or later; the iterations end with the broadcast."""

    async def collect(subscription: Subscription[int]) -> list[int]:
        return [item async for item in subscription]

    async def main() -> None:
        async with Broadcast[int](capacity=None) as broadcast:
            early = [asyncio.create_task(collect(broadcast.subscribe())) for _ in range(3)]
            late = broadcast.subscribe()
            for number in range(100):
                assert await broadcast.publish(number) == 4
                await asyncio.sleep(0)
        for task in early:
            assert await task == list(range(100))
        assert await collect(late) == list(range(100))

    run_on(new_loop, main())


@virtual
async def test_a_subscription_begins_with_the_call(bubble: object) -> None:
    """What is published before anybody reads is in it; and what was published before is not."""
    broadcast: Broadcast[int] = Broadcast()
    assert broadcast.publish_nowait(1) == 0
    with broadcast.subscribe("mine") as subscription:
        assert broadcast.publish_nowait(2) == 1
        assert (subscription.name, subscription.waiting, broadcast.subscribers) == ("mine", 1, 1)
        assert await subscription.receive() == 2
        with pytest.raises(MailboxEmpty):
            subscription.receive_nowait()
    assert (subscription.closed, broadcast.subscribers) == (True, 0)
    assert broadcast.publish_nowait(3) == 0
    with pytest.raises(OwnerClosed):
        await subscription.receive()


@virtual
async def test_the_latest_can_be_replayed(bubble: object) -> None:
    """As many as the new one has room for, before what comes next, and without waiting for it to read."""
    broadcast: Broadcast[int] = Broadcast(replay=3, overflow="wait")
    for number in range(5):
        await broadcast.publish(number)
    assert taken(broadcast.subscribe()) == [2, 3, 4]
    small = broadcast.subscribe(capacity=2)
    assert (taken(small), small.missed) == ([3, 4], 0)
    crowded = broadcast.subscribe(capacity=1)
    with pytest.raises(MailboxFull, match="no room: 3"):
        broadcast.publish_nowait(5)
    assert crowded.receive_nowait() == 4
    assert broadcast.publish_nowait(5) == 2  # the first was let go of


# Slow subscribers


@virtual
async def test_a_slow_one_misses_the_oldest_and_is_told_how_many(bubble: object) -> None:
    """That is the default, and holds up nobody else."""
    broadcast: Broadcast[int] = Broadcast(capacity=2)
    slow, fast = broadcast.subscribe(), broadcast.subscribe(capacity=100)
    for number in range(5):
        assert await broadcast.publish(number) == 2
    assert (slow.missed, fast.missed, broadcast.statistics().missed) == (3, 0, 3)
    assert (taken(slow), taken(fast)) == ([3, 4], [0, 1, 2, 3, 4])
    broadcast.publish_nowait(5)
    assert (taken(slow), slow.missed) == ([5], 3)
    slow.close()
    assert broadcast.statistics().missed == 3


@virtual
async def test_a_slow_one_can_miss_what_comes(bubble: object) -> None:
    """It is not counted among those that got it."""
    broadcast: Broadcast[int] = Broadcast()
    slow, _fast = broadcast.subscribe(capacity=1, overflow="drop_newest"), broadcast.subscribe()
    assert [broadcast.publish_nowait(number) for number in range(3)] == [2, 1, 1]
    assert (taken(slow), slow.missed) == ([0], 2)


@virtual
async def test_a_slow_one_can_be_disconnected(bubble: object, caplog: pytest.LogCaptureFixture) -> None:
    """It hears of it at its next step, whatever lies in its inbox, which is let go of; the log tells it once."""
    broadcast: Broadcast[int] = Broadcast("news", overflow="disconnect", capacity=2)
    slow, fast = broadcast.subscribe("slow"), broadcast.subscribe(overflow="drop_oldest")
    assert [broadcast.publish_nowait(number) for number in range(4)] == [2, 2, 1, 1]
    assert (slow.waiting, slow.missed, slow.closed, broadcast.subscribers) == (0, 3, True, 1)
    for kind in (SubscriberTooSlow, LifecycleError, ConnectionError):
        with pytest.raises(kind, match="'slow' was too slow and is disconnected: it has missed 3 items") as caught:
            await anext(slow)
    assert (caught.value.subscriber, caught.value.missed) == ("slow", 3)  # type: ignore[attr-defined]
    with pytest.raises(SubscriberTooSlow):
        await slow.receive()
    with pytest.raises(SubscriberTooSlow):
        slow.receive_nowait()
    assert [record.getMessage() for record in caplog.records] == ["subscriber disconnected"]
    statistics = broadcast.statistics()
    assert (statistics.disconnected, statistics.missed, fast.missed) == (1, 5, 2)


@virtual
async def test_one_that_waits_is_not_too_slow_for_a_burst(bubble: object) -> None:
    """What it was told of takes no room; then it is, and hears it although it sits in `receive`."""
    broadcast: Broadcast[int] = Broadcast(overflow="disconnect", capacity=1)
    subscription = broadcast.subscribe()

    async def follow() -> list[int]:
        got = [await anext(subscription)]
        with pytest.raises(SubscriberTooSlow):
            await anext(subscription)
        return got

    follower = asyncio.create_task(follow())
    await some_turns()
    assert [broadcast.publish_nowait(number) for number in range(3)] == [1, 1, 0]
    assert await follower == [0]


@virtual
async def test_a_publisher_can_wait_for_the_slowest(bubble: object) -> None:
    """Nobody has the item before all have room; others read on meanwhile, and publishers are served in order."""
    broadcast: Broadcast[int] = Broadcast(overflow="wait", capacity=1)
    slow, fast = broadcast.subscribe("slow"), broadcast.subscribe(capacity=5)
    lossy = broadcast.subscribe(overflow="drop_oldest")
    await broadcast.publish(0)
    publishers = [asyncio.create_task(broadcast.publish(number)) for number in (1, 2, 3)]
    await some_turns()
    assert taken(fast) == [0]
    assert broadcast.statistics().waiting_publishers == 3
    with pytest.raises(MailboxFull, match=r"no room: slow; 3 publishers wait"):
        broadcast.publish_nowait(4)
    publishers[1].cancel()
    assert await slow.receive() == 0
    await some_turns()
    assert (await publishers[0], publishers[2].done(), fast.waiting) == (3, False, 1)
    slow.close()
    assert await publishers[2] == 2
    assert (taken(fast), taken(lossy)) == ([1, 3], [3])
    assert publishers[1].cancelled()


@virtual
async def test_a_publisher_keeps_its_turn(bubble: object) -> None:
    """Where a new subscriber has no room again, before the first in line has run, it stays the first."""
    broadcast: Broadcast[int] = Broadcast(overflow="wait", capacity=1, replay=1)
    first = broadcast.subscribe()
    await broadcast.publish(0)
    publishers = [asyncio.create_task(broadcast.publish(number)) for number in (1, 2)]
    await some_turns()
    assert first.receive_nowait() == 0
    second = broadcast.subscribe()  # full of what is replayed
    await some_turns()
    assert first.waiting == 0
    assert second.receive_nowait() == 0
    await some_turns()
    assert (first.receive_nowait(), second.receive_nowait()) == (1, 1)
    await asyncio.gather(*publishers)
    assert (first.receive_nowait(), second.receive_nowait()) == (2, 2)


@virtual
async def test_a_cancelled_publisher_has_published_nothing(bubble: object) -> None:
    """Not even when it was told that it is its turn; the next one takes it."""
    broadcast: Broadcast[int] = Broadcast(overflow="wait", capacity=1)
    slow = broadcast.subscribe()
    await broadcast.publish(0)
    publishers = [asyncio.create_task(broadcast.publish(number)) for number in (1, 2)]
    await some_turns()
    assert slow.receive_nowait() == 0
    publishers[0].cancel()
    await asyncio.wait(publishers)
    assert publishers[0].cancelled()
    assert taken(slow) == [2]
    assert broadcast.statistics().published == 2


# Ends


@virtual
async def test_the_end_takes_nothing_away(bubble: object) -> None:
    """Who has a full inbox gets all of it, then the end; one that comes later ends at once."""
    broadcast: Broadcast[int] = Broadcast("news", capacity=1, replay=1)
    full = broadcast.subscribe()
    waiting = asyncio.create_task(anext_of(broadcast.subscribe()))
    await some_turns()
    publisher = asyncio.create_task(Broadcast[int].publish(broadcast, 1))
    await publisher
    broadcast.close("enough")
    broadcast.close("again")
    assert [item async for item in full] == [1]
    assert await waiting == 1
    assert [item async for item in broadcast.subscribe()] == []
    with pytest.raises(OwnerClosed, match="broadcast 'news' does not take an item: enough"):
        await broadcast.publish(2)
    with pytest.raises(OwnerClosed):
        broadcast.publish_nowait(2)
    assert (broadcast.closed, broadcast.statistics().state, broadcast.subscribers) == (True, "closed", 0)


async def anext_of(subscription: Subscription[int]) -> int:
    return await anext(subscription)


@virtual
async def test_the_end_frees_publishers(bubble: object) -> None:
    """All of them; their items are not published."""
    broadcast: Broadcast[int] = Broadcast(overflow="wait", capacity=1)
    slow = broadcast.subscribe()
    await broadcast.publish(0)
    publishers = [asyncio.create_task(broadcast.publish(number)) for number in range(1, 1_500)]
    await some_turns()
    broadcast.close()
    await asyncio.wait(publishers)
    assert all(isinstance(task.exception(), OwnerClosed) for task in publishers)
    assert [item async for item in slow] == [0]


@virtual
async def test_many_subscriptions_are_closed_in_parts(bubble: object) -> None:
    """So that no step takes long; those that read hear of it in time."""
    broadcast: Broadcast[int] = Broadcast()
    readers = [asyncio.create_task(broadcast.subscribe().receive()) for _ in range(2 * MANY)]
    await some_turns()
    broadcast.close()
    assert broadcast.subscribers == MANY
    await asyncio.wait(readers)
    assert all(isinstance(task.exception(), OwnerClosed) for task in readers)


@virtual
async def test_a_timeout_around_one_step_does_not_end_the_subscription(bubble: object) -> None:
    """The iteration goes on where it was."""
    broadcast: Broadcast[int] = Broadcast()
    with broadcast.subscribe() as subscription:
        for _ in range(2):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(subscription), 0.01)
        broadcast.publish_nowait(1)
        assert await anext(subscription) == 1


@virtual
async def test_a_subscription_that_is_let_go_of_leaves_nothing(bubble: object) -> None:
    """Without a block, and without a collection; who waits for its room goes on."""
    broadcast: Broadcast[int] = Broadcast(overflow="wait", capacity=1)

    async def first() -> int:
        async for item in broadcast.subscribe():
            return item
        raise AssertionError

    with without_collection():
        reader = asyncio.create_task(first())
        await some_turns()
        broadcast.publish_nowait(1)
        assert await reader == 1
        del reader
        assert broadcast.subscribers == 0
        dropped = broadcast.subscribe()
        broadcast.publish_nowait(2)
        publisher = asyncio.create_task(broadcast.publish(3))
        await some_turns()
        assert not publisher.done()
        del dropped
        assert await publisher == 0


@on_every_loop
def test_a_subscription_may_be_collected_in_another_thread(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """It is forgotten in the loop."""

    async def main() -> None:
        broadcast: Broadcast[int] = Broadcast()
        box = [broadcast.subscribe()]
        await broadcast.publish(1)
        thread = threading.Thread(target=box.clear)
        thread.start()
        thread.join()
        assert broadcast.subscribers == 1
        await some_turns()
        assert broadcast.subscribers == 0

    run_on(new_loop, main())


@virtual
async def test_what_everybody_has_received_is_let_go_of(bubble: object) -> None:
    """As is what a disconnected one had not."""

    class Item:
        pass

    broadcast: Broadcast[Any] = Broadcast(capacity=1, overflow="disconnect")
    fast, slow = broadcast.subscribe(capacity=9), broadcast.subscribe()
    gone = []
    for _ in range(3):
        item = Item()
        gone.append(weakref.ref(item))
        broadcast.publish_nowait(item)
    del item
    for _ in range(3):
        fast.receive_nowait()
    gc.collect()
    assert [reference() for reference in gone] == [None] * 3
    assert slow.closed


@virtual
async def test_several_tasks_share_a_subscription(bubble: object) -> None:
    """Each item goes to one of them, in turn."""
    broadcast: Broadcast[int] = Broadcast(overflow="wait", capacity=2)
    got: list[int] = []

    async def work(subscription: Subscription[int]) -> None:
        async for item in subscription:
            await asyncio.sleep(0)
            got.append(item)

    async with TaskGroup() as group, broadcast:
        subscription = broadcast.subscribe()
        for _ in range(3):
            group.start_soon(work, subscription)
        for number in range(20):
            await broadcast.publish(number)
    assert sorted(got) == list(range(20))


# Use


@on_every_loop
def test_another_thread_is_refused(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Whatever it calls; nothing has happened."""

    async def main() -> None:
        broadcast: Broadcast[int] = Broadcast()
        subscription = broadcast.subscribe()
        errors: list[type[BaseException]] = []

        def call_all() -> None:
            for call in (
                lambda: broadcast.publish_nowait(1),
                lambda: asyncio.run(broadcast.publish(1)),
                broadcast.subscribe,
                broadcast.close,
            ):
                try:
                    call()  # type: ignore[operator]
                except Exception as error:
                    errors.append(type(error))

        thread = threading.Thread(target=call_all)
        thread.start()
        while thread.is_alive():
            await asyncio.sleep(0.001)
        assert errors == [WrongLoop] * 4
        assert (broadcast.statistics().published, broadcast.closed, subscription.waiting) == (0, False, 0)

    run_on(new_loop, main())


def test_it_outlives_a_loop() -> None:
    """Made before there is one, and used by one after the other; who waited went with its own."""
    broadcast: Broadcast[int] = Broadcast(overflow="wait", capacity=1)
    subscription = broadcast.subscribe()
    broadcast.publish_nowait(1)

    async def leave_a_publisher() -> None:
        coro = broadcast.publish(2)
        coro.send(None)
        coro.close()

    async def use() -> int:
        item = await subscription.receive()
        assert await broadcast.publish(3) == 1
        return item

    asyncio.run(leave_a_publisher())
    assert asyncio.run(use()) == 1
    assert taken(subscription) == [3]


@pytest.mark.usefixtures("no_strangers")
@virtual
async def test_what_it_says_of_itself(bubble: object) -> None:
    """In figures, in words, and in a snapshot."""
    broadcast: Broadcast[int] = Broadcast("news", replay=2)
    subscription = broadcast.subscribe("ann")
    broadcast.publish_nowait(1)
    statistics = broadcast.statistics()
    assert (statistics.name, statistics.state, statistics.subscribers) == ("news", "open", 1)
    assert (statistics.most_behind, statistics.replayed, statistics.published) == (1, 1, 1)
    assert repr(broadcast) == "<broadcast 'news': open, 1 subscribers>"
    assert repr(subscription) == "<subscription 'ann' to broadcast 'news': 1 waiting, 0 missed>"
    (node,) = [child for child in take_snapshot().roots if child.name == "news"]
    assert [(child.kind, child.name, child.state) for child in node.children] == [("subscription", "ann", "1 waiting")]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"capacity": 0}, ValueError),
        ({"capacity": "1"}, TypeError),
        ({"overflow": "refuse"}, ValueError),
        ({"replay": -1}, ValueError),
        ({"replay": None}, TypeError),
        ({"name": 3}, TypeError),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], error: type[Exception]) -> None:
    """Of the broadcast, and of a subscription, which then does not exist."""
    with pytest.raises(error):
        Broadcast(**arguments)
    if "replay" not in arguments:
        broadcast: Broadcast[int] = Broadcast()
        with pytest.raises(error):
            broadcast.subscribe(**arguments)
        assert broadcast.subscribers == 0


def test_the_log_names_the_subscriber(caplog: pytest.LogCaptureFixture) -> None:
    """And how much it has missed."""
    broadcast: Broadcast[int] = Broadcast("news", overflow="disconnect", capacity=1)
    subscription = broadcast.subscribe("ann")
    with caplog.at_level(logging.WARNING):
        broadcast.publish_nowait(1)
        broadcast.publish_nowait(2)
    (record,) = caplog.records
    fields = vars(record)
    assert (fields["owner"], fields["subscriber"], fields["missed"]) == ("news", "ann", 2)
    assert subscription.closed


def test_a_log_that_is_published_there_keeps_its_place() -> None:
    """What is logged of a subscriber that was too slow comes after the item for which it was, with everybody."""
    broadcast: Broadcast[object] = Broadcast(overflow="disconnect")
    subscribers = [broadcast.subscribe(capacity=capacity) for capacity in (9, 1, 9, 1, 9)]

    class Handler(logging.Handler):
        """Publishes what is logged."""

        def emit(self, record: logging.LogRecord) -> None:
            broadcast.publish_nowait(record.subscriber)  # type: ignore[attr-defined]

    handler = Handler()
    logging.getLogger("lifecycle.mailbox").addHandler(handler)
    try:
        assert [broadcast.publish_nowait(number) for number in (1, 2)] == [5, 3]
    finally:
        logging.getLogger("lifecycle.mailbox").removeHandler(handler)
    assert [taken(each) for each in subscribers[::2]] == [[1, 2, "2", "4"]] * 3
    assert broadcast.statistics().disconnected == 2
