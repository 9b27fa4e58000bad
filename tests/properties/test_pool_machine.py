"""Random lives of a pool, with creations, checks, resets and ends that fail, hang and refuse to be cancelled."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from lifecycle import OwnerClosed, Pool, PoolFull, PoolTimeout
from lifecycle.testing.machines import LoopMachine, PoolMachine

from .at_length import run_lives

MANNERS = st.sampled_from(["well", "well", "well", "badly", "never", "stubbornly"])

PLANNED = (OSError, TimeoutError, OwnerClosed, PoolFull)


class Misbehaving(PoolMachine):
    """Borrowers that wait, give up, break what they have and are cancelled, while size and manners change."""

    max_size = 3

    def __init__(self) -> None:
        self.manners = dict.fromkeys(("create", "check", "reset", "destroy"), "well")
        self.served: list[int] = []
        self.arrived = 0
        super().__init__()

    def make(self, create: Any, destroy: Any) -> Any:
        async def made() -> Any:
            await self.behave("create")
            return await create()

        async def end(value: Any) -> None:
            await destroy(value)
            await self.behave("destroy")

        async def check(value: Any) -> bool:
            assert not value.releases, "checked after its end"
            await self.behave("check")
            return True

        async def reset(value: Any) -> None:
            assert not value.releases, "reset after its end"
            await self.behave("reset")

        return Pool(
            made,
            end,
            max_size=self.max_size,
            min_size=1,
            max_idle=1.5,
            max_lifetime=4.0,
            check=check,
            check_bypass=0.3,
            check_every=0.7,
            reset=reset,
            pending_limit=6,
            create_timeout=1.0,
            close_timeout=1.0,
            leak_threshold=0.3,
            name="machine",
        )

    @initialize()
    def no_jitter(self) -> None:
        self.pool._workshop.random = lambda: 0.0

    async def behave(self, what: str) -> None:
        manner = self.manners[what]
        await asyncio.sleep(0.05)
        if manner == "badly":
            raise OSError(f"planned in {what}")
        if manner == "never":
            await asyncio.sleep(1000)
        if manner == "stubbornly":
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                await asyncio.sleep(0.5)

    async def _borrow(self, seconds: float, breaks: bool) -> None:
        self.arrived += 1
        number = self.arrived
        try:
            async with self.borrow() as value:
                self.served.append(number)
                assert value not in self._lent, f"{value} was lent twice"
                assert not value.releases, f"{value} was lent after its end"
                self._lent.append(value)
                try:
                    await asyncio.sleep(seconds)
                    if breaks:
                        raise OSError("broken while it was lent")
                finally:
                    self._lent.remove(value)
        except PLANNED:
            pass

    @rule(tenths=st.integers(0, 8))
    def borrow_in_time(self, tenths: int) -> None:
        self.start(self._borrow_in_time(tenths / 10), "hasty")

    async def _borrow_in_time(self, seconds: float) -> None:
        try:
            async with self.pool.acquire(timeout=seconds):
                pass
        except (*PLANNED, PoolTimeout):
            pass

    @rule()
    def try_to_borrow(self) -> None:
        def attempt() -> None:
            try:
                with self.pool.try_acquire() as value:
                    assert value not in self._lent
            except (PoolFull, OwnerClosed):
                pass

        self.inside(attempt)

    @rule(what=st.sampled_from(["create", "check", "reset", "destroy"]), manner=MANNERS)
    def change_manners(self, what: str, manner: str) -> None:
        self.manners[what] = manner

    @rule(size=st.integers(1, 3))
    def resize(self, size: int) -> None:
        self.inside(self.pool.resize, size)

    @rule()
    def expire(self) -> None:
        self.inside(self.pool.expire)

    @precondition(lambda self: self.bubble.clock.now > 20)
    @rule()
    def close_early(self) -> None:
        self.start(self.close(), "closes")

    @invariant()
    def account_closes(self) -> None:
        statistics = self.pool.statistics()
        holding = statistics.idle + statistics.checking + statistics.lent + statistics.resetting
        assert statistics.created == holding + statistics.destroying + statistics.destroyed, statistics
        assert statistics.lent >= len(self._lent), statistics

    async def close(self) -> None:
        with contextlib.suppress(OSError, TimeoutError, BaseExceptionGroup):
            await super().close()

    async def shut_down(self) -> None:
        self.manners = dict.fromkeys(self.manners, "well")
        await super().shut_down()
        await asyncio.sleep(2000)
        self.pool._check_invariants()
        assert not len(self.pool), self.pool.statistics()


class InOrder(PoolMachine):
    """Borrowers that are served strictly in the order in which they came."""

    max_size = 1

    def __init__(self) -> None:
        self.line: list[object] = []
        super().__init__()

    def make(self, create: Any, destroy: Any) -> Any:
        return Pool(create, destroy, max_size=self.max_size)

    async def _borrow(self, seconds: float, breaks: bool) -> None:
        me = object()
        self.line.append(me)
        try:
            async with self.borrow():
                assert self.line[0] is me, "overtaken"
                self.line.remove(me)
                await asyncio.sleep(seconds)
        finally:
            if me in self.line:
                self.line.remove(me)


TestMisbehaving = Misbehaving.TestCase
TestMisbehaving.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestInOrder = InOrder.TestCase
TestInOrder.settings = settings(max_examples=20, stateful_step_count=30, deadline=None)


@pytest.mark.nightly
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("machine", [Misbehaving, InOrder])
def test_thousands_of_lives(machine: type[LoopMachine]) -> None:
    """The same, at length."""
    run_lives(machine, 4000, 60)
