"""Guarantees 10, 11 and 12: a connect leaves nothing behind, one attempt at a time, and never blocks a poll."""

import asyncio
import contextlib
import itertools
import threading
from collections.abc import AsyncIterator

import anyio.to_thread
import pytest

from lifecycle import ConnectError, ConnectTimeout, Retry, Stages, connect
from lifecycle.testing import Bubble, explore_cancellation, no_busy_loop, run_virtual
from lifecycle.testing.faults import CANCELS
from lifecycle.types import AttemptState, ConnectAttempt

from .things import Account, Diary

STAGES = ("value", "session", "late", "handshake")
ENDINGS = ("failure", "timeout", "cancellation", "close")


class Peer:
    """Four stages of all kinds; fails in the one that it is told to, and knows what is alive."""

    def __init__(self, *, fails_in: str = "", hangs_in: str = "", release_seconds: float = 0.01) -> None:
        self.fails_in = fails_in
        self.hangs_in = hangs_in
        self.release_seconds = release_seconds
        self.account = Account()
        self.diary = Diary()

    async def _make(self, name: str) -> str:
        await asyncio.sleep(3600 if name == self.hangs_in else 0.01)
        if name == self.fails_in:
            raise ConnectionRefusedError(name)
        return name

    async def make(self, name: str) -> str:
        """Make a value."""
        await self._make(name)
        self.account.made[name] += 1
        return name

    async def release(self, name: str) -> None:
        """Release it, which takes a while."""
        await asyncio.sleep(self.release_seconds)
        self.account.released[name] += 1
        self.diary.write(name)

    @contextlib.asynccontextmanager
    async def session(self, name: str) -> AsyncIterator[str]:
        """Make a value, and release it at the end of the block."""
        await self.make(name)
        try:
            yield name
        finally:
            await self.release(name)

    async def shielded(self, name: str) -> str:
        """Make a value in a way that cannot be cancelled."""
        with anyio.CancelScope(shield=True):
            return await self.make(name)

    async def connector(self, stages: Stages) -> str:
        """Connect in four stages."""
        await stages.acquire(self.make, "value", release=self.release, name="value")
        await stages.enter(self.session("session"), name="session")
        await stages.acquire(self.shielded, "late", release=self.release, name="late")
        await stages.step(self._make("handshake"), name="handshake")
        return "connected"


# G10


async def connect_and_leave(bubble: Bubble) -> None:
    """Connect with a retry, and leave."""
    peer = bubble.state.peer = Peer()
    async with connect(peer.connector, retry=Retry(attempts=2, backoff=(0.01, 0.01), jitter=0.0)):
        await asyncio.sleep(0.01)


async def connect_in_two_stages(bubble: Bubble) -> None:
    """Connect in few steps, and leave at once: short enough for all pairs of cancellations."""
    peer = bubble.state.peer = Peer()

    async def connector(stages: Stages) -> None:
        await stages.acquire(peer.make, "value", release=peer.release)
        await stages.step(asyncio.sleep(0.01))

    async with connect(connector):
        pass


async def poll_and_close(bubble: Bubble) -> None:
    """Poll until it is there or has failed, and close what was taken."""
    peer = bubble.state.peer = Peer()
    attempt = connect(peer.connector)
    with contextlib.suppress(ConnectError):
        try:
            while not attempt.poll():
                await asyncio.sleep(0.01)
        finally:
            await attempt.aclose()
            if attempt.state is AttemptState.CONNECTED:
                await attempt.scope.aclose()
    await asyncio.sleep(0)


def accounts_balance(bubble: Bubble) -> bool:
    """Whether nothing was made and not released, exactly once."""
    return getattr(bubble.state, "peer", Peer()).account.balanced


def test_no_interruption_leaves_anything_half_made() -> None:
    """G10: struck at every point, in every way: each stage is undone once."""
    report = explore_cancellation(connect_and_leave, invariants=[accounts_balance, no_busy_loop])
    report.assert_clean()
    assert report.runs > 100


def test_no_two_cancellations_leave_anything_half_made() -> None:
    """G10: every pair of cancellations, so that the second strikes the rollback of the first."""
    report = explore_cancellation(connect_in_two_stages, depth=2, invariants=[accounts_balance, no_busy_loop])
    report.assert_clean()
    assert report.runs > 250


def test_no_interruption_of_the_connecting_task_leaves_anything_half_made() -> None:
    """G10: a stranger cancels the very task that connects, before its first step, later, and twice."""
    for scenario in (connect_and_leave, poll_and_close):
        report = explore_cancellation(
            scenario,
            faults=CANCELS,
            targets=lambda task: task.get_name().startswith(("connect '", "rollback of")),
            invariants=[accounts_balance],
        )
        report.assert_clean()
        assert report.runs > 50


