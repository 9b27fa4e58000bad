"""Functions and options: what makes a timer, what makes a decorator, and what is refused."""

import asyncio
import functools
import inspect
import math
from collections.abc import AsyncIterator
from typing import Any

import pytest

from lifecycle import Scope, cron, fixed_delay, fixed_rate
from lifecycle._timers.timers import CronOptions, DelayOptions, RateOptions, RunOptions
from lifecycle.testing import Bubble, LeakError, run_virtual

from .journal import Journal, nothing, run_for


async def generator() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize("wrong", [print, 5, None, generator, Journal, lambda: 5, fixed_rate(nothing, 1)])
def test_what_is_no_async_function_is_refused(wrong: Any) -> None:
    """A synchronous function, no function at all, a generator, a class, a timer; a lambda when it is first run."""
    if getattr(wrong, "__name__", "") == "<lambda>":
        timer = fixed_rate(wrong, 1, on_error="raise")
        with pytest.raises(TypeError, match="expected an async function"):
            asyncio.run(run_for(timer, 1))
        return
    with pytest.raises(TypeError, match="a timer runs an async function"):
        fixed_rate(wrong, 1)


def test_a_lambda_and_a_decorated_function_will_do() -> None:
    """What gives a coroutine when it is called."""

    @functools.wraps(nothing)
    def wrapper() -> Any:
        return nothing()

    async def scenario(bubble: Bubble) -> None:
        async with Scope() as scope:
            for fn in (lambda: nothing(), wrapper):
                timer = fixed_rate(fn, 1, max_runs=2)
                await scope.start_soon(timer)
                assert timer.statistics().finished == 2

    run_virtual(scenario)


@pytest.mark.parametrize(
    "options",
    [
        {"initial_delay": -1},
        {"missed": "later"},
        {"misfire_grace": -1},
        {"jitter": math.nan},
        {"max_instances": 0},
        {"run_timeout": 0},
        {"on_error": "ignore"},
        {"max_runs": 0},
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    """By name, before anything happens."""
    with pytest.raises(ValueError, match=next(iter(options))):
        fixed_rate(nothing, 1, **options)


@pytest.mark.parametrize(
    "options",
    [{"initial_delay": "1"}, {"max_instances": None}, {"max_instances": 1.5}, {"max_runs": True}, {"name": 3}],
)
def test_options_of_a_wrong_type_are_refused(options: dict[str, Any]) -> None:
    """By name, before anything happens."""
    with pytest.raises(TypeError, match=next(iter(options))):
        fixed_rate(nothing, 1, **options)


def test_without_a_function_they_are_decorators() -> None:
    """The function becomes a timer with its name; wrong options are refused before there is a function."""

    @fixed_rate(5.0, max_runs=2)
    async def poll() -> None:
        pass

    @fixed_delay(5.0)
    async def clean() -> None:
        pass

    @cron("0 4 * * *", timezone="UTC")
    async def report() -> None:
        pass

    assert [repr(timer).partition("<locals>.")[2] for timer in (poll, clean, report)] == [
        "poll' (every 5 s)",
        "clean' (5 s after each run)",
        "report' (cron '0 4 * * *' in UTC)",
    ]

    async def scenario(bubble: Bubble) -> None:
        async with Scope() as scope:
            await scope.start_soon(poll)
        assert bubble.clock.now == 5

    run_virtual(scenario)
    with pytest.raises(ValueError, match="period"):
        fixed_rate(-1.0)
    with pytest.raises(TypeError, match="period must be a number of seconds, got <function nothing"):
        fixed_rate(nothing)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="is text such as"):
        cron(nothing, timezone="UTC")  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("make", "options"), [(fixed_rate, RateOptions), (fixed_delay, DelayOptions), (cron, CronOptions)]
)
def test_the_typed_options_are_the_real_ones(make: Any, options: Any) -> None:
    """What type checkers are told is what the functions take."""
    parameters = set(inspect.signature(make).parameters) - {"fn", "period", "delay", "expression", "timezone"}
    assert parameters == set(options.__annotations__) | set(RunOptions.__annotations__)


def test_stop_refuses_nonsense() -> None:
    """Before it has an effect."""
    with pytest.raises(ValueError, match="timeout must be 0 or more"):
        fixed_rate(nothing, 1).stop(-1)


def test_an_abandoned_run_is_a_leak_that_the_test_kit_sees() -> None:
    """The checks of this file can fail: a body that starts a task of its own and forgets it."""

    async def scenario(bubble: Bubble) -> None:
        kept = []

        async def body() -> None:
            kept.append(asyncio.create_task(asyncio.sleep(1000)))

        await run_for(fixed_rate(body, 10), 5)

    with pytest.raises(LeakError):
        run_virtual(scenario)


def test_a_clock_that_cannot_be_called_is_refused() -> None:
    """When it is given, not when the timer first asks for the time."""
    with pytest.raises(TypeError, match="clock must be a function, got 3"):
        cron(nothing, "* * * * *", timezone="UTC", clock=3)  # type: ignore[call-overload]
