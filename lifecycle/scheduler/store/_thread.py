"""One SQLite connection in one thread: the loop never waits for a disk, and many operations share one commit."""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

from .._bridge import Bridge, Reply

T = TypeVar("T")

Operation: TypeAlias = "Callable[[sqlite3.Connection], T]"

BATCH = 512
"""So many operations share one transaction at most."""


class _Request(Generic[T]):
    """One operation and the place for its answer."""

    __slots__ = ("operation", "reply")

    def __init__(self, operation: Operation[T]) -> None:
        self.operation = operation
        self.reply: Reply[T] = Reply()


_Answer: TypeAlias = "tuple[_Request[Any], Any, BaseException | None]"


class SqliteThread:
    """Runs operations on one connection, in order, each batch of waiting ones in one transaction.

    An operation is a function of the connection that changes nothing but the database: when a batch fails it is rolled
    back, and its operations are run again one by one, so that only the guilty one fails.

    The queue is not bounded by itself: every operation has a task that waits for it.

    Args:
        connect: makes the connection, in the thread.
        begin: the statement that begins a transaction.
        name: the thread's name.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection], begin: str, name: str) -> None:
        self._connect = connect
        self._begin = begin
        self._queue: queue.SimpleQueue[_Request[Any] | None] = queue.SimpleQueue()
        self._bridge = Bridge()
        self._opened: Reply[None] = Reply()
        self._ended: Reply[None] = Reply()
        self._closing = False
        # A daemon: a store that nobody closed must not keep the process from ending, and a commit survives that.
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)

    async def open(self) -> None:
        """Start the thread and wait until it has its connection; raise what connecting raised."""
        self._thread.start()
        await self._opened.wait()

    async def run(self, operation: Operation[T]) -> T:
        """Return what *operation* returned, after its transaction has been committed.

        Cancellation: ends the waiting; the operation may be done nevertheless.

        Raises:
            sqlite3.Error: the database refused it; nothing of it was kept.
        """
        if self._closing:
            raise sqlite3.ProgrammingError("the connection is closed")
        request = _Request(operation)
        self._queue.put(request)
        return await request.reply.wait()

    async def aclose(self) -> None:
        """Finish what is in the queue, close the connection and wait for the thread to end. Idempotent."""
        if self._thread.ident is None:
            return
        if not self._closing:
            self._closing = True
            self._queue.put(None)
        await self._ended.wait()
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
            while batch := self._next_batch():
                self._bridge.call(_deliver, self._answers(db, batch))
        finally:
            db.close()
            self._bridge.call(self._ended.give, None)

    def _next_batch(self) -> list[_Request[Any]]:
        """Wait for an operation and return it with those behind it; empty when there will be none any more."""
        batch: list[_Request[Any]] = []
        request = self._queue.get()
        while request is not None:
            batch.append(request)
            if len(batch) == BATCH or self._queue.empty():
                return batch
            request = self._queue.get()
        if batch:
            self._queue.put(None)
        return batch

    def _answers(self, db: sqlite3.Connection, batch: Sequence[_Request[Any]]) -> list[_Answer]:
        try:
            db.execute(self._begin)
        except sqlite3.Error as error:  # locked: it would be for each of them
            return [(request, None, error) for request in batch]
        try:
            answers: list[_Answer] = [(request, request.operation(db), None) for request in batch]
            db.execute("COMMIT")
        except BaseException as error:
            failure = _rolled_back(db, error)
            if len(batch) == 1:
                return [(batch[0], None, failure)]
            return [answer for request in batch for answer in self._answers(db, [request])]
        return answers


def _rolled_back(db: sqlite3.Connection, error: BaseException) -> BaseException:
    """Roll the transaction back (SQLite may have done so by itself) and return the error to tell."""
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