@pytest.mark.parametrize(
    ("stage", "ending"),
    # A stage that hangs behind a shield has a test of its own, below.
    [case for case in itertools.product(STAGES, ENDINGS) if case[0] != "late" or case[1] == "failure"],
)
def test_a_connect_that_ends_in_any_stage_is_undone_in_reverse(stage: str, ending: str) -> None:
    """G10: whatever was made is released newest first, and the error names the stage."""
    names = [name for name in STAGES[: STAGES.index(stage)] if name != "handshake"]

    async def scenario(bubble: Bubble) -> None:
        peer = Peer(fails_in=stage if ending == "failure" else "", hangs_in="" if ending == "failure" else stage)
        attempt = connect(peer.connector, timeout=1.0 if ending == "timeout" else None, close_timeout=5)
        task = asyncio.ensure_future(attempt)
        await asyncio.sleep(0.5)
        if ending == "cancellation":
            task.cancel()
        elif ending == "close":
            await attempt.aclose()
        error = (await asyncio.gather(task, return_exceptions=True))[0]
        assert isinstance(error, (asyncio.CancelledError if ending == "cancellation" else ConnectError)), error
        assert attempt.stage == stage
        if isinstance(error, ConnectError):
            assert error.stage == stage
            assert isinstance(error, ConnectTimeout) == (ending == "timeout")
        assert peer.diary.events == names[::-1]
        assert peer.account.balanced

    run_virtual(scenario)


def test_a_stage_that_hangs_behind_a_shield_ends_the_connect_within_its_bound() -> None:
    """G10, G5: it is abandoned and named, what came before is undone, its late value is released when it comes."""

    async def scenario(bubble: Bubble) -> None:
        peer = Peer(hangs_in="late")
        with pytest.raises(ConnectTimeout) as caught:
            await connect(peer.connector, timeout=1, close_timeout=5, retry=Retry(attempts=2))
        assert (caught.value.stage, caught.value.attempts) == ("late", 1)
        assert "late" in str(caught.value.rollback_errors[0])
        assert peer.diary.events == ["session", "value"]
        await asyncio.sleep(3600)
        assert peer.account.balanced
        assert peer.account.made["late"] == 1

    run_virtual(scenario)


def test_repeated_cancellations_during_a_slow_and_failing_rollback_change_nothing() -> None:
    """G10: ten cancellations while the undoing is under way; all of it runs, once, and its error is told."""

    class Bad(Peer):
        async def release(self, name: str) -> None:
            await super().release(name)
            raise OSError(f"{name} is stuck")

    async def scenario(bubble: Bubble) -> None:
        peer = Bad(hangs_in="handshake", release_seconds=1.0)
        attempt = connect(peer.connector)
        task = asyncio.ensure_future(attempt)
        await asyncio.sleep(0.5)
        for _ in range(10):
            task.cancel()
            await asyncio.sleep(0.2)
        error = (await asyncio.gather(task, return_exceptions=True))[0]
        assert isinstance(error, ConnectError)
        assert len(error.rollback_errors) == 3
        assert peer.diary.events == ["late", "session", "value"]

    run_virtual(scenario)


@pytest.mark.parametrize("way", ["awaited", "block", "polled"])
def test_closing_the_attempt_after_success_does_nothing(way: str) -> None:
    """G10: the connection stays as it is; its own owner releases it."""

    async def scenario(bubble: Bubble) -> None:
        peer = Peer()
        attempt = connect(peer.connector)
        if way == "block":
            async with attempt:
                await close_twice(attempt, peer)
        else:
            if way == "awaited":
                await attempt
            while not attempt.poll():
                await asyncio.sleep(0.01)
            await close_twice(attempt, peer)
            await attempt.scope.aclose()
        assert peer.account.balanced

    run_virtual(scenario)


async def close_twice(attempt: ConnectAttempt[str], peer: Peer) -> None:
    """Close an attempt that has succeeded, and see that nothing was released."""
    attempt.cancel("too late")
    await attempt.aclose()
    await attempt.aclose()
    assert attempt.value == "connected"
    assert not peer.account.released


# G11


