"""Limits, as a program sets them: of queues, of handlers, and of everything in a store."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lifecycle import Rate

from .._ground.checks import check_integer, is_number
from .._store.limit_record import LimitRecord
from .._store.limits import EVERYTHING, HEAVIEST, LIGHTEST, Limit, LimitKey, check_queue
from .engine import Engine


class Limits:
    """What holds back the jobs of a scheduler's store; see ``Scheduler.limits``.

    Every method asks the store, so that all schedulers of it keep to the same limits. *queue* or *handler* says what is
    meant; neither means everything.
    """

    def __init__(self, engine: Callable[[], Engine]) -> None:
        self._engine = engine

    async def set(
        self,
        *,
        queue: str | None = None,
        handler: str | None = None,
        limit: int | None = None,
        rate: Rate | None = None,
        weight: float = 1.0,
    ) -> None:
        """Set the limit of a queue, of a handler, or of everything, in place of what it was. A pause stays as it is.

        What a rate has let in counts for the one that takes its place: setting it again does not let in another burst.
        Jobs that run go on, though they may be more than the new limit.

        Cancellation: it may be set.

        Args:
            queue: the queue's name.
            handler: the handler's name; jobs of flows that are a ``call`` of it count as well.
            limit: how many run at once over all schedulers of the store; None for no bound, 0 for none.
            rate: how many begin in a time; None for no bound.
            weight: of a queue: its share of the workers while other queues have jobs as well.

        Raises:
            OwnerClosed: the scheduler is not open.
            StoreError: the store cannot be used any more.
            TypeError, ValueError: an argument is not right.
        """
        key = limit_key(queue, handler)
        await self._engine().store.put_limit(new_limit(key, limit, rate, weight))

    async def pause(self, *, queue: str | None = None, handler: str | None = None) -> bool:
        """Let no more jobs of a queue, of a handler, or at all, begin until `resume`; what runs goes on.

        It outlives the process, where the store does. Jobs can be submitted meanwhile, and wait.

        Cancellation: it may be paused.

        Returns:
            Whether it was not paused before.

        Raises:
            OwnerClosed: the scheduler is not open.
            StoreError: the store cannot be used any more.
            TypeError, ValueError: an argument is not right.
        """
        return await self._engine().store.pause(limit_key(queue, handler), paused=True)

    async def resume(self, *, queue: str | None = None, handler: str | None = None) -> bool:
        """End a pause; of everything, that of everything alone: a queue that was paused by itself still is.

        Cancellation: it may be resumed.

        Returns:
            Whether it was paused before.

        Raises:
            OwnerClosed: the scheduler is not open.
            StoreError: the store cannot be used any more.
            TypeError, ValueError: an argument is not right.
        """
        return await self._engine().store.pause(limit_key(queue, handler), paused=False)

    async def records(self) -> Sequence[LimitRecord]:
        """Return all limits, and the queues that have jobs which run or could.

        Cancellation: nothing has happened.

        Raises:
            OwnerClosed: the scheduler is not open.
            StoreError: the store cannot be used any more.
        """
        return await self._engine().store.limits()


def limit_key(queue: str | None, handler: str | None) -> LimitKey:
    """Return what a limit is about: a queue, a handler, or everything.

    Raises:
        TypeError, ValueError: it is both, or the name is none.
    """
    if queue is not None and handler is not None:
        raise ValueError("a limit is of a queue or of a handler, got both")
    if queue is None and handler is None:
        return EVERYTHING
    kind, name = ("queue", queue) if handler is None else ("handler", handler)
    assert name is not None
    check_queue(name, kind)
    return LimitKey(kind, name)


def new_limit(key: LimitKey, limit: int | None, rate: Rate | None, weight: float) -> Limit:
    """Return a limit to be set.

    Raises:
        TypeError, ValueError: an argument is not right.
    """
    if limit is not None:
        check_integer(limit, "limit", 0, 10**6)
    if rate is not None and not isinstance(rate, Rate):
        raise TypeError(f"rate must be a Rate, got {rate!r}")
    if not is_number(weight):
        raise TypeError(f"weight must be a number, got {weight!r}")
    if not LIGHTEST <= weight <= HEAVIEST:
        raise ValueError(f"weight must be from {LIGHTEST:g} to {HEAVIEST:,.0f}, got {weight!r}")
    if weight != 1.0 and key.kind != "queue":
        raise ValueError("a weight is of a queue: handlers and everything have none")
    return Limit(key, at_once=limit, rate=rate, weight=float(weight))
