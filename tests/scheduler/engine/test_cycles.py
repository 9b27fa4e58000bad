"""What a job held is free at its end, without the garbage collector, which comes late: a frame may hold megabytes."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Iterator
from typing import Any

import anyio
import pytest

from lifecycle.scheduler import Context, JobStatus, Scheduler, handler

from ...collection import without_collection
from ..tools import flow_of
from .handlers import Make

pytestmark = pytest.mark.asyncio

held: list[weakref.ref[Any]] = []


@pytest.fixture(autouse=True)
def nothing_held() -> Iterator[None]:
    """Begin every test with an empty note."""
    held.clear()
    yield
    held.clear()


class Thing:
    """Something in the frame of a handler."""

    def __init__(self) -> None:
        held.append(weakref.ref(self))


@handler("cycles.returns")
async def returns() -> str:
    """Return something."""
    thing = Thing()
    return type(thing).__name__


@handler("cycles.fails")
async def fails(first: int = 1) -> None:
    """Fail."""
    thing = Thing()
    raise ValueError(f"{type(thing).__name__} {first}")


@handler("cycles.fails with its context")
async def fails_with_context(context: Context) -> None:
    """Fail, after a line in the log."""
    thing = Thing()
    context.log("soon")
    raise ValueError(type(thing).__name__)


@handler("cycles.fails in a thread")
def fails_in_a_thread() -> None:
    """Fail."""
    thing = Thing()
    raise ValueError(type(thing).__name__)


@handler("cycles.waits")
async def waits() -> str:
    """Wait."""
    thing = Thing()
    await anyio.sleep_forever()
    return type(thing).__name__


@handler("cycles.fails when it is ended")
async def fails_at_its_end() -> None:
    """Wait, and fail instead of being cancelled."""
    thing = Thing()
    try:
        await anyio.sleep_forever()
    except asyncio.CancelledError:
        raise ValueError(type(thing).__name__) from None


@handler("cycles.raises a cancellation")
async def raises_a_cancellation() -> str:
    """Raise a cancellation that nobody has asked for."""
    thing = Thing()
    if held:
        raise asyncio.CancelledError
    return type(thing).__name__


@handler("cycles.exits")
async def exits() -> None:
    """Raise what would end the process."""
    thing = Thing()
    raise SystemExit(type(thing).__name__)


ENDS: dict[str, tuple[Any, dict[str, Any], JobStatus]] = {
    "success": (returns, {}, JobStatus.SUCCEEDED),
    "failure": (fails, {}, JobStatus.FAILED),
    "failure with a context": (fails_with_context, {}, JobStatus.FAILED),
    "failure in a thread": (fails_in_a_thread, {}, JobStatus.FAILED),
    "failures": (fails, {"retries": 2, "backoff": (0.0, 0.0)}, JobStatus.FAILED),
    "timeout": (waits, {"timeout": 0.01}, JobStatus.TIMED_OUT),
    "failure at the timeout": (fails_at_its_end, {"timeout": 0.01}, JobStatus.TIMED_OUT),
    "stray cancellation": (raises_a_cancellation, {}, JobStatus.FAILED),
    "exit": (exits, {}, JobStatus.FAILED),
}


@pytest.mark.parametrize("how", ENDS)
async def test_a_job_holds_nothing_when_it_has_ended(make: Make, how: str) -> None:
    """However it has ended."""
    work, settings, status = ENDS[how]
    async with make() as scheduler:
        with without_collection():
            job = await scheduler.submit(work, **settings)
            assert (await job.wait()).status is status
            del job
            await asyncio.sleep(0.01)
            assert held
            assert [one for one in held if one() is not None] == []


@pytest.mark.parametrize("work", [waits, fails_at_its_end])
async def test_a_job_holds_nothing_when_it_was_cancelled(make: Make, work: Any) -> None:
    """Whether it lets itself be cancelled or not."""
    async with make() as scheduler:
        with without_collection():
            job = await scheduler.submit(work)
            while not held:
                await asyncio.sleep(0.001)
            await job.cancel()
            assert (await job.wait()).status is JobStatus.CANCELLED
            del job
            await asyncio.sleep(0.01)
            assert [one for one in held if one() is not None] == []


async def test_who_waits_for_a_failed_job_has_its_error_with_its_frames() -> None:
    """They are free when that is dropped."""
    async with Scheduler() as scheduler:
        with without_collection():
            outcome = await (await scheduler.submit(fails)).wait()
            assert outcome.exception is not None
            assert outcome.exception.__traceback__ is not None
            assert held[0]() is not None
            await asyncio.sleep(0.01)
            del outcome
            assert held[0]() is None


BLOCKS = {
    "a call": 'call = "fails"',
    "a call in a thread": 'call = "thread"',
    "a timeout": 'call = "waits"\ntimeout = 0.01',
    "the first of several": 'foreach = [1, 2, 3]\neach = { call = "fails" }',
    "one of several": 'foreach = [1]\non_failure = "finish"\neach = { call = "fails" }',
    "all of several": 'foreach = [1, 2, 3]\non_failure = "finish"\neach = { call = "fails" }',
    "one that stops another": 'parallel = [{ call = "waits" }, { call = "fails" }]',
    "several timeouts": 'foreach = [1, 2]\neach = { call = "waits", timeout = 0.01 }',
    "tries": 'retry = { attempts = 3, backoff = [0, 0] }\ndo = { call = "fails" }',
    "a step": 'sequence = [{ call = "fails" }]',
    "waiting in vain": 'wait_for = { call = "fails" }\nattempts = 2\ninterval = [0.001, 0.001]\non_failure = "again"',
}


@pytest.mark.parametrize("what", BLOCKS)
async def test_a_flow_holds_nothing_of_what_has_failed_in_it(what: str) -> None:
    """Whichever kind of block it was."""
    flow = flow_of(f"[blocks.a]\n{BLOCKS[what]}\n", fails=fails, thread=fails_in_a_thread, waits=waits)
    async with Scheduler() as scheduler:
        with without_collection():
            run = await scheduler.submit(flow)
            assert not (await run.wait()).succeeded
            del run
            await asyncio.sleep(0.02)
            assert held
            assert [one for one in held if one() is not None] == []
