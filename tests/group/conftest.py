"""The fixtures of these tests: every kind of loop, and the two ways to start a task."""

from collections.abc import Callable
from typing import Any

import pytest

from lifecycle import TaskGroup

from ..conformance.loops import run

__all__ = ["run", "start"]

Starter = Callable[[TaskGroup, Callable[..., Any]], Any]

#: The two ways to start ``fn(*args)``; both must mean the same to the group.
STARTERS = {
    "create_task": lambda group, fn, *args: group.create_task(fn(*args)),
    "start_soon": lambda group, fn, *args: group.start_soon(fn, *args),
}


@pytest.fixture(params=STARTERS)
def start(request: pytest.FixtureRequest) -> Any:
    """One of the ways to start a task."""
    return STARTERS[request.param]
