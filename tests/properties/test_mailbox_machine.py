"""A mailbox under random treatment, beside a model of it: a list of items, and two lines of tasks.

The machine is synchronous and drives a virtual loop. A burst is a list of operations in one step, so that their effects
meet: a receiver is cancelled in the step in which it was told of an item, a newcomer comes in between, the mailbox is
closed. After every burst the loop takes one turn, or comes to rest.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

import anyio
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from lifecycle import Mailbox, MailboxEmpty, MailboxFull, OwnerClosed
from lifecycle.testing.types import VirtualLoop

from .at_length import run_lives

OPERATIONS = ["send", "send", "receive", "receive", "send now", "receive now", "cancel", "cancel", "strike"]


class Waiter:
    """One call of `send` or `receive`, which may wait."""

    def __init__(self, line: list[Waiter]) -> None:
        self.scope = anyio.CancelScope()
        self.struck = False
        self._line = line

    def __enter__(self) -> None:
        self._line.append(self)

    def __exit__(self, *_: object) -> None:
        self._line.remove(self)

    def check_first(self, enough_for: int = 0) -> None:
        """Check that nobody was overtaken who came before, has not been cancelled, and goes empty away."""
        before = [waiter for waiter in self._line[: self._line.index(self)] if not waiter.struck]
        assert len(before) <= enough_for, "somebody was overtaken"


class MailboxLife(RuleBasedStateMachine):
    """The life of one mailbox."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.called: list[int] = []  # all for which send was called, in that order
        self.entered: list[int] = []  # of those, what went in
        self.received: list[int] = []
        self.dropped: list[int] = []
        self.discarded: list[int] = []
        self.refused: list[int] = []
        self.offered = 0
        self.tasks: dict[asyncio.Task[Any], Waiter] = {}
        self.senders: list[Waiter] = []  # those that wait, in the order in which they came
        self.receivers: list[Waiter] = []
        self.reported = 0

    @initialize(
        capacity=st.sampled_from([1, 1, 2, 3, None]),
        overflow=st.sampled_from(["wait", "wait", "wait", "refuse", "drop_oldest", "drop_newest"]),
    )
    def begin(self, capacity: int | None, overflow: Any) -> None:
        self.overflow = overflow
        self.mailbox: Mailbox[int] = Mailbox(capacity=capacity, overflow=overflow, on_drop=self.dropped.append)

    # What tasks do

    async def send(self, item: int, waiter: Waiter) -> None:
        with waiter.scope, waiter:
            self.called.append(item)
            try:
                went_in = await self.mailbox.send(item)
            except (OwnerClosed, MailboxFull):
                self.refused.append(item)
            except asyncio.CancelledError:
                self.refused.append(item)
                raise
            else:
                if went_in:
                    self.entered.append(item)
                else:
                    assert self.dropped[-1] == item

    async def receive(self, waiter: Waiter) -> None:
        with waiter.scope, waiter, contextlib.suppress(OwnerClosed):
            item = await self.mailbox.receive()
            waiter.check_first(enough_for=len(self.mailbox))
            self.received.append(item)

    def operate(self, operation: str, which: int) -> None:
        if operation in ("send", "send now"):
            item = self.offered
            self.offered += 1
            if operation == "send":
                waiter = Waiter(self.senders)
                self.tasks[self.loop.create_task(self.send(item, waiter))] = waiter
                return
            self.called.append(item)
            try:
                if self.mailbox.send_nowait(item):
                    self.entered.append(item)
            except (OwnerClosed, MailboxFull):
                self.refused.append(item)
        elif operation == "receive":
            waiter = Waiter(self.receivers)
            self.tasks[self.loop.create_task(self.receive(waiter))] = waiter
        elif operation == "receive now":
            with contextlib.suppress(OwnerClosed, MailboxEmpty):
                self.received.append(self.mailbox.receive_nowait())
        else:
            waiting = [task for task, waiter in self.tasks.items() if waiter in [*self.senders, *self.receivers]]
            if waiting:
                task = waiting[which % len(waiting)]
                self.tasks[task].struck = True
                if operation == "cancel":
                    task.cancel()
                else:
                    self.tasks[task].scope.cancel()

    # What happens

    @rule(
        burst=st.lists(st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 9)), max_size=6),
        turns=st.integers(0, 3),
        end=st.integers(0, 19),
    )
    def burst(self, burst: list[tuple[str, int]], turns: int, end: int) -> None:
        async def step() -> None:
            for operation, which in burst:
                self.operate(operation, which)
                self.mailbox._check_invariants()
            if end == 0:  # while some were told, and have not run
                self.mailbox.close()
                self.mailbox._check_invariants()

        self.run(step())
        self.turn(turns)

    def turn(self, count: int) -> None:
        async def turns() -> None:
            for _ in range(count):
                await asyncio.sleep(0)

        self.run(turns())

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work)
        self.loop.run_main(task)
        task.result()

    @rule(capacity=st.sampled_from([1, 2, 4, None]))
    def change_capacity(self, capacity: int | None) -> None:
        self.mailbox.capacity = capacity

    @rule()
    def discard(self) -> None:
        self.discarded += self.mailbox.discard()

    @rule()
    def report(self) -> None:
        if self.reported < len(self.received):
            self.mailbox.task_done()
            self.reported += 1

    @rule()
    def rest(self) -> None:
        """Come to rest: then nobody waits for what is there."""
        self.turn(10 + 2 * len(self.tasks))
        statistics = self.mailbox.statistics()
        assert not (statistics.waiting and statistics.waiting_receivers), statistics
        if self.overflow != "wait" or not self.mailbox.full:
            assert not statistics.waiting_senders, statistics

    @rule(often=st.integers(0, 9))
    def close(self, often: int) -> None:
        if often == 0:
            self.mailbox.close()

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        if not hasattr(self, "mailbox"):
            return
        self.mailbox._check_invariants()
        statistics = self.mailbox.statistics()
        assert statistics.sent == len(self.entered)
        assert statistics.received == len(self.received)
        assert statistics.dropped == len(self.dropped)
        assert statistics.discarded == len(self.discarded)
        places = {item: place for place, item in enumerate(self.called)}
        order = [places[item] for item in self.received]
        assert order == sorted(order), "items were reordered"

    def teardown(self) -> None:
        try:
            if hasattr(self, "mailbox"):
                self.turn(3)
                self.mailbox.close()
                self.turn(10 + 2 * len(self.tasks))
                left = [self.mailbox.receive_nowait() for _ in range(len(self.mailbox))]
                assert all(task.done() for task in self.tasks), "somebody waits for ever"
                for task in self.tasks:
                    assert task.cancelled() or task.exception() is None
                ends = self.received + self.dropped + self.discarded + self.refused + left
                assert sorted(ends) == list(range(self.offered))
        finally:
            self.loop.close()


PROFILE = settings(max_examples=75, stateful_step_count=30, deadline=None, database=None, derandomize=True)


def test_nothing_is_lost_doubled_or_overtaken() -> None:
    """Every item offered has exactly one end, and at rest nobody waits for what is there."""
    run_state_machine_as_test(MailboxLife, settings=PROFILE)


@pytest.mark.nightly
@pytest.mark.timeout(7200)
def test_nothing_is_lost_at_length() -> None:
    """The same, for a night."""
    run_lives(MailboxLife, 20_000, 60)
