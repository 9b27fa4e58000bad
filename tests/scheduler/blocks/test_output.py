"""The bounded output of a command."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lifecycle.scheduler._work.output import HeadTail


@given(st.lists(st.binary(max_size=30)), st.integers(1, 40))
def test_head_and_tail_are_kept_and_the_rest_is_counted(chunks: list[bytes], limit: int) -> None:
    """However the bytes arrive, the first and last are there and the account closes."""
    buffer = HeadTail(limit)
    for chunk in chunks:
        buffer.add(chunk)
        assert len(buffer._head) + len(buffer._tail) <= limit
    whole = b"".join(chunks)
    kept = bytes(buffer._head) + bytes(buffer._tail)
    assert len(kept) + buffer.dropped == len(whole)
    assert whole.startswith(bytes(buffer._head))
    assert whole.endswith(bytes(buffer._tail))
    if len(whole) <= limit:
        assert kept == whole


def test_the_text_says_how_much_was_dropped() -> None:
    """The gap is visible where it is, and broken characters do not matter."""
    buffer = HeadTail(10)
    buffer.add(b"aaaaa" + b"x" * 1_000 + "ééé".encode())
    assert buffer.text().startswith("aaaaa\n[... 1,001 bytes dropped ...]\n")
    assert buffer.text().endswith("éé")
