"""connect: states, ownership, errors, and every way in which a connect can end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import weakref
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from lifecycle import (
    AttemptState,
    ConnectAttempt,
    ConnectError,
    ConnectTimeout,
    LifecycleError,
    OwnerClosed,
    Pool,
    Retry,
    Scope,
    Stages,
    connect,
    take_snapshot,
)
from lifecycle._connect.state import MOVES, moved
from lifecycle.testing import Bubble, run_virtual

from ..loops import on_every_loop, run_on, virtual
from .peer import Peer

QUICK = Retry(attempts=2, backoff=(0.01, 0.01), jitter=0.0)


# Success, and who owns what


@virtual
async def test_the_block_has_the_value_and_its_end_releases_in_reverse(bubble: Bubble) -> None:
    """Three stages are made in order, used, and undone in reverse at the end of the block."""
    peer = Peer()
    async with connect(peer.connector, "ab", timeout=5) as value:
        assert value == "connected to ab"
        assert peer.events == ["made a", "made b"]
    assert peer.events[2:] == ["released b", "released a"]


@virtual
async def test_awaited_the_scope_of_the_connection_releases(bubble: Bubble) -> None:
    """Closing the attempt after success does nothing; closing its scope undoes all of it."""
    peer = Peer()
    attempt = connect(peer.connector, "ab")
    assert await attempt == await attempt == "connected to ab"
    await attempt.aclose()
    attempt.cancel("too late")
    assert peer.live == ["a", "b"]
    assert attempt.state is AttemptState.CONNECTED
    await attempt.scope.aclose()
    assert peer.live == []


@virtual
async def test_a_scope_takes_a_connect_as_a_context_manager(bubble: Bubble) -> None:
    """It is released at its place, from whichever task closes the scope."""
    peer = Peer()
    scope = Scope()
    scope.callback(peer.events.append, "older")
    assert await scope.enter(connect(peer.connector, "a")) == "connected to a"
    scope.callback(peer.events.append, "younger")
    await asyncio.create_task(scope.aclose())
    assert peer.events == ["made a", "younger", "released a", "older"]


@virtual
async def test_a_value_that_is_all_that_was_acquired_may_be_closed_by_itself(bubble: Bubble) -> None:
    """No warning, and no second release, for `value = await connect(...)` where closing the value is enough."""
    peer = Peer()

    async def connector(stages: Stages) -> str:
        return await stages.acquire(peer.make, "only", release=peer.release)

    value = await connect(connector)
    await asyncio.sleep(0)
    gc.collect()
    await peer.release(value)
    assert peer.events == ["made only", "released only"]


@virtual
async def test_a_pool_takes_a_connect_as_creation(bubble: Bubble) -> None:
    """The pool awaits it, and destroys what it got."""
    peer = Peer()

    async def connector(stages: Stages) -> str:
        return await stages.acquire(peer.make, "only", release=peer.release)

    async with Pool(lambda: connect(connector), peer.release, max_size=1) as pool, pool.acquire() as value:
        assert value == "only"
    gc.collect()
    assert peer.live == []


@virtual
async def test_a_connection_that_nobody_can_release_any_more_is_a_warning(bubble: Bubble) -> None:
    """More than the value was acquired, and the attempt is dropped: the scope says so."""
    peer = Peer()
    attempt: ConnectAttempt[str] | None = connect(peer.connector, "ab", name="lost")
    assert attempt is not None
    await attempt
    kept = attempt._connecting.connection
    assert kept is not None
    await asyncio.sleep(0)
    attempt = None
    gc.collect()
    assert kept.statistics().resources == 2, "what was acquired besides the value has been let go of"
    with pytest.warns(ResourceWarning, match="'lost' was dropped with 2 things in it"):
        del kept
        gc.collect()
    for token in reversed(bubble.ledger.live):
        token.release()


@virtual
async def test_an_attempt_leaves_nothing_in_memory(bubble: Bubble) -> None:
    """Ended in whatever way, attempt, connector and arguments are gone without the garbage collector's help."""

    class Argument:
        pass

    async def connector(stages: Stages, argument: Argument, ending: str) -> str:
        await stages.acquire(str, "value", release=id, stage="open")
        if ending == "fails":
            raise OSError("planned")
        await stages.step(asyncio.sleep(100 if ending == "slow" else 0.01), stage="hello")
        return "value"

    for ending in ("succeeds", "slow", "is closed"):
        argument = Argument()
        gone = weakref.ref(argument)
        attempt = connect(connector, argument, ending, timeout=1)
        gc.disable()
        try:
            try:
                if ending == "is closed":
                    attempt.poll()
                    await attempt.aclose()
                else:
                    await attempt
                    await attempt.scope.aclose()
            except ConnectError:
                assert ending == "slow"
            del attempt, argument
            await asyncio.sleep(0.01)
            assert gone() is None or ending == "slow", f"an attempt that {ending} leaves a cycle behind"
        finally:
            gc.enable()
        gc.collect()
        assert gone() is None


