"""The pytest plugin: virtual time and leak checks for tests of any async plugin, and for plain ones."""

from __future__ import annotations

import asyncio
import functools
import inspect
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

    from ._clock import VirtualClock


@pytest.fixture
def virtual_clock() -> VirtualClock:
    """A clock that jumps when everything is blocked.

    An async test that asks for it runs in virtual time, whichever plugin runs it: an hour of sleeping costs
    nothing. A plain test calls ``run_virtual`` instead.
    """
    from ._clock import VirtualClock

    return VirtualClock()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Put the watcher around the test function itself: the runner of its plugin closes only after it."""
    if not isinstance(item, pytest.Function) or not inspect.iscoroutinefunction(item.obj):
        return (yield)
    plain = item.obj
    item.obj = _watched(item, plain)
    try:
        return (yield)
    finally:
        item.obj = plain


def _watched(item: pytest.Function, test: Any) -> Any:
    clock: Any = item.funcargs.get("virtual_clock")

    @functools.wraps(test)
    async def run(*args: Any, **kwargs: Any) -> Any:
        if clock is None:
            return await test(*args, **kwargs)
        from ._attach import attached

        with attached(clock, asyncio.get_running_loop()):
            return await test(*args, **kwargs)

    return run
