"""race: the first value wins, the others are cancelled and joined."""

import asyncio
from typing import Any

import pytest

from lifecycle import TaskCancelled, race

from ..conformance.loops import Run
from .tasks import Boom, after, forever


def test_race_returns_the_first_value(run: Run) -> None:
    """Errors lose, and the others are cancelled and joined."""
    log: list[str] = []

    async def main() -> list[Any]:
        return [
            await race(lambda: forever(log), lambda: after(0, Boom()), lambda: after(0.002, "won")),
            await race(lambda: after(0)),
        ]

    assert run(main) == ["won", None]
    assert log == ["task"]


def test_a_race_that_all_lose(run: Run) -> None:
    """A single error as it is, several as a group; one that was cancelled has lost."""
    error = Boom()

    async def main() -> None:
        with pytest.raises(Boom) as caught:
            await race(lambda: after(0, error))
        assert caught.value is error
        with pytest.raises(ExceptionGroup, match="errors in race"):
            await race(lambda: after(0, error), lambda: after(0, KeyError()))
        with pytest.raises(TaskCancelled):
            await race(lambda: after(0, asyncio.CancelledError()))

    run(main)


def test_race_needs_functions(run: Run) -> None:
    """At least one, and asynchronous."""

    async def main() -> None:
        with pytest.raises(ValueError, match="at least one"):
            await race()
        with pytest.raises(TypeError):
            await race(lambda: 5)  # type: ignore[arg-type, return-value]

    run(main)


def test_a_cancelled_race_ends_cancelled(run: Run) -> None:
    """Also when some have lost already."""
    log: list[str] = []

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await race(lambda: forever(log), lambda: after(0, Boom()))

    run(main)
    assert log == ["task"]


def test_a_loser_that_fails_before_it_meets_its_cancellation(run: Run) -> None:
    """It has lost as if the winner had come a moment later: it was not cleaning up."""

    async def fail() -> None:
        raise Boom

    async def win() -> str:
        return "won"

    async def main() -> str:
        return await race(fail, win, fail)  # type: ignore[arg-type]

    assert run(main) == "won"
