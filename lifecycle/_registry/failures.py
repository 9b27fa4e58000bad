"""Failures: errors of factories that answer further callers for a while, where a registry was asked to keep them."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

from .._ground import kernel
from .keyed import take_out
from .telling import Told

K = TypeVar("K")


class Failure(Generic[K]):
    """One error that is kept.

    Attributes:
        key: whose factory has raised it.
        due: when it is over.
        told: the error, as its factory left it.
        over: whether it answers no more.
    """

    __slots__ = ("due", "key", "over", "told")

    def __init__(self, key: K, due: float, told: Told) -> None:
        self.key = key
        self.due = due
        self.told = told
        self.over = False


class Failures(Generic[K]):
    """The last error of each key's factory.

    Bounded in number and time: the oldest go first, and none outlives its time.
    """

    __slots__ = ("_latest", "_limit", "_line", "_ttl")

    def __init__(self, ttl: float, limit: int = 1024) -> None:
        self._latest: dict[K, Failure[K]] = {}
        self._line: deque[Failure[K]] = deque()  # in the order in which they will be over, those that are included
        self._ttl = ttl
        self._limit = limit

    def remember(self, key: K, error: BaseException, now: float, *, in_caller: bool) -> None:
        """Let *error* answer for *key*.

        Args:
            key: whose factory has raised it.
            error: as the factory left it.
            now: the time.
            in_caller: whether that was called in a caller's task, whose frames it would keep alive.
        """
        self.expire(now)
        if isinstance(error, Exception):
            self.forget(key)
            self._latest[key] = failure = Failure(key, now + self._ttl, Told(error).kept(without_frames=in_caller))
            self._line.append(failure)
            if len(self._latest) > self._limit:
                self._end(next(failure for failure in self._line if not failure.over))
            if len(self._line) > 2 * self._limit:
                self._line = deque(failure for failure in self._line if not failure.over)

    def check(self, key: K, now: float) -> None:
        """Raise the error that answers for *key*, if any."""
        self.expire(now)
        failure = self._latest.get(key)
        if failure is not None:
            error = failure.told.for_another()
            try:
                raise error
            finally:
                del error  # whose traceback refers to this frame: a cycle

    def has(self, key: K, now: float) -> bool:
        """Whether an error answers for *key*."""
        self.expire(now)
        return key in self._latest

    def forget(self, key: K) -> None:
        """Let the next caller try again."""
        failure = self._latest.pop(key, None)
        if failure is not None:
            failure.over = True

    def expire(self, now: float) -> None:
        """Forget what is over."""
        while self._line and (self._line[0].over or self._line[0].due <= now):
            self._end(self._line.popleft())

    def next_due(self) -> float:
        """Return when the oldest will be over."""
        return self._line[0].due if self._line else kernel.FOREVER

    def clear(self) -> None:
        """Forget all."""
        self._latest.clear()
        self._line.clear()

    def _end(self, failure: Failure[K]) -> None:
        if not failure.over:
            failure.over = True
            take_out(self._latest, failure.key, failure)

    def __len__(self) -> int:
        return len(self._latest)
