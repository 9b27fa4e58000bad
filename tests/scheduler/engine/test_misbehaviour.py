"""Handlers that misbehave or do not stop, and what a job has left when it has ended."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
import weakref
from typing import Any

import anyio
import pytest

from lifecycle.scheduler import Context, JobStatus, Scheduler, handler
from lifecycle.scheduler._work.handlers import make_handler, registered_handlers
from lifecycle.scheduler.errors import HandlerChanged, HandlerError

from ..stores import Address
from ..tools import flow_of
from .handlers import Make, add_async, calls, note

pytestmark = pytest.mark.asyncio


async def test_a_result_that_cannot_be_kept_fails_the_job(durable: Address) -> None:
    """The error says whose result it is and what is wrong with it."""

    async def odd() -> object:
        return object()

    async def huge() -> str:
        return "x" * 2_000_000

    with_name = handler("test.odd")(odd), handler("test.huge")(huge)
    async with Scheduler(durable) as scheduler:
        outcomes = [await (await scheduler.submit(function)).wait() for function in with_name]
    assert "the result of test.odd: a object has no plain form" in str(outcomes[0].error)
    assert "the result of test.huge is larger than 1,048,576 bytes" in str(outcomes[1].error)


async def test_handlers_that_misbehave_fail_their_job_and_nothing_else() -> None:
    """sys.exit(), a stray cancellation, a returned coroutine, an odd BaseException, an error without a message."""

    class Odd(BaseException):
        pass

    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no message")

    async def odd() -> None:
        raise Odd

    async def stray() -> None:
        raise asyncio.CancelledError

    async def swallow() -> str:
        try:
            await anyio.sleep_forever()
        except asyncio.CancelledError:
            return "swallowed"

    def returns_coroutine() -> Any:
        return add_async(1)

    def raise_(error: BaseException) -> None:
        raise error

    async def interrupt() -> None:
        raise KeyboardInterrupt

    async def close() -> None:
        raise GeneratorExit

    class Evil(Exception):
        def __str__(self) -> str:
            raise KeyboardInterrupt

    async def evil() -> None:
        raise Evil

    async with Scheduler() as scheduler:
        cases: list[tuple[Any, ...]] = [
            (sys.exit, 3), (stray,), (returns_coroutine,), (raise_, Mute()), (raise_, StopIteration()),
            (raise_, asyncio.CancelledError()), (raise_, asyncio.InvalidStateError()), (raise_, Odd()), (odd,),
            (raise_, KeyboardInterrupt("mine")), (interrupt,), (raise_, GeneratorExit()), (close,), (evil,),
        ]  # fmt: skip
        outcomes = [await (await scheduler.submit(*case)).wait() for case in cases]
        assert {outcome.status for outcome in outcomes} == {JobStatus.FAILED}
        assert [type(outcome.exception) for outcome in outcomes[:3]] == [HandlerError, HandlerError, TypeError]
        assert "called sys.exit(3)" in str(outcomes[0].error)
        assert "raised a cancellation, but was not cancelled" in str(outcomes[1].error)
        assert "declare it with async def" in str(outcomes[2].error)
        errors = [str(outcome.error) for outcome in outcomes]
        assert "raised Odd, which is not an Exception" in errors[8]
        assert all("raised KeyboardInterrupt, which is not an Exception" in error for error in errors[9:11])
        assert all("raised GeneratorExit, which is not an Exception" in error for error in errors[11:13])
        assert "Evil: <its message could not be made: KeyboardInterrupt>" in errors[13]
        assert "Mute: <its message could not be made" in str(outcomes[3].error)
        job = await scheduler.submit(swallow)
        await anyio.sleep(0.01)
        await job.cancel("stop")
        assert (await job.wait()).status in (JobStatus.CANCELLED, JobStatus.SUCCEEDED)
        assert (await (await scheduler.submit(add_async, 1)).wait()).succeeded


async def test_a_sync_handler_is_told_to_stop_and_waited_for() -> None:
    """A thread cannot be ended: cancelled means that it has returned, and a retry never runs beside it."""
    inside = 0
    most = 0
    lock = threading.Lock()

    def slow(context: Context) -> None:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        while not context.stopping:
            time.sleep(0.005)
        time.sleep(0.05)
        with lock:
            inside -= 1

    async with Scheduler() as scheduler:
        job = await scheduler.submit(slow)
        while not inside:
            await anyio.sleep(0.005)
        await job.cancel("stop")
        outcome = await job.wait()
        assert (outcome.status, inside) == (JobStatus.CANCELLED, 0)
        job = await scheduler.submit(slow, timeout=0.05, retries=2, backoff=(0.0, 0.0))
        outcome = await job.wait()
    assert (outcome.status, outcome.attempts, inside, most) == (JobStatus.TIMED_OUT, 3, 0, 1)


async def test_a_thread_that_does_not_stop_is_named_and_not_tried_again() -> None:
    """Nothing runs in its place as long as it runs."""
    release = threading.Event()

    def stubborn() -> None:
        release.wait(20)

    try:
        async with Scheduler(close_timeout=0.2) as scheduler:
            job = await scheduler.submit(stubborn, timeout=0.05, retries=5, backoff=(0.0, 0.0), name="mule")
            outcome = await job.wait()
    finally:
        release.set()
    assert (outcome.status, outcome.attempts) == (JobStatus.TIMED_OUT, 1)
    assert "the thread of handler" in str(outcome.error)
    assert "and still runs" in str(outcome.error)


async def test_what_an_async_handler_acquires_in_its_scope_is_released_with_the_block() -> None:
    """The scope in the context belongs to the block; on every exit its resources are gone before the job has ended."""
    released: list[str] = []

    async def acquires(how: str, context: Context) -> None:
        context.scope.callback(released.append, how)
        if how == "fails":
            raise ValueError(how)
        if how == "waits":
            await anyio.sleep_forever()

    async with Scheduler() as scheduler:
        for how in ("returns", "fails", "waits"):
            job = await scheduler.submit(acquires, how, timeout=0.05)
            await job.wait()
            assert released[-1] == how


async def test_nothing_of_a_job_is_left_in_memory_when_it_has_ended() -> None:
    """Context, attempt and arguments are unreachable after every kind of end (casebook C5, C6)."""

    class Thing:
        pass

    seen: list[weakref.ref[Any]] = []

    async def body(thing: Thing, how: str, context: Context) -> None:
        seen.extend([weakref.ref(thing), weakref.ref(context._job)])
        if how == "fails":
            raise ValueError
        if how == "waits":
            await anyio.sleep_forever()

    async with Scheduler(workers=4) as scheduler:
        for how in ("returns", "fails", "times out", "cancelled") * 5:
            job = await scheduler.submit(
                body, Thing(), "waits" if how in ("times out", "cancelled") else how,
                timeout=0.01 if how == "times out" else None,
            )  # fmt: skip
            if how == "cancelled":
                await anyio.sleep(0.005)
                await job.cancel()
            await job.wait()
            del job
        engine = scheduler._life.engine
        assert engine is not None
        assert (len(engine.running), len(engine.runs.open), len(engine.store._jobs)) == (0, 0, 0)  # type: ignore[attr-defined]
        await anyio.sleep(0.01)
        gc.collect()
        assert len(seen) == 40
        assert [reference for reference in seen if reference() is not None] == []


async def test_a_pending_job_whose_handle_was_dropped_is_run_all_the_same(make: Make) -> None:
    """No handle has to be held."""
    async with make(workers=1) as scheduler:
        for number in range(5):
            await scheduler.submit(note, str(number))
        gc.collect()
        last = await scheduler.submit(note, "last")
        await last.wait()
    assert calls == ["0", "1", "2", "3", "4", "last"]


@handler("test.never kept")
async def never_kept(what: str) -> object:
    """Return what no store can keep."""
    calls.append(what)
    return {"object": object(), "large": "x" * 2_000_000, "nan": float("nan"), "keys": {1: 2}}[what]


@pytest.mark.parametrize("what", ["object", "large", "nan", "keys"])
async def test_what_can_never_be_kept_is_not_tried_again(durable: Address, what: str) -> None:
    """By itself, and in the blocks of a flow: its effects are not repeated for nothing."""
    async with Scheduler(durable) as scheduler:
        outcome = await (await scheduler.submit(never_kept, what, retries=3, backoff=(0.0, 0.0))).wait()
        assert (outcome.status, outcome.attempts, len(calls)) == (JobStatus.FAILED, 1, 1)
        text = f'[blocks.a]\nretries = 2\nretry = 3\ndo = {{ call = "h", args = ["{what}"] }}'
        run = await scheduler.submit(flow_of(text, h=never_kept))
        assert not (await run.wait()).succeeded
        assert len(calls) == 2


@pytest.mark.parametrize("now", ["fewer", "more", "other"])
async def test_a_job_of_a_handler_that_has_changed_since_fails_and_is_not_tried_again(
    durable: Address, now: str
) -> None:
    """It waited for a day and was submitted to another version of the program; by hand it is tried again."""

    async def before(name: str) -> str:
        return name

    async def fewer() -> None: ...

    async def more(name: str, size: int) -> None: ...

    async def other(name: int) -> None: ...

    known = registered_handlers()._handlers
    known["test.changed"] = make_handler(before, "test.changed")
    try:
        async with Scheduler(durable) as scheduler:
            settings = {"retries": 3, "backoff": (0.0, 0.0)}
            job = await scheduler.submit("test.changed", "x", delay=0.2, **settings)  # type: ignore[arg-type]
            known["test.changed"] = make_handler({"fewer": fewer, "more": more, "other": other}[now], "test.changed")
            outcome = await job.wait()
            assert (outcome.status, outcome.attempts) == (JobStatus.FAILED, 1)
            assert isinstance(outcome.exception, HandlerChanged)
            assert "the job was submitted with other arguments than its handler takes now: " in str(outcome.error)
            known["test.changed"] = make_handler(before, "test.changed")
            assert (await (await scheduler.retry(job.id)).wait()).result == "x"
    finally:
        del known["test.changed"]
