"""gather, amap and as_completed: a StopAsyncIteration of the user's is an error, and never their own end."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest

from lifecycle import amap, as_completed, gather

from ..loops import on_every_loop, run_on
from .sources import each

LIMITS = pytest.mark.parametrize("limit", [None, 1, 2])


async def same(item: Any) -> Any:
    """Return the item."""
    return item


async def stop_late(item: int) -> int:
    """Raise at the second item, once it runs."""
    await asyncio.sleep(0)
    if item == 2:
        raise StopAsyncIteration("mine")
    return item


def stop_early(item: int) -> Coroutine[Any, Any, int]:
    """Raise at the second item, while the coroutine is being made."""
    if item == 2:
        raise StopAsyncIteration("mine")
    return same(item)


class Stopping:
    """An iterator that raises an error of its own after two items."""

    def __init__(self, make: Callable[[int], Any], error: type[Exception]) -> None:
        self._numbers = iter(range(2))
        self._make = make
        self._errors = iter([error("mine")])

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        for number in self._numbers:
            return self._make(number)
        raise next(self._errors)


class Wrapped:
    """The same, as an asynchronous iterator."""

    def __init__(self, make: Callable[[int], Any], error: type[Exception]) -> None:
        self._items = Stopping(make, error)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        return self._items.__next__()


def number_itself(number: int) -> int:
    """Return the number."""
    return number


async def results_of(completions: Any) -> list[Any]:
    """Return what a loop over completions meets, errors included."""
    return [handle.exception() or handle.result() async for handle in completions]


def outcome(new_loop: Any, work: Coroutine[Any, Any, Any]) -> Any:
    """Return what comes of *work*: its value, or the error that leaves it."""

    async def main() -> Any:
        try:
            return await work
        except Exception as error:
            return error

    return run_on(new_loop, main())


@on_every_loop
@LIMITS
@pytest.mark.parametrize("fn", [stop_late, stop_early])
@pytest.mark.parametrize("source", [list, each])
def test_amap_raises_what_its_function_raises(new_loop: Any, limit: int | None, fn: Any, source: Any) -> None:
    """It used to return the results of the items before: the rest was never called."""
    error = outcome(new_loop, amap(fn, source([1, 2, 3]), limit=limit))
    assert (type(error), error.args) == (StopAsyncIteration, ("mine",))


@on_every_loop
@LIMITS
def test_gather_raises_what_its_source_raises(new_loop: Any, limit: int | None) -> None:
    """A generator passes a StopAsyncIteration on, unlike a StopIteration, which Python itself turns into an error."""
    error = outcome(new_loop, gather((stop_early(item) for item in (1, 2, 3)), limit=limit))
    assert (type(error), error.args) == (StopAsyncIteration, ("mine",))
    error = outcome(new_loop, gather(Stopping(same, StopAsyncIteration), limit=limit))
    assert type(error) is StopAsyncIteration
    error = outcome(new_loop, gather(Wrapped(same, StopIteration), limit=limit))
    assert type(error) is RuntimeError


@on_every_loop
@LIMITS
def test_amap_raises_what_its_items_raise(new_loop: Any, limit: int | None) -> None:
    """Of either kind of iterable."""
    error = outcome(new_loop, amap(same, Stopping(number_itself, StopAsyncIteration), limit=limit))
    assert type(error) is StopAsyncIteration
    error = outcome(new_loop, amap(same, Wrapped(number_itself, StopIteration), limit=limit))
    assert type(error) is RuntimeError


@on_every_loop
@LIMITS
def test_the_right_kind_of_end_is_an_end(new_loop: Any, limit: int | None) -> None:
    """What the protocol of an iterator calls its end."""
    assert outcome(new_loop, gather(Stopping(same, StopIteration), limit=limit)) == [0, 1]
    assert outcome(new_loop, gather(Wrapped(same, StopAsyncIteration), limit=limit)) == [0, 1]
    assert outcome(new_loop, amap(same, Wrapped(number_itself, StopAsyncIteration), limit=limit)) == [0, 1]


@on_every_loop
@LIMITS
@pytest.mark.parametrize("in_block", [False, True])
def test_as_completed_cannot_raise_it_as_it_is(new_loop: Any, limit: int | None, in_block: bool) -> None:
    """Raised in a loop, it would end that loop as if all had come; so it is the cause of a RuntimeError."""

    async def main() -> None:
        completions = as_completed(Stopping(same, StopAsyncIteration), limit=limit)
        seen = []
        with pytest.raises(RuntimeError, match="source of as_completed") as caught:
            if in_block:
                async with completions:
                    seen += [handle.result() async for handle in completions]
            else:
                async for handle in completions:
                    seen.append(handle.result())
        assert isinstance(caught.value.__cause__, StopAsyncIteration)
        assert set(seen) <= {0, 1}

    run_on(new_loop, main())


@on_every_loop
@LIMITS
def test_a_task_that_raises_it_is_one_result_among_others(new_loop: Any, limit: int | None) -> None:
    """Neither a loop over completions nor the results of gather end with it."""

    async def main() -> None:
        found = await results_of(as_completed(map(stop_late, (1, 2, 3)), limit=limit))
        assert sorted(map(str, found)) == ["1", "3", "mine"]
        first, error, last = await gather(map(stop_late, (1, 2, 3)), limit=limit, return_exceptions=True)
        assert (first, type(error), last) == (1, StopAsyncIteration, 3)

    run_on(new_loop, main())


@on_every_loop
def test_it_leaves_a_block_like_every_other_error(new_loop: Any) -> None:
    """Raised in the block around the loop, it is not lost beside what the rest raises while it is cancelled."""

    async def clumsy() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("while it was cleaning up")

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with as_completed([same(1), clumsy()]) as completions:
                async for _ in completions:
                    raise StopAsyncIteration("mine")
        assert sorted(type(error).__name__ for error in caught.value.exceptions) == ["StopAsyncIteration", "ValueError"]

    run_on(new_loop, main())
