"""InTurn: the native tasks of a group with bounds: each exists at once, and waits in its first step for its turn."""

from __future__ import annotations

from asyncio import CancelledError, Task
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar

from .._ground import kernel
from .._limits.quotas import Quotas
from .._limits.share import Share
from .._limits.turns import Caller
from .._task.slots import Slots

T = TypeVar("T")


class InTurn:
    """What `Members` does with a native task over the limit; its attributes are described there."""

    __slots__ = ()

    _dropping: str | None
    _places: dict[Task[Any], Caller]
    _quotas: Quotas | None
    _running: set[object]
    _slots: Slots | None
    _waiting: dict[Task[Any], Coroutine[Any, Any, Any]]

    def _add_bounded_task(
        self,
        spawn: Callable[..., Task[T]],
        share: Share | None,
        coro: Coroutine[Any, Any, T],
        name: str | None,
        context: Context | None,
    ) -> Task[T]:
        assert self._slots is not None
        if self._quotas is not None:
            return self._add_keyed_task(spawn, share, coro, name, context)
        if self._slots.free:
            self._running.add(coro)  # so that an eager first step finds the slot taken
            try:
                task = spawn(coro, name, context)
            finally:
                self._running.discard(coro)
            self._running.add(task)
            return task
        in_turn = self._run_in_turn(coro)
        try:
            task = spawn(in_turn, name, context)
        except BaseException:
            in_turn.close()
            raise
        self._waiting[task] = coro
        return task

    def _add_keyed_task(
        self,
        spawn: Callable[..., Task[T]],
        share: Share | None,
        coro: Coroutine[Any, Any, T],
        name: str | None,
        context: Context | None,
    ) -> Task[T]:
        assert self._quotas is not None
        turns = self._quotas.turns
        share = turns.share_for_anybody if share is None else share
        if turns.keep(share):
            try:
                task = spawn(coro, name, context)
            except BaseException:
                turns.release(share)
                raise
            self._running.add(task)
            self._quotas.assign(task, share)
            return task
        place = turns.place_for(share)
        in_turn = self._run_at(place, coro)
        try:
            task = spawn(in_turn, name, context)
        except BaseException:
            turns.give_up(place)
            in_turn.close()
            raise
        if not task.done():  # eager, it may have been cancelled
            self._waiting[task] = coro
            self._places[task] = place
        return task

    async def _run_at(self, place: Caller, coro: Coroutine[Any, Any, T]) -> T:
        assert self._quotas is not None
        task = kernel.current_task()
        try:
            await self._quotas.turns.wait_at(place, kernel.FOREVER, "its turn")
        finally:
            self._places.pop(task, None)
        if self._dropping is not None:
            self._quotas.turns.release(place.share)
            raise CancelledError("dropped while it waited for a slot")
        del self._waiting[task]
        self._running.add(task)
        self._quotas.assign(task, place.share)
        del task  # which keeps the error whose traceback keeps this frame: a cycle
        return await coro

    async def _run_in_turn(self, coro: Coroutine[Any, Any, T]) -> T:
        assert self._slots is not None
        await self._slots.wait_for_slot()
        if self._dropping is not None:
            self._slots.give_back()
            raise CancelledError("dropped while it waited for a slot")
        self._slots.take()
        task = kernel.current_task()
        del self._waiting[task]
        self._running.add(task)
        del task  # which keeps the error whose traceback keeps this frame: a cycle
        return await coro
