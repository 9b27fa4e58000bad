"""Guarantee 6 where the caller has gone: what its call meets afterwards is told by the close, or by the log."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from lifecycle import ConnectError, Pool, Registry, Retry, Scope, Stages, TimeoutExpired, connect
from lifecycle.testing import Bubble
from lifecycle.types import ConnectAttempt

from ..collection import without_collection
from ..loops import virtual


async def half_open(*_: object) -> None:
    """Connect for ever, and fail to close what is half open."""
    try:
        await asyncio.Event().wait()
    finally:
        raise OSError("half open")


class HalfOpen:
    __aenter__ = half_open

    async def __aexit__(self, *_: object) -> None: ...


async def leave(call: Any) -> None:
    """Make a call and leave it a second later."""
    task = asyncio.ensure_future(call)
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def caught_and_left(call: Callable[[], Awaitable[object]], told: list[BaseException]) -> None:
    """Note what a call raises that is no cancellation; the cancellation is delivered behind it."""
    try:
        await call()
    except Exception as error:
        told.append(error)
    await asyncio.sleep(1)


CALLS: dict[str, Callable[[Scope], Any]] = {
    "acquire": lambda scope: scope.acquire(half_open, release=print),
    "enter": lambda scope: scope.enter(HalfOpen()),
}

with_each_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


@with_each_call
@virtual
async def test_the_close_of_a_scope_raises_it(bubble: Bubble, call: Callable[[Scope], Any]) -> None:
    """The caller was cancelled, and has been told just that."""
    scope = Scope()
    await leave(call(scope))
    with pytest.raises(OSError, match="half open"):
        await scope.aclose()


@with_each_call
@virtual
async def test_it_is_logged_where_the_scope_has_closed(
    bubble: Bubble, call: Callable[[Scope], Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody is left who could raise it."""

    async def late(*_: object) -> None:
        for _cancelled in range(4):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(10)
        raise OSError("late")

    scope = Scope(close_timeout=1.0)
    await leave(scope.acquire(late, release=print) if call is CALLS["acquire"] else scope.enter(late_manager(late)))
    with pytest.raises(TimeoutError):
        await scope.aclose()
    await asyncio.sleep(60)
    told = [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert [str(error) for error in told] == ["late"]


def late_manager(enter: Any) -> Any:
    class Late:
        __aenter__ = enter
        __aexit__ = enter

    return Late()


@virtual
async def test_a_timeout_has_it_as_its_cause(bubble: Bubble) -> None:
    """It is told there, and not once more by the close."""
    async with Scope() as scope:
        with pytest.raises(TimeoutExpired) as caught:
            await scope.acquire(half_open, release=print, timeout=1.0)
        assert isinstance(caught.value.__cause__, OSError)


@virtual
async def test_an_error_in_the_step_in_which_the_caller_of_start_leaves_is_raised(bubble: Bubble) -> None:
    """The cancellation comes after it."""

    async def task(*, task_status: object) -> None:
        await asyncio.sleep(1)
        starting.cancel()
        raise OSError("bind")

    told: list[BaseException] = []
    async with Scope() as scope:
        starting = asyncio.ensure_future(caught_and_left(lambda: scope.start(task), told))
        with pytest.raises(asyncio.CancelledError):
            await starting
    assert [str(error) for error in told] == ["bind"]


@pytest.mark.parametrize("how", ["await", "close"])
@virtual
async def test_what_a_connector_raises_while_it_is_ended_is_raised(bubble: Bubble, how: str) -> None:
    """As what its rollback meets is."""
    attempt = connect(half_open)
    if how == "close":
        attempt.poll()
        await asyncio.sleep(1)
        with pytest.raises(OSError, match="half open"):
            await attempt.aclose()
        await attempt.aclose()
        return

    told: list[BaseException] = []
    waiting = asyncio.ensure_future(caught_and_left(lambda: attempt, told))
    await asyncio.sleep(1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    (error,) = told
    assert isinstance(error, ConnectError)
    assert "was ended" in str(error)
    assert isinstance(error.__cause__, ConnectError)


async def failed_alone(*, retries: bool = False) -> ConnectAttempt[None]:
    """Return a connect that was begun by a poll and has failed, with a release, while nobody waited for it."""

    async def connector(stages: Stages) -> None:
        await stages.acquire(object, release=lambda _: fail("stuck"))
        await asyncio.sleep(1)
        raise OSError("refused")

    attempt = connect(connector, retry=Retry(attempts=2, backoff=(1, 1)) if retries else None)
    attempt.poll()
    await asyncio.sleep(10)
    return attempt


def fail(message: str) -> None:
    raise ValueError(message)


@pytest.mark.parametrize("retries", [False, True])
@virtual
async def test_a_connect_that_failed_by_itself_is_raised_by_its_close(bubble: Bubble, retries: bool) -> None:
    """With what the rollback met in it, and once: whoever polls or closes it afterwards knows."""
    attempt = await failed_alone(retries=retries)
    with pytest.raises(ConnectError, match=r"refused.*stuck") as caught:
        await attempt.aclose()
    assert [str(error) for error in caught.value.rollback_errors] == ["stuck"] * (1 + retries)
    await attempt.aclose()
    with pytest.raises(ConnectError) as again:
        attempt.poll()
    assert again.value is caught.value


@virtual
async def test_a_connect_that_failed_by_itself_and_was_dropped_is_logged(
    bubble: Bubble, caplog: pytest.LogCaptureFixture
) -> None:
    """As soon as nobody can ask any more; not where somebody has asked."""
    for asked in (False, True):
        attempt: ConnectAttempt[None] | None = await failed_alone()
        assert attempt is not None
        if asked:
            with pytest.raises(ConnectError):
                attempt.poll()
        with without_collection():
            attempt = None
            assert [record.getMessage() for record in caplog.records] == ["connect failed, and nobody has asked"]
    (record,) = caplog.records
    assert record.exc_info is not None
    assert "refused" in str(record.exc_info[1])


@virtual
async def test_a_failed_connect_is_raised_in_the_step_in_which_its_caller_leaves(bubble: Bubble) -> None:
    """Nobody else has it."""

    async def connector(_: object) -> None:
        await asyncio.sleep(1)
        waiting.cancel()
        raise OSError("refused")

    told: list[BaseException] = []
    waiting = asyncio.ensure_future(caught_and_left(lambda: connect(connector), told))
    with pytest.raises(asyncio.CancelledError):
        await waiting
    (error,) = told
    assert isinstance(error, ConnectError)
    assert "refused" in str(error)


@virtual
async def test_a_registry_logs_it(bubble: Bubble, caplog: pytest.LogCaptureFixture) -> None:
    """The last caller of a creation has gone."""
    async with Registry[str, None]() as registry:
        await leave(registry.get_or_create("key", half_open))
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == ["creation failed"]


@virtual
async def test_the_close_of_a_pool_raises_it(bubble: Bubble) -> None:
    """A creation that was going on for the next borrower, and is stopped."""
    pool = Pool(half_open, print, max_size=1)
    await leave(pool.acquire().__aenter__())
    with pytest.raises(OSError, match="half open"):
        await pool.aclose()