def test_a_retry_begins_when_the_attempt_before_it_has_ended() -> None:
    """G11: rollbacks of three seconds; never two attempts at once, and nothing of the first when the second begins."""

    async def scenario(bubble: Bubble) -> None:
        peer = Peer(fails_in="handshake", release_seconds=1.0)
        begun = []

        async def connector(stages: Stages) -> None:
            assert peer.account.balanced, "the attempt before has not ended"
            begun.append(asyncio.get_running_loop().time())
            await peer.connector(stages)

        with pytest.raises(ConnectError):
            await connect(connector, retry=Retry(attempts=3, backoff=(0.0, 0.0)))
        assert len(begun) == 3
        assert min(later - earlier for earlier, later in itertools.pairwise(begun)) >= 3.0

    run_virtual(scenario)


def test_a_retry_waits_for_a_late_value_from_a_thread() -> None:
    """G3, G11: the thread cannot be interrupted; its value is released, once, before anything else begins."""
    events: list[str] = []
    may_end = threading.Event()

    def make(attempt: int) -> str:
        events.append(f"began {attempt}")
        if attempt == 1:
            may_end.wait(10)
        return f"value {attempt}"

    async def connector(stages: Stages) -> str:
        return await stages.acquire(
            anyio.to_thread.run_sync,
            make,
            stages.attempt,
            release=lambda value: events.append(f"released {value}"),
            timeout=0.05 if stages.attempt == 1 else None,
        )

    async def main() -> None:
        asyncio.get_running_loop().call_later(0.2, may_end.set)
        retry = Retry(attempts=2, backoff=(0.0, 0.0))
        async with asyncio.timeout(10), connect(connector, retry=retry) as value:
            events.append(f"connected with {value}")

    asyncio.run(main())
    assert events == ["began 1", "released value 1", "began 2", "connected with value 2", "released value 2"]


def test_there_is_no_retry_beside_an_attempt_that_will_not_end() -> None:
    """G11: a connector, or a release, that ignores its cancellations is abandoned, and that is the end of it."""

    async def ignores_cancellation() -> None:
        ends = asyncio.get_running_loop().time() + 100
        while (left := ends - asyncio.get_running_loop().time()) > 0:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(left)

    async def deaf(stages: Stages) -> None:
        await ignores_cancellation()

    async def stuck(stages: Stages) -> None:
        await stages.acquire(str, "value", release=lambda value: ignores_cancellation())
        raise OSError("planned")

    async def scenario(bubble: Bubble) -> None:
        for connector in (deaf, stuck):
            with pytest.raises(ConnectError, match="was abandoned") as caught:
                await connect(connector, timeout=1, close_timeout=1, retry=Retry(attempts=5))
            assert caught.value.attempts == 1
        await asyncio.sleep(200)

    run_virtual(scenario)


# G12


def test_polls_return_at_once_and_the_deadline_stays() -> None:
    """G12: the loop never turns during a poll; the deadline is one for all stages; state and stage can be seen."""

    async def scenario(bubble: Bubble) -> None:
        attempt = connect(Peer().connector, timeout=7)
        turns = 0

        def turn() -> None:
            nonlocal turns
            turns += 1

        seen, deadlines = [], set()
        for _ in range(1000):
            asyncio.get_running_loop().call_soon(turn)
            before = turns
            done = attempt.poll()
            assert turns == before
            attempt._check_invariants()
            if (attempt.state.value, attempt.stage) not in seen:
                seen.append((attempt.state.value, attempt.stage))
            deadlines.add(attempt.deadline)
            if done:
                break
            await asyncio.sleep(0.001)
        assert (seen[0], seen[-1]) == (("connecting", None), ("connected", None))
        assert {stage for state, stage in seen if state == "connecting"} == {None, *STAGES}
        assert len(deadlines) == 1
        await attempt.scope.aclose()

    run_virtual(scenario)


def test_it_can_be_closed_between_any_two_polls() -> None:
    """G12: closed after each number of turns of the loop, with a failure and without; nothing is ever left."""

    async def scenario(bubble: Bubble) -> None:
        states = set()
        for fails_in in ("", "handshake"):
            for turns in range(200):
                peer = Peer(fails_in=fails_in)
                attempt = connect(peer.connector, timeout=1, retry=Retry(attempts=2, backoff=(0.02, 0.02), jitter=0))
                taken = False
                with contextlib.suppress(ConnectError):
                    taken = attempt.poll()
                    for _ in range(turns):
                        await asyncio.sleep(0 if turns % 2 else 0.001)
                states.add(attempt.state)
                with contextlib.suppress(ConnectError):  # it has failed by itself meanwhile
                    await attempt.aclose()
                attempt._check_invariants()
                assert not taken
                assert peer.account.balanced, (fails_in, turns, attempt)
        assert states == set(AttemptState) - {AttemptState.NEW, AttemptState.CANCELLED}

    run_virtual(scenario)
