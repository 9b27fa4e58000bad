"""The pytest plugin: virtual time and leak checks for tests of any async plugin, and for plain ones."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from ._clock import VirtualClock
    from ._guard import Guard
    from ._ledger import Ledger
    from ._network import MemoryNetwork

SEVERITIES = ("error", "warn", "off")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("lifecycle")
    group.addoption(
        "--lifecycle-leaks",
        choices=SEVERITIES,
        help="what a test that leaves tasks or resources behind is (default: the lifecycle_leaks setting)",
    )
    group.addoption("--lifecycle-replay", metavar="TOKEN", help="run only this one run of its exploration")
    group.addoption("--lifecycle-seed", metavar="N", type=int, help="seed of all explorations")
    group.addoption("--lifecycle-budget", metavar="N", type=int, help="at most N runs per exploration")
    parser.addini("lifecycle_leaks", "error, warn or off: what a leak of a test is", default="off")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "allow_leaks(tasks=[...], resources=[...]): patterns of names that this test may leave behind; "
        "without arguments, anything",
    )
    config.addinivalue_line("markers", 'leaks(severity): "error", "warn" or "off" for this test')
    if config.getini("lifecycle_leaks") not in SEVERITIES:
        raise pytest.UsageError(f"lifecycle_leaks must be one of {', '.join(SEVERITIES)}")
    replay, seed, budget = (config.getoption(f"--lifecycle-{name}") for name in ("replay", "seed", "budget"))
    if (replay, seed, budget) != (None, None, None):
        from . import _settings

        _settings.set_from_command_line(replay=replay, seed=seed, budget=budget)
        config.add_cleanup(lambda: _settings.set_from_command_line(replay=None, seed=None, budget=None))


@pytest.fixture
def virtual_clock() -> VirtualClock:
    """A clock that jumps when everything is blocked.

    An async test that asks for it runs in virtual time, whichever plugin runs it: an hour of sleeping costs
    nothing. A plain test calls ``run_virtual`` instead.
    """
    from ._clock import VirtualClock

    return VirtualClock()


@pytest.fixture
def memory_network() -> MemoryNetwork:
    """A network in memory, through which the loop of an async test connects and serves."""
    from ._network import MemoryNetwork

    return MemoryNetwork()


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    """An account of what lives; our primitives report to it, and it must be clean at the end of the test."""
    from ._ledger import Ledger

    book = Ledger()
    with book.recording():
        yield book
    book.assert_clean()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Put ourselves around the test function itself: the runner of its plugin closes only after it."""
    if not isinstance(item, pytest.Function):
        return (yield)
    guard = _guard_of(item)
    if inspect.iscoroutinefunction(item.obj):
        return (yield from _call_async(item, guard))
    if guard is None:
        return (yield)
    with guard.watching_runners():
        return (yield)


def _call_async(item: pytest.Function, guard: Guard | None) -> Generator[None, Any, Any]:
    plain = item.obj
    clock, network = item.funcargs.get("virtual_clock"), item.funcargs.get("memory_network")
    if guard is not None or clock is not None or network is not None:
        item.obj = _wrapped(plain, guard, clock, network)
    try:
        return (yield)
    finally:
        item.obj = plain


def _wrapped(test: Any, guard: Guard | None, clock: Any, network: Any) -> Any:
    @functools.wraps(test)
    async def run(*args: Any, **kwargs: Any) -> Any:
        loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as stack:
            if clock is not None:
                from ._attach import attached

                stack.enter_context(attached(clock, loop))
            if network is not None:
                stack.enter_context(network.installed(loop))
            if guard is None:
                return await test(*args, **kwargs)
            return await guard.run(test(*args, **kwargs))

    return run


def _guard_of(item: pytest.Function) -> Guard | None:
    """Make the guard of a test, None where leaks do not matter."""
    severity = item.config.getoption("--lifecycle-leaks") or item.config.getini("lifecycle_leaks")
    own = item.get_closest_marker("leaks")
    if own is not None:
        severity = own.args[0]
    if severity not in SEVERITIES:
        raise pytest.UsageError(f"leaks({severity!r}): use one of {', '.join(SEVERITIES)}")
    if severity == "off":
        return None
    from ._guard import Allowed, Guard

    tasks: list[str] = []
    resources: list[str] = []
    for mark in item.iter_markers("allow_leaks"):
        anything = not mark.kwargs
        tasks += ["*"] if anything else mark.kwargs.get("tasks", ())
        resources += ["*"] if anything else mark.kwargs.get("resources", ())
    allowed = Allowed(tuple(tasks), tuple(resources))
    funcargs: dict[str, Any] = item.funcargs
    return Guard(severity, allowed, ledger=funcargs.get("ledger"), network=funcargs.get("memory_network"))
