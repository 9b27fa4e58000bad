"""A broadcast under random treatment, beside a model of it: one list of what was published.

The machine is synchronous and drives a virtual loop. What each subscriber gets is a part of that list, from where it
began, in order; one that is waited for, or has no bound, gets all of it; the others say how many they have missed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from lifecycle import Broadcast, MailboxEmpty, MailboxFull, OwnerClosed, SubscriberTooSlow
from lifecycle.testing.types import VirtualLoop
from lifecycle.types import Subscription

from .at_length import run_lives

OPERATIONS = [
    "publish",
    "publish",
    "publish now",
    "publish now",
    "receive",
    "receive",
    "receive now",
    "cancel",
    "leave",
]


class Follower:
    """A subscriber, and what it has got."""

    def __init__(self, subscription: Subscription[int], overflow: str, capacity: int, began: int) -> None:
        self.subscription = subscription
        self.overflow = overflow
        self.capacity = capacity
        self.began = began  # how many items had been published before the first that it gets
        self.got: list[int] = []
        self.cut = False
        self.receiving = 0  # calls that have not returned: an item that one of them was told of takes no room


class BroadcastLife(RuleBasedStateMachine):
    """The life of one broadcast."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.published: list[int] = []
        self.offered = 0
        self.followers: list[Follower] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.cancelled = 0

    @initialize(replay=st.integers(0, 2))
    def begin(self, replay: int) -> None:
        self.replay = replay
        self.broadcast: Broadcast[int] = Broadcast(replay=replay)

    async def publish(self, item: int) -> None:
        with contextlib.suppress(OwnerClosed):
            got = await self.broadcast.publish(item)
            self.published.append(item)
            assert 0 <= got <= len(self.followers)

    async def receive(self, follower: Follower) -> None:
        follower.receiving += 1
        try:
            follower.got.append(await follower.subscription.receive())
        except OwnerClosed:
            assert follower.subscription.closed
        except SubscriberTooSlow:
            follower.cut = True
        finally:
            follower.receiving -= 1

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(self.loop.create_task(work))

    def operate(self, operation: str, which: int) -> None:
        follower = self.followers[which % len(self.followers)] if self.followers else None
        if operation == "publish":
            self.offered += 1
            self.start(self.publish(self.offered))
        elif operation == "publish now":
            self.offered += 1
            with contextlib.suppress(OwnerClosed, MailboxFull):
                self.broadcast.publish_nowait(self.offered)
                self.published.append(self.offered)
        elif operation == "cancel":
            waiting = [task for task in self.tasks if not task.done() and task._fut_waiter is not None]  # type: ignore[attr-defined]
            if waiting:
                waiting[which % len(waiting)].cancel()
                self.cancelled += 1
        elif follower is None:
            return
        elif operation == "receive":
            self.start(self.receive(follower))
        elif operation == "receive now":
            with contextlib.suppress(OwnerClosed, MailboxEmpty, SubscriberTooSlow):
                follower.got.append(follower.subscription.receive_nowait())
        else:
            follower.subscription.close()
            self.check(follower)
            self.followers.remove(follower)

    @rule(
        burst=st.lists(st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 9)), max_size=8), turns=st.integers(0, 3)
    )
    def burst(self, burst: list[tuple[str, int]], turns: int) -> None:
        async def step() -> None:
            for operation, which in burst:
                self.operate(operation, which)
            for _ in range(turns):
                await asyncio.sleep(0)

        task = self.loop.create_task(step())
        self.loop.run_main(task)
        task.result()

    @rule(
        overflow=st.sampled_from(["wait", "wait", "drop_oldest", "drop_newest", "disconnect"]),
        capacity=st.integers(1, 3),
    )
    def subscribe(self, overflow: Any, capacity: int) -> None:
        subscription = self.broadcast.subscribe(capacity=capacity, overflow=overflow)
        replayed = 0 if self.broadcast.closed else min(self.replay, capacity, len(self.published))
        assert subscription.waiting == replayed
        began = len(self.published) - replayed
        self.followers.append(Follower(subscription, overflow, capacity, began))

    @rule(often=st.integers(0, 14))
    def close(self, often: int) -> None:
        if often == 0:
            self.broadcast.close()

    @rule()
    def rest(self) -> None:
        """Come to rest: no publisher waits then without somebody who is slow."""
        self.burst([], 10 + 2 * len(self.tasks))
        slow = [
            each for each in self.followers if each.overflow == "wait" and each.subscription.waiting >= each.capacity
        ]
        assert slow or not self.broadcast.statistics().waiting_publishers

    @invariant()
    def everybody_has_a_part_of_what_was_published(self) -> None:
        if hasattr(self, "broadcast"):
            assert self.broadcast.statistics().published == len(self.published)
            for follower in self.followers:
                self.check(follower)

    def check(self, follower: Follower) -> None:
        mine = self.published[follower.began :]
        places = [mine.index(item) for item in follower.got]
        assert places == sorted(set(places)), "doubled or reordered"
        subscription = follower.subscription
        if not subscription.closed:
            assert len(follower.got) + subscription.waiting + subscription.missed == len(mine)
        if follower.overflow == "wait":
            assert subscription.missed == 0
            room = follower.capacity + follower.receiving + self.cancelled
            assert subscription.waiting <= room, "a publisher did not wait"
            assert follower.got == mine[: len(follower.got)]

    def teardown(self) -> None:
        try:
            if hasattr(self, "broadcast"):
                self.rest()
                while self.broadcast.statistics().waiting_publishers:
                    for number in range(len(self.followers)):
                        self.operate("receive now", number)
                    self.rest()
                self.broadcast.close()
                self.burst([], 10 + 2 * len(self.tasks))
                for follower in self.followers:
                    with contextlib.suppress(OwnerClosed, SubscriberTooSlow):
                        while True:
                            follower.got.append(follower.subscription.receive_nowait())
                    self.check(follower)
                    if follower.overflow == "wait":
                        assert follower.got == self.published[follower.began :]
                assert all(task.done() for task in self.tasks), "somebody waits for ever"
                for task in self.tasks:
                    assert task.cancelled() or task.exception() is None
        finally:
            self.loop.close()


PROFILE = settings(max_examples=60, stateful_step_count=30, deadline=None, database=None, derandomize=True)


def test_everybody_gets_what_is_theirs() -> None:
    """In order, once, from the call that subscribed; and nobody waits without a reason."""
    run_state_machine_as_test(BroadcastLife, settings=PROFILE)


@pytest.mark.nightly
@pytest.mark.timeout(7200)
def test_everybody_gets_what_is_theirs_at_length() -> None:
    """The same, for a night."""
    run_lives(BroadcastLife, 20_000, 60)