@virtual
async def test_a_success_that_nobody_took_belongs_to_the_attempt(bubble: Bubble) -> None:
    """Connected, but neither awaited nor polled: closing the attempt undoes it."""
    peer = Peer()
    attempt = connect(peer.connector, "ab")
    assert attempt.poll() is False
    await asyncio.sleep(5)
    assert attempt.state is AttemptState.CONNECTED
    await attempt.aclose()
    assert (attempt.state, peer.live) == (AttemptState.CANCELLED, [])
    with pytest.raises(ConnectError, match="it was closed"):
        attempt.poll()


@virtual
async def test_an_awaiter_cancelled_in_the_step_of_the_success_gets_nothing_and_nothing_stays(bubble: Bubble) -> None:
    """The value is there, its awaiter has not resumed yet, and is cancelled: everything is undone."""
    peer = Peer()
    attempt = connect(peer.connector, "ab")

    async def awaits() -> None:
        await attempt

    task = asyncio.create_task(awaits())
    while attempt.state is not AttemptState.CONNECTED:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (attempt.state, peer.live) == (AttemptState.CANCELLED, [])


@virtual
async def test_a_second_block_on_one_attempt_is_refused(bubble: Bubble) -> None:
    """An attempt is entered once."""
    attempt = connect(Peer().connector, "a")
    async with attempt:
        with pytest.raises(RuntimeError, match="entered before"):
            await attempt.__aenter__()


# Step by step


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


# Closing


async def until(attempt: ConnectAttempt[Any], state: AttemptState) -> None:
    """Poll until the attempt is in a state."""
    while attempt.state is not state:
        if attempt.state is AttemptState.NEW:
            attempt.poll()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("state", AttemptState, ids=lambda state: state.value)
@virtual
async def test_it_can_be_closed_in_every_state(bubble: Bubble, state: AttemptState) -> None:
    """Wherever it is, afterwards nothing is left; only a taken success stays."""
    peer = Peer(seconds=0.1, failures=1 if state in (AttemptState.WAITING, AttemptState.ROLLING_BACK) else 0)
    if state is AttemptState.FAILED:
        peer.failures = 9
    attempt = connect(peer.connector, "ab", retry=Retry(attempts=2, backoff=(1, 1)))
    if state is AttemptState.CANCELLED:
        attempt.cancel("first")
    else:
        await until(attempt, state)
    await attempt.aclose()
    await attempt.aclose()
    attempt._check_invariants()
    expected = AttemptState.FAILED if state is AttemptState.FAILED else AttemptState.CANCELLED
    assert (attempt.state, peer.live) == (expected, [])
    with pytest.raises(ConnectError):
        await attempt


