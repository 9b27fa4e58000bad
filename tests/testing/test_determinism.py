"""What is under control in a bubble: numbers for what is put into sets, and stand-ins in the modules of our core."""

from __future__ import annotations

import asyncio
import sys
import time
from types import ModuleType

import pytest

from lifecycle import Registry, Scope, TaskManager
from lifecycle.testing import Bubble, run_virtual
from lifecycle.testing._loop.task import VirtualTask


async def nothing() -> None: ...


def core_modules() -> list[ModuleType]:
    """Return the modules of the core that are loaded: those in its rooms, and those beside them."""
    kit = "lifecycle.testing"
    return [module for name, module in sys.modules.items() if name.startswith("lifecycle.") and kit not in name]


def places(thing: object) -> list[str]:
    """Return under which names the core knows a thing."""
    return [
        f"{module.__name__}.{name}"
        for module in core_modules()
        for name, value in vars(module).items()
        if value is thing
    ]


@pytest.mark.parametrize("original", [asyncio.Task, time.perf_counter], ids=["Task", "perf_counter"])
def test_stand_ins_reach_every_module_of_the_core(original: object) -> None:
    """In its rooms as well; outside of a bubble all is as it was."""
    assert Registry, "loaded: it knows both"
    outside = places(original)
    assert [place for place in outside if place.count(".") > 2], "no room knows it any more: this test sees nothing"

    async def scenario(bubble: Bubble) -> list[str]:
        return places(original)

    assert run_virtual(scenario) == []
    assert places(original) == outside


def test_tasks_that_the_core_makes_by_itself_are_numbered() -> None:
    """It goes past the loop's task factory, and gets the numbered kind all the same."""

    async def scenario(bubble: Bubble) -> None:
        async with Scope() as scope, TaskManager() as manager, asyncio.timeout(1):
            handles = [scope.start_soon(nothing), manager.start_soon(nothing)]
            assert {type(handle._task) for handle in handles} == {VirtualTask}

    run_virtual(scenario)


def test_handles_hash_by_number() -> None:
    """A manager keeps them in a set and cancels in its order, which addresses would decide."""

    async def scenario(bubble: Bubble) -> list[int]:
        async with TaskManager() as manager:
            return [hash(manager.start_soon(nothing)) for _ in range(5)]

    numbers = run_virtual(scenario)
    assert numbers == list(range(numbers[0], numbers[0] + 5))
