"""Plain values: what blocks hand on and the store keeps."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
from collections import OrderedDict, namedtuple
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.scheduler._ground.values import Kept, size_of, to_json, to_plain
from lifecycle.scheduler.errors import OutputTooLarge


class Colour(enum.Enum):
    """An enumeration."""

    RED = "red"


@dataclasses.dataclass
class Point:
    """A dataclass."""

    x: int
    where: Path


Pair = namedtuple("Pair", "a b")


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Point(1, Path("p")), {"x": 1, "where": "p"}),
        (Pair(1, (2,)), [1, [2]]),
        (OrderedDict(a={1}), {"a": [1]}),
        (Colour.RED, "red"),
        (date(2026, 1, 2), "2026-01-02"),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00+00:00"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Decimal("1.50"), "1.50"),
        (frozenset({"a"}), ["a"]),
        (True, True),
        (None, None),
    ],
)
def test_common_types_have_a_plain_form(value: object, plain: object) -> None:
    """Dataclasses, paths, dates and the like come out as what JSON has."""
    assert to_plain(value, "it") == plain
    assert type(to_plain(value, "it")) is type(plain)


@pytest.mark.parametrize(
    "value", [object(), b"x", math.nan, -math.inf, {1: 2}, {"a": object()}, 1j, len, Point, 1 << 5_000, [math.inf]]
)
def test_what_has_no_plain_form_is_refused_by_name(value: object) -> None:
    """The error says whose value it is."""
    with pytest.raises(TypeError, match="the output of x"):
        to_plain(value, "the output of x")


def test_a_value_that_contains_itself_is_refused() -> None:
    """It does not end in a recursion error."""
    value: list[Any] = []
    value.append(value)
    with pytest.raises(TypeError, match="does it contain itself"):
        to_plain(value, "it")


@pytest.mark.parametrize(
    "value", ["x" * 1_001, ["x" * 10] * 100, {"k" * 600: "v" * 600}, list(range(1_000)), "é" * 600]
)
def test_a_value_that_is_too_large_is_refused_before_it_is_copied(value: object) -> None:
    """The error says how large it may be and what to do instead."""
    with pytest.raises(OutputTooLarge, match="larger than 1,000 bytes; write it to a file"):
        to_plain(value, "it", limit=1_000)


def test_kept_outputs_are_bounded_together() -> None:
    """Many small outputs are refused like a large one."""
    kept = Kept("blocks.a", limit=1_000)
    with pytest.raises(OutputTooLarge, match=r"blocks\.a: the outputs are together larger"):
        for _ in range(200):
            kept.add(["x"])


def test_a_file_name_that_is_no_text_survives_the_store() -> None:
    """Lone surrogates, which SQLite refuses as text, are written as escapes."""
    name = b"\xff\xfe".decode("utf-8", "surrogateescape")
    text = to_json(to_plain({"name": name}, "it"))
    assert text.isascii()
    assert json.loads(text) == {"name": name}


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(PLAIN)
def test_plain_values_come_back_from_json_as_they_were(value: Any) -> None:
    """What a job returned is what the next one sees."""
    plain = to_plain(value, "it")
    assert json.loads(to_json(plain)) == plain == value
    assert size_of(plain) > 0
