"""Handing over: what `Scope.pop_all` gives to the heir is the heir's from that step on, whatever it is doing."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from lifecycle import Scope
from lifecycle.testing import Bubble

from ..loops import on_every_loop, run_on, some_turns, virtual
from .things import Transaction, fail_after, noted


def check_account(scope: Scope) -> None:
    """What came in is there, or was released."""
    statistics = scope.statistics()
    assert statistics.opened == statistics.live + statistics.released, statistics


@virtual
async def test_pop_all_hands_everything_over(bubble: Bubble) -> None:
    """Tasks, resources, children: the new scope releases them, the old one owns nothing."""
    log: list[str] = []
    async with Scope("old") as old:
        old.callback(log.append, "callback")
        old.start_soon(noted, log, "task")
        await old.enter(Transaction(log))
        old.child().callback(log.append, "child")
        await asyncio.sleep(0)
        heir = old.pop_all()
        assert old.statistics().live == 0
    assert log == []
    assert heir.statistics().live == 4
    await heir.aclose()
    assert log == ["child", "commit", "task", "callback"]
    statistics = heir.statistics()
    assert statistics.opened == statistics.released == 4


@virtual
async def test_a_task_that_was_handed_over_fails_in_its_new_scope(bubble: Bubble) -> None:
    """The old one has nothing to do with it any more."""
    async with Scope("old") as old:
        old.start_soon(fail_after, 1, KeyError("planned"))
        heir = old.pop_all()
        await asyncio.sleep(2)
    with pytest.raises(KeyError):
        await heir.aclose()


@on_every_loop
@pytest.mark.parametrize("begun", [True, False], ids=["begun", "new"])
def test_a_task_that_was_handed_over_leaves_its_new_scope(new_loop, begun) -> None:  # type: ignore[no-untyped-def]
    """However it ends, before the handover or after it, it is gone from the books of the heir in that step."""

    async def main() -> None:
        for go_on in ("set_result", "set_exception", "cancel"):
            old = Scope("old")
            gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            handle = old.start_soon(asyncio.wait_for, gate, None)
            if begun:
                await some_turns()
            heir = old.pop_all()
            if begun:
                last = heir.pop_all()  # any number of times
                assert heir.statistics().live == 0
                heir = last
            assert heir.statistics().tasks == 1
            if go_on == "set_exception":
                gate.set_exception(KeyError("planned"))
            elif go_on == "set_result":
                gate.set_result(None)
            else:
                handle.cancel()
            await handle.wait()
            assert heir.statistics().live == 0
            assert old.statistics().released == 0  # the account of the old scope is about what has stayed in it
            check_account(old)
            check_account(heir)
            with pytest.raises(KeyError) if go_on == "set_exception" else contextlib.nullcontext():
                await heir.aclose()
            await old.aclose()

    run_on(new_loop, main())


@on_every_loop
def test_a_task_hands_itself_over(new_loop) -> None:  # type: ignore[no-untyped-def]
    """In its first step, or in a later one; under eager tasks that first step is inside `start_soon`."""

    async def main() -> None:
        for turns in (0, 1):
            heirs: list[Scope] = []
            old = Scope("old")

            async def moves(turns: int, old: Scope, heirs: list[Scope]) -> None:
                for _ in range(turns):
                    await asyncio.sleep(0)
                heirs.append(old.pop_all())

            await old.start_soon(moves, turns, old, heirs)
            (heir,) = heirs
            assert old.statistics().live == heir.statistics().live == 0
            check_account(old)
            check_account(heir)
            await old.aclose()
            await heir.aclose()

    run_on(new_loop, main())


@on_every_loop
def test_what_arrives_in_the_step_of_a_handover_is_undone_where_it_is_then(new_loop) -> None:  # type: ignore[no-untyped-def]
    """Its caller leaves in the moment in which the value has come, and has been handed over to an heir."""

    async def main() -> None:
        log: list[str] = []
        async with Scope("old") as old:
            heirs: list[Scope] = []

            async def make() -> str:
                await asyncio.sleep(0)
                # Called after the value has arrived, and before the caller goes on.
                asyncio.get_running_loop().call_soon(hand_over)
                return "value"

            def hand_over() -> None:
                heirs.append(old.pop_all())
                caller.cancel()

            caller = asyncio.create_task(old.acquire(make, release=log.append))
            with pytest.raises(asyncio.CancelledError):
                await caller
            (heir,) = heirs
            assert log == ["value"]
            assert heir.statistics().live == 0
            check_account(heir)
            await heir.aclose()
        assert log == ["value"]

    run_on(new_loop, main())
