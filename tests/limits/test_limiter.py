"""Limiter: what it lets in, when, and that nothing stays of whoever has gone."""

import asyncio
import dataclasses
import gc
import math
from typing import Any

import pytest

from lifecycle import Limiter, LimiterFull, OwnerClosed, Rate, TimeoutExpired, WrongLoop, limit_by, take_snapshot
from lifecycle._ground.waking import MANY
from lifecycle._limits.bounds import LimitBy
from lifecycle.testing import Bubble

from ..loops import on_every_loop, run_on, some_turns, virtual

# Arguments


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: Rate(0), ValueError),
        (lambda: Rate(1.5), TypeError),  # type: ignore[arg-type]
        (lambda: Rate(1, per=0), ValueError),
        (lambda: Rate(1, per=math.inf), ValueError),
        (lambda: Rate(1, burst=0), ValueError),
        (lambda: limit_by(str), ValueError),
        (lambda: limit_by("host", limit=1), TypeError),  # type: ignore[arg-type]
        (lambda: limit_by(str, limit=0), ValueError),
        (lambda: limit_by(str, rate=3), TypeError),  # type: ignore[arg-type]
        (lambda: Limiter(-1), ValueError),
        (lambda: Limiter(rate=10), TypeError),  # type: ignore[arg-type]
        (lambda: Limiter(limit_by=str), TypeError),  # type: ignore[arg-type]
        (lambda: Limiter(pending_limit=-1), ValueError),
        (lambda: Limiter(1).hold("key"), TypeError),
        (lambda: Limiter(1).try_hold("key"), TypeError),
        (lambda: Limiter(1).hold(timeout=-1), ValueError),
        (lambda: Limiter(1).pause(math.nan), ValueError),
    ],
)
def test_what_cannot_be_meant_is_refused(make: Any, error: type[Exception]) -> None:
    """Before anything has happened."""
    with pytest.raises(error):
        make()


