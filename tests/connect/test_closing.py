"""Closing an attempt: in every state, from any task, with a reason."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from lifecycle import ConnectError, ConnectTimeout, Retry, Stages, connect
from lifecycle.testing import Bubble
from lifecycle.types import AttemptState

from ..loops import on_every_loop, run_on, some_turns, virtual
from .peer import QUICK, Peer, until


@pytest.mark.parametrize("state", AttemptState, ids=lambda state: state.value)
@virtual
async def test_it_can_be_closed_in_every_state(bubble: Bubble, state: AttemptState) -> None:
    """Wherever it is, afterwards nothing is left; only a taken success stays. A failure that nobody knows is raised."""
    peer = Peer(seconds=0.1, failures=1 if state in (AttemptState.WAITING, AttemptState.ROLLING_BACK) else 0)
    if state is AttemptState.FAILED:
        peer.failures = 9
    attempt = connect(peer.connector, "ab", retry=Retry(attempts=2, backoff=(1, 1)))
    if state is AttemptState.CANCELLED:
        attempt.cancel("first")
    else:
        await until(attempt, state)
    with pytest.raises(ConnectError) if state is AttemptState.FAILED else contextlib.nullcontext():
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
            await stages.step(asyncio.sleep(100), name="hello")
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


@on_every_loop
def test_what_a_stage_starts_closes_the_attempt_and_does_not_wait_for_itself(new_loop: Any) -> None:
    """On an eager loop it closes it before the stage waits for it: whether it does is asked again a turn later."""
    closed: list[None] = []

    async def close() -> None:
        try:
            await attempt.aclose()
        finally:  # which is cancelled meanwhile, if the stage waits for it already
            closed.append(None)

    async def make() -> None:
        await some_turns()
        await asyncio.gather(close(), close(), close())

    async def connector(stages: Stages) -> None:
        await stages.acquire(make, release=lambda _: None)

    async def main() -> None:
        with pytest.raises(ConnectError):
            await asyncio.wait_for(attempt, 10)
        assert len(closed) == 3

    attempt = connect(connector)
    run_on(new_loop, main())
