"""What the kit says to arguments of a wrong type, or out of range: what it is about, and before anything has run."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from lifecycle.testing import (
    Bubble,
    Ledger,
    MemoryNetwork,
    NetworkFaults,
    VirtualClock,
    explore_cancellation,
    explore_schedules,
    faults,
    no_busy_loop,
    orders,
    replay,
    run_virtual,
)
from lifecycle.testing.machines import schedules
from lifecycle.testing.types import VirtualIOLoop, VirtualLoop

RAN: list[str] = []

TOKEN = "lc1:tests.testing.test_arguments.scenario:C@1.1:fifo:00000000"


async def scenario(bubble: Bubble) -> None:
    RAN.append("scenario")


async def check(bubble: Bubble) -> None:
    RAN.append("check")


def returns_nothing(bubble: Bubble) -> None:
    RAN.append("plain")


def ends(bubble: Bubble) -> bool:
    return True


WRONG_SEVERAL: tuple[object, ...] = (3, None, [3])
WRONG_NAMES = (*WRONG_SEVERAL, "main", ["one", 3])
WRONG_FUNCTIONS: tuple[object, ...] = (3, "check", returns_nothing)
WRONG_COUNTS: tuple[object, ...] = ("3", 1.5, -1, True)
WRONG_BOUNDS = (*WRONG_COUNTS, 0, None)
WRONG_SECONDS: tuple[object, ...] = ("3", -1, None, float("nan"), float("inf"), True)
WRONG_STRATEGIES: tuple[object, ...] = (3, "fifo", orders.FIFO)
WRONG_SEEDS: tuple[object, ...] = ("3", 1.5, True)

RUNS = {
    "then": WRONG_FUNCTIONS,
    "invariants": (*WRONG_SEVERAL, ends),
    "max_steps": WRONG_BOUNDS,
}

Case = tuple[Callable[..., object], str, object]


def cases() -> list[Case]:
    """Return what is called, which argument is wrong, and how."""
    explore = partial(explore_cancellation, scenario)
    order = partial(explore_schedules, scenario)
    table: list[tuple[Callable[..., object], dict[str, tuple[object, ...]]]] = [
        (
            explore,
            {
                **RUNS,
                "faults": (*WRONG_SEVERAL, ["cancel"], [faults.Raise], faults.CANCEL, "cancel"),
                "targets": (3, None, [3], [], "everything"),
                "depth": ("1", 1.0, True, 3),
                "budget": WRONG_COUNTS,
                "schedules": (*WRONG_COUNTS, None),
                "strategy": WRONG_STRATEGIES,
                "seed": (*WRONG_SEEDS, None),
                "may_swallow": WRONG_NAMES,
            },
        ),
        (order, {**RUNS, "strategy": WRONG_STRATEGIES, "runs": WRONG_BOUNDS, "seed": (*WRONG_SEEDS, None)}),
        (partial(replay, TOKEN, scenario), {**RUNS, "may_swallow": WRONG_NAMES}),
        (
            partial(run_virtual, scenario),
            {"seed": WRONG_SEEDS, "schedule": WRONG_STRATEGIES, "max_steps": WRONG_BOUNDS, "patience": WRONG_SECONDS},
        ),
        (VirtualClock, {"start": ("3", None, float("nan"), float("inf"))}),
        (Ledger, {"depth": (*WRONG_COUNTS, None)}),
        (partial(Ledger().acquire, "name"), {"kind": (3, None), "owner": (3, scenario)}),
        (partial(Ledger().track, VirtualLoop), {"name": (3,), "owner": (3, scenario)}),
        (MemoryNetwork, {"faults": (3, None, NetworkFaults)}),
        (partial(MemoryNetwork().set_faults, "host", 1), {"faults": (3, None, NetworkFaults)}),
        (partial(MemoryNetwork().set_faults, port=1, faults=NetworkFaults()), {"host": (3,)}),
        (
            NetworkFaults,
            {
                **dict.fromkeys(("latency", "slow_close", "late_answer"), WRONG_SECONDS),
                **dict.fromkeys(("black_hole_at", "reset_at", "half_close_at"), WRONG_COUNTS),
                "short_write": (*WRONG_COUNTS, 0),
                "refuse": ("3", 1.5, -1, None),
            },
        ),
        (orders.DelayBounded, {"delays": (*WRONG_COUNTS, None), "steps": WRONG_BOUNDS}),
        (orders.PriorityChanges, {"depth": WRONG_BOUNDS, "steps": WRONG_BOUNDS}),
        (orders.Deviations, {"deviations": (3, "1.2", None, [3], [(1,)], [(1, 2, 3)], [("a", "b")], [(1, -1)])}),
        (schedules, {"steps": WRONG_BOUNDS, "width": WRONG_BOUNDS, "deviations": (*WRONG_COUNTS, None)}),
        *(
            (loop, {"clock": (3, VirtualClock), "max_steps": WRONG_BOUNDS, "patience": WRONG_SECONDS})
            for loop in (VirtualLoop, VirtualIOLoop)
        ),
    ]
    return [(call, name, value) for call, wrong in table for name, values in wrong.items() for value in values]


def named(case: object) -> str:
    if isinstance(case, partial):
        return named(case.func)
    return str(getattr(case, "__qualname__", case))


@pytest.mark.parametrize(("call", "name", "value"), cases(), ids=named)
def test_an_argument_is_refused_by_its_name(call: Callable[..., object], name: str, value: object) -> None:
    """And nothing has run, or is left to be closed."""
    RAN.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises((TypeError, ValueError), match=rf"\b{name.rstrip('s')}"):
            call(**{name: value})
        gc.collect()
    assert not RAN


@pytest.mark.parametrize("call", [explore_cancellation, explore_schedules, run_virtual, partial(replay, TOKEN)])
@pytest.mark.parametrize("make", [lambda: 3, lambda: scenario(Bubble.__new__(Bubble)), lambda: returns_nothing])
def test_a_scenario_is_an_async_function(call: Callable[..., object], make: Callable[[], object]) -> None:
    """A coroutine in its place is closed."""
    RAN.clear()
    with pytest.raises(TypeError, match=r"^scenario must be an async function of a bubble, got"):
        call(make())
    assert not RAN


@pytest.mark.parametrize("wrong", [3, "OSError", OSError(), None, int])
def test_a_fault_raises_a_class_of_errors(wrong: Any) -> None:
    """Which is called where the fault strikes."""
    with pytest.raises(TypeError, match=r"^Raise takes a class of errors, got"):
        faults.Raise(wrong)


def test_other_things_of_a_wrong_type() -> None:
    """A token that is no text, a bubble that is none, a thing without a name."""
    wrong: Any = 3
    with pytest.raises(TypeError, match=r"^token must be a string"):
        replay(wrong)
    with pytest.raises(TypeError, match=r"must be a bubble, got 3"):
        no_busy_loop(wrong)
    with pytest.raises(TypeError, match=r"^name must be a string"):
        Ledger().acquire(wrong)


@pytest.mark.parametrize("seconds", WRONG_SECONDS)
def test_a_clock_advances_by_seconds(seconds: Any) -> None:
    """Forward, and not for ever."""

    async def advance(bubble: Bubble) -> None:
        await bubble.clock.advance(seconds)

    with pytest.raises((TypeError, ValueError), match=r"seconds|go back"):
        run_virtual(advance)


@pytest.mark.parametrize(
    ("handler", "host", "port", "about"),
    [
        (3, "host", 1, "handler"),
        (returns_nothing, "host", 1, "handler"),
        (check, 3, 1, "host"),
        (check, "h", "x", "port"),
    ],
)
def test_a_peer_is_an_async_function_at_an_address(handler: Any, host: Any, port: Any, about: str) -> None:
    """And what is something else never listens."""

    async def open_peer(bubble: Bubble) -> None:
        with pytest.raises(TypeError, match=f"^{about} must be"):
            await bubble.network.peer(handler, host, port)
        assert not bubble.network.residue()

    run_virtual(open_peer)
