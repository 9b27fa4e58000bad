"""The ordered line of the store in memory."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from lifecycle.scheduler._store.memory.line import Line


@given(st.lists(st.tuples(st.sampled_from(["add", "discard", "pop"]), st.integers(0, 5), st.integers(0, 5))))
def test_a_line_is_a_sorted_set(steps: list[tuple[str, int, int]]) -> None:
    """Whatever is added, discarded and popped, it behaves as a sorted set does."""
    line: Line[tuple[float, int]] = Line()
    model: set[tuple[float, int]] = set()
    for what, priority, number in steps:
        key = (float(priority), number)
        if what == "add":
            line.add(key)
            model.add(key)
        elif what == "discard":
            line.discard(key)
            model.discard(key)
        else:
            expected = min(model, default=None)
            assert line.pop() == expected
            model.discard(expected)  # type: ignore[arg-type]
        assert line.first() == min(model, default=None)
        assert len(line) == len(model)


def test_a_storm_of_cancellations_leaves_nothing_behind() -> None:
    """Discarded keys do not pile up in the heap behind one that stays (casebook C1)."""
    line: Line[tuple[float, int]] = Line()
    line.add((-1.0, 0))
    for number in range(1, 10_000):
        line.add((random.random(), number))
        line.discard(line._heap[-1])
        if number % 7 == 0:
            line.discard(max(line._live))
        assert len(line._heap) <= 2 * len(line._live) + 17
    for key in list(line._live):
        line.discard(key)
    assert len(line._heap) <= 16
