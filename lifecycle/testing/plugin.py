"""The pytest plugin: virtual time and leak checks for tests of any async plugin, and for plain ones."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from ._look.guard import Guard, Severity
    from ._look.ledger import Ledger
    from ._loop.clock import VirtualClock
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
        from ._explore import settings

        settings.set_from_command_line(replay=replay, seed=seed, budget=budget)
        config.add_cleanup(lambda: settings.set_from_command_line(replay=None, seed=None, budget=None))


@pytest.fixture
def virtual_clock() -> VirtualClock:
    """A clock that jumps when everything is blocked.

    An async test that asks for it runs in virtual time, whichever plugin runs it: an hour of sleeping costs
    nothing. A plain test calls ``run_virtual`` instead.
    """
    from ._loop.clock import VirtualClock

    return VirtualClock()


@pytest.fixture
def memory_network() -> MemoryNetwork:
    """A network in memory, through which the loop of an async test connects and serves."""
    from ._network import MemoryNetwork

    return MemoryNetwork()


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    """An account of what lives; our primitives report to it, and it must be clean at the end of the test."""
    from ._look.ledger import Ledger

    book = Ledger()
    with book.recording():
        yield book
    book.assert_clean()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Put ourselves around the test function itself: the runner of its plugin closes only after it."""
    if not isinstance(item, pytest.Function):
        return (yield)
    severity = _severity_of(item)
    # Hypothesis calls the test itself, once per example; its plugins make it awaitable only after us.
    holder, attribute = item, "obj"
    if hasattr(item.obj, "hypothesis"):
        holder, attribute = item.obj.hypothesis, "inner_test"
    if inspect.iscoroutinefunction(getattr(holder, attribute)) and not _is_of_unittest(item):
        return (yield from _call_async(item, severity, holder, attribute))
    if severity == "off":
        return (yield)
    with _guard_of(item, severity).watching_runners():
        return (yield)


def _is_of_unittest(item: pytest.Function) -> bool:
    """Whether unittest runs the test: its async tests then have a runner of their own, which it also closes."""
    unittest = sys.modules.get("unittest.case")
    return unittest is not None and item.cls is not None and issubclass(item.cls, unittest.TestCase)


def _call_async(item: pytest.Function, severity: Severity, holder: Any, attribute: str) -> Generator[None, Any, Any]:
    plain = getattr(holder, attribute)
    clock, network = item.funcargs.get("virtual_clock"), item.funcargs.get("memory_network")
    if severity != "off" or clock is not None or network is not None:
        make_guard = functools.partial(_guard_of, item, severity) if severity != "off" else None
        setattr(holder, attribute, _wrapped(plain, make_guard, clock, network))
    try:
        return (yield)
    finally:
        setattr(holder, attribute, plain)


def _wrapped(test: Any, make_guard: Callable[[], Guard] | None, clock: Any, network: Any) -> Any:
    @functools.wraps(test)
    async def run(*args: Any, **kwargs: Any) -> Any:
        loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as stack:
            if clock is not None:
                from ._loop.attach import attached

                stack.enter_context(attached(clock, loop))
            if network is not None:
                stack.enter_context(network.installed(loop))
            if make_guard is None:
                return await test(*args, **kwargs)
            return await make_guard().run(test(*args, **kwargs))

    return run


def _severity_of(item: pytest.Function) -> Severity:
    """Return what a leak of this test is: its own mark, else the command line, else the setting."""
    severity = item.config.getoption("--lifecycle-leaks") or item.config.getini("lifecycle_leaks")
    own = item.get_closest_marker("leaks")
    if own is not None:
        severity = own.args[0]
    if severity not in SEVERITIES:
        raise pytest.UsageError(f"leaks({severity!r}): use one of {', '.join(SEVERITIES)}")
    return severity  # type: ignore[no-any-return]


def _guard_of(item: pytest.Function, severity: Severity) -> Guard:
    """Make the guard of a test, or of one example of it."""
    from ._look.guard import Allowed, Guard

    tasks: list[str] = []
    resources: list[str] = []
    for mark in item.iter_markers("allow_leaks"):
        anything = not mark.kwargs
        tasks += ["*"] if anything else mark.kwargs.get("tasks", ())
        resources += ["*"] if anything else mark.kwargs.get("resources", ())
    allowed = Allowed(tuple(tasks), tuple(resources))
    funcargs: dict[str, Any] = item.funcargs
    return Guard(severity, allowed, ledger=funcargs.get("ledger"), network=funcargs.get("memory_network"))
