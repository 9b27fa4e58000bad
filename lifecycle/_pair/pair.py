"""ReaderWorker: two loops that share a connection and end together, whichever of them ends first."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import AsyncIterator, Callable, Coroutine
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, cast

from .._ground import kernel
from .._ground.checks import (
    checked_async,
    checked_callable,
    checked_count,
    checked_name,
    checked_sync,
    checked_timeout,
)
from .._ground.closing import OwnerState
from .._ground.errors import OwnerClosed
from .._ground.foreign import combine
from .._ground.signatures import check_takes
from .._mailbox.box import Box
from .._task.waiting import Waiting, bound_tasks, closing_tasks, until_seen
from .closer import Abort, Close
from .ends import LinkOutcome, LoopEnd, failure_of
from .linked import NONE_EXEMPT, OVER, READY, RUNNING, Exempt, Linked
from .statistics import ReaderWorkerStatistics

__all__ = ["LinkOutcome", "LoopEnd", "ReaderWorker"]

T = TypeVar("T")

Reader = Callable[[Callable[[T], Coroutine[Any, Any, None]]], Coroutine[Any, Any, object]]
Worker = Callable[[AsyncIterator[T]], Coroutine[Any, Any, object]]


class ReaderWorker(Generic[T]):
    """Two loops per connection: one reads and sends, the other receives and works; the end of either ends both.

    Between them lies a mailbox: ``send`` waits while it is full, and no item is lost by a cancellation. When the reader
    *returns*, the worker gets what was read, and may take ``drain_timeout`` for it. When anything else ends one
    of them, the other is stopped: ``close`` is called, which frees a read that no cancellation can end, a blocked send
    or receive is freed, and both are joined.

    The block stops what is left when it is left, and does not end by itself: await `wait` in it. An error of a loop
    that `wait` has not returned is raised at the end of the block; one that only says that the resource was closed,
    raised after ``close`` was called, is not.

    Do not use it where one loop can read and answer by itself: a plain function is enough.

    Example::

        async def reader(send):
            while line := await connection.readline():
                await send(line)

        async def worker(receive):
            async for line in receive:
                await connection.write(answer(line))

        async with ReaderWorker(reader, worker, close=connection.close) as pair:
            outcome = await pair.wait()

    Args:
        reader: called with ``send``.
        worker: called with ``receive``, an asynchronous iterator that ends when the reader has.
        capacity: how many items wait for the worker before ``send`` waits, at least 1.
        close: closes what the loops read from; synchronous or asynchronous, called exactly once, when the first has
            ended and the other is not to go on.
        drain_timeout: seconds that the worker may go on after the reader has returned; None for no bound.
        close_timeout: seconds that a stopped loop may take, after which it is cancelled once more and then abandoned,
            with a `ReleaseTimeout`. ``close`` has as long before it is cancelled. None for no bound.
        abort: cuts what ``close`` closes, synchronously; called when ``close`` has taken too long, before it is
            cancelled, so that nothing stays open. For a stream writer: ``writer.transport.abort``.
        on_drop: called with each item that was sent and that the worker did not take, when all else is over; for what
            must be released. Synchronous, in the context that the pair was made in. What it raises is logged, and
            changes nothing.
        name: for errors and snapshots.

    Raises:
        TypeError, ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        reader: Reader[T],
        worker: Worker[T],
        *,
        capacity: int = 64,
        close: Close | None = None,
        drain_timeout: float | None = 5.0,
        close_timeout: float | None = 5.0,
        abort: Abort | None = None,
        on_drop: Callable[[T], object] | None = None,
        name: str | None = None,
    ) -> None:
        for function, what in ((reader, "reader"), (worker, "worker")):
            checked_async(function, f"{what} must be an async function")
            check_takes(function, 1, what)
        if on_drop is not None:
            checked_sync(on_drop, "on_drop", takes=1)
        self.name: str = checked_name(name, "pair")
        self.drain_timeout: float = checked_timeout(drain_timeout, "drain_timeout")
        self.close_timeout: float = checked_timeout(close_timeout, "close_timeout")
        self.capacity: int = checked_count(capacity, "capacity", least=1)
        self._mailbox: Box[T] = Box(f"pair {self.name!r}", self.capacity, "wait", on_drop)
        mailbox = self._mailbox  # not the pair itself: a cycle
        send = cast("Callable[[T], Coroutine[Any, Any, None]]", mailbox.send)
        self._linked = Linked(
            self.name,
            {"reader": lambda: reader(send), "worker": lambda: worker(mailbox)},
            close=checked_close(close),
            on_end=self._loop_ended,
            on_over=mailbox._drop_all,
            close_timeout=self.close_timeout,
            abort=checked_abort(abort, close),
        )
        self._reported = False
        self._closed_before = False

    def __repr__(self) -> str:
        return repr(self._linked)

    async def __aenter__(self) -> Self:
        """Start the loops; does not suspend.

        Cancellation: only where a loop cannot be started: held back until the others have ended.
        """
        if self._linked.state is not READY:
            raise OwnerClosed(f"{self} has been entered before, or closed: it is {self.state.value}; make another one")
        self._mailbox._bind()  # so that another thread is refused from the beginning
        await begin(self._linked)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop and join the loops, and raise what went wrong, the error of the block included.

        Cancellation: held back until both have ended, then raised, once.
        """
        held = await self._shut_down("its block was left", through=True)
        failure = self._failure()
        if isinstance(error, CancelledError):
            held = kernel.foremost(error, held)
        elif error is not None:
            failure = error if failure is None else combine(f"errors in and of {self}", [error, failure])
        try:
            kernel.conclude(failure, held, error)
        finally:
            del self, failure, held, error  # whose tracebacks refer to this frame: a cycle

    async def wait(self) -> LinkOutcome:
        """Return what became of both loops, as soon as both have ended and the resource is closed.

        Their errors are in the outcome, and not raised; they are logged where nobody looks. Several tasks may wait.

        Cancellation: ends the waiting and leaves the pair running; leaving the block then stops it.

        Raises:
            OwnerClosed: it has not been entered.
        """
        if self._linked.state is READY:
            raise OwnerClosed(f"{self} has not been entered; use `async with` first")
        if self._linked.state is not OVER:
            future = self._linked.watch()
            try:
                with Waiting(self._linked, bound=False):
                    await kernel.wait(future)
            finally:
                self._linked.unwatch(future)
        self._reported = True
        return self._linked.report()

    def stop_reading(self) -> None:
        """Stop the reader; the worker may go on with what was read, for at most ``drain_timeout``. Idempotent."""
        self._linked.stop_one("reader", f"{self} takes nothing more", self.drain_timeout)

    def cancel(self, reason: str | None = None) -> None:
        """Stop both loops and close the resource, without waiting for that. Idempotent.

        Args:
            reason: why; it is in the outcome, and the message of the ``CancelledError`` in the loops.
        """
        self._linked.stop(reason or "it was cancelled")

    async def aclose(self) -> LinkOutcome:
        """Stop both loops, close the resource, wait until they have ended, and return how; from any task. Idempotent.

        A loop of the pair that closes it is neither stopped nor waited for. Errors of the loops are in the outcome, and
        raised at the end of the block unless `wait` has returned them.

        Cancellation: held back until both have ended, and ``close``: at most ``close_timeout`` and a grace, and as long
        again for a ``close`` that has to be cancelled. Raised then. A second caller just stops waiting.
        """
        held = await self._shut_down("it was closed", through=not self._closed_before)
        kernel.conclude(None, held)
        return self._linked.outcome()

    @property
    def state(self) -> OwnerState:
        """Whether both loops run (open), one has ended (closing), or all is over (closed)."""
        if self._linked.state in (READY, RUNNING):
            return OwnerState.OPEN
        return OwnerState.CLOSED if self._linked.state is OVER else OwnerState.CLOSING

    @property
    def closed(self) -> bool:
        """Whether both loops have ended and the resource is closed."""
        return self._linked.state is OVER

    @property
    def waiting(self) -> int:
        """How many items have been sent and not yet received."""
        return len(self._mailbox)

    def statistics(self) -> ReaderWorkerStatistics:
        """Return what the pair holds at this moment, and how its loops stand."""
        return ReaderWorkerStatistics(
            name=self.name,
            state=self.state.value,
            capacity=self.capacity,
            waiting=len(self._mailbox),
            waiting_senders=self._mailbox.waiting_senders,
            reader=self._linked.standing("reader"),
            worker=self._linked.standing("worker"),
        )

    def _loop_ended(self, end: LoopEnd) -> float:
        """Let the other loop know, and say for how long it may go on."""
        if end.name == "worker":
            self._linked.undelivered = len(self._mailbox)
            self._mailbox.close("its worker has ended")
            return 0.0
        self._mailbox.close("its reader has ended")
        return self.drain_timeout if end.how == "returned" else 0.0

    async def _shut_down(self, why: str, *, through: bool) -> CancelledError | None:
        self._closed_before = True
        held = None if self.closed else await until_seen()
        if held is not None and not through:
            return held
        # While it stops, `close` runs already; it may close what the calling task belongs to, and so wait for that.
        with Waiting(self._linked):
            self._linked.stop(why, exempt_tasks().bound)
            return kernel.foremost(held, await join(self._linked, exempt_tasks(), through=through))

    def _failure(self) -> BaseException | None:
        if self._reported or self._linked.state is not OVER:
            return None
        self._reported = True
        return failure_of(self._linked.outcome(), f"errors of {self}")


def checked_close(close: Close | None) -> Close | None:
    """Return *close*.

    Raises:
        TypeError: it cannot be called.
    """
    if close is not None:
        checked_callable(close, "close", takes=0)
    return close


def checked_abort(abort: Abort | None, close: Close | None) -> Abort | None:
    """Return *abort*.

    Raises:
        TypeError: it is not a synchronous function.
        ValueError: there is no *close* that could take too long.
    """
    if abort is not None:
        checked_sync(abort, "abort", takes=0)
        if close is None:
            raise ValueError("abort is called when close takes too long; give close as well")
    return abort


async def begin(linked: Linked) -> None:
    """Start the loops; where one cannot be started, those that run already are stopped and joined first."""
    try:
        linked.begin()
    except BaseException:
        await join(linked, NONE_EXEMPT, through=True)
        raise


def exempt_tasks() -> Exempt:
    """Return whom the calling task must not wait for."""
    return Exempt(closing_tasks(), bound_tasks(kernel.current_task()))


async def join(linked: Linked, exempt: Exempt, *, through: bool) -> CancelledError | None:
    """Wait until nothing is left but what *exempt* tasks run; return the cancellation held back."""
    if linked.quiet(exempt):
        return None
    future = linked.watch(exempt)
    try:
        with Waiting(linked, bound=through):
            if through:
                return await kernel.wait_through(future)
            await kernel.wait_shielded(future)
            return None
    finally:
        linked.unwatch(future)
