"""Numbers, times and names that nothing in a store can have: what is said of them is the same in all stores."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
import pytest_asyncio

from lifecycle.scheduler import Scheduler, handler
from lifecycle.scheduler._ground.checks import LAST_TIME, wall_time
from lifecycle.scheduler._ground.times import local_time

from ..stores import Address

pytestmark = pytest.mark.asyncio


@handler("odd_numbers.nothing")
async def nothing() -> None:
    """Do nothing."""


@pytest_asyncio.fixture
async def scheduler(address: Address | None) -> AsyncIterator[Scheduler]:
    """An open scheduler with each kind of store."""
    async with Scheduler(address) as scheduler:
        yield scheduler


@pytest.mark.parametrize("number", [-1, 0, 2**63 - 1, 2**63, 10**30])
async def test_what_has_such_a_number_is_not_there(scheduler: Scheduler, number: int) -> None:
    """As nothing, as nothing to do, or as a LookupError; never as an error of the database, or of ours."""
    asked = {
        "job": scheduler.job(number),
        "cancel": scheduler.cancel(number),
        "set_priority": scheduler.set_priority(number, 1),
        "find": scheduler.find(number),
        "retry": scheduler.retry(number),
        "runs.show": scheduler.runs.show(number),
        "runs.cancel": scheduler.runs.cancel(number),
        "runs.retry": scheduler.runs.retry(number),
        "runs.wait": scheduler.runs.wait(number),
        "needs": scheduler.submit(nothing, needs=[number]),
    }
    for name, question in asked.items():
        missing = False
        try:
            answer = await question
        except LookupError:
            missing = True
        assert missing or answer in (None, False), name


async def test_a_name_without_a_form_in_utf_8_is_refused(scheduler: Scheduler) -> None:
    """Before anything has happened: a handler of such a name ended every scheduler that looked for its jobs."""
    with pytest.raises(ValueError, match="a handler's name is text that has a form in UTF-8"):
        handler("odd_numbers.\ud800")
    with pytest.raises(ValueError, match="a handler's name has no NUL character"):
        handler("odd_numbers.\0")
    with pytest.raises(ValueError, match="key must be text that has a form in UTF-8"):
        await scheduler.submit(nothing, key="half of \udcff")
    for question in (
        lambda: scheduler.submit(nothing, name="\ud800"),
        lambda: scheduler.schedule("\ud800", nothing, fixed_rate=60.0),
        lambda: scheduler.jobs(name="\ud800"),
        lambda: scheduler.jobs(flow="\ud800"),
        lambda: scheduler.runs.list(flow="\ud800"),
    ):
        with pytest.raises(ValueError, match="must be text that has a form in UTF-8"):
            await question()
    await (await scheduler.submit(nothing, key="whole \U0001f600 日本 e\u0301")).wait()


@pytest.mark.parametrize("late", [LAST_TIME + 1, 1e12, 1e18, 1e300])
async def test_a_time_past_the_calendar_is_refused(scheduler: Scheduler, late: float) -> None:
    """Nobody could be shown when it is."""
    with pytest.raises(ValueError, match="at must be before the end of the year 9999"):
        await scheduler.submit(nothing, at=late)
    with pytest.raises(ValueError, match="starts must be before the end of the year 9999"):
        await scheduler.schedule("s", nothing, fixed_rate=60.0, starts=late)


async def test_whatever_time_is_in_a_store_can_be_shown() -> None:
    """One that no calendar has is a number; what passes can be read."""
    assert local_time(1e18) == "1000000000000000000 seconds after 1970"
    for odd in (-1e18, -1e12, math.nextafter(LAST_TIME, math.inf) + 86_400):
        assert local_time(odd).endswith("seconds after 1970")
    assert wall_time(LAST_TIME, "at") == LAST_TIME
    assert datetime.fromisoformat(local_time(0.0)) == datetime(1970, 1, 1, tzinfo=UTC)
    assert local_time(LAST_TIME).startswith("9999-12-3")
