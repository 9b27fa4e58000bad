"""Expressions in flow values."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.scheduler._language.expressions import Template, compile_value, parse_text, references, resolve
from lifecycle.scheduler.errors import ExpressionError

NAMES: dict[str, Any] = {
    "params": {"n": 3, "text": "a b", "flag": True, "nothing": None, "odd-name": "o"},
    "blocks": {"scan": {"output": {"files": [{"path": "x"}, {"path": "y"}], "a key": 1}}},
    "item": [1, 2],
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${params.n}", 3),
        ("${params.flag}", True),
        ("${params.nothing}", None),
        ("${params.odd-name}", "o"),
        ("${item}", [1, 2]),
        ("${item[0]}", 1),
        ("${item[-1]}", 2),
        ("${blocks.scan.output.files[1].path}", "y"),
        ('${blocks.scan.output["a key"]}', 1),
        ("${blocks.scan.output['a key']}", 1),
        ("n is ${params.n}", "n is 3"),
        ("${params.n}${params.n}", "33"),
        ("${params.text}/${item}", "a b/[1, 2]"),
        ("${params.flag} ${params.nothing}", "true null"),
        ("plain", "plain"),
        ("", ""),
        ("costs $5, $$ and $", "costs $5, $$ and $"),
        ("$${params.n}", "${params.n}"),
        ("$${x} and ${params.n}", "${x} and 3"),
    ],
)
def test_an_expression_names_a_value(text: str, value: object) -> None:
    """A single expression keeps its value's type; within a longer text it becomes text."""
    assert resolve(compile_value(text), NAMES) == value


def test_expressions_are_filled_in_deep_inside_of_a_value() -> None:
    """Lists and tables are walked; keys are left alone."""
    value = {"a": ["${params.n}", {"b": "${item[0]}"}], "${params.n}": 1.5}
    assert resolve(compile_value(value), NAMES) == {"a": [3, {"b": 1}], "${params.n}": 1.5}


@pytest.mark.parametrize(
    "text",
    ["${", "${}", "${ params.n}", "${params.n", "${params.}", "${params..n}", "${1}", "${item[}", "${item[x]}",
     "${item[0}", '${item["x]}', "${params.n }", "${params.n()}", "${params.n+1}", "${item[0:1]}"],
)  # fmt: skip
def test_what_is_no_expression_is_refused(text: str) -> None:
    """Nothing is evaluated: only names, keys and indexes are an expression."""
    with pytest.raises(ValueError, match="expected"):
        parse_text(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${params.zzz}", "no key 'zzz'"),
        ("${item[7]}", "no index 7 in a list of 2"),
        ("${item[-3]}", "no index -3"),
        ("${item.x}", "no key 'x' in a list of 2"),
        ("${params.n[0]}", "no index 0 in 3"),
        ("${params.text[0]}", "no index 0 in 'a b'"),
        ("${params.n.real}", "no key 'real' in 3"),
        ("${other}", "there is no 'other' here"),
    ],
)
def test_what_is_not_there_is_an_error_that_says_what_is(text: str, message: str) -> None:
    """A missing key or index names the expression and what there is; attributes of objects cannot be reached."""
    with pytest.raises(ExpressionError) as caught:
        resolve(compile_value(text), NAMES)
    assert message in str(caught.value)
    assert text in str(caught.value)


def test_references_are_found_everywhere_in_a_value() -> None:
    """Validation sees every expression."""
    found = references(compile_value({"a": ["${params.n}", "x ${item} y"], "b": {"c": "${blocks.q.output}"}}))
    assert [str(reference) for reference in found] == ["${params.n}", "${item}", "${blocks.q.output}"]


@given(st.text(alphabet="${}[]\"'.abc0 -\\", max_size=40))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    """The parser never fails otherwise, and a text without expressions comes back as it was meant."""
    try:
        parsed = parse_text(text)
    except ValueError:
        assert "${" in text
        return
    if not isinstance(parsed, Template):
        assert parsed == text.replace("$${", "${")


@given(st.text(max_size=30), st.text(max_size=30), st.recursive(st.integers() | st.text(), st.lists, max_leaves=5))
def test_text_around_an_expression_is_kept(before: str, after: str, value: object) -> None:
    """What is written around an expression comes out unchanged, whatever the value holds."""
    before, after = before.replace("$", "S"), after.replace("$", "S")
    result = resolve(compile_value(f"{before}${{v}}{after}"), {"v": value})
    if before or after:
        assert result.startswith(before)
        assert result.endswith(after)
    else:
        assert result == value
