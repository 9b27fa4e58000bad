"""One SQLite connection in one thread: the loop never waits for a disk, and many operations share one commit."""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

from .._ground.bridge import Bridge, Reply

T = TypeVar("T")

Operation: TypeAlias = "Callable[[sqlite3.Connection], T]"

BATCH = 512
"""Operations that share one transaction at most."""


class _Queued(Generic[T]):
    """One operation and the place for its answer."""

    __slots__ = ("operation", "reply")

    def __init__(self, operation: Operation[T], reply: Reply[Any]) -> None:
        self.operation = operation
        self.reply = reply


class _Standing(_Queued["tuple[T, float | None]"]):
    """An operation that is tried after every batch until it has an answer."""

    __slots__ = ()


_END, _NUDGE = object(), object()

_Answer: TypeAlias = "tuple[_Queued[Any], Any, BaseException | None]"


class SqliteThread:
    """Runs operations on one connection, in order, each batch of waiting ones in one transaction.

    An operation is a function of the connection that changes nothing but the database: when a batch fails it is rolled
    back, and its operations are run again one by one, so that only the guilty one fails.

    The queue is not bounded by itself: every operation has a task that waits for it.

    Args:
        connect: makes the connection, in the thread.
        begin: the statement that begins a transaction.
        name: the thread's name.
        rolled_back: called in the thread after a transaction was rolled back.
    """

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        begin: str,
        name: str,
        rolled_back: Callable[[], object] = lambda: None,
    ) -> None:
        self._after_rollback = rolled_back
        self._connect = connect
        self._begin = begin
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        # These three belong to the thread.
        self._batch: list[_Queued[Any]] = []
        self._standing: _Standing[Any] | None = None
        self._pause: float | None = None
        self._bridge = Bridge()
        self._opened: Reply[None] = Reply()
        self._ended: Reply[None] = Reply()
        self._closing = False
        # A daemon: a store that was not closed must not keep the process from ending, and a commit survives that.
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)

    async def open(self) -> None:
        """Start the thread and wait until it has its connection; raise what connecting raised."""
        self._thread.start()
        await self._opened

    def run(self, operation: Operation[T]) -> Awaitable[T]:
        """Run *operation*; await the result to get what it returned, after its transaction has been committed.

        Cancellation: ends the waiting; the operation may be done nevertheless.

        Raises:
            sqlite3.Error: the database refused it; nothing of it was kept.
        """
        if self._closing:
            raise sqlite3.ProgrammingError("the connection is closed")
        reply: Reply[T] = Reply()
        self._queue.put(_Queued(operation, reply))
        return reply

    def run_standing(self, operation: Operation[tuple[T, float | None]]) -> Awaitable[T]:
        """Try *operation* now and at the end of every transaction, until it has an answer; return that.

        Only one can stand at a time. It returns ``(answer, pause)``; an empty answer is none, and makes it be tried
        again after *pause* seconds, None for not before something else is done.

        Cancellation: ends the waiting; an answer may get lost.

        Raises:
            sqlite3.Error: the database refused it; nothing of it was kept.
        """
        if self._closing:
            raise sqlite3.ProgrammingError("the connection is closed")
        reply: Reply[T] = Reply()
        self._queue.put(_Standing(operation, reply))
        return reply

    def try_standing(self) -> None:
        """Try the standing operation again."""
        if not self._closing:
            self._queue.put(_NUDGE)

    async def aclose(self) -> None:
        """Finish what is in the queue, close the connection and wait for the thread to end. Idempotent."""
        if self._thread.ident is None:
            return
        if not self._closing:
            self._closing = True
            self._queue.put(_END)
        await self._ended
        self._thread.join()  # it has nothing left to do but to return

    def _main(self) -> None:
        try:
            db = self._connect()
        except BaseException as error:
            self._bridge.call(self._opened.fail, error)
            self._bridge.call(self._ended.give, None)
            return
        self._bridge.call(self._opened.give, None)
        try:
            while self._wait_for_batch():
                self._bridge.call(_deliver, self._answers(db))
        finally:
            db.close()
            self._bridge.call(self._ended.give, None)

    def _wait_for_batch(self) -> bool:
        """Wait for requests, or for the time of the standing one; return False when there will be none any more."""
        requests, batch = self._queue, self._batch
        try:
            request = requests.get(timeout=self._pause)
        except queue.Empty:
            return True
        while request is not _END:
            if request is _NUDGE:
                pass
            elif isinstance(request, _Standing):
                self._standing = request
            else:
                batch.append(request)
            if len(batch) == BATCH or requests.empty():
                return True
            request = requests.get()
        if batch:
            requests.put(_END)
        return bool(batch)

    def _answers(self, db: sqlite3.Connection) -> list[_Answer]:
        """Carry out the batch, and the standing request after it; return what has been answered."""
        batch, self._batch = self._batch, []
        standing, self._pause = self._standing, None
        try:
            db.execute(self._begin)
        except sqlite3.Error as error:  # locked: it would be for each of them
            self._standing = None
            return [(request, None, error) for request in (*batch, *((standing,) if standing else ()))]
        try:
            answers: list[_Answer] = [(request, request.operation(db), None) for request in batch]
            if standing is not None:
                answer, self._pause = standing.operation(db)
                if answer:
                    answers.append((standing, answer, None))
            db.execute("COMMIT")
        except BaseException as error:
            self._after_rollback()
            return self._one_by_one(db, batch, _rolled_back(db, error))
        if standing is not None and answer:
            self._standing = None
        return answers

    def _one_by_one(self, db: sqlite3.Connection, batch: list[_Queued[Any]], failure: BaseException) -> list[_Answer]:
        """Carry out again what failed together, so that only the guilty one fails."""
        standing, self._standing = self._standing, None
        if standing is None and len(batch) == 1:
            return [(batch[0], None, failure)]
        if not batch:
            assert standing is not None
            return [(standing, None, failure)]
        answers: list[_Answer] = []
        for request in batch:
            self._batch = [request]
            answers += self._answers(db)
        self._standing = standing
        return answers + self._answers(db)


def _rolled_back(db: sqlite3.Connection, error: BaseException) -> BaseException:
    """Roll the transaction back (SQLite may have done so by itself) and return the error to raise."""
    if db.in_transaction:
        try:
            db.execute("ROLLBACK")
        except sqlite3.Error as second:
            error.add_note(f"and the rollback failed: {second}")
    return error


def _deliver(answers: Sequence[_Answer]) -> None:
    for request, value, error in answers:
        if error is None:
            request.reply.give(value)
        else:
            request.reply.fail(error)
