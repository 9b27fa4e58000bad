"""What the tests of growth count: the steps that the interpreter makes in a part of a program."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any

from benchmarks.growth_cases import Case

from ..collection import without_collection


def count_steps(case: Case, size: int) -> Counter[str]:
    """Return how many lines of Python are run in each lap of *case*: no clock, so no noise.

    What is done in C counts nothing. See `HoleyDict` for the one thing there that has bitten us.
    """
    steps: Counter[str] = Counter()
    count = 0

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal count
        count += 1
        return trace

    @contextmanager
    def laps(name: str, operations: int) -> Iterator[None]:
        before, outer = count, sys.gettrace()
        sys.settrace(trace)
        try:
            yield
        finally:
            sys.settrace(outer)
            steps[name] += count - before

    outermost = sys.gettrace()
    try:
        with without_collection():  # what it ends of other tests would count
            asyncio.run(case(size, laps))
    finally:
        sys.settrace(outermost)  # laps of several tasks may end in another order, and every later test would be slow
    return steps


def functions_called(cases: Iterable[Case], size: int) -> set[CodeType]:
    """Return the code of every function that is called in a lap of one of *cases*, also in threads of theirs."""
    called: set[CodeType] = set()
    measured = 0

    def note(frame: FrameType, event: str, arg: Any) -> None:
        if measured and event == "call":
            called.add(frame.f_code)

    @contextmanager
    def laps(name: str, operations: int) -> Iterator[None]:
        nonlocal measured
        measured += 1  # a number, because laps of several tasks may end in another order
        try:
            yield
        finally:
            measured -= 1

    before, before_in_threads = sys.getprofile(), threading.getprofile()
    sys.setprofile(note)
    threading.setprofile(note)
    try:
        for case in cases:
            asyncio.run(case(size, laps))
    finally:
        sys.setprofile(before)
        threading.setprofile(before_in_threads)
    return called


class HoleyDict(dict[Any, Any]):
    """A dict that counts what CPython's walks over: a key that is deleted leaves a hole until the next growth.

    Only `popitem` takes the holes at the end away. What looks at the last key, and deletes it, walks over all holes
    before it, every time.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.places: list[Any] = list(self)
        self.place_of = {key: index for index, key in enumerate(self.places)}
        self.walked = 0

    def __setitem__(self, key: Any, value: Any) -> None:
        if key not in self:
            self.place_of[key] = len(self.places)
            self.places.append(key)
        super().__setitem__(key, value)

    def __delitem__(self, key: Any) -> None:
        super().__delitem__(key)
        self.places[self.place_of.pop(key)] = None

    def pop(self, key: Any, *default: Any) -> Any:
        if key in self:
            self.places[self.place_of.pop(key)] = None
        return super().pop(key, *default)

    def popitem(self) -> tuple[Any, Any]:
        while self.places[-1] is None:
            self.walked += 1
            self.places.pop()
        del self.place_of[self.places.pop()]
        return super().popitem()

    def __reversed__(self) -> Iterator[Any]:  # type: ignore[override]
        for key in reversed(self.places):
            self.walked += 1
            if key is not None:
                yield key
