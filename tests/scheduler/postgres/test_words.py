"""What the database writes into messages and notes is what Python would write."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.scheduler import JobStatus
from lifecycle.scheduler._store.records import FINAL
from lifecycle.scheduler._store.revival import note

from .calls import Functions

ODD = "\n\r\t\x07\x1b\x7f\x85\xa0\xad\u1680\u2028\u202e\u3000\ufeff"
TEXTS = st.text(st.sampled_from("ab'\"\\ ä€\U0001f600" + ODD), max_size=40)


@given(st.text(st.sampled_from("ab'\"\\ ä€\U0001f600"), max_size=20))
@settings(max_examples=150, deadline=None)
def test_a_name_is_quoted(functions: Functions, name: str) -> None:
    """Names are printable."""
    assert functions.value("quoted($1)", name) == repr(name)


@given(
    st.none() | st.integers(1, 40).map(lambda lines: "\n".join(f"line {number}" for number in range(lines))),
    st.integers(0, 2**32 * 10).map(lambda tenths: tenths / 10),
    st.sampled_from(sorted(FINAL, key=str)),
    st.integers(0, 3),
    st.none() | TEXTS | st.just("long and\nwide " * 40),
)
@settings(max_examples=300, deadline=None)
def test_a_note_says_what_a_job_had_come_to(
    functions: Functions, history: str | None, now: float, status: JobStatus, attempt: int, error: str | None
) -> None:
    """In one line, of what there is room for, the newest twenty."""
    said = functions.value("with_note($1, $2, $3, $4, $5)", history, now, status.value, attempt, error)
    assert said == note(history, now, status, attempt, error)
