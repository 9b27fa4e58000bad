"""What all tests share, and which of them take so long, and depend so little on Python's version, that one has to do.

A test may also carry ``pytest.mark.slow`` itself; what stands here was measured with ``pytest --durations``.
"""

import gc

import pytest

#: Beginnings of node ids.
SLOW = (
    "tests/scheduler/engine/test_kill.py::test_fifty_kills",
    "tests/scheduler/flows/test_validation.py::test_a_long_chain",
    "tests/scheduler/flows/test_validation.py::test_no_document",
    "tests/cli/test_cli.py::test_a_database_that_stays_locked",
    "tests/timers/test_wall_clock.py::test_11_gap_and_fold",
    "tests/testing/test_machines.py::test_our_",
    "tests/testing/test_mutants.py::",
    "tests/testing/test_scenarios.py::test_nothing_stays_behind[connect_polled",
    "tests/testing/test_scenarios.py::test_nothing_stays_behind[registry",
    "tests/testing/test_scenarios.py::test_nothing_stays_behind[pool",
    "tests/testing/test_scenarios.py::test_nothing_stays_behind[timers",
    "tests/timers/test_cron.py::test_the_next_occurrence_from_any_instant_is_the_nearest",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark them."""
    for item in items:
        if item.nodeid.startswith(SLOW):
            item.add_marker("slow")


@pytest.fixture
def no_strangers() -> None:
    """Let go what other tests have left in reference cycles, such as owners never opened: a snapshot sees it."""
    gc.collect()