@virtual
async def test_a_closed_new_attempt_never_calls_its_connector(bubble: Bubble) -> None:
    """Nor does one that is closed before the first step of its task."""
    peer = Peer()
    for polls in (False, True):
        attempt = connect(peer.connector, "a")
        if polls:
            attempt.poll()
        await attempt.aclose()
        with pytest.raises(ConnectError, match="it was closed"):
            await attempt
    assert peer.events == []


@virtual
async def test_the_second_closer_waits_for_the_first(bubble: Bubble) -> None:
    """Both return when everything has been undone."""
    peer = Peer(seconds=1)
    attempt = connect(peer.connector, "ab")
    attempt.poll()
    await asyncio.sleep(1.5)

    async def closes() -> list[str]:
        await attempt.aclose()
        return list(peer.live)

    assert await asyncio.gather(closes(), closes()) == [[], []]


@virtual
async def test_a_reason_reaches_the_connector_and_whoever_waits(bubble: Bubble) -> None:
    """The message of the cancellation, and the error of the other waiter, say why."""
    reasons = []

    async def connector(stages: Stages) -> None:
        try:
            await stages.step(asyncio.sleep(100), stage="hello")
        except asyncio.CancelledError as error:
            reasons.extend(error.args)
            raise

    attempt = connect(connector, name="db")
    waiter = asyncio.ensure_future(attempt)
    await asyncio.sleep(1)
    attempt.cancel("the service stops")
    with pytest.raises(ConnectError, match="connect 'db' was ended in stage 'hello', attempt 1: the service stops"):
        await waiter
    assert reasons == ["the service stops"]


@virtual
async def test_a_close_during_the_rollback_of_a_failure_changes_only_what_follows(bubble: Bubble) -> None:
    """What failed for good has failed; what would have been tried again is cancelled, with the failure as its cause."""
    for retry, state in ((None, AttemptState.FAILED), (QUICK, AttemptState.CANCELLED)):
        attempt = connect(Peer(seconds=1).connector, "ab", timeout=2.5, retry=retry)
        waiter = asyncio.ensure_future(attempt)
        await asyncio.sleep(3)
        assert attempt.state is AttemptState.ROLLING_BACK
        await attempt.aclose()
        (error,) = await asyncio.gather(waiter, return_exceptions=True)
        assert attempt.state is state
        assert isinstance(error if retry is None else getattr(error, "__cause__", None), ConnectTimeout)


@virtual
async def test_a_connector_may_close_its_own_attempt_but_not_await_it(bubble: Bubble) -> None:
    """Neither waits for itself."""
    found: list[str] = []

    async def connector(stages: Stages) -> None:
        with pytest.raises(RuntimeError, match="awaited by its own connector"):
            await attempt
        await attempt.aclose()
        found.append("closed")
        await stages.step(asyncio.sleep(100))

    attempt = connect(connector)
    with pytest.raises(ConnectError, match="it was closed"):
        await attempt
    assert found == ["closed"]


@virtual
async def test_a_release_may_close_the_attempt_that_waits_for_it(bubble: Bubble) -> None:
    """A release that closes its own attempt does not wait for itself."""

    async def release(_: object) -> None:
        await asyncio.sleep(0.1)
        await attempt.aclose()

    async def connector(stages: Stages) -> None:
        await stages.acquire(object, release=release)
        raise OSError("planned")

    attempt = connect(connector)
    async with asyncio.timeout(5):
        with pytest.raises(ConnectError):
            await attempt


# Cancellation


@virtual
async def test_a_cancelled_awaiter_waits_for_the_rollback_and_is_cancelled_once(bubble: Bubble) -> None:
    """Two cancellations during the rollback: everything is undone, one is raised, the count stays exact."""
    peer = Peer(seconds=1)
    counts = []

    async def awaits() -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            await connect(peer.connector, "ab")
        except asyncio.CancelledError:
            counts.append(task.cancelling())
            await asyncio.sleep(1)  # is not interrupted again
            counts.append(len(peer.live))
            raise

    task = asyncio.create_task(awaits())
    await asyncio.sleep(2.5)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0.3)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert counts == [3, 0]


