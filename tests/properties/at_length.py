"""Random programs and machines at length: the same as in every run, thousands of times, when a night is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from ..loops import LOOPS

F = TypeVar("F", bound=Callable[..., None])


def at_length(count: int, *programs: st.SearchStrategy[Any]) -> Callable[[F], Any]:
    """Return a decorator: the test is given *count* programs in a night, however long they take to be drawn."""
    many = settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck))
    return lambda test: pytest.mark.nightly(pytest.mark.timeout(7200)(many(given(*programs)(test))))


def on_every_loop_at_length(count: int, programs: st.SearchStrategy[Any]) -> Callable[[F], Any]:
    """Return a decorator: the test is given as many programs on each kind of real loop."""
    return lambda test: pytest.mark.parametrize("new_loop", LOOPS.values(), ids=LOOPS)(at_length(count, programs)(test))


def run_lives(machine: Callable[[], RuleBasedStateMachine], count: int, steps: int) -> None:
    """Run *count* lives of a machine, of at most so many steps."""
    many = settings(
        max_examples=count, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(machine, settings=many)  # type: ignore[no-untyped-call]
