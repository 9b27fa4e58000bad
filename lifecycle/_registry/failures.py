"""Failures: errors of factories that answer further callers for a while, where a registry was asked to keep them."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

from .._ground import kernel
from .._ground.foreign import with_traceback

K = TypeVar("K")


class Failures(Generic[K]):
    """The last error of each key's factory.

    Bounded in number and time: the oldest go first, and none outlives its time.
    """

    __slots__ = ("_errors", "_limit", "_ttl")

    def __init__(self, ttl: float, limit: int = 1024) -> None:
        self._errors: OrderedDict[K, tuple[float, Exception]] = OrderedDict()
        self._ttl = ttl
        self._limit = limit

    def remember(self, key: K, error: BaseException, now: float) -> None:
        """Let *error* answer for *key*, without the frames and the locals that its traceback refers to."""
        self.expire(now)
        if isinstance(error, Exception):
            self._errors.pop(key, None)
            self._errors[key] = (now + self._ttl, with_traceback(error, None))
            if len(self._errors) > self._limit:
                self._errors.popitem(last=False)

    def check(self, key: K, now: float) -> None:
        """Raise the error that answers for *key*, if any."""
        self.expire(now)
        if key in self._errors:
            raise with_traceback(self._errors[key][1], None)

    def forget(self, key: K) -> None:
        """Let the next caller try again."""
        self._errors.pop(key, None)

    def expire(self, now: float) -> None:
        """Forget what is over."""
        while self._errors and next(iter(self._errors.values()))[0] <= now:
            self._errors.popitem(last=False)

    def next_due(self) -> float:
        """Return when the oldest will be over."""
        return next(iter(self._errors.values()))[0] if self._errors else kernel.FOREVER

    def clear(self) -> None:
        """Forget all."""
        self._errors.clear()

    def __len__(self) -> int:
        return len(self._errors)
