"""What ``run`` does with tasks that are left at the end, and with what is not a function."""

from __future__ import annotations

import asyncio

import pytest

from lifecycle import run


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


def test_what_is_no_function_is_refused_before_a_loop_is_made() -> None:
    """Nothing has been started then."""
    with pytest.raises(TypeError, match="main must be a function, got 3"):
        run(3)  # type: ignore[arg-type]
