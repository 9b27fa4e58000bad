"""Arguments are checked when they are given: a wrong type is a TypeError, a wrong value a ValueError."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from lifecycle._ground import checks

NUMBERS: dict[str, Callable[[Any], object]] = {
    "timeout": lambda value: checks.checked_timeout(value, "x"),
    "seconds": lambda value: checks.checked_seconds(value, "x"),
    "period": lambda value: checks.checked_period(value, "x"),
    "part": lambda value: checks.checked_part(value, "x"),
    "limit": lambda value: checks.checked_limit(value, what="x"),
    "count": lambda value: checks.checked_count(value, "x"),
}


@pytest.mark.parametrize("check", NUMBERS.values(), ids=NUMBERS)
@pytest.mark.parametrize("wrong", ["1", True, b"1", [1], 1j], ids=repr)
def test_what_is_not_a_number_is_a_type_error(check: Callable[[Any], object], wrong: object) -> None:
    """A bool is none: it is almost always an argument in the wrong place. The message names the argument."""
    with pytest.raises(TypeError, match=r"^x must be"):
        check(wrong)


@pytest.mark.parametrize("check", NUMBERS.values(), ids=NUMBERS)
def test_what_is_out_of_range_is_a_value_error(check: Callable[[Any], object]) -> None:
    """Also where the number is negative."""
    with pytest.raises(ValueError, match=r"^x must be"):
        check(-1)


@pytest.mark.parametrize("name", ["timeout", "seconds", "period", "part"])
def test_nan_is_a_value_error(name: str) -> None:
    """Every comparison with it is false, so that a check by comparison alone would let it through."""
    with pytest.raises(ValueError, match=r"^x must be"):
        NUMBERS[name](math.nan)


def test_none_is_no_bound_where_there_may_be_none() -> None:
    """Infinity for a timeout, None for a limit."""
    assert checks.checked_timeout(None, "x") == math.inf
    assert checks.checked_limit(None) is None
    assert checks.checked_timeout(3, "x") == 3.0


def test_names_and_functions() -> None:
    """A name is a string or None, and a function can be called."""
    assert checks.checked_name(None, "scope") == "scope"
    assert checks.checked_name("mine", "scope") == "mine"
    with pytest.raises(TypeError, match="name must be a string or None, got 3"):
        checks.checked_name(3, "scope")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="hook must be a function, got 3"):
        checks.checked_callable(3, "hook")
