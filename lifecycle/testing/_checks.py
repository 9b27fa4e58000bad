"""Checks of what the kit is given: everything is looked at before anything runs, and named in the error."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from .._ground.checks import checked_async, checked_count, checked_seconds
from .._ground.foreign import in_words

T = TypeVar("T")


def checked_kind(thing: object, kind: type[T], what: str, words: str) -> T:
    """Return *thing* if it is a *kind*, which is called *words*.

    Raises:
        TypeError: it is something else; a class is told to be called.
    """
    if isinstance(thing, kind):
        return thing
    hint = f"; call it: {thing.__name__}(...)" if isinstance(thing, type) and issubclass(thing, kind) else ""
    raise TypeError(f"{what} must be {words}, got {in_words(thing)}{hint}")


def checked_each(things: Iterable[T], what: str, words: str, check: Callable[[T], object]) -> tuple[T, ...]:
    """Return *things*, which are called *words*, as a tuple, when *check* has seen every one of them.

    Raises:
        TypeError: they are not several things; one by itself, or a text, is no list of them.
    """
    if isinstance(things, (str, bytes)) or not isinstance(things, Iterable):
        raise TypeError(f"{what} must be several {words}, such as a list or a tuple of them, got {in_words(things)}")
    several = tuple(things)
    for thing in several:
        check(thing)
    return several


def checked_names(names: Iterable[str], what: str) -> tuple[str, ...]:
    """Return *names*, of tasks, as a tuple.

    Raises:
        TypeError: they are not several strings.
    """
    return checked_each(names, what, "names of tasks", lambda name: checked_kind(name, str, what, "names of tasks"))


def checked_scenario(scenario: object, what: str = "scenario") -> None:
    """Check that *scenario*, as far as can be seen without a call, is an async function.

    Raises:
        TypeError: it is not. A coroutine in its place is closed.
    """
    checked_async(scenario, f"{what} must be an async function of a bubble")


def checked_seed(seed: int) -> int:
    """Return *seed* if it is a whole number.

    Raises:
        TypeError: it is not: a token could not name it.
    """
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"seed must be a whole number, got {in_words(seed)}")
    return seed


def check_limits(max_steps: int, patience: float) -> None:
    """Check how much one run may take.

    Raises:
        TypeError, ValueError: it is no number, or out of range.
    """
    checked_count(max_steps, "max_steps", least=1)
    checked_seconds(patience, "patience")


def checked_pairs(pairs: Any, what: str) -> None:
    """Check that *pairs* are pairs of whole numbers.

    Raises:
        TypeError: they are not.
        ValueError: one is negative.
    """
    for pair in checked_each(pairs, what, "pairs of whole numbers", lambda pair: None):
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(f"{what} must be pairs of whole numbers, got {in_words(pair)}")
        for number in pair:
            checked_count(number, what)
