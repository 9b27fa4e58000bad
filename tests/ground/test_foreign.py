"""Errors of users are joined, searched and cut without a line of theirs being run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from lifecycle._ground.foreign import (
    add_context,
    carries,
    combine,
    contexts,
    forget_context,
    holds,
    in_words,
    members,
    set_context,
    split_cancellation,
    with_traceback,
    without_our_frame,
)

from ..hostile import Frozen, Touchy, Underived, circle, deep_group, with_hostile_errors

Make = Callable[[], Exception]


@with_hostile_errors
def test_every_error_can_be_joined_with_another(make: Make) -> None:
    """As it is: the same object is in the group, once, however often it was reported."""
    error, other = make(), OSError()
    assert combine("alone", [error]) is error
    assert combine("twice", [error, error]) is error
    both = combine("both", [error, other, error])
    assert isinstance(both, ExceptionGroup)
    assert [id(inner) for inner in both.exceptions] == [id(error), id(other)]


@with_hostile_errors
def test_what_ends_the_process_keeps_every_error(make: Make) -> None:
    """It travels bare, with the others as its context, above the context that it had."""
    error, before, end = make(), KeyError("before"), SystemExit(3)
    set_context(end, before)
    assert combine("end", [error, end, end]) is end
    assert end.__context__ is error
    assert holds(contexts(end), before)


@with_hostile_errors
def test_frames_and_contexts_are_set_on_every_error(make: Make) -> None:
    """Also on one that refuses attributes."""
    error = make()
    try:
        raise error
    except Exception as caught:
        without_our_frame(caught)
    assert error.__traceback__ is None
    assert with_traceback(error, None) is error
    body = KeyError("body")
    try:
        try:
            raise body
        finally:
            raise error
    except Exception:
        forget_context(error, body)
    assert not holds(contexts(error), body)


@with_hostile_errors
def test_no_error_is_taken_for_another(make: Make) -> None:
    """What carries an error was raised from it, or is a group around it."""
    error, other = make(), OSError()
    other.__cause__ = error
    assert carries(error, error)
    assert carries(other, error)
    assert not carries(error, other)
    assert carries(ExceptionGroup("around", [ExceptionGroup("deep", [other])]), error)
    assert carries(ExceptionGroup("around", [KeyError(), error]), error)


def test_a_group_carries_another_with_the_same_errors() -> None:
    """Wherever in it they are."""
    one, two = ValueError(), KeyError()
    given = ExceptionGroup("given", [one, two])
    assert carries(ExceptionGroup("again", [ExceptionGroup("a", [one]), ExceptionGroup("b", [two])]), given)
    assert not carries(ExceptionGroup("less", [one]), given)


@with_hostile_errors
def test_an_error_without_a_cancellation_is_not_split(make: Make) -> None:
    """It is the same object, whatever its class: a copy is not what was raised."""
    error = make()
    cancelled, rest = split_cancellation(error)
    assert cancelled is None
    assert rest is error


@pytest.mark.parametrize("depth", [1, 3000])
def test_a_group_is_rid_of_its_cancellations(depth: int) -> None:
    """However deep they are nested; what is left is what failed."""
    cancelled, failed = asyncio.CancelledError("stop"), ValueError("failed")
    error: BaseException = BaseExceptionGroup("both", [cancelled, failed])
    for _ in range(depth):
        error = BaseExceptionGroup("nested", [error])
    found, rest = split_cancellation(error)
    assert found is cancelled
    assert rest is not None
    assert [inner for inner in members(rest) if not isinstance(inner, BaseExceptionGroup)] == [failed]
    assert split_cancellation(BaseExceptionGroup("only", [cancelled])) == (cancelled, None)


def test_a_group_that_cannot_be_derived_is_split_all_the_same() -> None:
    """Into a plain one."""

    class Mixed(BaseExceptionGroup[BaseException]):
        derive = Underived.derive

    cancelled, failed = asyncio.CancelledError(), ValueError()
    found, rest = split_cancellation(Mixed("mixed", [cancelled, failed]))
    assert found is cancelled
    assert isinstance(rest, ExceptionGroup)
    assert rest.exceptions == (failed,)


def test_contexts_are_walked_to_the_first_circle() -> None:
    """Each error of the circle comes once."""
    assert len(list(contexts(circle()))) == 3


def test_no_circle_is_made() -> None:
    """What was raised while the process was ending loses the context that leads back."""
    end, release = SystemExit(4), ValueError("release")
    set_context(release, end)
    assert combine("end", [release, end]) is end
    assert end.__context__ is release
    assert release.__context__ is None
    itself = SystemExit()
    set_context(itself, itself)
    add_context(itself, release)
    assert list(contexts(itself)) == [itself, release]


def test_an_error_that_is_in_a_group_already_is_not_repeated() -> None:
    """A group that a body raised may hold the error that a task has reported by itself."""
    error = ValueError()
    group = ExceptionGroup("of the body", [error])
    assert combine("again", [error, group]) is group


def test_all_members_of_a_deep_group_are_found() -> None:
    """Without recursion."""
    assert len(list(members(deep_group()))) == 3001


def test_words_are_found_for_everything() -> None:
    """Also for what has none of its own."""
    assert in_words(Frozen(4)) == "Frozen(code=4)"
    assert "Touchy" in in_words(Touchy())
