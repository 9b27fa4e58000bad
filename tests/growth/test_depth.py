"""Owners nest deeper than the stack is, and a close of theirs takes a step for each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from lifecycle import Scope, TaskGroup, take_snapshot

from ..loops import on_every_loop, run_on

DEPTH = 1000
#: Seconds for all of it: a busy machine may need more for a thousand than anybody needs for one.
PATIENCE = 600.0


async def children(released: list[int]) -> Scope:
    """Make a scope with a child with a child."""
    scope = innermost = Scope(close_timeout=PATIENCE)
    for number in range(DEPTH):
        innermost = innermost.child("child")
        innermost.push_async_callback(asyncio.sleep, 0)
        innermost.callback(released.append, number)
    return scope


async def closes(released: list[int]) -> Scope:
    """Make a scope that closes a scope that closes a scope."""
    scope = above = Scope(close_timeout=PATIENCE)
    for number in range(DEPTH):
        below = Scope(close_timeout=PATIENCE)
        above.push_async_callback(below.aclose)
        below.callback(released.append, number)
        above = below
    return scope


async def held(released: list[int]) -> Scope:
    """Make a scope that holds a scope that holds a scope."""
    scope = above = Scope(close_timeout=PATIENCE)
    for number in range(DEPTH):
        below = Scope(close_timeout=PATIENCE)
        await above.enter(below)
        below.callback(released.append, number)
        above = below
    return scope


@on_every_loop
@pytest.mark.parametrize("nest", [children, closes, held])
def test_a_thousand_scopes_in_each_other_are_closed(
    new_loop: Any, nest: Callable[[list[int]], Awaitable[Scope]]
) -> None:
    """Each closes the next in a step of its own, and everything is released, the innermost first."""
    released: list[int] = []

    async def main() -> None:
        scope = await nest(released)
        await scope.aclose()

    run_on(new_loop, main())
    assert released == list(reversed(range(DEPTH)))


@pytest.mark.parametrize("end", ["returns", "cancelled", "fails"])
def test_a_thousand_groups_in_each_other_end(end: str) -> None:
    """However the innermost ends. (A loop that starts tasks eagerly nests those of its users as deep as they do.)"""
    ended = 0

    async def group_in(depth: int) -> None:
        nonlocal ended
        try:
            async with TaskGroup() as group:
                if depth:
                    group.start_soon(group_in, depth - 1)
                elif end == "cancelled":
                    outermost.cancel()
                    await asyncio.sleep(3600)
                elif end == "fails":
                    raise ValueError
        finally:
            ended += 1

    async def main() -> None:
        nonlocal outermost
        outermost = asyncio.create_task(group_in(DEPTH))
        await asyncio.wait([outermost])
        assert outermost.cancelled() == (end == "cancelled")
        assert outermost.cancelled() or (outermost.exception() is not None) == (end == "fails")

    outermost: asyncio.Task[None]
    asyncio.run(main())
    assert ended == DEPTH + 1


def test_a_snapshot_shows_a_thousand_scopes_in_each_other() -> None:
    """As a tree, as text, as plain data and in a comparison."""

    async def main() -> None:
        released: list[int] = []
        async with await children(released):
            snapshot = take_snapshot()
            assert snapshot.count("scope") >= DEPTH + 1
            assert str(snapshot).count("scope") >= DEPTH + 1
            plain = max(snapshot.to_dict()["roots"], key=lambda root: root["kind"] == "scope" and len(root["children"]))
            depth = 0
            while plain["children"] and plain["children"][0]["kind"] == "scope":
                plain = plain["children"][0]
                depth += 1
            assert depth == DEPTH
            assert not take_snapshot().compare_to(snapshot)

    asyncio.run(main())
