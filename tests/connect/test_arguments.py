"""What is wrong with the arguments of a connect, its stages and its retries is said when they are given."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from lifecycle import LifecycleError, OwnerClosed, Retry, Stages, TimeoutExpired, connect, dial
from lifecycle.testing import Bubble, run_virtual


async def nothing(stages: Stages) -> None:
    pass


@pytest.mark.parametrize("retry", [{"jitter": "x"}, {"jitter": True}, {"attempts": "3"}, {"attempts": True}])
def test_a_retry_says_which_number_is_none(retry: dict[str, Any]) -> None:
    """With the name of the argument, not with a comparison that is not supported."""
    with pytest.raises(TypeError, match=f"{next(iter(retry))} must be a"):
        Retry(**retry)


def test_functions_and_names_are_checked_before_anything_happens() -> None:
    """Of dial and of connect."""
    with pytest.raises(TypeError, match="close must be a function, got 3"):
        dial(object, close=3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="check must be a function, got 3"):
        dial(object, check=3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="name must be a string or None, got 3"):
        connect(nothing, name=3)  # type: ignore[arg-type]


def test_a_step_with_a_wrong_name_closes_its_coroutine() -> None:
    """No coroutine is left that was never awaited."""

    async def connector(stages: Stages) -> None:
        with pytest.raises(TypeError, match="name must be a string"):
            await stages.step(asyncio.sleep(1), name=3)  # type: ignore[arg-type]

    async def scenario(_: Bubble) -> None:
        await connect(connector)

    run_virtual(scenario)


def test_a_stage_whose_time_is_up_says_so_in_the_family() -> None:
    """A LifecycleError and a TimeoutError, with what took too long and the seconds it was given."""
    met: list[TimeoutExpired] = []

    async def connector(stages: Stages) -> None:
        for stage in (
            stages.step(asyncio.sleep(9), name="hello", timeout=2),
            stages.acquire(asyncio.sleep, 9, release=id, name="hello", timeout=2),
        ):
            with pytest.raises(TimeoutExpired) as caught:
                await stage
            met.append(caught.value)

    async def scenario(_: Bubble) -> None:
        await connect(connector)

    run_virtual(scenario)
    assert [error.timeout for error in met] == [2, 2]
    assert all("hello" in error.what and isinstance(error, LifecycleError) for error in met)


def test_what_is_not_there_yet_is_refused_with_the_state() -> None:
    """As by every other owner that is used too early."""
    attempt = connect(nothing, name="early")
    for ask in (lambda: attempt.scope, lambda: attempt.value):
        with pytest.raises(OwnerClosed, match="'early' is new"):
            ask()
