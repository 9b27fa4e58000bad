"""Whose file is it: what reports leave out, and whose child a task is."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest

from lifecycle import Registry, Scope, TaskManager
from lifecycle.scheduler import Scheduler
from lifecycle.testing import Bubble, LeakError, VirtualClock, run_virtual
from lifecycle.testing._explore.faults import Fault, Target
from lifecycle.testing._look.bubble import open_bubble
from lifecycle.testing._loop.clock import is_virtual
from lifecycle.testing._sites import file_kind


def file_of(function: Any) -> str:
    """Return the source file of a function."""
    return str(function.__code__.co_filename)


def test_files_are_told_apart() -> None:
    """Ours, in whichever room, are the runtime, as asyncio and anyio are; libraries are not the user's either."""
    ours = (Scope.aclose, TaskManager.aclose, Scheduler.submit, VirtualClock.advance, Bubble.wait_all_blocked)
    for function in (*ours, asyncio.sleep, anyio.sleep):
        assert file_kind(file_of(function)) == "runtime", function
    assert file_kind(file_of(pytest.raises)) == "library"
    assert file_kind(__file__) == "user"


def test_a_leak_report_says_where_the_users_code_made_a_thing() -> None:
    """Not where ours entered it into the ledger."""

    async def scenario(bubble: Bubble) -> None:
        Registry[str, int]().put("key", 1)

    with pytest.raises(LeakError) as caught:
        run_virtual(scenario)
    made = [line.partition("made at ")[2] for line in str(caught.value).splitlines() if "made at" in line]
    assert made
    for site in made:
        assert site.startswith("testing/test_sites.py:"), site
        assert "lifecycle" not in site


class Probe(Fault):
    """Notes whose child each task is, and strikes nothing."""

    def __init__(self) -> None:
        self.group_children: list[bool] = []

    def wrap(self, coro: Any, target: Target) -> Any:
        self.group_children.append(target.is_group_child)
        return coro


def test_children_of_anyios_groups_are_told_from_other_tasks() -> None:
    """The value of such a child is never asked for; a task that our core makes on behalf of a child is not one."""
    probe = Probe()

    async def scenario(bubble: Bubble) -> None:
        scope = await Scope().__aenter__()
        scope.push_async_callback(asyncio.sleep, 0)
        for number in range(100):
            bubble.loop.targets[number] = [(probe, Target(number))]
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))
        async with anyio.create_task_group() as children:
            children.start_soon(scope.aclose)

    run_virtual(scenario)
    assert probe.group_children == [False, True, False]


def test_a_virtual_loop_is_known_by_its_clock() -> None:
    """Both kinds are; an ordinary loop is not."""
    for io in (False, True):
        with open_bubble(seed=None, io=io, max_steps=1, patience=0.0) as bubble:
            assert is_virtual(bubble.loop)
    loop = asyncio.new_event_loop()
    assert not is_virtual(loop)
    loop.close()
