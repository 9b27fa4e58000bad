"""Conditions: what they say, and what is wrong with them before anything runs."""

from __future__ import annotations

from typing import Any

import pytest

from lifecycle.scheduler._language.conditions import condition_problems, holds
from lifecycle.scheduler._language.expressions import compile_value, resolve
from lifecycle.scheduler.errors import ExpressionError

NAMES = {"a": {"n": 3, "text": "abc", "list": [1, "x"], "none": None, "yes": True, "empty": ""}}


def truth(condition: Any) -> bool:
    """Return whether a condition holds with the names above; it has no problems."""
    compiled = compile_value(condition)
    problems: list[str] = []
    condition_problems(compiled, "if", lambda path, message: problems.append(f"{path}: {message}"))
    assert problems == []
    return holds(compiled, lambda value: resolve(value, NAMES))


@pytest.mark.parametrize(
    "condition",
    [
        True,
        "${a.yes}",
        {"value": "${a.n}", "equals": 3},
        {"value": "${a.n}", "equals": 3.0},
        {"value": "${a.n}", "differs": "3"},
        {"value": "${a.yes}", "differs": 1},
        {"value": "${a.n}", "above": 2},
        {"value": "${a.n}", "below": 3.5},
        {"value": "${a.n}", "at_least": 3},
        {"value": "${a.n}", "at_most": 3},
        {"value": "${a.text}", "above": "abb"},
        {"value": "${a.text}", "contains": "b"},
        {"value": "${a.list}", "contains": 1},
        {"value": "${a}", "contains": "n"},
        {"value": "${a.text}", "one_of": ["abc", "def"]},
        {"value": "${a.empty}", "empty": True},
        {"value": "${a.none}", "empty": True},
        {"value": "${a.list}", "empty": False},
        {"value": "${a.n}", "exists": True},
        {"value": "${a.nothing}", "exists": False},
        {"value": "${a.none}", "exists": True},
        {"not": False},
        {"all": [True, "${a.yes}", {"not": {"value": "${a.n}", "equals": 4}}]},
        {"any": [False, {"value": "${a.n}", "equals": 3}]},
    ],
)
def test_a_condition_that_is_true(condition: Any) -> None:
    """Each holds, and its opposite does not."""
    assert truth(condition)
    assert not truth({"not": condition})


def test_true_is_not_one_also_inside_of_a_list() -> None:
    """Python's booleans are numbers; those of a flow are not."""
    assert not truth({"value": "${a.list}", "contains": True})
    assert not truth({"value": "${a.yes}", "one_of": [1]})


def test_the_rest_of_all_and_any_is_not_looked_at() -> None:
    """A value that is not there can be asked for first."""
    exists = {"value": "${a.nothing}", "exists": True}
    assert not truth({"all": [exists, {"value": "${a.nothing.more}", "above": 3}]})
    assert truth({"any": [{"not": exists}, {"value": "${a.nothing.more}", "above": 3}]})


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("${a.n}", "expected true or false, got 3; compare it, as in equals = ..."),
        ({"value": "${a.n}", "above": "x"}, "above: expected two numbers or two strings, got 3 and 'x'"),
        ({"value": "${a.yes}", "above": 0}, "above: expected two numbers or two strings, got True and 0"),
        ({"value": "${a.n}", "contains": 3}, "contains: 3 cannot contain 3"),
        ({"value": "${a.n}", "one_of": "${a.text}"}, "one_of: expected a list, got 'abc'"),
        ({"value": "${a.n}", "empty": True}, "empty: expected null, a string, a list or a table, got 3"),
        ({"value": "${a.nothing}", "equals": 3}, "${a.nothing}: no key 'nothing'"),
    ],
)
def test_a_value_that_cannot_be_compared_is_an_error(condition: Any, message: str) -> None:
    """Nothing is guessed: a text is no number, and a number is neither true nor false."""
    with pytest.raises(ExpressionError) as caught:
        truth(condition)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (3, "if: expected a condition: true, false, one expression that is one of them, or a table, got 3"),
        ("x ${a}", "if: expected a condition: true, false, one expression that is one of them, or a table, got a text"),
        ({}, "if: a condition needs 'value' and one comparison, or one of 'all', 'any', 'not'"),
        ({"value": 3}, "if: expected one comparison beside 'value', got none"),
        ({"value": 3, "above": 1, "below": 5}, "if: expected one comparison beside 'value', got 'above', 'below'"),
        ({"value": 3, "equal": 1}, "if.equal: unknown comparison; did you mean 'equals'?"),
        ({"value": "", "empty": "yes"}, "if.empty: expected true or false, got 'yes'"),
        ({"all": []}, "if.all: expected a list of conditions that is not empty, got a list of 0"),
        ({"all": [True], "any": [True]}, "if: 'all' must be alone in its table, but there are 'all', 'any'"),
        ({"not": {"any": [True, 7]}}, "if.not.any[1]: expected a condition"),
    ],
)
def test_a_condition_that_is_not_right_is_told_with_its_place(condition: Any, message: str) -> None:
    """Before anything runs."""
    problems: list[str] = []
    condition_problems(compile_value(condition), "if", lambda path, text: problems.append(f"{path}: {text}"))
    assert problems[0].startswith(message)


def test_a_condition_nested_without_end_is_refused() -> None:
    """The bound is far below Python's own."""
    condition: Any = True
    for _ in range(50):
        condition = {"not": condition}
    problems: list[str] = []
    condition_problems(condition, "if", lambda path, text: problems.append(text))
    assert problems == ["conditions nested deeper than 16 levels"]
