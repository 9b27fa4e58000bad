"""What a scheduler is asked for is looked at before anything happens: numbers, names, flags, tables."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from lifecycle.scheduler import JobStatus, Scheduler, flow_of_table, handler

from ..tools import flow_of
from .handlers import Make

Call = Callable[[Any], Awaitable[object]]

FLOW = "name = 'naps'\n[params]\nn = 1\n[blocks.a]\nsleep = 0\n"


@handler("arguments.nothing")
async def nothing() -> None:
    pass


BY_NUMBER: dict[str, Callable[[Scheduler, Any], Awaitable[object]]] = {
    "cancel": lambda scheduler, number: scheduler.cancel(number),
    "retry": lambda scheduler, number: scheduler.retry(number),
    "find": lambda scheduler, number: scheduler.find(number),
    "job": lambda scheduler, number: scheduler.job(number),
    "set_priority": lambda scheduler, number: scheduler.set_priority(number, 1),
    "runs.show": lambda scheduler, number: scheduler.runs.show(number),
    "runs.cancel": lambda scheduler, number: scheduler.runs.cancel(number),
    "runs.retry": lambda scheduler, number: scheduler.runs.retry(number),
    "runs.wait": lambda scheduler, number: scheduler.runs.wait(number),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("method", BY_NUMBER)
async def test_a_number_is_an_integer(make: Make, method: str) -> None:
    """Not a text, not a handle, not a boolean: SQLite would have answered to some, and stumbled over others."""
    async with make() as scheduler:
        job = await scheduler.submit(nothing)
        await job.wait()
        for wrong in ("1", 1.0, None, True, job):
            with pytest.raises(TypeError, match=r"^(job|run)_id must be an integer, got "):
                await BY_NUMBER[method](scheduler, wrong)


@pytest.mark.asyncio
async def test_a_run_that_there_is_not_cannot_be_cancelled(make: Make) -> None:
    """As a job that there is not: nothing was unfinished of it, in every store."""
    async with make() as scheduler:
        assert not await scheduler.runs.cancel(99)
        assert not await scheduler.cancel(99)


WRONG: dict[str, tuple[type[Exception], str, Call]] = {
    "reason": (TypeError, "reason must be a string", lambda s: s.cancel(1, reason=3)),
    "reason of a run": (TypeError, "reason must be a string", lambda s: s.runs.cancel(1, reason=3)),
    "force": (TypeError, "force must be True or False, got 1", lambda s: s.retry(1, force=1)),
    "name": (ValueError, "name must not be empty", lambda s: s.submit(nothing, name="")),
    "a call": (TypeError, "got a call of it, .*give the function and its arguments", lambda s: s.submit(nothing())),
    "setting": (TypeError, "has no setting 'prio'; there are at, backoff, ", lambda s: s.submit(nothing, prio=1)),
    "setting of a schedule": (
        TypeError,
        "has no setting 'params'; there are ",
        lambda s: s.schedule("n", nothing, params={}, fixed_rate=60.0),
    ),
    "flow with arguments": (
        TypeError,
        "flow 'naps' takes params and no arguments",
        lambda s: s.submit(flow_of(FLOW), 1),
    ),
    "flow with a priority": (
        TypeError,
        "takes params, resume, fresh, metadata, and no 'priority'",
        lambda s: s.submit(flow_of(FLOW), priority=1),
    ),
    "flow with retries, on a schedule": (
        TypeError,
        "takes params, priority, and no 'retries'",
        lambda s: s.schedule("n", flow_of(FLOW), retries=1, fixed_rate=60.0),
    ),
    "params": (TypeError, r"params must be a mapping .*got \[1\]", lambda s: s.submit(flow_of(FLOW), params=[1])),
    "resume": (TypeError, "resume must be True or False", lambda s: s.submit(flow_of(FLOW), resume="no")),
    "a flow by its name": (TypeError, "expected a flow, as load_flow returns it", lambda s: s.serve_flow("naps")),
    "time of jobs": (ValueError, "until comes before since", lambda s: s.jobs(since=5.0, until=3.0)),
    "time of runs": (ValueError, "until comes before since", lambda s: s.runs.list(since=5.0, until=3.0)),
    "state of a run": (
        ValueError,
        "a run is never skipped; there are cancelled, failed, interrupted, pending, running, succeeded",
        lambda s: s.runs.list(status=JobStatus.SKIPPED),
    ),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("what", WRONG)
async def test_what_is_wrong_is_told_before_anything_happens(make: Make, what: str) -> None:
    """By its name, with what was expected."""
    kind, message, call = WRONG[what]
    async with make() as scheduler:
        with pytest.raises(kind, match=message):
            await call(scheduler)
        assert await scheduler.jobs() == []
        assert await scheduler.runs.list() == []
        assert await scheduler.schedules() == []


def test_what_a_scheduler_and_a_flow_are_made_of_is_looked_at() -> None:
    """Also what would count as true, or as no table at all."""
    with pytest.raises(TypeError, match="adopt must be True or False, got 'no'"):
        Scheduler(adopt="no")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected the table of a flow, got 3"):
        flow_of_table(3)  # type: ignore[arg-type]
