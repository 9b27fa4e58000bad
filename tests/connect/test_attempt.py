"""An attempt step by step: polls, the states it moves through, and what it shows of itself."""

from __future__ import annotations

import asyncio

import pytest

from lifecycle import ConnectError, ConnectTimeout, LifecycleError, connect, take_snapshot
from lifecycle._connect.state import MOVES, moved
from lifecycle.testing import Bubble
from lifecycle.types import AttemptState

from ..loops import virtual
from .peer import Peer


@virtual
async def test_polled_it_never_waits_and_shows_where_it_is(bubble: Bubble) -> None:
    """Each poll returns at once; state and stage go through the stages; True comes with the value."""
    peer = Peer(seconds=1)
    attempt = connect(peer.connector, "ab", timeout=10)
    assert (attempt.state, attempt.stage, attempt.attempts, attempt.deadline) == (AttemptState.NEW, None, 0, None)
    seen = []
    began = asyncio.get_running_loop().time()
    while True:
        before = asyncio.get_running_loop().time()
        done = attempt.poll()
        assert asyncio.get_running_loop().time() == before
        attempt._check_invariants()
        if done:
            break
        assert attempt.deadline == began + 10
        await asyncio.sleep(0.4)
        if (attempt.state.value, attempt.stage) not in seen:
            seen.append((attempt.state.value, attempt.stage))
    assert seen == [("connecting", "a"), ("connecting", "b"), ("connecting", "hello"), ("connected", None)]
    assert attempt.value == "connected to ab"
    await attempt.scope.aclose()


@virtual
async def test_one_deadline_holds_over_all_stages(bubble: Bubble) -> None:
    """Each stage is quick enough, all together are not; the rollback begins at the deadline to the tick."""
    peer = Peer(seconds=1)
    attempt = connect(peer.connector, "abcdefgh", timeout=4.5)
    began = asyncio.get_running_loop().time()
    attempt.poll()
    await asyncio.sleep(4.4)
    assert (attempt.state, attempt.stage) == (AttemptState.CONNECTING, "e")
    await asyncio.sleep(0.2)
    assert (attempt.state, attempt.stage) == (AttemptState.ROLLING_BACK, "e")
    assert attempt.poll() is False
    await asyncio.sleep(5)
    with pytest.raises(ConnectTimeout, match=r"not over within 4\.5 s: it was in stage 'e', attempt 1") as caught:
        attempt.poll()
    assert (caught.value.stage, caught.value.attempts, caught.value.rollback_errors) == ("e", 1, ())
    assert isinstance(caught.value, TimeoutError)
    assert peer.live == []
    assert attempt.deadline == began + 4.5


@virtual
async def test_a_failed_attempt_says_so_at_every_poll(bubble: Bubble) -> None:
    """The error is the same each time, and does not grow."""
    attempt = connect(Peer(failures=9).connector, "a")
    attempt.poll()
    await asyncio.sleep(5)
    lengths = set()
    for _ in range(3):
        with pytest.raises(ConnectError) as caught:
            attempt.poll()
        lengths.add(len(caught.traceback))
    assert len(lengths) == 1
    with pytest.raises(ConnectError, match="refused"):
        await attempt


@virtual
async def test_the_value_before_its_time_is_refused(bubble: Bubble) -> None:
    """`value` and `scope` are for afterwards; the error says what to do."""
    attempt = connect(Peer().connector, "a", name="early")
    with pytest.raises(LifecycleError, match="connect 'early' is new; await it, or poll it"):
        _ = attempt.value
    attempt.poll()
    with pytest.raises(LifecycleError, match=r"is connecting.*its scope"):
        _ = attempt.scope
    await attempt.aclose()
    with pytest.raises(ConnectError):
        _ = attempt.value


def test_the_table_of_states_refuses_every_other_move() -> None:
    """An illegal move raises; a legal one gives the new state; nothing follows what is final."""
    for state in AttemptState:
        for to in AttemptState:
            if to in MOVES[state]:
                assert moved(state, to) is to
            else:
                with pytest.raises(AssertionError, match=f"no connect moves from '{state.value}' to '{to.value}'"):
                    moved(state, to)
    assert not MOVES[AttemptState.FAILED]
    assert not MOVES[AttemptState.CANCELLED]


@virtual
async def test_a_snapshot_shows_it(bubble: Bubble) -> None:
    """While it connects with its stage and task, afterwards with what the connection owns, and then no more."""
    attempt = connect(Peer(seconds=1).connector, "ab", name="db")
    assert "db" not in str(take_snapshot())
    attempt.poll()
    await asyncio.sleep(1.5)
    snapshot = take_snapshot()
    assert "attempt 'db', connecting, stage 'b', 1.5 s, attempts 1" in str(snapshot)
    assert not snapshot.unowned
    await attempt
    assert "attempt 'db', connected" in str(take_snapshot())
    assert "resource 'a'" in str(take_snapshot())
    await attempt.scope.aclose()
    assert "db" not in str(take_snapshot())


@virtual
async def test_its_repr_says_where_it_is(bubble: Bubble) -> None:
    """Name, state and stage."""
    attempt = connect(Peer(seconds=1).connector, "ab", name="db")
    assert repr(attempt) == "<ConnectAttempt 'db' new>"
    attempt.poll()
    await asyncio.sleep(1.5)
    assert repr(attempt) == "<ConnectAttempt 'db' connecting, stage 'b'>"
    await attempt.aclose()
