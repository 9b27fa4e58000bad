"""What all tests share, and which of them take so long, and depend so little on Python's version, that one has to do.

A test may also carry ``pytest.mark.slow`` itself; what stands here was measured with ``pytest --durations``.
"""

import contextlib
import gc
import os
import signal
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from .postgres import Postgres, own, shared

# No example has failed because the machine was busy with something else.
settings.register_profile("whatever the machine does", settings(deadline=None))
settings.load_profile("whatever the machine does")

#: Beginnings of node ids.
SLOW = (
    "tests/casebook/",
    "tests/cli/",
    "tests/docs/",
    "tests/growth/test_depth.py::test_a_thousand_scopes_in_each_other_are_closed[held",
    "tests/kubernetes/",
    "tests/postgres/",
    "tests/scheduler/control/",
    "tests/scheduler/flows/test_cron_expressions.py",
    "tests/scheduler/flows/test_validation.py",
    "tests/scheduler/ground/test_text.py",
    "tests/scheduler/language/",
    "tests/scheduler/postgres/",
    "tests/scheduler/store/",
    "tests/scheduler/web/",
    "tests/test_benchmarks.py",
    "tests/test_house.py",
    "tests/testing/test_machines.py::test_our_",
    "tests/testing/test_mutants.py",
    "tests/timers/test_cron.py::test_the_next_occurrence_from_any_instant_is_the_nearest",
    "tests/timers/test_wall_clock.py::test_11_gap_and_fold",
)
#: What of it is run on every version: signals, and one file for each that others build on.
NOT_SLOW = (
    "tests/cli/test_ctrl_c.py",
    "tests/cli/test_flow.py",
    "tests/cli/test_service_signals.py",
    "tests/kubernetes/test_kubelet_parts.py",
    "tests/scheduler/control/test_connection_commands.py",
    "tests/scheduler/store/test_crashes.py",
    "tests/scheduler/store/test_sqlite.py",
    "tests/scheduler/store/test_stores.py",
    "tests/scheduler/store/test_thread_programs.py",
    "tests/scheduler/web/test_web.py",
)


def is_slow(nodeid: str) -> bool:
    """Return whether it is run on one version of Python only."""
    return nodeid.startswith(SLOW) and not nodeid.startswith(NOT_SLOW)


def set_aside() -> None:
    """Keep all that lives now out of every later collection of garbage.

    The modules of all tests are a heap of which nothing is ever let go, and pytest's own books grow with every test.
    With them a single look for garbage takes a sixth of a second, and hundreds of tests look.
    """
    gc.collect()  # what is garbage already would be kept for good
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage while the tests are collected."""
    gc.disable()
    try:
        return (yield)
    finally:
        set_aside()
        gc.enable()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import what is left out as a whole: each worker would take longer over that than over many tests."""
    left_out = "not slow" in config.option.markexpr and is_slow(collection_path.relative_to(config.rootpath).as_posix())
    return left_out or None  # None: others are asked


@pytest.fixture(scope="module", autouse=True)
def _set_aside() -> None:
    """Set aside what is left of the modules before."""
    set_aside()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark them."""
    for item in items:
        if is_slow(item.nodeid):
            item.add_marker("slow")


def pytest_runtest_teardown() -> None:
    """Take back the handler of Ctrl-C that asyncio leaves where the error of a loop is too deep to be shown.

    With it no loop can be run any more: after one test that failed, all would fail.
    """
    try:
        signal.getsignal(signal.SIGINT)
    except RecursionError:
        with contextlib.suppress(RecursionError):  # the same error tells of the handler that was there
            signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def no_strangers() -> None:
    """Let go what other tests have left in reference cycles, such as owners never opened: a snapshot sees it."""
    gc.collect()


@pytest.fixture(scope="session")
def part(request: pytest.FixtureRequest) -> dict[str, int]:
    """How much is made of an exploration that takes long: all, but a hundred runs where the tests marked slow stay out.

    Each version of Python draws others.
    """
    return {"budget": 100, "seed": sys.version_info.minor} if "not slow" in request.config.option.markexpr else {}


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """The PostgreSQL server of this test run, which all its workers share; nothing on it outlives a crash."""
    ours = tmp_path_factory.getbasetemp()
    server = shared(ours.parent if "PYTEST_XDIST_WORKER" in os.environ else ours)
    yield server
    server.close()


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    """The address of a new PostgreSQL database that has our schema, and that nobody else uses."""
    with postgres.database() as url:
        yield url


@pytest.fixture
def own_server() -> Iterator[Postgres]:
    """A PostgreSQL server for this test alone, with every commit on disk: it may be stopped, paused and started."""
    server = own()
    yield server
    server.close()
