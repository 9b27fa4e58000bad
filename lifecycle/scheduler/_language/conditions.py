"""Conditions of ``if`` and ``wait_for``: plain tables that compare values. Nothing is evaluated.

A condition is ``true`` or ``false``, an expression that is one of both, or a table: ``value`` with one comparison
(``equals``, ``above``, ...), or one of ``all``, ``any`` and ``not`` with conditions inside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from .._ground.checks import is_number
from .._ground.errors import ExpressionError
from .._ground.limits import CONDITION_DEPTH
from .._ground.text import did_you_mean, listing, quote
from .expressions import Template, quote_compiled
from .problems import ReportProblem

Resolver: TypeAlias = Callable[[Any], Any]

_JOINTS: Final = ("all", "any", "not")


def _same(value: Any, other: Any) -> bool:
    return isinstance(value, bool) == isinstance(other, bool) and bool(value == other)


def _contains(value: Any, other: Any) -> bool:
    if isinstance(value, str) and isinstance(other, str):
        return other in value
    if isinstance(value, list):
        return any(_same(item, other) for item in value)
    if isinstance(value, Mapping) and isinstance(other, str):
        return other in value
    raise ExpressionError(f"contains: {quote(value)} cannot contain {quote(other)}")


def _one_of(value: Any, other: Any) -> bool:
    if not isinstance(other, list):
        raise ExpressionError(f"one_of: expected a list, got {quote(other)}")
    return _contains(other, value)


def _compared(name: str, compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def test(value: Any, other: Any) -> bool:
        if (is_number(value) and is_number(other)) or (isinstance(value, str) and isinstance(other, str)):
            return compare(value, other)
        raise ExpressionError(f"{name}: expected two numbers or two strings, got {quote(value)} and {quote(other)}")

    return test


def _empty(value: Any, wanted: Any) -> bool:
    if value is not None and not isinstance(value, (str, list, Mapping)):
        raise ExpressionError(f"empty: expected null, a string, a list or a table, got {quote(value)}")
    return (not value) is wanted


COMPARISONS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "equals": _same,
    "differs": lambda value, other: not _same(value, other),
    "above": _compared("above", lambda value, other: value > other),
    "below": _compared("below", lambda value, other: value < other),
    "at_least": _compared("at_least", lambda value, other: value >= other),
    "at_most": _compared("at_most", lambda value, other: value <= other),
    "contains": _contains,
    "one_of": _one_of,
    "empty": _empty,
}
_KEYS: Final = (*COMPARISONS, "exists")


def condition_problems(condition: Any, path: str, report: ReportProblem, depth: int = 0) -> None:
    """Report what is wrong with a compiled condition.

    Args:
        condition: the condition, its strings compiled.
        path: its place below the block's, for *report*.
        report: called with the place and a message for each problem.
        depth: how many conditions are around it.
    """
    if depth > CONDITION_DEPTH:
        report(path, f"conditions nested deeper than {CONDITION_DEPTH} levels")
    elif isinstance(condition, bool) or (isinstance(condition, Template) and condition.whole):
        return
    elif not isinstance(condition, dict):
        expected = "expected a condition: true, false, one expression that is one of them, or a table"
        report(path, f"{expected}, got {quote_compiled(condition)}")
    elif joints := [key for key in _JOINTS if key in condition]:
        _joint_problems(condition, joints[0], path, report, depth)
    else:
        _comparison_problems(condition, path, report)


def _joint_problems(condition: dict[str, Any], joint: str, path: str, report: ReportProblem, depth: int) -> None:
    if len(condition) > 1:
        report(path, f"{joint!r} must be alone in its table, but there are {listing(condition)}")
        return
    inner = condition[joint]
    if joint == "not":
        condition_problems(inner, f"{path}.not", report, depth + 1)
    elif not isinstance(inner, list) or not inner:
        report(f"{path}.{joint}", f"expected a list of conditions that is not empty, got {quote(inner)}")
    else:
        for index, child in enumerate(inner):
            condition_problems(child, f"{path}.{joint}[{index}]", report, depth + 1)


def _comparison_problems(condition: dict[str, Any], path: str, report: ReportProblem) -> None:
    if "value" not in condition:
        report(path, "a condition needs 'value' and one comparison, or one of 'all', 'any', 'not'")
    unknown = [key for key in condition if key not in (*_KEYS, "value")]
    for key in unknown:
        report(f"{path}.{key}", f"unknown comparison{did_you_mean(key, _KEYS) or f'; expected {listing(_KEYS, 20)}'}")
    found = [key for key in _KEYS if key in condition]
    if len(found) != 1 and not unknown:
        report(path, f"expected one comparison beside 'value', got {listing(found)}")
    for key in ("empty", "exists"):
        if key in condition and not isinstance(condition[key], bool):
            report(f"{path}.{key}", f"expected true or false, got {quote(condition[key])}")


def holds(condition: Any, resolve: Resolver) -> bool:
    """Return whether a compiled condition is true.

    Args:
        condition: without problems.
        resolve: fills in the expressions of a compiled value.

    Raises:
        ExpressionError: a value is not there, or cannot be compared this way.
    """
    if not isinstance(condition, dict):
        value = resolve(condition)
        if not isinstance(value, bool):
            raise ExpressionError(f"expected true or false, got {quote(value)}; compare it, as in equals = ...")
        return value
    if "all" in condition:
        return all(holds(child, resolve) for child in condition["all"])
    if "any" in condition:
        return any(holds(child, resolve) for child in condition["any"])
    if "not" in condition:
        return not holds(condition["not"], resolve)
    if "exists" in condition:
        return _exists(condition["value"], resolve) is condition["exists"]
    value = resolve(condition["value"])
    name = next(key for key in COMPARISONS if key in condition)
    return COMPARISONS[name](value, resolve(condition[name]))


def _exists(value: Any, resolve: Resolver) -> bool:
    try:
        resolve(value)
    except ExpressionError:
        return False
    return True
