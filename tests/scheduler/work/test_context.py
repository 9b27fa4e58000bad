"""The context of an attempt: bounded, told in time, and emptied."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import anyio
import pytest

from lifecycle.scheduler._ground.limits import LOG_CHARACTERS, LOG_LINES
from lifecycle.scheduler._work.context import JobContext

pytestmark = pytest.mark.asyncio


async def test_a_flood_of_lines_from_a_thread_stays_bounded() -> None:
    """A thread that logs without a pause floods neither the loop nor the memory; the last lines are told."""
    told: list[str] = []

    def report(kind: str, data: Mapping[str, Any]) -> None:
        told.append(data["message"])

    context = JobContext("job", 1, {}, report)

    def flood() -> None:
        for number in range(20_000):
            context.log(f"{number} " + "x" * 2_000)

    thread = threading.Thread(target=flood)
    thread.start()
    while thread.is_alive():
        assert len(context._unreported) <= LOG_LINES
        await anyio.sleep(0)
    context.clear()
    assert told[-1].startswith("19999 ")
    assert len(told[-1]) <= LOG_CHARACTERS
    assert len(told) < 20_000


async def test_progress_is_told_ten_times_a_second_and_at_the_end() -> None:
    """A loop that reports every step costs next to nothing."""
    told: list[Any] = []
    context = JobContext("job", 1, {}, lambda kind, data: told.append((kind, data["done"])))
    for number in range(1_000):
        context.progress(number, 1_000)
        if number % 100 == 0:
            await anyio.sleep(0)
    context.clear()
    assert told[0] == ("job_progress", 0)
    assert told[-1] == ("job_progress", 999)
    assert len(told) <= 4


async def test_a_cleared_context_holds_nothing_and_tells_nothing() -> None:
    """Names, lines and the way to the scheduler are let go of (casebook C5)."""
    told: list[str] = []
    context = JobContext("job", 1, {"blocks": {"a": "x" * 1_000}}, lambda kind, data: told.append(kind))
    context.log("line")
    assert context.tail() == "line"
    context.clear()
    context.log("late")
    context.progress(1, 2)
    await anyio.sleep(0.01)
    assert told == ["job_log"]
    assert (context.names, context.tail(), context._report) == ({}, "late", None)