@pytest.mark.parametrize("limit", [asyncio.timeout, anyio.fail_after], ids=["asyncio", "anyio"])
@virtual
async def test_a_timeout_around_it_waits_for_the_rollback(bubble: Bubble, limit: Callable[[float], Any]) -> None:
    """The timeout of somebody else ends the connect, and times out when everything is undone."""
    peer = Peer(seconds=1)

    async def awaits() -> None:
        scope = limit(2.5)
        if hasattr(scope, "__aenter__"):
            async with scope:
                await connect(peer.connector, "ab")
        else:
            with scope:
                await connect(peer.connector, "ab")

    with pytest.raises(TimeoutError) as caught:
        await awaits()
    assert not isinstance(caught.value, ConnectError)
    assert peer.live == []


@virtual
async def test_a_rollback_that_fails_for_a_cancelled_awaiter_is_told_first(bubble: Bubble) -> None:
    """The error of the rollback is raised, the cancellation at the next suspension."""
    peer = Peer(seconds=1, bad_releases="a")
    seen: list[BaseException] = []

    async def awaits() -> None:
        try:
            await connect(peer.connector, "ab")
        except ConnectError as error:
            seen.extend(error.rollback_errors)
        await asyncio.sleep(10)

    task = asyncio.create_task(awaits())
    await asyncio.sleep(2.5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [str(error) for error in seen] == ["a is stuck"]


@virtual
async def test_a_cancelled_closer_waits_for_the_rollback(bubble: Bubble) -> None:
    """It is cancelled afterwards; if the rollback met errors these come first."""
    for bad in ("", "a"):
        peer = Peer(seconds=1, bad_releases=bad)
        attempt = connect(peer.connector, "ab")
        attempt.poll()
        await asyncio.sleep(2.5)
        errors: list[str] = []

        async def closes(attempt: ConnectAttempt[str] = attempt, errors: list[str] = errors) -> None:
            try:
                await attempt.aclose()
            except ValueError as error:
                errors.append(str(error))
            await asyncio.sleep(10)

        task = asyncio.create_task(closes())
        await asyncio.sleep(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (peer.live, errors) == ([], ["a is stuck"] if bad else [])


@virtual
async def test_a_native_cancellation_during_the_rollback_of_a_scope_goes_first(bubble: Bubble) -> None:
    """An anyio scope ends the connect, and a native cancellation comes on top: the task is cancelled."""
    peer = Peer(seconds=1)

    async def awaits() -> None:
        with anyio.move_on_after(2.5):
            await connect(peer.connector, "ab")
        raise AssertionError("the native cancellation was swallowed")

    task = asyncio.create_task(awaits())
    await asyncio.sleep(3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert peer.live == []


@virtual
async def test_two_wait_for_one_connect(bubble: Bubble) -> None:
    """Both get the value; it runs once."""
    peer = Peer()
    attempt = connect(peer.connector, "a")
    assert await asyncio.gather(attempt, attempt) == ["connected to a"] * 2
    assert peer.events == ["made a"]
    await attempt.scope.aclose()


@virtual
async def test_a_destroyed_awaiter_ends_the_connect(bubble: Bubble) -> None:
    """A coroutine that is closed while it waits cannot wait for the rollback, but it has asked for it."""
    peer = Peer()
    attempt = connect(peer.connector, "ab")
    coro = attempt._arrival()
    coro.send(None)
    coro.close()
    await asyncio.sleep(5)
    assert (attempt.state, peer.live) == (AttemptState.CANCELLED, [])


@virtual
async def test_a_connecting_task_cancelled_by_a_stranger_fails_and_is_rolled_back(bubble: Bubble) -> None:
    """Before its first step, and later; it is not tried again."""
    for steps in (0, 3):
        peer = Peer(seconds=1)
        attempt = connect(peer.connector, "ab", name="db", retry=QUICK)
        attempt.poll()
        await asyncio.sleep(steps / 2)
        task = attempt._connecting.task
        assert task is not None
        task.cancel()
        with pytest.raises(ConnectError, match="its task was cancelled from outside"):
            await attempt
        assert (attempt.attempts, peer.live) == (1, [])


@virtual
async def test_the_undoing_of_a_success_survives_a_stranger(bubble: Bubble) -> None:
    """Its task is cancelled before its first step: another takes its place."""
    peer = Peer()
    attempt = connect(peer.connector, "ab")
    attempt.poll()
    await asyncio.sleep(5)
    attempt.cancel()
    task = attempt._connecting.task
    assert task is not None
    task.cancel()
    await attempt.aclose()
    assert (attempt.state, peer.live) == (AttemptState.CANCELLED, [])


@virtual
async def test_a_stranger_who_cancels_the_undoing_of_a_success_is_held_off(bubble: Bubble) -> None:
    """Everything is released; the task that did so ends cancelled."""
    peer = Peer(seconds=1)
    attempt = connect(peer.connector, "ab")
    attempt.poll()
    await asyncio.sleep(5)
    attempt.cancel()
    await asyncio.sleep(0.5)
    task = attempt._connecting.task
    assert task is not None
    task.cancel()
    await attempt.aclose()
    assert (attempt.state, peer.live) == (AttemptState.CANCELLED, [])
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()


# Late values


@virtual
async def test_a_connector_that_swallows_its_cancellation_has_its_value_undone(bubble: Bubble) -> None:
    """It returns a value after the deadline: too late, all is released."""
    peer = Peer()

    async def connector(stages: Stages) -> str:
        value = await stages.acquire(peer.make, "a", release=peer.release)
        try:
            await stages.step(asyncio.sleep(100), stage="hello")
        except asyncio.CancelledError:
            await asyncio.sleep(1)
        return value

    with pytest.raises(ConnectTimeout) as caught:
        await connect(connector, timeout=1)
    assert caught.value.stage == "hello"
    assert peer.live == []


@virtual
async def test_a_connector_that_ignores_every_cancellation_is_left_behind(bubble: Bubble) -> None:
    """Its stages are undone without it, the error says so, nothing is tried again, and it gets no new stage."""
    peer = Peer()
    may_end = asyncio.Event()
    refused: list[str] = []

    async def connector(stages: Stages) -> None:
        await stages.acquire(peer.make, "a", release=peer.release)
        while not may_end.is_set():
            try:
                await stages.step(asyncio.sleep(100 if len(refused) < 2 else 0.1), stage="deaf")
            except (asyncio.CancelledError, OwnerClosed) as error:
                refused.append(type(error).__name__)
                await asyncio.sleep(0.5)

    began = asyncio.get_running_loop().time()
    with pytest.raises(ConnectTimeout, match="the connector has been left behind") as caught:
        await connect(connector, timeout=1, close_timeout=3, retry=QUICK)
    assert asyncio.get_running_loop().time() - began == pytest.approx(1 + 3 + 1, abs=0.1)
    assert (caught.value.attempts, caught.value.stage, peer.live) == (1, "deaf", [])
    await asyncio.sleep(2)
    assert refused[:2] == ["CancelledError", "CancelledError"]
    assert refused[-1] == "OwnerClosed"
    may_end.set()
    await asyncio.sleep(1)


@virtual
async def test_a_release_may_close_the_attempt_whose_connector_was_left_behind(bubble: Bubble) -> None:
    """The undoing runs in a task of its own then, and does not wait for itself either."""

    async def release(_: object) -> None:
        await attempt.aclose()

    async def connector(stages: Stages) -> None:
        await stages.acquire(object, release=release)
        for _ in range(3):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(50)

    attempt = connect(connector, timeout=1, close_timeout=2)
    with pytest.raises(ConnectTimeout) as caught:
        await attempt
    assert caught.value.rollback_errors == ()
    await asyncio.sleep(200)


def test_a_connector_that_was_left_behind_and_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody waits for it any more; its error is not lost."""

    async def connector(stages: Stages) -> None:
        for _ in range(2):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(50)
        await asyncio.sleep(50)
        raise OSError("much later")

    async def scenario(bubble: Bubble) -> None:
        with pytest.raises(ConnectTimeout):
            await connect(connector, timeout=1, close_timeout=2, name="db")
        await asyncio.sleep(200)

    run_virtual(scenario)
    assert "abandoned connector 'db' failed" in caplog.text


@virtual
async def test_without_a_close_timeout_a_rollback_may_take_its_time(bubble: Bubble) -> None:
    """Nobody is hurried."""
    peer = Peer(seconds=1000)
    attempt = connect(peer.connector, "a", close_timeout=None)
    attempt.poll()
    await asyncio.sleep(1500)
    await attempt.aclose()
    assert peer.live == []


@virtual
async def test_a_value_in_the_very_tick_of_the_deadline_is_taken_or_released(bubble: Bubble) -> None:
    """Whichever comes first wins; nothing is lost."""
    for offset in (-0.001, 0.0, 0.001):
        peer = Peer(seconds=1)
        try:
            async with connect(peer.connector, "a", timeout=2 + offset):
                assert peer.live == ["a"]
        except ConnectTimeout:
            assert offset <= 0
        assert peer.live == []
        assert peer.events == ["made a", "released a"]


# Errors


@virtual
async def test_an_error_names_stage_attempt_and_what_the_rollback_met(bubble: Bubble) -> None:
    """Cause, stage, attempts and rollback errors are in attributes and in the message."""
    peer = Peer(failures=9, bad_releases="ab")
    with pytest.raises(ConnectError) as caught:
        await connect(peer.connector, "ab", name="db")
    error = caught.value
    assert isinstance(error, ConnectionError)
    assert isinstance(error.__cause__, ConnectionRefusedError)
    assert (error.stage, error.attempts) == ("hello", 1)
    assert [str(met) for met in error.rollback_errors] == ["b is stuck", "a is stuck"]
    assert str(error).startswith("connect 'db' failed in stage 'hello', attempt 1: ConnectionRefusedError('refused')")
    assert "the rollback met 2 errors, the first: ValueError('b is stuck')" in str(error)


@virtual
async def test_closing_raises_what_the_rollback_met_unless_somebody_knows(bubble: Bubble) -> None:
    """A single error as it is, several as a group, once."""
    for stages, kind in (("a", ValueError), ("ab", ExceptionGroup)):
        peer = Peer(bad_releases=stages)
        attempt = connect(peer.connector, stages)
        attempt.poll()
        await until(attempt, AttemptState.CONNECTED)
        with pytest.raises(kind, match=r"stuck|errors while closing"):
            await attempt.aclose()
        await attempt.aclose()


@virtual
async def test_a_failure_before_the_first_stage_says_so(bubble: Bubble) -> None:
    """There is no stage to name."""

    async def connector(stages: Stages) -> None:
        raise OSError("no configuration")

    with pytest.raises(ConnectError, match="before its first stage") as caught:
        await connect(connector)
    assert caught.value.stage is None


@virtual
async def test_the_stage_that_failed_is_named_and_not_one_that_was_survived(bubble: Bubble) -> None:
    """A fallback was tried; the error came from elsewhere; of concurrent stages the one whose error it is."""

    async def fails(seconds: float, what: str) -> None:
        await asyncio.sleep(seconds)
        raise OSError(what)

    async def falls_back(stages: Stages) -> None:
        try:
            await stages.step(fails(1, "primary"), stage="primary")
        except OSError:
            await stages.step(asyncio.sleep(1), stage="secondary")
        raise LookupError("after it")

    async def races(stages: Stages) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(stages.step(fails(1, "left"), stage="left"))
            group.create_task(stages.step(asyncio.sleep(100), stage="right"))

    for connector, stage in ((falls_back, "secondary"), (races, "left")):
        with pytest.raises(ConnectError) as caught:
            await connect(connector)
        assert caught.value.stage == stage


@virtual
async def test_a_task_of_the_connection_that_fails_ends_the_attempt(bubble: Bubble) -> None:
    """The connector is interrupted, the cause is the task's error; both errors where both fail."""

    async def reader() -> None:
        await asyncio.sleep(1)
        raise EOFError("hung up")

    async def connector(stages: Stages, *, also_fails: bool = False) -> None:
        stages.start_soon(reader)
        try:
            await stages.step(asyncio.sleep(100), stage="hello")
        finally:
            if also_fails:
                raise OSError("handshake")

    async def failing(stages: Stages) -> None:
        await connector(stages, also_fails=True)

    with pytest.raises(ConnectError) as caught:
        await connect(connector)
    assert isinstance(caught.value.__cause__, EOFError)
    assert caught.value.stage == "hello"
    with pytest.raises(ConnectError) as caught:
        await connect(failing)
    assert isinstance(caught.value.__cause__, ExceptionGroup)
    assert len(caught.value.__cause__.exceptions) == 2


@virtual
async def test_a_task_that_fails_as_the_connector_returns_is_a_failure(bubble: Bubble) -> None:
    """The connector swallows the interruption and returns: there is no success with a failed task in it."""
    peer = Peer()

    async def reader() -> None:
        raise EOFError("hung up")

    async def connector(stages: Stages) -> str:
        value = await stages.acquire(peer.make, "a", release=peer.release)
        stages.start_soon(reader)
        with contextlib.suppress(asyncio.CancelledError):
            await stages.step(asyncio.sleep(1))
        return value

    with pytest.raises(ConnectError) as caught:
        await connect(connector)
    assert isinstance(caught.value.__cause__, EOFError)
    assert peer.live == []


@virtual
async def test_a_task_that_fails_after_success_interrupts_the_block(bubble: Bubble) -> None:
    """The block is the body of the connection's scope."""
    peer = Peer()

    async def reader() -> None:
        await asyncio.sleep(5)
        raise EOFError("hung up")

    async def connector(stages: Stages) -> None:
        await stages.acquire(peer.make, "a", release=peer.release)
        stages.start_soon(reader)

    with pytest.raises(EOFError):
        async with connect(connector):
            await asyncio.sleep(100)
    assert peer.live == []


@virtual
async def test_a_connection_that_has_ended_by_itself_may_be_dropped(bubble: Bubble) -> None:
    """A task of it failed, everything has been released: there is nothing to warn of."""
    peer = Peer()

    async def reader() -> None:
        await asyncio.sleep(1)
        raise EOFError("hung up")

    async def connector(stages: Stages) -> None:
        await stages.acquire(peer.make, "a", release=peer.release)
        stages.start_soon(reader)

    logging.disable(logging.CRITICAL)
    try:
        attempt: ConnectAttempt[None] | None = connect(connector)
        assert attempt is not None
        await attempt
        await asyncio.sleep(5)
    finally:
        logging.disable(logging.NOTSET)
    attempt = None
    gc.collect()
    assert peer.live == []


@virtual
async def test_a_task_that_fails_before_the_block_is_entered_fails_the_block(bubble: Bubble) -> None:
    """The connection had ended by itself, or was ending, when somebody came to use it."""
    for seconds in (0.01, 5.5):
        await enter_a_connection_that_fails(Peer(seconds=seconds))


async def enter_a_connection_that_fails(peer: Peer) -> None:
    """Connect, wait until a task of the connection has failed, and come to use it."""

    async def reader() -> None:
        await asyncio.sleep(1)
        raise EOFError("hung up")

    async def connector(stages: Stages) -> None:
        await stages.acquire(peer.make, "a", release=peer.release)
        stages.start_soon(reader)

    attempt = connect(connector)
    await attempt
    await asyncio.sleep(5)
    with pytest.raises(EOFError):
        async with attempt:
            raise AssertionError("entered a dead connection")
    assert peer.live == []


@virtual
async def test_what_is_no_exception_comes_as_it_is(bubble: Bubble) -> None:
    """It is rolled back, raised bare, and not tried again."""
    peer = Peer()

    class Unusual(BaseException):
        pass

    async def connector(stages: Stages) -> None:
        await stages.acquire(peer.make, "a", release=peer.release)
        raise Unusual

    attempt = connect(connector, retry=QUICK)
    with pytest.raises(Unusual):
        await attempt
    assert (attempt.attempts, peer.live) == (1, [])


@on_every_loop
def test_what_ends_the_process_travels_bare(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """A KeyboardInterrupt in a stage is raised out of the loop, after the rollback."""
    peer = Peer(seconds=0.001)

    async def connector(stages: Stages) -> None:
        await stages.acquire(peer.make, "a", release=peer.release)
        raise KeyboardInterrupt

    async def main() -> None:
        await connect(connector)

    with pytest.raises(KeyboardInterrupt):
        run_on(new_loop, main())
    assert peer.live == []


@virtual
async def test_a_connector_that_is_no_async_function_is_an_error(bubble: Bubble) -> None:
    """The error is a TypeError, as the cause."""
    with pytest.raises(ConnectError) as caught:
        await connect(lambda stages: "value")  # type: ignore[arg-type,return-value]
    assert isinstance(caught.value.__cause__, TypeError)


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"timeout": -1}, ValueError),
        ({"timeout": "1"}, TypeError),
        ({"close_timeout": float("nan")}, ValueError),
        ({"retry": 3}, TypeError),
    ],
)
def test_bad_arguments_are_refused_at_once(settings: dict[str, Any], kind: type[Exception]) -> None:
    """Before anything has been started, and outside of any loop."""
    with pytest.raises(kind):
        connect(Peer().connector, "a", **settings)
    with pytest.raises(TypeError, match="pass it uncalled"):
        connect("not a function")  # type: ignore[arg-type]


