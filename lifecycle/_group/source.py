"""Source: an iterable of either kind, taken from one item at a time, and closed when it is left early."""

from __future__ import annotations

import enum
from collections.abc import AsyncIterable, AsyncIterator, Generator, Iterable, Iterator, Sized
from contextvars import Context
from inspect import isasyncgen, iscoroutine
from typing import Final, Generic, Literal, TypeVar

T = TypeVar("T")

#: Items, none of which may have suspended, after which others get a turn and a cancellation can arrive.
BREATH_EVERY = 64


class Mark(enum.Enum):
    """What a source returns instead of an item."""

    END = "end"  #: there is none any more


#: A value and no StopAsyncIteration: that one may just as well come from the code that makes the items, as its error.
END: Final = Mark.END


class Source(Generic[T]):
    """Items of an iterable, asynchronous or not.

    Args:
        items: the iterable.
        context: in which an iterable that is not asynchronous makes its items; the caller's unless given.

    Raises:
        TypeError: *items* cannot be iterated.
    """

    def __init__(self, items: Iterable[T] | AsyncIterable[T], context: Context | None = None) -> None:
        self._context = context
        self._sync: Iterator[T] | None = None
        self._async: AsyncIterator[T] | None = None
        self._is_lazy = not isinstance(items, Sized)
        self._pulled = 0
        if isinstance(items, AsyncIterable):
            self._async = aiter(items)
        else:
            self._sync = iter(items)

    async def pull(self) -> T | Literal[Mark.END]:
        """Return the next item, or END.

        Cancellation: whatever it means to the iterable.
        """
        self._pulled += 1
        if self._is_lazy and self._pulled % BREATH_EVERY == 0:
            await Breath()
        if self._async is not None:
            try:
                return await anext(self._async)
            except StopAsyncIteration:
                return END
        assert self._sync is not None
        return next(self._sync, END) if self._context is None else self._context.run(next, self._sync, END)

    async def aclose(self) -> None:
        """End an asynchronous generator that has not come to its end; leave every other iterable to its owner.

        Cancellation: passed on to the generator's clean-up. Not shielded: the generator may hold anyio scopes that
        were entered in this task, and those cannot be left inside a younger one.
        """
        if isasyncgen(self._async):
            await self._async.aclose()

    def discard_rest(self) -> None:
        """Close the coroutines that were handed over in a collection and have not been taken."""
        if not self._is_lazy and self._sync is not None:
            for item in self._sync:
                if iscoroutine(item):
                    item.close()


class Breath:
    """What ``asyncio.sleep(0)`` waits for: the next iteration of the loop."""

    def __await__(self) -> Generator[None, None, None]:
        yield
