"""Tables in a terminal that is narrower than they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.cli.show._lines import aligned, fitted, say_table

HEAD = ("id", "job", "submitted", "time", "")
ROWS = [
    ("1", "fetch", "2026-11-30T20:45:55+00:00", "29 ms", "ShellFailed: no such file or directory"),
    ("12", "count", "2026-11-30T20:45:55+00:00", "-", ""),
]
RIGHT = (0, 3)


def test_what_does_not_fit_stands_below_its_row() -> None:
    """With the name of its column; what a row does not have is left out."""
    assert fitted(HEAD, ROWS, RIGHT, 40) == [
        "id  job    submitted",
        " 1  fetch  2026-11-30T20:45:55+00:00",
        "      time 29 ms  ShellFailed: no such",
        "      file or directory",
        "12  count  2026-11-30T20:45:55+00:00",
    ]


@given(st.integers(36, 120))
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    """And no cell is lost."""
    lines = fitted(HEAD, ROWS, RIGHT, width)
    assert max(map(len, lines)) <= width
    told = " ".join(" ".join(lines).split())
    for cell in ("fetch", "2026-11-30T20:45:55+00:00", "29 ms", "ShellFailed: no such file or directory", "12 count"):
        assert cell in told


def test_where_there_is_room_it_is_a_table() -> None:
    """As it is in a file, which has no width."""
    assert fitted(HEAD, ROWS, RIGHT, 200) == aligned(HEAD, ROWS, RIGHT)


@pytest.mark.parametrize("terminal", [False, True])
def test_only_a_terminal_has_a_width(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], terminal: bool
) -> None:
    """Lines of a file are for other programs, and stay whole."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    say_table(HEAD, ROWS, RIGHT)
    assert len(capsys.readouterr().out.splitlines()) == (5 if terminal else 3)