# Looking


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


@on_every_loop
def test_it_works_on_every_loop(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Awaited, as a block, polled, failing and cancelled, on real loops."""

    async def main() -> None:
        peer = Peer(seconds=0.001)
        async with connect(peer.connector, "ab"):
            assert peer.live == ["a", "b"]
        attempt = connect(peer.connector, "ab")
        while not attempt.poll():
            await asyncio.sleep(0)
        await attempt.scope.aclose()
        with pytest.raises(ConnectTimeout):
            await connect(Peer(seconds=100).connector, "ab", timeout=0.01)
        slow = connect(Peer(seconds=100).connector, "ab")
        slow.poll()
        await slow.aclose()
        assert peer.live == []
        await asyncio.sleep(0)  # the loop's own callbacks of the last task

    run_on(new_loop, main())


@on_every_loop
def test_a_connector_that_never_waits(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """It succeeds or fails within its first step, which on an eager loop is made before the poll returns."""

    async def succeeds(stages: Stages) -> str:
        await stages.acquire(str, "value", release=released.append)
        return "value"

    async def fails(stages: Stages) -> None:
        await stages.acquire(str, "value", release=released.append)
        raise OSError(f"attempt {stages.attempt}")

    released: list[str] = []

    async def main() -> None:
        for _ in range(2):
            async with connect(succeeds) as value:
                assert value == "value"
        with pytest.raises(ConnectError, match="attempt 2"):
            await connect(fails, retry=Retry(attempts=2, backoff=(0.0, 0.0)))
        attempt = connect(succeeds)
        while not attempt.poll():
            await asyncio.sleep(0)
        attempt._check_invariants()
        await attempt.scope.aclose()
        closed = connect(succeeds)
        if not closed.poll():
            await closed.aclose()
        else:
            await closed.scope.aclose()
        await asyncio.sleep(0)

    run_on(new_loop, main())
    assert released.count("value") >= 5
