"""A limiter under random programs, beside a model of one: who begins, when, and in which order.

The model is a list of those who wait and what is said of bounds, read off the definitions. It is asked at every begin:
were the bounds kept, and could anybody have begun who had come before? And whenever the loop has come to rest: could
anybody begin who waits?
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, defaultdict
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle import Limiter, LimiterFull, Rate, limit_by
from lifecycle.testing import Bubble, run_virtual

from ..loops import some_turns
from .at_length import at_length

#: What two times may differ by.
EARLY = 1e-5


class Meter:
    """When a rate lets the next begin: the times at which it has, by the definition of a token bucket."""

    def __init__(self, rate: Rate | None) -> None:
        self._rate = rate
        self._level, self._since = (0.0 if rate is None else float(rate.burst)), 0.0
        self.paused_until = 0.0

    def _level_at(self, now: float) -> float:
        assert self._rate is not None
        gained = (now - self._since) * self._rate.number / self._rate.per
        return min(float(self._rate.burst), self._level + gained)

    def lets_begin(self, now: float) -> bool:
        """Whether there is a whole token in the bucket."""
        if now < self.paused_until - EARLY:
            return False
        return self._rate is None or self._level_at(now) >= 1.0 - EARLY

    def begin(self, now: float) -> None:
        """Take one out."""
        if self._rate is not None:
            self._level, self._since = self._level_at(now) - 1.0, now


class Model:
    """Whoever has come, and what has become of them."""

    def __init__(self, limit: int | None, key_limit: int | None, rate: Rate | None, key_rate: Rate | None) -> None:
        self.limit = limit
        self._key_limit = key_limit
        self.meter = Meter(rate)
        self.meters: dict[int, Meter] = defaultdict(lambda: Meter(key_rate))
        self.waiting: list[tuple[int, int]] = []
        self.held: Counter[int] = Counter()
        self.freed: dict[int, float] = {}  # when one of a key has ended
        self.lowered = False

    def can_begin(self, key: int, now: float) -> bool:
        """Whether one of *key* could begin now."""
        return (
            (self.limit is None or self.held.total() < self.limit)
            and (self._key_limit is None or self.held[key] < self._key_limit)
            and self.meter.lets_begin(now)
            and self.meters[key].lets_begin(now)
        )

    def begin(self, number: int, key: int, now: float) -> None:
        """Check that *number* may begin now, and before the others."""
        assert self.can_begin(key, now), f"{number} of key {key} has begun at {now}"
        mine = self.waiting.index((number, key))
        keyed = self._key_limit is not None
        for other, its_key in self.waiting[:mine]:
            if keyed and its_key != key and self.freed.get(its_key) == now:
                continue  # which may have become free after this turn was given, and before it was taken
            assert not self.can_begin(its_key, now - 2 * EARLY), f"{number} has overtaken {other}"
        self.waiting.remove((number, key))
        self.held[key] += 1
        self.meter.begin(now)
        self.meters[key].begin(now)

    def end(self, key: int, now: float) -> None:
        """Note that one of *key* has ended."""
        self.held[key] -= 1
        self.freed[key] = now

    def check_rest(self, now: float) -> None:
        """Check that nobody waits who could begin."""
        for number, key in self.waiting:
            assert not self.can_begin(key, now - 2 * EARLY), f"{number} of key {key} could begin at {now}"


counts = st.one_of(st.none(), st.integers(1, 3))
rates = st.one_of(
    st.none(),
    st.builds(Rate, st.integers(1, 5), per=st.sampled_from([0.3, 1.0, 2.0]), burst=counts.map(lambda n: n or 1)),
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("hold"), st.integers(0, 3), st.sampled_from([0.0, 0.1, 0.7, 3.0])),
        st.tuples(st.just("impatient"), st.integers(0, 3), st.sampled_from([0.0, 0.1, 0.5])),
        st.tuples(st.just("try"), st.integers(0, 3), st.just(0.0)),
        st.tuples(st.just("cancel"), st.integers(0, 30), st.just(0.0)),
        st.tuples(st.just("sleep"), st.just(0), st.sampled_from([0.0, 0.1, 0.25, 1.0, 4.0])),
        st.tuples(st.just("limit"), st.integers(0, 4), st.just(0.0)),
        st.tuples(st.just("pause"), st.integers(-1, 3), st.sampled_from([0.2, 1.0])),
    ),
    max_size=40,
)
programs = st.tuples(counts, counts, rates, rates, steps)
Program = tuple[int | None, int | None, Rate | None, Rate | None, list[tuple[str, int, float]]]


async def follow(program: Program) -> None:
    """Run one program, and check every begin and every rest."""
    limit, key_limit, rate, key_rate, steps = program
    by = None if key_limit is None and key_rate is None else limit_by(lambda key: key, limit=key_limit, rate=key_rate)
    limiter = Limiter(limit, limit_by=by, rate=rate)
    model = Model(limit, key_limit, rate, key_rate)
    now = asyncio.get_running_loop().time
    bare: Any = (lambda key: (key,)) if by is not None else (lambda _: ())
    tasks: list[asyncio.Task[None]] = []

    async def holds(number: int, key: int, seconds: float, timeout: float | None) -> None:
        model.waiting.append((number, key))
        begun = False
        try:
            async with limiter.hold(*bare(key), timeout=timeout):
                begun = True
                # What has become free in this step may have been handed on to others, whose tasks run after this one.
                model.begin(number, key, now())
                try:
                    await asyncio.sleep(seconds)
                finally:
                    model.end(key, now())
        except TimeoutError:
            assert not begun
        finally:
            if not begun:
                model.waiting.remove((number, key))

    for number, (what, which, seconds) in enumerate(steps):
        if what in ("hold", "impatient"):
            timeout = seconds if what == "impatient" else None
            tasks.append(asyncio.create_task(holds(number, which, seconds, timeout)))
        elif what == "try":
            model.waiting.append((number, which))
            could = model.can_begin(which, now() - 2 * EARLY) and not model.waiting[:-1]
            try:
                with limiter.try_hold(*bare(which)):
                    model.begin(number, which, now())
                    model.end(which, now())
            except LimiterFull:
                model.waiting.remove((number, which))
                assert not could
        elif what == "cancel" and tasks:
            tasks[which % len(tasks)].cancel()
        elif what == "limit" and limit is not None:
            model.limit = limiter.limit = which
        elif what == "pause":
            if which < 0:
                limiter.pause(seconds)
                model.meter.paused_until = max(model.meter.paused_until, now() + seconds)
            elif by is not None:
                limiter.pause(seconds, which)
                meter = model.meters[which]
                meter.paused_until = max(meter.paused_until, now() + seconds)
        elif what == "sleep":
            await asyncio.sleep(seconds)
        await some_turns()
        model.check_rest(now())
        statistics = limiter.statistics()
        assert statistics.held == model.held.total()
        assert statistics.waiting == len(model.waiting)
        assert statistics.asked == statistics.begun + statistics.left + statistics.refused + statistics.waiting
    limiter.limit = model.limit = None
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        if not task.cancelled():
            task.result()
    assert limiter.statistics().waiting == limiter.statistics().held == 0
    await asyncio.sleep(100)  # until every rate is whole again
    assert limiter.statistics().keys == 0
    limiter._turns._check_invariants()


def check(program: Program) -> None:
    """Run one program in virtual time."""

    async def scenario(bubble: Bubble) -> None:
        await follow(program)

    run_virtual(scenario)


@settings(max_examples=75, deadline=None)
@given(programs)
def test_the_limiter_does_what_the_model_does(program: Program) -> None:
    """Bounds of every kind, those who come, leave, give up and are cancelled, pauses, and a limit that changes."""
    check(program)


@at_length(20_000, programs)
def test_at_length(program: Program) -> None:
    """The same for a night."""
    check(program)
