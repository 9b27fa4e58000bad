"""Fixtures of pytest-asyncio and of anyio's plugin: owners opened in one task, used in a second, closed in a third."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from lifecycle import Scope, TaskManager, resource

pytest_plugins = ["pytester"]

events: list[str] = []
tasks: dict[str, asyncio.Task[object] | None] = {}


@resource
async def connection() -> AsyncIterator[str]:
    # An asyncio.timeout must be left in the task that entered it: the scope's own.
    async with asyncio.timeout(60):
        yield "connection"
    events.append("closed")


@pytest_asyncio.fixture
async def scope() -> AsyncIterator[Scope]:
    tasks["opened"] = asyncio.current_task()
    async with Scope("fixture") as opened:
        await opened.enter(connection())
        yield opened
        tasks["closed"] = asyncio.current_task()
    assert opened.closed
    assert events.pop() == "closed"


@pytest_asyncio.fixture
async def manager() -> AsyncIterator[TaskManager]:
    async with TaskManager("fixture") as opened:
        yield opened
    statistics = opened.statistics()
    assert (statistics.state, statistics.running, statistics.finished) == ("closed", 0, 2)


@pytest.mark.asyncio
async def test_a_scope_lives_across_the_tasks_of_a_fixture(scope: Scope) -> None:
    """The test's task starts something in a scope that another task opened; it is stopped at the fixture's end."""
    assert tasks["opened"] is not asyncio.current_task()
    scope.start_soon(asyncio.sleep, 3600)
    await asyncio.sleep(0)
    assert scope.statistics().live == 2


@pytest.mark.asyncio
async def test_a_task_manager_lives_across_the_tasks_of_a_fixture(manager: TaskManager) -> None:
    """What the test starts is drained by the task that closes the fixture."""
    manager.start_soon(asyncio.sleep, 0.01)
    manager.start_soon(asyncio.sleep, 0)
    await asyncio.sleep(0)


SUITE = """
    import asyncio
    import pytest, pytest_asyncio, anyio
    from lifecycle import Scope, TaskManager, resource

    closed = []

    @resource
    async def group():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep_forever)
            yield tasks
            tasks.cancel_scope.cancel()
        closed.append("group")

    {fixture}
    async def scope():
        async with Scope() as scope:
            await scope.enter(group())
            scope.start_soon(asyncio.sleep, 3600)
            yield scope

    {fixture}
    async def manager(scope):
        manager = TaskManager()
        yield manager
        report = await manager.aclose()
        assert report.clean

    {mark}
    @pytest.mark.parametrize("number", [1, 2])
    async def test_uses_both(scope, manager, number):
        loop = type(asyncio.get_running_loop()).__module__
        assert loop.startswith("{loop}"), loop
        manager.start_soon(asyncio.sleep, 0)
        assert len(closed) == {closed}
        assert scope.statistics().live == 2
"""

UVLOOP = """
    import uvloop

    def pytest_asyncio_loop_factories(config, item):
        return {"uvloop": uvloop.new_event_loop}
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("level", ["function", "module"])
def test_suites_with_pytest_asyncio(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, loop: str, level: str
) -> None:
    """A suite of its own, on both loops, with fixtures for each test and for the module; an anyio group inside."""
    fixture = f'@pytest_asyncio.fixture(loop_scope="{level}", scope="{level}")'
    mark = f'@pytest.mark.asyncio(loop_scope="{level}")'
    closed = "number - 1" if level == "function" else "0"
    suite = SUITE.format(fixture=fixture, mark=mark, loop=loop, closed=closed)
    if loop == "uvloop":
        pytester.makeconftest(UVLOOP)
    run_suite(pytester, monkeypatch, suite, plugin="pytest_asyncio.plugin")


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_suites_with_the_plugin_of_anyio(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, loop: str) -> None:
    """The same with anyio's plugin, whose fixtures and tests share a task."""
    options = ', {"use_uvloop": True}' if loop == "uvloop" else ', {"use_uvloop": False}'
    backend = f'@pytest.fixture\n    def anyio_backend(): return ("asyncio"{options})\n'
    suite = SUITE.format(fixture="@pytest.fixture", mark="@pytest.mark.anyio", loop=loop, closed="number - 1")
    suite = suite.replace("    closed = []", f"    {backend}\n    closed = []")
    run_suite(pytester, monkeypatch, suite, plugin="anyio.pytest_plugin")


def run_suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, suite: str, *, plugin: str) -> None:
    """Run a suite in a process of its own, with one plugin, and with warnings as errors."""
    pytester.makepyfile(suite)
    setting = "asyncio_default_fixture_loop_scope = function\n" if "asyncio" in plugin else ""
    pytester.makeini(f"[pytest]\n{setting}filterwarnings = error\n")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    result = pytester.run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", plugin, Path.cwd())
    result.assert_outcomes(passed=2)
