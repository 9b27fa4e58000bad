"""The event loops on which a program must behave the same: every real one, and the virtual one."""

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import pytest

from lifecycle.testing import run_virtual

from ..loops import LOOPS, run_on

Run = Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]


def run_on_real(new_loop: Callable[[], Any], main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run a program on a real loop, and see that it has left no task behind."""
    return run_on(new_loop, main())


def run_on_virtual(main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run a program in virtual time, and see that it has left nothing behind."""
    return run_virtual(lambda _: main())


RUNS: dict[str, Run] = {name: partial(run_on_real, new_loop) for name, new_loop in LOOPS.items()}
RUNS["virtual"] = run_on_virtual


@pytest.fixture(params=RUNS)
def run(request: pytest.FixtureRequest) -> Run:
    """Runs ``async def main()`` on one kind of loop and returns its value."""
    return RUNS[request.param]
