"""Parameters as ``--param NAME=VALUE``: texts become values of the declared type, or one line each says why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lifecycle.cli._params import values_from_texts
from lifecycle.scheduler import FlowError

from ..scheduler.tools import flow_of

FLOW = """
[params]
text = "x"
count = 3
ratio = 0.5
flag = false
items = [1]
table = { default = {a = 1} }
needed = { type = "string" }
where = { type = "path", default = "sub" }
nowhere = { type = "path", default = "" }
kind = { default = "a", choices = ["a", "b"] }
[blocks.a]
sleep = 0
"""


def given(*pairs: str) -> dict[str, Any]:
    """Return the values that texts of a command line stand for."""
    return values_from_texts(flow_of(FLOW), pairs)


def test_texts_become_values_of_the_declared_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths become absolute: a resumed run must find the same place from another directory."""
    monkeypatch.chdir(tmp_path)
    texts = ("needed=n", "text=a=b", "count=4", "ratio=1e-3", "flag=yes", "items=[1, 2]", "where=here", "nowhere=")
    assert given(*texts) == {
        "needed": "n", "text": "a=b", "count": 4, "ratio": 0.001, "flag": True, "items": [1, 2],
        "where": str(tmp_path / "here"), "nowhere": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("pair", "problem"),
    [
        ("count", "--param 'count': expected NAME=VALUE"),
        ("=3", "--param '=3': expected NAME=VALUE"),
        ("count=x", "params.count: expected an integer, got 'x'"),
        ("count=", "params.count: expected an integer, got ''"),
        ("count=" + "9" * 5_000, "params.count: expected an integer"),
        ("flag=maybe", "params.flag: expected a boolean, got 'maybe'"),
        ("items=[", "params.items: expected a list, got '['"),
        ("items=" + "[" * 100_000, "params.items: expected a list"),
    ],
)
def test_a_text_that_is_no_value_is_named(pair: str, problem: str) -> None:
    """Each problem is one line."""
    with pytest.raises(FlowError) as caught:
        given("needed=n", pair)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_parameter_given_twice_is_refused() -> None:
    """It is not guessed which one is meant."""
    with pytest.raises(FlowError, match=r"params\.count: given twice"):
        given("count=1", "count=2")


def test_all_problems_are_told_at_once() -> None:
    """An unknown parameter, a value of a wrong type, one that is given twice, and one that is missing."""
    with pytest.raises(FlowError) as caught:
        given("cuont=1", "ratio=x", "text=a", "text=b")
    assert caught.value.problems == (
        "flow.toml: params.text: given twice",
        "flow.toml: params.cuont: unknown parameter; did you mean 'count'?",
        "flow.toml: params.ratio: expected a number, got 'x'",
        "flow.toml: params.needed: a value is required: give --param needed=...",
    )
