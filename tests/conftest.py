"""What all tests share, and which of them take so long, and depend so little on Python's version, that one has to do.

A test may also carry ``pytest.mark.slow`` itself; what stands here was measured with ``pytest --durations``.
"""

import contextlib
import gc
import os
import signal
from collections.abc import Generator, Iterator

import pytest
from hypothesis import settings

from .postgres import Postgres, own, shared

# No example has failed because the machine was busy with something else.
settings.register_profile("whatever the machine does", settings(deadline=None))
settings.load_profile("whatever the machine does")

#: Beginnings of node ids.
SLOW = (
    "tests/docs/test_examples.py::test_the_examples_of_a_document_run[docs/how-to/run-a-flow.md",
    "tests/docs/test_examples.py::test_the_examples_of_a_document_run[docs/how-to/run-a-service.md",
    "tests/docs/test_examples.py::test_the_examples_of_a_document_run[docs/reference/flows.md",
    "tests/scheduler/flows/test_validation.py::test_a_long_chain",
    "tests/scheduler/flows/test_validation.py::test_no_document",
    "tests/scheduler/postgres/",
    "tests/cli/test_cli.py::test_a_database_that_stays_locked",
    "tests/cli/test_cli.py::test_a_disk_that_fills_up",
    "tests/cli/test_cli.py::test_a_file_that_may_not_grow",
    "tests/cli/test_cli.py::test_a_read_only_database",
    "tests/cli/test_timetable.py::test_each_due_time_is_one_run",
    "tests/timers/test_wall_clock.py::test_11_gap_and_fold",
    "tests/testing/test_machines.py::test_our_",
    "tests/testing/test_mutants.py::",
    "tests/timers/test_cron.py::test_the_next_occurrence_from_any_instant_is_the_nearest",
)


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


@pytest.fixture(scope="module", autouse=True)
def _set_aside() -> None:
    """Set aside what is left of the modules before."""
    set_aside()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark them."""
    for item in items:
        if item.nodeid.startswith(SLOW):
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
