"""as_completed: awaitables as they end, whichever is first; leaving early cancels and joins the rest."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import AsyncIterable, Awaitable, Iterable
from contextvars import copy_context
from types import TracebackType
from typing import Generic, Self, TypeVar

from .._ground import kernel
from .._ground.bell import Bell
from .._ground.calls import coroutine_for, name_of
from .._ground.checks import checked_limit
from .._ground.foreign import without_our_frame
from .._task.handle import TaskHandle, TaskStatus
from .gather import ResultGroup
from .group import CLOSED, OPEN
from .member import Member
from .source import END, Source

T = TypeVar("T")


def as_completed(
    aws: Iterable[Awaitable[T]] | AsyncIterable[Awaitable[T]], *, limit: int | None = None
) -> Completions[T]:
    """Await all of *aws* and return an asynchronous iterator over their tasks, in the order in which they end.

    Every task comes as a `TaskHandle` that is done: ``await handle`` or ``handle.result()`` is its value or raises its
    error. An error cancels none of the others; it is yours to look at.

    Use it as a context manager where the loop may be left before its end: leaving the block cancels the rest and joins
    it. Without one, a loop that runs to its end, or is cancelled, leaves nothing behind either; one that is left by
    ``break`` or an error has its tasks cancelled but not waited for, and a ``ResourceWarning`` says so.

    No more of *aws* is taken than slots are free, and while you work on one result at most *limit* others wait for
    you: it may be endless. Whenever that is, it happens in a copy of the context of this call: what you do to context
    variables between two results is seen neither by the tasks nor by *aws*.

    Example::

        async with as_completed((fetch(url) for url in urls), limit=10) as pages:
            async for page in pages:
                print(len(page.result()))

    Args:
        aws: iterable of awaitables, asynchronous or not. An asynchronous one is iterated by a task of its own.
        limit: how many may run at once, at least 1; None for no bound.

    Raises:
        TypeError: *aws* cannot be iterated.
        ValueError: *limit* is too small.
    """
    return Completions(aws, limit)


class Completions(Generic[T]):
    """The asynchronous iterator that `as_completed` returns; for one task at a time."""

    def __init__(self, aws: Iterable[Awaitable[T]] | AsyncIterable[Awaitable[T]], limit: int | None) -> None:
        self._harvest: Harvest[T] = Harvest(aws, checked_limit(limit))
        self._in_block = False

    async def __aenter__(self) -> Self:
        """Start the first tasks; does not suspend."""
        self._in_block = True
        await self._harvest.open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Cancel what is still running and join it.

        Cancellation: held back until all have ended, then raised, once.
        """
        await self._harvest.leave(error)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> TaskHandle[T]:
        """Return the handle of the task that ended next.

        Cancellation: inside a block, ends the waiting and loses nothing. Elsewhere, cancels what is running and joins
        it first.

        Raises:
            StopAsyncIteration: all have been returned.
            BaseException: what the iterable of awaitables raised; what has ended before comes first.
        """
        harvest = self._harvest
        if self._in_block:
            return await harvest.next()
        if not harvest.opened:
            await harvest.open()
        try:
            return await harvest.next()
        except BaseException as error:
            await harvest.leave(None if isinstance(error, StopAsyncIteration) else error)
            raise

    def __del__(self) -> None:
        harvest = getattr(self, "_harvest", None)
        if harvest is not None and harvest.cancel_unjoined():
            warnings.warn(
                "a loop over as_completed() was left before its end, and the rest has been cancelled; use "
                "`async with as_completed(...) as completions:` so that it is waited for",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )


class Harvest(ResultGroup, Generic[T]):
    """What runs behind a `Completions`; it knows nothing of it, so that one that was left is noticed."""

    def __init__(self, aws: Iterable[Awaitable[T]] | AsyncIterable[Awaitable[T]], limit: int | None) -> None:
        super().__init__("as_completed", keep_errors=True)
        self._context = copy_context()
        self._source: Source[Awaitable[T]] = Source(aws, self._context)
        self._limit = limit
        self._ready: deque[TaskHandle[T]] = deque()
        self._working = 0
        self._exhausted = False
        self._source_error: BaseException | None = None
        self._by_task = isinstance(aws, AsyncIterable)
        self._consumer: Bell  # both from `open` on, which is in the loop
        self._feeder: Bell
        self.opened = False

    async def open(self) -> None:
        """Begin."""
        self._consumer, self._feeder = Bell(), Bell()
        await self.__aenter__()
        self.opened = True
        if self._by_task:
            self._context.run(self.create_task, self._feed(), name="feeder of as_completed")

    async def next(self) -> TaskHandle[T]:
        """Return the next task that has ended.

        Cancellation: nothing is lost.
        """
        while self._state is OPEN:
            while not self._by_task and not self._exhausted and self._has_room:
                await self._take_one()
            if self._ready:
                self._feeder.ring()
                return self._ready.popleft()
            if self._source_error is not None:
                error, self._source_error = self._source_error, None
                try:
                    if isinstance(error, StopAsyncIteration):  # raised as it is, it would be the end of the loop
                        raise RuntimeError("the source of as_completed() raised StopAsyncIteration") from error
                    raise error
                finally:
                    del error  # which its traceback would refer to: a cycle
            if self._exhausted and not self._working:
                break
            await self._consumer.sleep(kernel.FOREVER)
        raise StopAsyncIteration

    async def leave(self, error: BaseException | None) -> None:
        """Cancel the rest and join it; raises what it raises while it cleans up.

        Cancellation: held back until all have ended, then raised, once.
        """
        if self._state is not OPEN:
            return
        self._body.leave()  # by itself: an interruption would be one more cancellation of whoever leaves
        self._end(f"{self} was left")
        try:
            await self.__aexit__(type(error) if error is not None else None, error, None)
        finally:
            self._source.discard_rest()
            self._ready.clear()

    def cancel_unjoined(self) -> bool:
        """Cancel the rest, which cannot be waited for any more; return whether there was any."""
        if self._state is CLOSED:
            return False
        if not self._members:
            self._source.discard_rest()
            self._close()
            return False
        self._members.cancel_all(f"{self} was left")
        return True

    @property
    def _has_room(self) -> bool:
        return self._limit is None or (self._working < self._limit and len(self._ready) < self._limit)

    async def _take_one(self) -> None:
        """Take one awaitable from the source and start it."""
        try:
            aw = await self._source.pull()
            coro = None if aw is END else coroutine_for(aw)
        except Exception as error:
            self._exhausted = True
            self._source_error = without_our_frame(error)
        else:
            if coro is None:
                self._exhausted = True
                return
            if self._ending is not None:
                coro.close()
                self._exhausted = True
                return
            self._working += 1
            if self._by_task:  # whose own context is a copy of that, and what the source is iterated in
                self._members.add_handle(coro, name_of(coro))
            else:
                self._context.run(self._members.add_handle, coro, name_of(coro))

    async def _feed(self) -> None:
        """Take from an asynchronous source, in one task from its beginning to its end."""
        try:
            while not self._exhausted:
                while not self._has_room:
                    await self._feeder.sleep(kernel.FOREVER)
                await self._take_one()
        finally:
            self._exhausted = True
            self._consumer.ring()
            await self._source.aclose()

    def _needs_all_ends(self) -> bool:
        return True

    def _member_ended(self, member: Member, status: TaskStatus, outcome: object) -> None:
        super()._member_ended(member, status, outcome)
        if isinstance(member, TaskHandle):
            self._working -= 1
            self._ready.append(member)
        self._consumer.ring()