def test_a_rate_says_what_it_lets_in() -> None:
    """In any period, at most; it is a value."""
    rate = Rate(10, per=2.0, burst=3)
    assert (rate.interval, rate.most) == (0.2, 12)
    assert rate == Rate(10, per=2.0, burst=3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        rate.number = 3  # type: ignore[misc]


# Rates


@virtual
async def test_a_rate_lets_in_one_after_the_other(bubble: Bubble) -> None:
    """In order, the first at once, and no more in any period than `Rate.most` says."""
    rate = Rate(3, per=0.3, burst=2)  # a period that adds up badly
    limiter = Limiter(rate=rate)
    begun: list[tuple[float, int]] = []

    async def come(number: int) -> None:
        async with limiter.hold():
            begun.append((bubble.clock.time(), number))

    await asyncio.gather(*map(come, range(50)))
    times = [time for time, _ in begun]
    assert [number for _, number in begun] == list(range(50))
    assert times[:2] == [0.0, 0.0]
    assert times[-1] == pytest.approx(4.8)
    assert max(sum(start <= time < start + rate.per - 1e-5 for time in times) for start in times) == rate.most


@virtual
async def test_what_a_rate_has_not_used_is_not_saved_up(bubble: Bubble) -> None:
    """After a long rest, or a machine that was suspended, there is one burst and no more."""
    limiter = Limiter(rate=Rate(10, burst=2))
    await asyncio.sleep(3600)
    for _ in range(2):
        with limiter.try_hold():
            pass
    with pytest.raises(LimiterFull):
        limiter.try_hold().__enter__()


@virtual
async def test_who_gives_up_has_cost_nothing(bubble: Bubble) -> None:
    """A thousand wait, all but the last are cancelled, and that one is next; there is one timer for all of them."""
    limiter = Limiter(rate=Rate(1))

    async def come() -> float:
        async with limiter.hold():
            return bubble.clock.time()

    tasks = [asyncio.create_task(come()) for _ in range(1001)]
    await some_turns()
    assert limiter.statistics().waiting == 1000
    for task in tasks[1:-1]:
        task.cancel()
    assert await tasks[-1] == 1.0
    assert limiter.statistics().left == 999


@virtual
async def test_a_pause_holds_back_all_or_those_of_a_key(bubble: Bubble) -> None:
    """A shorter one does not end a longer one; who waits already waits longer."""
    limiter = Limiter(limit_by=limit_by(str, limit=1))
    times: dict[str, float] = {}

    async def come(key: str) -> None:
        async with limiter.hold(key):
            times[key] = bubble.clock.time()

    limiter.pause(2.0, "slow")
    limiter.pause(1.0, "slow")
    limiter.pause(0.5)
    await asyncio.gather(come("slow"), come("quick"))
    assert times == {"slow": 2.0, "quick": 0.5}
    await asyncio.sleep(1)
    assert limiter.statistics().keys == 0


# Keys


@virtual
async def test_a_full_key_keeps_nobody_else_from_going_on(bubble: Bubble) -> None:
    """Who waits for it holds nothing; of those that can go on the first goes first."""
    limiter = Limiter(2, limit_by=limit_by(lambda host: host, limit=1))
    begun: list[tuple[str, float]] = []

    async def come(host: str) -> None:
        async with limiter.hold(host):
            begun.append((host, bubble.clock.time()))
            await asyncio.sleep(1)

    await asyncio.gather(*map(come, "aaabbc"))
    assert begun == [("a", 0.0), ("b", 0.0), ("a", 1.0), ("b", 1.0), ("a", 2.0), ("c", 2.0)]


@virtual
async def test_bounds_may_differ_from_key_to_key(bubble: Bubble) -> None:
    """They are asked for when a key comes in; None as a key is bound by none."""
    limits = {"few": 1, "many": 3}
    limiter = Limiter(limit_by=limit_by(lambda key: key, limit=limits.get))
    blocks = [limiter.try_hold("many") for _ in range(3)] + [limiter.try_hold(None) for _ in range(3)]
    for block in blocks:
        block.__enter__()
    with limiter.try_hold("few"), pytest.raises(LimiterFull):
        limiter.try_hold("few").__enter__()
    with pytest.raises(LimiterFull):
        limiter.try_hold("many").__enter__()
    for block in blocks:
        block.__exit__(None, None, None)
    assert limiter.statistics().keys == 0


@virtual
async def test_a_hundred_thousand_keys_leave_nothing(bubble: Bubble) -> None:
    """Without a rate at once, with one when it is whole again, and no sooner: a key that comes back has used it."""
    limiter = Limiter(limit_by=limit_by(int, limit=1))
    for key in range(100_000):
        with limiter.try_hold(key):
            pass
    assert limiter.statistics().keys == 0
    rated = Limiter(limit_by=limit_by(int, rate=Rate(1, per=10.0)))
    for key in range(100_000):
        with rated.try_hold(key):
            pass
    await asyncio.sleep(9)
    assert rated.statistics().keys == 100_000
    with pytest.raises(LimiterFull):
        rated.try_hold(5).__enter__()
    await asyncio.sleep(2)
    await some_turns()
    await some_turns()
    await asyncio.sleep(1)
    assert rated.statistics().keys == 0


class Hostile:
    """A key whose hash and equality can be made to raise."""

    def __init__(self, digest: int = 1) -> None:
        self.digest = digest
        self.angry = False

    def __hash__(self) -> int:
        if self.angry:
            raise ValueError("no hash")
        return self.digest

    def __eq__(self, other: object) -> bool:
        if self.angry:
            raise ValueError("no equality")
        return self is other


@virtual
async def test_a_hostile_key_hurts_its_caller_alone(bubble: Bubble) -> None:
    """It is asked when it comes in, whose error is the caller's, and never between two turns; all of one hash here."""
    limiter = Limiter(limit_by=limit_by(lambda key: key, limit=1))
    keys = [Hostile() for _ in range(3)]
    begun: list[int] = []

    async def come(number: int) -> None:
        async with limiter.hold(keys[number]):
            begun.append(number)
            await asyncio.sleep(1)

    tasks = [asyncio.create_task(come(number)) for number in (0, 1, 2, 0, 1, 2)]
    await some_turns()
    for key in keys:
        key.angry = True
    with pytest.raises(ValueError, match="no hash"):
        limiter.try_hold(keys[0]).__enter__()
    with pytest.raises(ValueError, match="no equality"):
        limiter.try_hold(Hostile()).__enter__()
    with pytest.raises(TypeError, match="unhashable"):
        limiter.try_hold([]).__enter__()
    keys[1].digest = 2  # and changed
    await asyncio.gather(*tasks)
    assert begun == [0, 1, 2, 0, 1, 2]
    assert limiter.statistics().keys == 0
    limiter._turns._check_invariants()


# Waiting


@virtual
async def test_who_would_wait_too_long_or_too_many_is_told(bubble: Bubble) -> None:
    """A TimeoutError, a WouldBlock; the account closes."""
    limiter = Limiter(1, pending_limit=1, name="calls")
    async with limiter.hold():
        with pytest.raises(LimiterFull, match=r"limiter 'calls' lets nobody in now: 1 are at work and 0 wait"):
            limiter.try_hold().__enter__()
        waiting = asyncio.create_task(limiter.hold(timeout=1.0).__aenter__())
        await some_turns()
        with pytest.raises(LimiterFull, match="1 wait already, its pending_limit"):
            await limiter.hold().__aenter__()
        with pytest.raises(TimeoutExpired, match=r"the wait for limiter 'calls' took longer than 1 s"):
            await waiting
        assert bubble.clock.time() == 1.0
    statistics = limiter.statistics()
    assert (statistics.asked, statistics.begun, statistics.left, statistics.refused) == (4, 1, 1, 2)
    assert statistics.held == statistics.waiting == 0


@on_every_loop
def test_a_cancellation_in_the_turn_of_the_hand_over_passes_it_on(new_loop: Any) -> None:
    """The next in line gets it."""

    async def main() -> None:
        limiter = Limiter(1)
        first = limiter.hold()
        await first.__aenter__()
        waiting = [asyncio.create_task(limiter.hold().__aenter__()) for _ in range(2)]
        await some_turns()
        await first.__aexit__(None, None, None)
        waiting[0].cancel()
        await waiting[1]
        assert waiting[0].cancelled()
        assert limiter.statistics().held == 1

    run_on(new_loop, main())


@virtual
async def test_the_limit_may_change_at_any_time_and_be_a_pause(bubble: Bubble) -> None:
    """Higher: who waits begins at once. 0: all wait. Lower: nobody is interrupted."""
    limiter = Limiter(0)
    begun: list[int] = []

    async def come(number: int) -> None:
        async with limiter.hold():
            begun.append(number)
            await asyncio.sleep(1)

    tasks = [asyncio.create_task(come(number)) for number in range(4)]
    await asyncio.sleep(5)
    assert begun == []
    limiter.limit = 2
    await some_turns()
    assert begun == [0, 1]
    limiter.limit = 1
    await asyncio.sleep(1.5)
    assert begun == [0, 1, 2]
    limiter.limit = None
    await asyncio.gather(*tasks)
    assert bubble.clock.time() == 7.5


# Closing


@virtual
async def test_a_closed_limiter_refuses_and_waits_for_nobody(bubble: Bubble) -> None:
    """Those in line are refused, whoever is at work goes on, and nothing is left in the loop."""
    async with Limiter(1, limit_by=limit_by(str, rate=Rate(1, per=1000.0)), name="calls") as limiter:
        async with limiter.hold("a"):
            waiting = asyncio.create_task(limiter.hold("b").__aenter__())
            await some_turns()
            limiter.close()
            with pytest.raises(OwnerClosed, match="it was closed meanwhile"):
                await waiting
            with pytest.raises(OwnerClosed, match="it is closed"):
                limiter.try_hold("c").__enter__()
        await limiter.aclose()
    assert limiter.closed
    with pytest.raises(OwnerClosed):
        await limiter.__aenter__()
    statistics = limiter.statistics()
    assert (statistics.state, statistics.held, statistics.waiting) == ("closed", 0, 0)
    assert statistics.asked == statistics.begun + statistics.left == 2


@virtual
async def test_what_makes_keys_may_close_the_limiter(bubble: Bubble) -> None:
    """Then it lets nobody in, and keeps nothing of the key."""

    def key(name: str) -> str:
        limiter.close()
        return name

    limiter = Limiter(limit_by=limit_by(key, limit=1))
    with pytest.raises(OwnerClosed):
        await limiter.hold("a").__aenter__()
    assert limiter.statistics().keys == 0


@pytest.mark.parametrize("by", [None, limit_by(lambda name: name, limit=3 * MANY)], ids=["one line", "by key"])
@pytest.mark.parametrize("end", ["more room", "close"])
@virtual
async def test_a_crowd_goes_on_in_parts(bubble: Bubble, end: str, by: LimitBy | None) -> None:
    """So that no step takes long: in the order in which it came."""
    limiter = Limiter(0, limit_by=by)
    begun: list[int] = []

    async def comes(number: int) -> None:
        async with limiter.hold(*(() if by is None else ("a",))):
            begun.append(number)

    crowd = [asyncio.create_task(comes(number)) for number in range(3 * MANY)]
    await some_turns()
    if end == "close":
        limiter.close()
    else:
        limiter.limit = None
    assert limiter.statistics().waiting == 2 * MANY
    for task in crowd[1::2]:
        task.cancel()
    await asyncio.wait(crowd, timeout=5)
    errors = [task.exception() for task in crowd[::2]]
    if end == "close":
        assert all(isinstance(error, OwnerClosed) for error in errors)
    else:
        assert begun == list(range(0, 3 * MANY, 2))
    statistics = limiter.statistics()
    assert (statistics.held, statistics.waiting, statistics.keys) == (0, 0, 0)


def test_a_block_is_entered_once() -> None:
    """A second time it would stand for two."""

    async def main() -> None:
        block = Limiter(2).hold()
        async with block:
            with pytest.raises(RuntimeError, match="is entered once"):
                await block.__aenter__()

    asyncio.run(main())


def test_one_loop_after_the_other() -> None:
    """What has waited in a closed loop is forgotten; two at once are refused."""
    limiter = Limiter(1, rate=Rate(1000))

    async def main() -> None:
        async with limiter.hold():
            pass

    asyncio.run(main())
    asyncio.run(main())
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    held, waits = limiter.hold(), limiter.hold()

    async def waits_in_vain() -> None:
        await held.__aenter__()
        async with waits:
            raise AssertionError

    task = first.create_task(waits_in_vain())
    first.run_until_complete(asyncio.sleep(0.01))
    with pytest.raises(WrongLoop):
        second.run_until_complete(limiter.hold().__aenter__())
    task.cancel()
    first.run_until_complete(asyncio.gather(task, return_exceptions=True))
    held._leave()
    second.run_until_complete(limiter.hold().__aenter__())
    first.close()
    second.close()


def test_it_is_in_the_snapshot_and_leaves_no_cycle() -> None:
    """With what it holds; dropped, it is gone at once."""

    async def main() -> None:
        limiter = Limiter(3, limit_by=limit_by(str, limit=1), name="calls")
        async with limiter.hold("a"):
            assert "limiter 'calls'" in str(take_snapshot())
        assert repr(limiter) == "limiter 'calls'"

    gc.collect()
    gc.disable()
    try:
        asyncio.run(main())
        assert "limiter 'calls'" not in str(take_snapshot())
    finally:
        gc.enable()
