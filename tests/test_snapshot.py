"""take_snapshot: the tree of owners, what grew, and where things were made."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import weakref

import pytest

from lifecycle import Scope, Snapshot, TaskManager, take_snapshot
from lifecycle.testing import Bubble

from .collection import without_collection
from .loops import on_every_loop, run_on, virtual

pytestmark = pytest.mark.usefixtures("no_strangers")


async def work(seconds: float) -> None:
    await asyncio.sleep(seconds)


def tree(snapshot: Snapshot) -> list[str]:
    """Return the lines below the heading, without the creation sites that a bubble records."""
    return [line.partition("  [")[0] for line in str(snapshot).splitlines()[1:]]


@virtual
async def test_the_tree_shows_every_owner_at_its_place(bubble: Bubble) -> None:
    """Scopes, children, managers held or acquired, tasks, callbacks and resources, with state and age."""
    async with Scope("service") as scope:
        mail = await scope.enter(TaskManager("mail", limit=1, drain_timeout=0))
        mail.start_soon(work, 30)
        mail.start_soon(work, 30)
        scope.callback(str, "bye")
        await scope.acquire(dict, release=len, name="cache")
        scope.child("connection").start_soon(work, 50, name="reader")
        scope.start_soon(work, 50, name="loop")
        await asyncio.sleep(5)
        lines = tree(take_snapshot())
        assert lines == [
            "scope 'service', open, 5.0 s",
            "|- task manager 'mail', open, 5.0 s, limit 1",
            "|  |- task 'work', running, 5.0 s",
            "|  `- task 'work', pending",
            "|- scope 'connection', open, 5.0 s",
            "|  `- task 'reader', running, 5.0 s",
            "|- callback 'callback str'",
            "|- resource 'cache'",
            "`- task 'loop', running, 5.0 s",
        ], "\n".join(lines)


@on_every_loop
def test_what_is_gone_is_not_shown(new_loop) -> None:  # type: ignore[no-untyped-def]
    """A closed owner is no root, and an owner that nobody refers to is gone at once, without the collector."""

    async def main() -> None:
        async with Scope("short") as scope:
            scope.start_soon(work, 60)
            scope.child().start_soon(work, 60)
            scope.callback(str)
            await asyncio.sleep(0)
        assert "short" not in str(take_snapshot())
        gone = weakref.ref(scope)
        del scope
        assert gone() is None

    with without_collection():
        run_on(new_loop, main())


@virtual
async def test_a_task_of_nobody_is_named(bubble: Bubble) -> None:
    """What no owner holds is what leaks."""
    stray = asyncio.create_task(work(1), name="stray")
    await asyncio.sleep(0)
    snapshot = take_snapshot()
    assert [node.name for node in snapshot.unowned] == ["stray"]
    assert "by nobody: task 'stray'" in str(snapshot)
    await stray


@virtual
async def test_compare_to_says_what_grew(bubble: Bubble) -> None:
    """By path, the largest growth first; what shrank comes last."""
    async with Scope("service") as scope:
        scope.start_soon(work, 1, name="first")
        scope.start_soon(work, 50, name="steady")
        before = take_snapshot()
        await asyncio.sleep(2)
        for _ in range(3):
            scope.start_soon(work, 50, name="growing")
        after = take_snapshot()
        difference = after.compare_to(before)
        assert [str(change) for change in difference.changes] == [
            "+3  scope 'service' / task 'growing'  (0 -> 3)",
            "-1  scope 'service' / task 'first'  (1 -> 0)",
        ]
        assert [change.change for change in difference.grown] == [3]
        assert not after.compare_to(after)
        assert str(after.compare_to(after)) == "nothing changed"
        assert after.count("task") == 4


@virtual
async def test_a_snapshot_is_plain_data(bubble: Bubble) -> None:
    """to_dict goes into JSON as it is."""
    async with Scope("service") as scope:
        scope.start_soon(work, 1)
        plain = json.loads(json.dumps(take_snapshot().to_dict()))
    assert plain["roots"][0]["kind"] == "scope"
    assert plain["roots"][0]["children"][0]["name"] == "work"


@virtual
async def test_a_long_tree_is_summed_up(bubble: Bubble) -> None:
    """Things alike share a line, and of many different ones only the first are printed."""
    async with Scope("service") as scope:
        for number in range(30):
            scope.start_soon(work, 1, name=f"task {number}")
            scope.start_soon(work, 1, name="alike")
        lines = tree(take_snapshot())
        assert len(lines) == 22
        assert any(line.startswith("|- task 'alike', x 30") for line in lines)
        assert lines[-1] == "`- and 11 more of 11 sorts"


def test_it_may_be_taken_without_a_loop() -> None:
    """From a signal handler or a debugger: nothing of a loop is needed."""
    assert isinstance(take_snapshot(), Snapshot)


def test_creation_sites_are_shown_when_they_are_recorded() -> None:
    """LIFECYCLE_TRACE=1 gives each thing the place in the user's code where it was made."""
    program = """
import asyncio
from lifecycle import Scope, TaskManager, take_snapshot

async def work():
    await asyncio.sleep(1)

async def main():
    async with Scope("s") as scope:
        manager = await scope.enter(TaskManager("m"))
        manager.start_soon(work)
        scope.start_soon(work)
        scope.callback(print, end="")
        print(take_snapshot())
        manager.drain_timeout = 0

asyncio.run(main())
"""
    environment = os.environ | {"LIFECYCLE_TRACE": "1"}
    shown = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert "task 'work', pending  [<string>:11 in main]" in shown, shown
    assert "task 'work', pending  [<string>:12 in main]" in shown, shown
    assert "callback 'callback print'  [<string>:13 in main]" in shown, shown
