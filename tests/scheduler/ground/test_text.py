"""Small texts for people."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.scheduler._ground.text import did_you_mean, listing, one_line, plural, quote, shorten


@given(st.text(), st.integers(10, 50))
def test_a_shortened_text_is_one_line_within_its_bound(text: str, limit: int) -> None:
    """Nothing ends or garbles the line."""
    assert len(shorten(text, limit)) <= limit
    assert one_line(text).isprintable()


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a\nb", r"'a\nb'"),
        ([1], "a list of 1"),
        ({}, "a table of 0"),
        pytest.param(10**5_000, "an integer of thousands of digits", id="huge"),
        ("x" * 99, None),
    ],
)
def test_any_value_has_a_short_form(value: object, shown: str | None) -> None:
    """Also one that cannot be printed."""
    assert len(quote(value)) < 60
    assert shown is None or quote(value) == shown


def test_lists_of_names_are_bounded() -> None:
    """A hint does not grow with the flow."""
    assert listing(f"n{number}" for number in range(100)).endswith("and 92 more")
    assert listing([]) == "none"
    assert (plural(1, "job"), plural(2_000, "job")) == ("1 job", "2,000 jobs")


def test_hints_are_found_for_names_of_a_usual_length_only() -> None:
    """A name of a megabyte costs nothing."""
    assert did_you_mean("slep", ["sleep", "shell"]) == "; did you mean 'sleep'?"
    assert did_you_mean("x" * 1_000_000, ["y" * 1_000_000, "sleep"]) == ""
