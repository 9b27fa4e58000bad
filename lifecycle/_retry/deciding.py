"""Deciding: what a policy says of a failure, held to what it may say: it may be a subclass of a user's."""

from __future__ import annotations

from .._ground.checks import LONGEST
from .._ground.foreign import in_words
from .policy import Policy


def decide(policy: Policy, attempts: int, error: BaseException, left: float) -> float | None:
    """Return the seconds to wait before the next attempt, None where there is to be none.

    Args:
        policy: what decides.
        attempts: how many have been made, 1 or more.
        error: what the last of them failed with, as its caller would get it.
        left: seconds until all of them have to be over.

    Raises:
        TypeError, ValueError: the policy says neither.
        BaseException: what it raised.
    """
    pause = policy.pause_after(attempts, error, left)
    if pause is None:
        return None
    told = f"pause_after() of {type(policy).__name__} has returned {in_words(pause)}; it returns seconds, or None"
    if isinstance(pause, bool) or not isinstance(pause, (int, float)):
        raise TypeError(told)
    if not 0.0 <= pause <= LONGEST:
        raise ValueError(f"{told}, from 0 to {LONGEST:g}")
    return float(pause)
