"""Waking: completing what somebody waits for; and, where there are many, not all of them in one step."""

from asyncio import Future
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

from .kernel import current_loop

T = TypeVar("T")

#: How many are woken in one step; the others wait for the next turn of the loop.
MANY = 250


def wake(waiter: Future[None]) -> None:
    """Complete *waiter*, unless it is done; where its loop has been closed, nobody is left to be woken.

    Tasks that such a loop has left behind end when they are collected, and their owners are told all the same.
    """
    if waiter.done():
        return
    try:
        waiter.set_result(None)
    except RuntimeError:
        if not waiter.get_loop().is_closed():
            raise


def put_off(rest: Callable[[], object]) -> bool:
    """Have *rest* called in the next turn of the loop; return False where none runs, and nothing has to be put off."""
    loop = current_loop()
    if loop is None:
        return False
    loop.call_soon(rest)
    return True


def in_turns(items: Iterable[T], do: Callable[[T], object]) -> None:
    """Call *do* with each of *items*, with many in one step; the others have the next turns, where a loop runs."""
    _do_some(deque(items), do)


def _do_some(left: deque[T], do: Callable[[T], object]) -> None:
    done = 0
    while left:
        if done >= MANY and put_off(partial(_do_some, left, do)):  # not a function within: it would be a cycle
            return
        do(left.popleft())
        done += 1
