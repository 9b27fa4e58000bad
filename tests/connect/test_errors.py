"""Errors of connect: what they name, what travels bare, and what is refused at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from lifecycle import ConnectError, Stages, connect
from lifecycle.testing import Bubble
from lifecycle.types import AttemptState

from ..loops import on_every_loop, run_on, virtual
from .peer import QUICK, Peer, until


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
            await stages.step(fails(1, "primary"), name="primary")
        except OSError:
            await stages.step(asyncio.sleep(1), name="secondary")
        raise LookupError("after it")

    async def races(stages: Stages) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(stages.step(fails(1, "left"), name="left"))
            group.create_task(stages.step(asyncio.sleep(100), name="right"))

    for connector, stage in ((falls_back, "secondary"), (races, "left")):
        with pytest.raises(ConnectError) as caught:
            await connect(connector)
        assert caught.value.stage == stage


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
    with pytest.raises(TypeError, match="takes an async function of stages, got 'not a function'"):
        connect("not a function")  # type: ignore[arg-type]
