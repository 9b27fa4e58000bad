"""The pytest plugin: it looks before the runner closes, whichever plugin runs the test, and says what it saw."""

import textwrap

import pytest

pytest_plugins = ["pytester"]

LEAKY = """
import asyncio, anyio, pytest

async def forgotten():
    await asyncio.sleep(1000)

def spawn(name="reader"):
    return asyncio.get_running_loop().create_task(forgotten(), name=name)
"""


def run(pytester: pytest.Pytester, body: str, *options: str, inside: bool = True) -> pytest.RunResult:
    pytester.makepyprojecttoml('[tool.pytest.ini_options]\nasyncio_default_fixture_loop_scope = "function"\n')
    pytester.makepyfile(LEAKY + textwrap.dedent(body))
    run = pytester.runpytest_inprocess if inside else pytester.runpytest_subprocess
    return run("-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:timeout", "-p", "no:hypothesispytest", *options)


KINDS = {
    "pytest-asyncio": "@pytest.mark.asyncio\nasync def test_it():\n    {}\n",
    "anyio": '@pytest.mark.anyio\n@pytest.mark.parametrize("anyio_backend", ["asyncio"])\n'
    "async def test_it(anyio_backend):\n    {}\n",
    "plain": "async def main():\n    {}\n\ndef test_it():\n    asyncio.run(main())\n",
    "own-loop": "async def main():\n    {}\n\ndef test_it():\n    loop = asyncio.new_event_loop()\n"
    "    loop.run_until_complete(main())\n    loop.run_until_complete(asyncio.sleep(0))\n    loop.close()\n",
    "unittest": "import unittest\n\n"
    "class TestIt(unittest.IsolatedAsyncioTestCase):\n    async def test_it(self):\n        {}\n",
    "hypothesis": "from hypothesis import given, settings, strategies\n\n@pytest.mark.asyncio\n"
    "@settings(max_examples=3, database=None)\n@given(strategies.booleans())\nasync def test_it(drawn):\n    {}\n",
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_leaked_task_is_an_error_with_name_path_and_site(pytester: pytest.Pytester, kind: str) -> None:
    """The task that the runner would have cancelled in silence fails its own test."""
    result = run(pytester, KINDS[kind].format("globals()['kept'] = spawn()"), "--lifecycle-leaks=error")
    result.assert_outcomes(failed=1)
    result.stdout.re_match_lines(
        [
            r".*LeakError: the test left 1 thing\(s\) behind:",
            r".*task '(.* / )?reader' at .*test_a_leaked.*:\d+ in forgotten.*",
            r".*made at .*test_a_leaked.* in spawn < .*",
        ]
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_clean_test_passes(pytester: pytest.Pytester, kind: str) -> None:
    """A task that has been cancelled and is about to end is not a leak."""
    body = "task = spawn(); await asyncio.sleep(0); task.cancel()"
    run(pytester, KINDS[kind].format(body), "--lifecycle-leaks=error").assert_outcomes(passed=1)


@pytest.mark.parametrize("kind", KINDS)
def test_off_is_the_default(pytester: pytest.Pytester, kind: str) -> None:
    """Nothing changes for a project that did not ask."""
    run(pytester, KINDS[kind].format("globals()['kept'] = spawn()")).assert_outcomes(passed=1)


@pytest.mark.parametrize("kind", ["pytest-asyncio", "anyio", "plain"])
def test_warn_reports_and_passes(pytester: pytest.Pytester, kind: str) -> None:
    """A warning of its own class, so that filters can aim at it."""
    body = KINDS[kind].format("globals()['kept'] = spawn()")
    result = run(pytester, body, "--lifecycle-leaks=warn", inside=False)
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(["*LeakWarning: the test left 1 thing(s) behind:*"])


def test_markers_allow_leftovers_and_choose_the_severity(pytester: pytest.Pytester) -> None:
    """By pattern of the name, for tasks and for resources, per test."""
    result = run(
        pytester,
        """
        kept = []

        @pytest.mark.asyncio
        @pytest.mark.allow_leaks(tasks=["read*"])
        async def test_allowed():
            kept.append(spawn())

        @pytest.mark.asyncio
        @pytest.mark.allow_leaks(tasks=["other*"])
        async def test_not_allowed():
            kept.append(spawn())

        @pytest.mark.asyncio
        @pytest.mark.leaks("off")
        async def test_off():
            kept.append(spawn())

        @pytest.mark.asyncio
        @pytest.mark.allow_leaks(resources=["pool / *"])
        async def test_resource():
            from lifecycle._ground import trace as _trace
            _trace.opened("connection", "one", "pool")

        @pytest.mark.asyncio
        @pytest.mark.allow_leaks
        async def test_anything():
            kept.append(spawn())
        """,
        "--lifecycle-leaks=error",
    )
    result.assert_outcomes(passed=4, failed=1)


def test_tasks_of_wider_fixtures_are_not_blamed_on_a_test(pytester: pytest.Pytester) -> None:
    """What lived before the test is not the test's; what it adds to a shared loop is."""
    result = run(
        pytester,
        """
        import pytest_asyncio

        @pytest_asyncio.fixture(loop_scope="module", scope="module")
        async def server():
            task = spawn("server")
            yield task
            task.cancel()

        kept = []

        @pytest.mark.asyncio(loop_scope="module")
        async def test_uses(server):
            assert not server.done()

        @pytest.mark.asyncio(loop_scope="module")
        async def test_leaks(server):
            kept.append(spawn("mine"))

        @pytest.mark.asyncio(loop_scope="module")
        async def test_is_not_blamed(server):
            assert kept[0].done(), "a leaked task must not reach the next test"
        """,
        "--lifecycle-leaks=error",
    )
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*FAILED*test_leaks*"])


def test_a_resource_left_open_by_a_primitive_is_named(pytester: pytest.Pytester) -> None:
    """Ledger entries count like tasks: with owner path and creation site."""
    result = run(
        pytester,
        """
        @pytest.mark.asyncio
        async def test_leaks():
            from lifecycle._ground import trace as _trace
            owner = _trace.opened("scope", "session")
            _trace.opened("resource", "socket", owner)
        """,
        "--lifecycle-leaks=error",
    )
    result.assert_outcomes(failed=1)
    result.stdout.re_match_lines([r".*resource 'session / socket' made at .*in test_leaks.*"])


def test_the_error_of_a_test_is_not_masked(pytester: pytest.Pytester) -> None:
    """A test that fails by itself fails with its own error."""
    body = KINDS["pytest-asyncio"].format("spawn(); raise KeyError('mine')")
    result = run(pytester, body, "--lifecycle-leaks=error")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*KeyError: 'mine'*"])


def test_fixtures_give_a_network_and_a_ledger(pytester: pytest.Pytester) -> None:
    """memory_network reaches the test's loop; ledger must be clean at the end."""
    result = run(
        pytester,
        """
        async def answer(reader, writer):
            writer.write(await reader.read(100))

        @pytest.mark.asyncio
        async def test_network(memory_network, virtual_clock):
            await memory_network.peer(answer, "server", 80)
            reader, writer = await asyncio.open_connection("server", 80)
            writer.write(b"hello")
            assert await reader.read(5) == b"hello"
            await asyncio.sleep(1000)
            writer.close()
            await writer.wait_closed()

        @pytest.mark.asyncio
        async def test_clean(ledger):
            with ledger.acquire("socket"):
                await asyncio.sleep(0)

        def test_unclean(ledger):
            ledger.acquire("socket")
        """,
        "--lifecycle-leaks=error",
    )
    # The unclean one fails twice: as a leak of the test, and when the fixture closes its account.
    result.assert_outcomes(passed=2, failed=1, errors=1)


EXPLORED = """
from lifecycle.testing import explore_cancellation, explore_schedules
from lifecycle.testing.faults import CANCEL

async def scenario(bubble):
    token = bubble.ledger.acquire("socket")
    await asyncio.sleep(1)
    token.release()

def test_it():
    report = explore_cancellation(scenario, faults=[CANCEL])
    print("RUNS", report.runs, report.failures[0].token if report.failures else "")
    report.assert_clean()
"""


def test_options_replay_one_run_and_bound_the_rest(pytester: pytest.Pytester) -> None:
    """--lifecycle-replay runs the failing run alone; --lifecycle-budget bounds every exploration."""
    result = run(pytester, EXPLORED, "-s")
    result.assert_outcomes(failed=1)
    line = next(line for line in result.outlines if "RUNS" in line)
    runs, token = line.split()[-2:]
    assert int(runs) == 5
    replayed = run(pytester, EXPLORED, "-s", f"--lifecycle-replay={token}")
    replayed.assert_outcomes(failed=1)
    replayed.stdout.fnmatch_lines([f"*RUNS 1 {token}"])
    bounded = run(pytester, EXPLORED, "-s", "--lifecycle-budget=3", "--lifecycle-seed=7")
    bounded.stdout.fnmatch_lines(["*RUNS 3 *"])


def test_a_wrong_setting_is_refused(pytester: pytest.Pytester) -> None:
    """A typing error in the configuration is not a silent off."""
    pytester.makeini("[pytest]\nlifecycle_leaks = eror\n")
    result = pytester.runpytest_subprocess("-p", "no:xdist")
    assert "lifecycle_leaks must be one of" in result.stderr.str() + result.stdout.str()


def test_it_costs_nothing_until_used(pytester: pytest.Pytester) -> None:
    """A run without the kit imports none of it beyond the plugin."""
    result = run(
        pytester,
        """
        import sys

        def test_it():
            loaded = [name for name in sys.modules if name.startswith("lifecycle.testing")]
            assert loaded == ["lifecycle.testing", "lifecycle.testing.plugin"]
        """,
        inside=False,
    )
    result.assert_outcomes(passed=1)
