"""Everything that we ship, under every fault at every point of every scenario of the table."""

import logging
import sys
from collections.abc import Iterator

import pytest

from lifecycle.testing import explore_cancellation, explore_schedules, no_busy_loop
from lifecycle.testing.faults import CANCEL

from .scenarios import SCENARIOS, unreported

# Runs per scenario in a commit's tests; the nightly ones have no bound. All single faults in the usual order fit in.
BUDGET = 1_500
# Every version of Python makes a part of these runs, and each draws another one.
SAMPLE: dict[str, int] = {"budget": 20, "seed": sys.version_info.minor}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Injected errors are logged by the primitives as they should be; ten thousand of them are of no help."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_nothing_stays_behind(name: str) -> None:
    """All points, all faults, all user tasks, in asyncio's own order."""
    explore_cancellation(SCENARIOS[name], budget=BUDGET, invariants=[no_busy_loop]).assert_clean()


@pytest.mark.parametrize("name", SCENARIOS)
def test_nothing_stays_behind_in_a_sample(name: str) -> None:
    """With the ledger of the primitives, and without: they take shorter ways then, as in production."""
    for scenario in (SCENARIOS[name], unreported(SCENARIOS[name])):
        explore_cancellation(scenario, **SAMPLE, invariants=[no_busy_loop]).assert_clean()


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_any_order_of_ready_tasks_is_good(name: str) -> None:
    """Thirty random orders without a fault."""
    explore_schedules(SCENARIOS[name], runs=30).assert_clean()


@pytest.mark.parametrize("name", SCENARIOS)
def test_any_order_of_ready_tasks_is_good_in_a_sample(name: str) -> None:
    """Some others."""
    explore_schedules(SCENARIOS[name], runs=4, seed=100 * sys.version_info.minor).assert_clean()


def test_two_explorations_are_equal_to_the_step() -> None:
    """Every run of two explorations, under orders of all kinds: one digest."""
    for name in ("scope_children", "group_contended_and_closed", "pool_closed_while_lent"):
        one, other = (explore_cancellation(SCENARIOS[name], schedules=2, budget=100) for _ in range(2))
        assert one.digest == other.digest
        assert one.runs == other.runs


@pytest.mark.nightly
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", SCENARIOS)
def test_nothing_stays_behind_under_many_orders(name: str) -> None:
    """All points, all faults, all user tasks, in asyncio's order and under twenty random ones."""
    explore_cancellation(SCENARIOS[name], schedules=20, invariants=[no_busy_loop]).assert_clean()


@pytest.mark.nightly
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", SCENARIOS)
def test_nothing_stays_behind_after_two_cancels(name: str) -> None:
    """All pairs of cancels for scenarios of up to 40 points; all faults without the ledger of the primitives."""
    explore_cancellation(SCENARIOS[name], faults=[CANCEL], depth=2, invariants=[no_busy_loop]).assert_clean()
    explore_cancellation(unreported(SCENARIOS[name]), schedules=3, invariants=[no_busy_loop]).assert_clean()
