"""Schedules: what each strategy chooses, that tokens bring them back, and that each finds what it is made for."""

import asyncio
from typing import Any

import pytest

from lifecycle.testing import Bubble, ReplayError, explore_cancellation, explore_schedules, replay, run_virtual
from lifecycle.testing._loop.strategies import Choices, strategy_from_token
from lifecycle.testing.faults import Raise
from lifecycle.testing.orders import FIFO, DelayBounded, Deviations, PriorityChanges, RandomWalk, Strategy

ALL: list[Strategy] = [
    FIFO(),
    RandomWalk(),
    PriorityChanges(depth=3),
    DelayBounded(2),
    Choices((0, 2, 1)),
    Deviations(((1, 1), (4, 2))),
]


async def order_of_five(bubble: Bubble) -> tuple[str, ...]:
    order: list[str] = []

    async def member(name: str) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
            order.append(name)

    async with asyncio.TaskGroup() as group:
        for name in "abcde":
            group.create_task(member(name))
    return tuple(order)


@pytest.mark.parametrize("strategy", ALL, ids=repr)
def test_a_token_brings_the_same_order_back(strategy: Strategy) -> None:
    """Strategy and seed survive the way through a token, and choose the same again."""
    again, seed = strategy_from_token(strategy.token(7))
    assert again == strategy
    first = run_virtual(order_of_five, schedule=strategy, seed=7)
    assert first == run_virtual(order_of_five, schedule=again, seed=seed or 7)


def test_an_unknown_schedule_is_refused() -> None:
    """A token of a newer kit is refused."""
    with pytest.raises(ValueError, match="unknown schedule"):
        strategy_from_token("zz-1")


def test_recorded_choices_repeat_a_random_walk() -> None:
    """What a walk chose can be written down and given back."""
    written: list[int] = []

    class Written(RandomWalk):
        def chooser(self, seed: int) -> Any:
            choose = super().chooser(seed)

            def write_down(steps: list[Any]) -> int:
                written.append(choose(steps))
                return written[-1]

            return write_down

    walked = run_virtual(order_of_five, schedule=Written(), seed=3)
    assert run_virtual(order_of_five, schedule=Choices(tuple(written))) == walked
    assert walked != run_virtual(order_of_five)


def test_no_deviation_is_the_usual_order() -> None:
    """Zero everywhere is asyncio's own order."""
    assert run_virtual(order_of_five, schedule=Deviations()) == run_virtual(order_of_five)


async def lost_update(bubble: Bubble) -> None:
    total = 0

    async def add(turns: int) -> None:
        nonlocal total
        for _ in range(turns):
            await asyncio.sleep(0)
        before = total
        await asyncio.sleep(0)
        total = before + 1

    async with asyncio.TaskGroup() as group:
        group.create_task(add(0))
        group.create_task(add(4))
    assert total == 2


def test_delay_bounding_finds_what_one_delay_shows() -> None:
    """Few deviations find few things, but those with a short story."""

    async def scenario(bubble: Bubble) -> None:
        order = await order_of_five(bubble)
        assert order[0] == "a"

    report = explore_schedules(scenario, DelayBounded(1, steps=10), runs=100)
    assert 0 < len(report.failures) < 50


@pytest.mark.parametrize("strategy", [RandomWalk(), PriorityChanges(depth=3, steps=12)], ids=repr)
def test_each_strategy_finds_a_lost_update(strategy: Strategy) -> None:
    """A race that asyncio's own order hides; found again from its token."""
    explore_schedules(lost_update, FIFO(), runs=5).assert_clean()
    report = explore_schedules(lost_update, strategy, runs=400)
    assert 0 < len(report.failures) < 400
    assert replay(report.failures[0].token).failures


def test_a_starved_task_gets_its_turn() -> None:
    """A task that spins at the highest priority does not hold the others for ever."""

    async def scenario(bubble: Bubble) -> None:
        done = False

        async def spins() -> None:
            while not done:
                await asyncio.sleep(0)

        async def ends() -> None:
            nonlocal done
            done = True

        async with asyncio.TaskGroup() as group:
            group.create_task(spins())
            group.create_task(ends())

    for seed in range(20):
        run_virtual(scenario, schedule=PriorityChanges(), seed=seed, max_steps=20_000)


def test_plain_callbacks_keep_their_order() -> None:
    """Only task steps trade places: transports rely on the order of call_soon."""

    async def scenario(bubble: Bubble) -> None:
        seen: list[int] = []
        for number in range(10):
            asyncio.get_running_loop().call_soon(seen.append, number)
        await asyncio.sleep(0)
        await bubble.wait_all_blocked()
        assert seen == list(range(10))

    explore_schedules(scenario, runs=50).assert_clean()


class OwnError(Exception):
    """An error of a driver."""


async def fragile(bubble: Bubble) -> None:
    token = bubble.ledger.acquire("cursor")
    try:
        await asyncio.sleep(1)
    except OwnError:
        return
    except BaseException:
        token.release()
        raise
    token.release()


def test_an_error_of_your_own_is_a_fault_like_any_other() -> None:
    """Raise(MyError) strikes, reports and replays."""
    report = explore_cancellation(fragile, faults=[Raise(OwnError)])
    assert report.by_fault["raise OwnError"] == (1, 1)
    assert replay(report.failures[0].token).failures
    with pytest.raises(ReplayError, match="unknown fault"):
        replay(report.failures[0].token.replace("ROwnError", "RNoError"))


def test_orders_of_a_scenario_that_is_not_deterministic_are_refused() -> None:
    """One order taken twice must take equal steps; else no token of an order could be trusted."""
    runs = 0

    async def scenario(bubble: Bubble) -> None:
        nonlocal runs
        runs += 1
        for _ in range(runs):
            await asyncio.sleep(0)

    with pytest.raises(ReplayError, match="is not deterministic"):
        explore_schedules(scenario, runs=2)


def test_the_token_of_an_order_is_refused_when_the_code_has_changed() -> None:
    """A replay that takes other steps is not a replay, also where nothing was struck."""
    turns = 1

    async def scenario(bubble: Bubble) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        raise AssertionError("found")

    token = explore_schedules(scenario, runs=1).failures[0].token
    assert replay(token, scenario).failures
    turns = 2
    with pytest.raises(ReplayError, match="does not fit"):
        replay(token, scenario)
