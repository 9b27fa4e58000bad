"""The event loops on which a program must behave the same."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest
import uvloop

from lifecycle.testing import run_virtual

T = TypeVar("T")

Main = Callable[[], Coroutine[Any, Any, T]]
Run = Callable[[Main[Any]], Any]


def eager_loop() -> asyncio.AbstractEventLoop:
    """Return a loop whose tasks make their first step at once."""
    loop = asyncio.new_event_loop()
    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]
    return loop


def run_on(factory: Callable[[], asyncio.AbstractEventLoop], main: Main[T]) -> T:
    """Run a program on a real loop, and see that it has left no task behind."""

    async def checked() -> T:
        result = await main()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return result

    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(checked())


def run_in_bubble(main: Main[T]) -> T:
    """Run a program in virtual time, and see that it has left nothing behind."""
    return run_virtual(lambda _: main())


RUNS: dict[str, Run] = {
    "asyncio": lambda main: run_on(asyncio.new_event_loop, main),
    "eager": lambda main: run_on(eager_loop, main),
    "uvloop": lambda main: run_on(uvloop.new_event_loop, main),
    "virtual": run_in_bubble,
}


@pytest.fixture(params=[name for name in RUNS if name != "eager" or sys.version_info >= (3, 12)])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs ``async def main()`` on one kind of loop and returns its value."""
    return RUNS[request.param]
