"""What ``run`` does with tasks that are left at the end, and with what is not a function."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from lifecycle import create_background_task, run


def test_a_task_without_an_owner_is_cancelled_twice(capsys: pytest.CaptureFixture[str]) -> None:
    """One that swallows its first cancellation still ends, and is not named."""
    cancelled: list[str] = []

    async def stray() -> None:
        for number in ("first", "second"):
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                cancelled.append(number)

    async def main() -> asyncio.Task[None]:
        task = asyncio.create_task(stray())
        await asyncio.sleep(0)
        return task

    assert run(main, cancel_timeout=0.05).done()
    assert cancelled == ["first", "second"]
    assert capsys.readouterr().err == ""


def test_a_task_is_cancelled_that_has_the_name_of_one_that_was_abandoned(capsys: pytest.CaptureFixture[str]) -> None:
    """Tasks are told apart by themselves: names need not differ."""
    ended: list[str] = []

    async def deaf() -> None:
        until = asyncio.get_running_loop().time() + 10
        while asyncio.get_running_loop().time() < until:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(10)

    async def stray() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            ended.append("stray")

    async def main() -> asyncio.Task[None]:
        create_background_task(deaf(), name="job")
        task = asyncio.create_task(stray(), name="job")
        await asyncio.sleep(0)
        return task

    assert run(main, drain_timeout=0.01, cancel_timeout=0.05).cancelled()
    assert ended == ["stray"]
    assert capsys.readouterr().err.count("still running, abandoned: job") == 1


def test_what_is_no_function_is_refused_before_a_loop_is_made() -> None:
    """Nothing has been started then."""
    with pytest.raises(TypeError, match="main must be a function, got 3"):
        run(3)  # type: ignore[arg-type]
