"""The cost of an operation does not grow with the number of things that its owner holds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.growth_cases import CASES
from lifecycle import Scope
from lifecycle._scope.books import ScopeBooks
from lifecycle.testing import Bubble

from ..loops import virtual
from .steps import HoleyDict, count_steps

#: Twice as many things may take so many times as many steps: twice, and a little for what comes by the way.
DOUBLED = 2.15

SIZE = 120

#: A close in a close looks at all those that it is in, so as not to wait in a circle: the square of the depth, no more.
#: Half of the size is deep enough: the cube would be eight times as much.
DEEP = (
    "nested: held blocks", "nested: tasks", "nested: held blocks and tasks", "nested_task_scopes", "nested_managers",
    "nested_closes_from_inside",
)  # fmt: skip
DOUBLED_DEPTH = 4.15

#: What is done in these depends on the clock, or on the other end of a socket.
UNSTEADY = (
    "timers", "timers_by_cron", "server", "server_ends", "served_stream", "dialled", "run", "registry_expiry",
    "cached_ended", "jobs_in_memory", "jobs_in_a_file", "lists_of_a_file", "starts_with_a_file", "retention",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CASES if name not in UNSTEADY])
def test_twice_as_many_take_twice_as_many_steps(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Of every operation of every owner; what grew would take four times as many, as the closes in each other do."""
    doubled, size = (DOUBLED_DEPTH, SIZE // 2) if name in DEEP else (DOUBLED, SIZE)
    caplog.set_level(logging.CRITICAL, "lifecycle")  # what fails on purpose
    few, many = count_steps(CASES[name], size), count_steps(CASES[name], 2 * size)
    grown = {lap: f"{few[lap]:,} -> {many[lap]:,}" for lap in many if many[lap] > doubled * few[lap] + 200}
    assert not grown


class HoleyBooks(HoleyDict, ScopeBooks):
    """A ledger that says what the interpreter walks over in it."""

    def __init__(self) -> None:
        HoleyDict.__init__(self)
        ScopeBooks.__init__(self)


FILLINGS: dict[str, Callable[[Scope], Any]] = {
    "exits": lambda scope: scope.push(lambda *_: None),
    "exits and callbacks": lambda scope: (scope.push(lambda *_: None), scope.callback(int)),
    "tasks": lambda scope: scope.start_soon(asyncio.sleep, 3600),
    "children": lambda scope: scope.child().callback(int),
    "asynchronous callbacks": lambda scope: (scope.push(lambda *_: None), scope.push_async_callback(asyncio.sleep, 0)),
}


@pytest.mark.parametrize("from_inside", [False, True])
@pytest.mark.parametrize("filling", FILLINGS)
def test_a_close_walks_over_no_holes(filling: str, from_inside: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has left a ledger is not walked over again and again, also below the task that closes the scope."""

    async def close() -> None:
        for _ in range(200):
            FILLINGS[filling](scope)
        await asyncio.sleep(0)
        if from_inside:
            await scope.start_soon(scope.aclose).wait()
        else:
            await scope.aclose()

    monkeypatch.setattr("lifecycle._scope.ending.ScopeBooks", HoleyBooks)
    scope = Scope()
    asyncio.run(close())
    books: Any = scope._books
    assert not books
    assert books.walked <= 20 * 200  # a few for each of 400; the square would be 80,000


@virtual
async def test_a_long_close_gives_the_loop_a_turn_now_and_then(bubble: Bubble) -> None:
    """A short one of what does not suspend gives it none: as ever, nothing comes in between."""
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with Scope() as counting:
        counting.start_soon(count_turns)
        await asyncio.sleep(0)
        for count, least, most in ((900, 0, 0), (10_000, 9, 30)):
            for kind in ("callback", "push"):
                scope = Scope()
                for _ in range(count):
                    getattr(scope, kind)(nothing)
                before = turns
                await scope.aclose()
                assert least <= turns - before <= most, kind


def nothing(*_: object) -> None:
    pass
