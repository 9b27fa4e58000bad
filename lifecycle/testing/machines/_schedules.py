"""A Hypothesis strategy of schedules, which shrinks to the fewest deviations from asyncio's own order."""

from __future__ import annotations

from hypothesis import strategies as st

from ..._ground.checks import checked_count
from .._loop.strategies import Deviations


def schedules(*, steps: int = 100, deviations: int = 12, width: int = 4) -> st.SearchStrategy[Deviations]:
    """Return a strategy of schedules, for ``run_virtual(scenario, schedule=schedule)``.

    A schedule is asyncio's own order with some deviations: at the n-th choice among several ready tasks, another
    than the first. Hypothesis drops deviations and makes numbers smaller, so what it reports is the shortest story.
    Drawing whole schedules, instead of every choice from inside the loop, is some thirty times faster.

    Args:
        steps: the number of choices within which deviations lie.
        deviations: how many there are at most.
        width: a deviation takes at most this place in the queue.

    Raises:
        TypeError, ValueError: one of them is no whole number, or too small.
    """
    last, places = checked_count(steps, "steps", least=1) - 1, checked_count(width, "width", least=1)
    one = st.tuples(st.integers(0, last), st.integers(1, places))
    unique = st.lists(one, max_size=checked_count(deviations, "deviations"), unique_by=lambda deviation: deviation[0])
    return unique.map(lambda found: Deviations(tuple(sorted(found))))
