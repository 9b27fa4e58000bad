"""Everything that we ship, under every fault at every point of every scenario of the table."""

import logging
from collections.abc import Iterator

import pytest

from lifecycle.testing import explore_cancellation, explore_schedules, no_busy_loop

from .scenarios import SCENARIOS

# Runs per scenario in a commit's tests; the nightly ones have none. All single faults in the usual order fit in.
BUDGET = 1_000


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Injected errors are logged by the primitives as they should be; ten thousand of them help nobody."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("name", SCENARIOS)
def test_nothing_stays_behind(name: str) -> None:
    """All points, all faults, all user tasks, in asyncio's own order; in one other as far as the budget goes."""
    explore_cancellation(SCENARIOS[name], schedules=1, budget=BUDGET, invariants=[no_busy_loop]).assert_clean()


@pytest.mark.parametrize("name", SCENARIOS)
def test_any_order_of_ready_tasks_is_good(name: str) -> None:
    """Fifty random orders without a fault."""
    explore_schedules(SCENARIOS[name], runs=50).assert_clean()


@pytest.mark.nightly
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", SCENARIOS)
def test_nothing_stays_behind_at_length(name: str) -> None:
    """All faults under twenty random orders, and all pairs of cancels for scenarios of up to 40 points."""
    explore_cancellation(SCENARIOS[name], schedules=20, depth=2, invariants=[no_busy_loop]).assert_clean()
