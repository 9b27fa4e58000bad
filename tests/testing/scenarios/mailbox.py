"""Mailbox and Broadcast: nothing is lost, doubled or overtaken, and all end, wherever the cancellation strikes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import anyio

from lifecycle import Broadcast, Mailbox, OwnerClosed, SubscriberTooSlow, TaskGroup

from ._table import scenario, work

if TYPE_CHECKING:
    from lifecycle.testing import Bubble


class Account:
    """What has become of every item: it must close, whoever was struck."""

    def __init__(self, mailbox: Mailbox[int]) -> None:
        self._mailbox = mailbox
        self.sent: list[int] = []
        self.received: list[int] = []
        self.dropped: list[int] = []

    async def send(self, *items: int) -> None:
        for item in items:
            if await self._mailbox.send(item):
                self.sent.append(item)
            self._mailbox._check_invariants()

    async def receive(self, after_each: Callable[[], Awaitable[object]]) -> None:
        async for item in self._mailbox:
            self.received.append(item)
            self._mailbox._check_invariants()
            try:
                await after_each()
            finally:
                self._mailbox.task_done()

    def check(self) -> None:
        """Say what is wrong, if anything is."""
        self._mailbox._check_invariants()
        ended = sorted(self.received + self.dropped + self._mailbox.discard())
        assert ended == sorted(self.sent), f"sent {self.sent}, received {self.received}, dropped {self.dropped}"
        first, second = ([item for item in self.received if item // 10 == of] for of in (0, 1))
        assert first == sorted(first), "items of one sender were overtaken"
        assert second == sorted(second), "items of one sender were overtaken"


@scenario
async def mailbox_between_tasks(bubble: Bubble) -> None:
    """Two senders, two receivers and little room; one receiver gives up and another one comes."""
    mailbox: Mailbox[int] = Mailbox(capacity=1)
    account = Account(mailbox)

    async def impatient() -> None:
        with anyio.move_on_after(0.01):
            await account.receive(lambda: asyncio.sleep(0))
        await account.receive(lambda: work(bubble, "item", 0.001))

    try:
        async with TaskGroup() as receivers:
            receivers.start_soon(impatient)
            receivers.start_soon(account.receive, lambda: work(bubble, "item", 0.003))
            async with mailbox:
                async with TaskGroup() as senders:
                    senders.start_soon(account.send, 1, 2, 3)
                    senders.start_soon(account.send, 11, 12, 13)
                await mailbox.join()
    finally:
        account.check()


@scenario
async def mailbox_between_two_receivers(bubble: Bubble) -> None:
    """One item for two that wait: whichever is struck, the other one gets it."""
    mailbox: Mailbox[int] = Mailbox()
    got: list[int] = []
    struck: list[int] = []

    async def receive() -> None:
        try:
            got.append(await mailbox.receive())
        except OwnerClosed:
            assert got
        except BaseException:
            struck.append(1)
            raise

    async with TaskGroup() as group:
        for _ in range(2):
            group.start_soon(receive)
        await asyncio.sleep(0.01)
        await mailbox.send(1)
        await asyncio.sleep(0.01)
        assert got or len(struck) == 2
        mailbox.close()


@scenario
async def mailbox_between_two_senders(bubble: Bubble) -> None:
    """Room for one of two that wait: whichever is struck, the other one gets it; then a close frees the rest."""
    mailbox: Mailbox[int] = Mailbox(capacity=1)
    await mailbox.send(0)
    account = Account(mailbox)
    account.sent.append(0)
    over: list[str] = []

    async def send(*items: int) -> None:
        try:
            await account.send(*items)
        except OwnerClosed:
            assert mailbox.closed

    async def wait() -> None:
        await mailbox.wait()
        assert mailbox.closed
        over.append("over")

    try:
        async with TaskGroup() as group:
            for items in ((1, 2), (11, 12)):
                group.start_soon(send, *items)
            group.start_soon(wait)
            await asyncio.sleep(0.01)
            for _ in range(2):
                account.received.append(await mailbox.receive())
                await asyncio.sleep(0.01)
            mailbox.close()
            await asyncio.sleep(0.01)  # nobody receives
            assert mailbox.waiting_senders == 0
            account.dropped += mailbox.discard()
    finally:
        account.check()


@scenario
async def mailbox_closed_upon(bubble: Bubble) -> None:
    """While senders wait, and a receiver was told of an item; what is left is taken out."""
    mailbox: Mailbox[int] = Mailbox(capacity=1)
    account = Account(mailbox)

    async def send(*items: int) -> None:
        try:
            await account.send(*items)
        except OwnerClosed:
            assert mailbox.closed

    try:
        async with TaskGroup() as group:
            group.start_soon(send, 1, 2)
            group.start_soon(send, 11, 12)
            group.start_soon(account.receive, lambda: asyncio.sleep(0.02))
            await asyncio.sleep(0.01)
            mailbox.close()
            await asyncio.sleep(0.005)
            account.dropped += mailbox.discard()
            await mailbox.wait()
    finally:
        account.check()


@scenario
async def mailbox_that_drops_the_oldest(bubble: Bubble) -> None:
    """In bursts, with a receiver that is too slow for them."""
    mailbox: Mailbox[int] = Mailbox(
        capacity=2, overflow="drop_oldest", on_drop=lambda item: account.dropped.append(item)
    )
    account = Account(mailbox)

    try:
        async with TaskGroup() as group, mailbox:
            group.start_soon(account.receive, lambda: work(bubble, "item", 0.01))
            for burst in range(3):
                await account.send(*range(burst * 3, burst * 3 + 3))
                await asyncio.sleep(0.005)
    finally:
        account.check()


@scenario
async def broadcast_that_waits_for_the_slowest(bubble: Bubble) -> None:
    """Two publishers and two subscribers, one of which is slow and leaves: who is waited for has all, in one order."""
    news: Broadcast[int] = Broadcast(capacity=1, overflow="wait")
    published: list[int] = []
    got: dict[str, list[int]] = {"fast": [], "slow": []}

    async def publish(*items: int) -> None:
        for item in items:
            await news.publish(item)
            published.append(item)
            await asyncio.sleep(0)

    async def follow(name: str, most: int) -> None:
        with news.subscribe(name) as subscription:
            subscribed.append(len(published))
            async for item in subscription:
                assert subscription.waiting <= 1, "a publisher did not wait"
                got[name].append(item)
                await work(bubble, name, 0.001 if name == "fast" else 0.004)
                if len(got[name]) == most:
                    return

    subscribed: list[int] = []
    try:
        async with TaskGroup() as followers:
            followers.start_soon(follow, "fast", 100)
            followers.start_soon(follow, "slow", 4)
            await asyncio.sleep(0)
            async with news, TaskGroup() as publishers:
                publishers.start_soon(publish, 1, 2, 3)
                publishers.start_soon(publish, 11, 12, 13)
    finally:
        assert news.statistics().published == len(published)
        for items in got.values():
            first = published.index(items[0]) if items else 0
            assert items == published[first : first + len(items)], f"published {published}, got {items}"


@scenario
async def broadcast_that_disconnects(bubble: Bubble) -> None:
    """A subscriber that is too slow hears it; another misses the oldest; what they got is in order."""
    news: Broadcast[int] = Broadcast(capacity=1, overflow="disconnect", replay=1)
    got: list[int] = []

    async def follow() -> None:
        try:
            async for item in news.subscribe(overflow="drop_oldest"):
                got.append(item)
                await work(bubble, "item", 0.003)
        finally:
            assert got == sorted(got)

    async def fall_behind() -> None:
        with news.subscribe() as subscription:
            try:
                async for _ in subscription:
                    await work(bubble, "slow", 0.01)
                    assert subscription.waiting <= 1, "it was not disconnected"
            except SubscriberTooSlow:
                assert subscription.missed

    async with TaskGroup() as group, news:
        group.start_soon(follow)
        group.start_soon(fall_behind)
        for number in range(5):
            await news.publish(number)
            await asyncio.sleep(0.002)
