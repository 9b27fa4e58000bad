"""What a connect makes of its `Retry`."""

from __future__ import annotations

import asyncio
import logging

import pytest

from lifecycle import ConnectError, ConnectTimeout, Retry, Stages, connect
from lifecycle.testing import Bubble
from lifecycle.types import AttemptState

from ..loops import virtual
from .peer import Peer


@virtual
async def test_pauses_grow_and_attempts_are_counted(bubble: Bubble) -> None:
    """Four attempts with pauses of 1, 2 and 3 seconds; the last error is raised."""
    times: list[float] = []

    async def connector(stages: Stages) -> None:
        times.append(asyncio.get_running_loop().time())
        await stages.step(asyncio.sleep(0), name="hello")
        raise OSError(f"failure {stages.attempt}")

    began = asyncio.get_running_loop().time()
    with pytest.raises(ConnectError, match=r"attempt 4: OSError.'failure 4'.") as caught:
        await connect(connector, retry=Retry(attempts=4, backoff=(1.0, 3.0), jitter=0.0))
    assert [time - began for time in times] == pytest.approx([0, 1, 3, 6])
    assert caught.value.attempts == 4


@virtual
async def test_each_attempt_has_its_deadline_and_all_have_one(bubble: Bubble) -> None:
    """Attempts of a second each; after three and a half seconds the fourth is cut off, whatever may be left to it."""
    peer = Peer(seconds=0.4)
    attempt = connect(peer.connector, "abcd", timeout=1.0, retry=Retry(timeout=4.4, backoff=(0.0, 0.0)), name="db")
    began = asyncio.get_running_loop().time()
    with pytest.raises(ConnectTimeout, match=r"not over within 4\.4 s for all attempts") as caught:
        await attempt
    # Each attempt: one second, and 0.8 seconds to release two things.
    assert caught.value.attempts == 3
    assert attempt.deadline == pytest.approx(began + 4.4)
    assert peer.live == []


@virtual
async def test_a_pause_that_would_end_too_late_is_not_made(bubble: Bubble) -> None:
    """There is no point in waiting: the error of the attempt comes at once."""
    began = asyncio.get_running_loop().time()
    with pytest.raises(ConnectError, match="refused"):
        await connect(Peer(failures=9).connector, "a", retry=Retry(timeout=5.0, backoff=(100.0, 100.0), jitter=0.0))
    assert asyncio.get_running_loop().time() - began < 1


@virtual
async def test_what_is_not_covered_fails_at_once(bubble: Bubble) -> None:
    """One attempt, though there might be ten."""
    with pytest.raises(ConnectError) as caught:
        await connect(Peer(failures=9).connector, "a", retry=Retry(attempts=10, retry_on=ValueError))
    assert caught.value.attempts == 1


@virtual
async def test_errors_of_all_rollbacks_are_told(bubble: Bubble) -> None:
    """A rollback that met an error does not keep the next attempt from being made."""
    peer = Peer(failures=9, bad_releases="a")
    with pytest.raises(ConnectError) as caught:
        await connect(peer.connector, "a", retry=Retry(attempts=3, backoff=(0.1, 0.1)))
    assert len(caught.value.rollback_errors) == 3


@virtual
async def test_a_connect_that_is_tried_for_ever_keeps_a_bounded_account(bubble: Bubble) -> None:
    """Of a thousand rollbacks that failed the latest hundred are kept."""
    peer = Peer(failures=1000, bad_releases="a")
    attempt = connect(peer.connector, "a", retry=Retry(backoff=(0.0, 0.0)))
    logging.disable(logging.CRITICAL)
    try:
        await attempt
    finally:
        logging.disable(logging.NOTSET)
    assert attempt.attempts == 1001
    assert len(attempt._connecting.rollback_errors) == 100
    with pytest.raises(ValueError, match="stuck"):
        await attempt.scope.aclose()


@virtual
async def test_a_pause_can_be_cut_short(bubble: Bubble) -> None:
    """An attempt that waits for the next one is closed at once."""
    attempt = connect(Peer(failures=9).connector, "a", retry=Retry(backoff=(3600.0, 3600.0)))
    attempt.poll()
    await asyncio.sleep(10)
    assert attempt.state is AttemptState.WAITING
    began = asyncio.get_running_loop().time()
    await attempt.aclose()
    assert asyncio.get_running_loop().time() == began


def test_a_failure_that_is_tried_again_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """With its stage, and with when the next attempt begins."""

    async def main() -> None:
        peer = Peer(seconds=0.001, failures=1)
        async with connect(peer.connector, "a", name="db", retry=Retry(backoff=(0.01, 0.01), jitter=0.0)):
            pass

    with caplog.at_level(logging.WARNING, "lifecycle.connect"):
        asyncio.run(main())
    assert len(caplog.messages) == 1
    (record,) = caplog.records
    facts = vars(record)
    assert facts["message"] == "attempt failed, another one follows"
    assert (facts["owner"], facts["attempt"], facts["pause"]) == ("db", 1, 0.01)
    assert "connect 'db' failed in stage 'hello', attempt 1" in facts["error"]
