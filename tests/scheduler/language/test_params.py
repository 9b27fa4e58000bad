"""Parameters of a flow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lifecycle.scheduler import FlowError

from ..tools import flow_of

FLOW = """
[params]
text = "x"
count = 3
ratio = 0.5
flag = false
items = [1]
table = {a = 1}
needed = { type = "string" }
where = { type = "path", default = "sub" }
nowhere = { type = "path", default = "" }
kind = { default = "a", choices = ["a", "b"] }
[blocks.a]
sleep = 0
"""


def bound(tmp_path: Path | None = None, **values: Any) -> dict[str, Any]:
    """Return the flow's parameters bound to these values."""
    flow = flow_of(FLOW.replace("table = {a = 1}", "table = { default = {a = 1} }"), directory=tmp_path)
    return flow.bind({"needed": "n", **values})


def test_defaults_are_used_and_paths_are_relative_to_the_flow(tmp_path: Path) -> None:
    """What is not given has its default; the default of a path stands beside the flow."""
    assert bound(tmp_path) == {
        "text": "x", "count": 3, "ratio": 0.5, "flag": False, "items": [1], "table": {"a": 1}, "needed": "n",
        "where": str(tmp_path / "sub"), "nowhere": "", "kind": "a",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"needed": 3}, "params.needed: expected a string, got 3"),
        ({"count": "3"}, "params.count: expected an integer, got '3'"),
        ({"count": True}, "params.count: expected an integer, got True"),
        ({"count": 2**70}, "params.count: an integer of more than 64 bits"),
        ({"ratio": float("nan")}, "params.ratio: expected a finite number, got nan"),
        ({"flag": 1}, "params.flag: expected a boolean, got 1"),
        ({"kind": "c"}, "params.kind: expected one of 'a', 'b', got 'c'"),
        ({"cuont": 1}, "params.cuont: unknown parameter; did you mean 'count'?"),
        ({"text": "x" * 70_000}, "params.text: a string of 70,000 characters"),
    ],
)
def test_a_wrong_value_is_named(values: dict[str, Any], problem: str) -> None:
    """Each problem names the parameter and what was expected."""
    with pytest.raises(FlowError) as caught:
        bound(**values)
    assert caught.value.problems == (f"flow.toml: {problem}",) or problem in str(caught.value)


def test_a_missing_value_is_named() -> None:
    """A parameter without a default is required."""
    with pytest.raises(FlowError, match=r"params\.needed: a value is required$"):
        flow_of(FLOW.replace("table = {a = 1}\n", "")).bind({})


def test_a_number_may_be_given_as_an_integer_and_a_path_as_a_path(tmp_path: Path) -> None:
    """Only what is surely meant is accepted."""
    assert bound(ratio=2, where=tmp_path)["where"] == str(tmp_path)
