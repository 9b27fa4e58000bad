"""The rules of a `Retry`: how often, how long, after which errors."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import pickle
import ssl
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle import ConnectError, ConnectTimeout, Retry
from lifecycle.types import RetryFailure


@given(
    attempts=st.integers(1, 100_000),
    first=st.floats(0, 10),
    longest=st.floats(10, 100),
    jitter=st.floats(0, 1),
    left=st.floats(0, 1000),
)
def test_a_pause_is_within_its_bounds(attempts: int, first: float, longest: float, jitter: float, left: float) -> None:
    """It doubles up to the longest, chance takes away its part at most, and it ends before the time is up."""
    retry = Retry(backoff=(first, longest), jitter=jitter)
    full = min(longest, first * 2.0 ** min(attempts - 1, 60))
    pause = retry.pause_after(attempts, OSError(), left)
    if pause is None:
        assert full >= left
    else:
        assert full * (1 - jitter) * 0.999 <= pause <= full
        assert pause < left


class ShapedGroup(ExceptionGroup[Exception]):
    """A group of a class of its own."""


def refused_connect(cause: BaseException | None) -> ConnectError:
    """Return the error of a connect inside."""
    error = ConnectError("connect 'inner' failed", stage="tcp", attempts=3)
    error.__cause__ = cause
    return error


def in_circles() -> ConnectError:
    """Return an error of a connect that is its own cause."""
    error = refused_connect(None)
    error.__cause__ = error
    return error


DEFAULT = Retry()
NARROW = Retry(retry_on=ConnectionRefusedError)

JUDGEMENTS: list[tuple[Retry, BaseException, bool]] = [
    (DEFAULT, ConnectionRefusedError(), True),
    (DEFAULT, TimeoutError(), True),
    (DEFAULT, FileNotFoundError(), True),
    (DEFAULT, asyncio.IncompleteReadError(b"", 4), True),
    (DEFAULT, anyio.EndOfStream(), True),
    (DEFAULT, anyio.BrokenResourceError(), True),
    (DEFAULT, ssl.SSLError("WRONG_VERSION_NUMBER"), True),
    (DEFAULT, ValueError(), False),
    (DEFAULT, KeyboardInterrupt(), False),
    (DEFAULT, asyncio.CancelledError(), False),
    # What no attempt mends, unless it is named
    (DEFAULT, ssl.SSLCertVerificationError("self-signed"), False),
    (DEFAULT, PermissionError(), False),
    (DEFAULT, IsADirectoryError(), False),
    (DEFAULT, NotADirectoryError(), False),
    (Retry(retry_on=PermissionError), PermissionError(), True),
    (Retry(retry_on=(OSError, PermissionError)), PermissionError(), True),
    (Retry(retry_on=(OSError, PermissionError)), IsADirectoryError(), False),
    (Retry(give_up_on=()), PermissionError(), True),
    (Retry(give_up_on=ConnectionRefusedError), ConnectionRefusedError(), False),
    (Retry(give_up_on=(ConnectionRefusedError, EOFError)), PermissionError(), True),
    (Retry(retry_on=lambda _: True), PermissionError(), True),
    (Retry(retry_on=lambda _: True, give_up_on=PermissionError), PermissionError(), False),
    # Groups
    (DEFAULT, ExceptionGroup("all", [OSError(), ExceptionGroup("inner", [TimeoutError()])]), True),
    (DEFAULT, ExceptionGroup("some", [OSError(), ValueError()]), False),
    (DEFAULT, ExceptionGroup("one for good", [OSError(), PermissionError()]), False),
    (DEFAULT, BaseExceptionGroup("cancelled", [OSError(), asyncio.CancelledError()]), False),
    (Retry(retry_on=lambda _: True), BaseExceptionGroup("cancelled", [OSError(), asyncio.CancelledError()]), False),
    (
        Retry(retry_on=lambda error: isinstance(error, OSError)),
        ExceptionGroup("some", [OSError(), ValueError()]),
        False,
    ),
    (Retry(retry_on=ShapedGroup), ShapedGroup("named", [ValueError()]), True),
    (Retry(retry_on=ShapedGroup, give_up_on=ValueError), ShapedGroup("named", [ValueError()]), False),
    # A connect inside counts as what has caused it
    (DEFAULT, refused_connect(ValueError()), False),
    (DEFAULT, refused_connect(ConnectionRefusedError()), True),
    (DEFAULT, refused_connect(refused_connect(ValueError())), False),
    (DEFAULT, refused_connect(None), True),
    (DEFAULT, in_circles(), True),
    (DEFAULT, refused_connect(asyncio.CancelledError()), False),
    (DEFAULT, ExceptionGroup("inner", [refused_connect(ValueError())]), False),
    (DEFAULT, ConnectTimeout("late", stage="tcp", attempts=1), True),
    (NARROW, refused_connect(ConnectionRefusedError()), True),
    (NARROW, refused_connect(TimeoutError()), False),
    (Retry(retry_on=ConnectError), refused_connect(ValueError()), True),
]


@pytest.mark.parametrize(("retry", "error", "covered"), JUDGEMENTS, ids=lambda value: repr(value)[:40])
def test_only_what_is_covered_is_tried_again(retry: Retry, error: BaseException, covered: bool) -> None:
    """A group counts if all of it does, a connect inside as its cause, and a cancellation never."""
    assert retry.covers(error) is covered
    assert (retry.pause_after(1, error, 100.0) is not None) is covered


def no_function() -> Any:
    """Return an asynchronous function where a synchronous one belongs."""

    async def judge(error: Exception) -> bool:
        return True

    return judge


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"attempts": 0}, ValueError),
        ({"attempts": True}, TypeError),
        ({"attempts": 1.5}, TypeError),
        ({"timeout": -1.0}, ValueError),
        ({"timeout": 0}, ValueError),
        ({"attempt_timeout": 0.0}, ValueError),
        ({"attempt_timeout": "1"}, TypeError),
        ({"backoff": 1.0}, TypeError),
        ({"backoff": (1.0,)}, TypeError),
        ({"backoff": (0.1, None)}, TypeError),
        ({"backoff": (1.0, -1.0)}, ValueError),
        ({"backoff": (10, 1)}, ValueError),
        ({"backoff": (1.0, float("inf"))}, ValueError),
        ({"jitter": 1.5}, ValueError),
        ({"jitter": float("nan")}, ValueError),
        ({"retry_on": BaseException}, TypeError),
        ({"retry_on": (OSError, "TimeoutError")}, TypeError),
        ({"retry_on": ()}, ValueError),
        ({"retry_on": None}, TypeError),
        ({"retry_on": no_function()}, TypeError),
        ({"give_up_on": "OSError"}, TypeError),
        ({"give_up_on": KeyboardInterrupt}, TypeError),
        ({"on_failure": 3}, TypeError),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], kind: type[Exception]) -> None:
    """When it is made, and not after the first failure."""
    with pytest.raises(kind, match=next(iter(settings))):
        Retry(**settings)


def test_a_list_is_as_good_as_a_tuple() -> None:
    """A back-off that comes from a file is a list."""
    backoff: Any = [0, 1]
    retry = Retry(backoff=backoff)
    assert retry.backoff == (0.0, 1.0)
    assert retry == Retry(backoff=(0.0, 1.0))
    assert hash(retry) == hash(Retry(backoff=(0.0, 1.0)))


def test_rules_are_copied_pickled_and_varied() -> None:
    """They are plain data: for another process, for a set, for a variant."""
    retry = Retry(attempts=3, retry_on=(OSError, ValueError))
    assert pickle.loads(pickle.dumps(retry)) == copy.deepcopy(retry) == retry
    assert dataclasses.replace(retry, attempts=5).attempts == 5
    assert repr(retry).startswith("Retry(attempts=3")


@pytest.mark.parametrize("asked", [2.0, 2, 60.0])
def test_seconds_that_a_peer_asks_for_are_the_least(asked: float) -> None:
    """Chance may only add to them, and what is longer than the longest pause is waited for as well."""
    retry = Retry(retry_on=lambda _: asked, backoff=(1.0, 4.0), jitter=0.5)
    pauses = [retry.pause_after(1, OSError(), 1000.0) for _ in range(200)]
    assert all(pause is not None and asked <= pause <= asked + 0.5 for pause in pauses)
    assert len(set(pauses)) > 100
    assert retry.pause_after(1, OSError(), asked) is None


def test_an_own_pause_that_is_longer_is_kept() -> None:
    """A peer that says "at once" does not shorten the back-off."""
    retry = Retry(retry_on=lambda _: 0.0, backoff=(1.0, 8.0), jitter=0.0)
    assert [retry.pause_after(n, OSError(), 1000.0) for n in (1, 2, 3, 4, 5)] == [1, 2, 4, 8, 8]


def test_a_group_waits_for_the_longest() -> None:
    """Several have said when."""
    retry = Retry(retry_on=lambda error: float(str(error)), backoff=(0.0, 0.0))
    assert retry.pause_after(1, ExceptionGroup("busy", [OSError("3"), OSError("7"), OSError("5")]), 100.0) == 7.0


def test_the_function_is_not_asked_when_there_is_no_further_attempt() -> None:
    """It may count."""
    asked: list[Exception] = []
    retry = Retry(attempts=2, retry_on=lambda error: not asked.append(error))
    assert retry.pause_after(2, OSError(), 100.0) is None
    assert asked == []


async def later() -> bool:
    """Return, but only to those who wait."""
    return True


@pytest.mark.parametrize(
    ("verdict", "kind"),
    [
        (lambda _: None, TypeError),
        (lambda _: "5", TypeError),
        (lambda _: later(), TypeError),
        (lambda _: -1.0, ValueError),
        (lambda _: float("nan"), ValueError),
        (lambda _: float("inf"), ValueError),
    ],
)
def test_a_verdict_that_is_none_is_an_error(verdict: Callable[[Exception], Any], kind: type[Exception]) -> None:
    """It names the function, and no coroutine is left behind."""
    with pytest.raises(kind, match="retry_on of a Retry, has returned"):
        Retry(retry_on=verdict).pause_after(1, OSError(), 100.0)


def test_a_failure_is_a_record() -> None:
    """It can be compared by identity alone: errors are what they are."""
    failure = RetryFailure("fetch", 1, OSError(), 0.5, 0.1)
    assert failure != RetryFailure("fetch", 1, OSError(), 0.5, 0.1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        failure.attempt = 2  # type: ignore[misc]


@pytest.mark.parametrize("first", [0.01, 100.0])
def test_the_scheduler_pauses_by_the_same_rule(first: float) -> None:
    """A list is taken as a store gives it back, and a first pause that is too long is as long as the longest."""
    from lifecycle.scheduler._ground.pauses import pause_before

    pair: Any = [first, 0.1]
    assert pause_before(50, pair) <= 0.1
