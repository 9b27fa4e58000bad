"""One SQLite connection in one thread: the loop never waits for a disk, and many operations share one commit."""

from __future__ import annotations

import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

from ..._ground.bridge import Bridge, Reply
from ..._ground.errors import StoreBusy, StoreError
from ..patience import LONGEST, Patience, Trouble
from .faults import Fault, fault_of
from .files import explain

T = TypeVar("T")

Operation: TypeAlias = "Callable[[sqlite3.Connection], T]"

BATCH = 512
"""Operations that share one transaction at most."""

TICK = 1.0
"""Seconds between two looks at the file, and at the loop that it works for, when nothing else is done."""

PAUSE = 0.05
"""Seconds from one try to the next, while a fault may pass."""


class _Queued(Generic[T]):
    """One operation and the place for its answer; a patient one waits for as long as the thread does."""

    __slots__ = ("operation", "patient", "reply")

    def __init__(self, operation: Operation[T], reply: Reply[Any], patient: bool = True) -> None:
        self.operation = operation
        self.patient = patient
        self.reply = reply


class _Standing(_Queued["tuple[T, float | None]"]):
    """An operation that is tried after every batch until it has an answer."""

    __slots__ = ()


_END, _NUDGE = object(), object()

_Answer: TypeAlias = "tuple[_Queued[Any], Any, BaseException | None]"


class SqliteThread:
    """Runs operations on one connection, in order, each batch of waiting ones in one transaction.

    An operation is a function of the connection that changes nothing but the database: when a batch fails it is rolled
    back. After a fault that may pass it is tried again, until that has passed or the patience is at its end; what is
    not patient is refused before. After one that is the end, all that is asked gets one and the same error. After any
    other, the operations are run again one by one, so that only the guilty one fails.

    The queue is not bounded by itself: every operation has a task that waits for it.

    Args:
        connect: makes the connection, in the thread.
        begin: the statement that begins a transaction; it must not wait for long by itself.
        name: the thread's name.
        shown: what messages call the database.
        rolled_back: called in the thread after a transaction was rolled back.
        verify: called in the thread each second and after each commit, before anybody is told of it; it raises
            StoreError when the database is not to be used any more.
        patience: seconds for which faults are waited for; None for ever.
        tell: called in the loop with what is worth telling about them.

    Attributes:
        failure: why the database is not to be used any more; None while it is.
    """

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        begin: str,
        name: str,
        shown: str = "the database",
        *,
        rolled_back: Callable[[], object] = lambda: None,
        verify: Callable[[], object] | None = None,
        patience: float | None = LONGEST,
        tell: Callable[[Trouble], object] = lambda trouble: None,
    ) -> None:
        self._after_rollback = rolled_back
        self._connect = connect
        self._begin = begin
        self._shown = shown
        self._verify = verify
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._bridge = Bridge()
        self._opened: Reply[None] = Reply()
        self._ended: Reply[None] = Reply()
        self._closing = self._hurried = False
        # These belong to the thread.
        self._batch: list[_Queued[Any]] = []
        self._standing: _Standing[Any] | None = None
        self._pause: float | None = None
        self._patience = Patience(patience, lambda trouble: self._bridge.call(tell, trouble))
        self.failure: StoreError | None = None
        self._lost = False  # whether the database is another, or nowhere
        self._ending = False
        # A daemon: a store that was not closed must not keep the process from ending, and a commit survives that.
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)

    async def open(self) -> None:
        """Start the thread and wait until it has its connection; raise what connecting raised."""
        self._thread.start()
        await self._opened

    def run(self, operation: Operation[T], *, patient: bool = False) -> Awaitable[T]:
        """Run *operation*; await the result to get what it returned, after its transaction has been committed.

        Cancellation: ends the waiting; the operation may be done nevertheless.

        Args:
            operation: what to do.
            patient: wait for as long as the thread does, instead of being refused.

        Raises:
            StoreBusy: there is a fault that may pass; nothing of it was kept.
            StoreError: the database cannot be used any more.
            sqlite3.Error: the database refused it; nothing of it was kept.
        """
        if self._closing:
            raise sqlite3.ProgrammingError("the connection is closed")
        reply: Reply[T] = Reply()
        self._queue.put(_Queued(operation, reply, patient))
        return reply

    def run_standing(self, operation: Operation[tuple[T, float | None]]) -> Awaitable[T]:
        """Try *operation* now and at the end of every transaction, until it has an answer; return that.

        Only one can stand at a time. It returns ``(answer, pause)``; an empty answer is none, and makes it be tried
        again after *pause* seconds, None for not before something else is done.

        Cancellation: ends the waiting; an answer may get lost.

        Raises:
            StoreError: the database cannot be used any more.
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

    def hurry(self) -> None:
        """Wait for faults that may pass for a moment only from now on: it is going to be closed."""
        self._hurried = True

    async def aclose(self) -> None:
        """Finish what is in the queue, close the connection and wait for the thread to end. Idempotent.

        A fault that may pass is waited for a moment only.
        """
        if self._thread.ident is None:
            return
        self.hurry()
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
            if self._lost:
                _leave_no_log(db)
            db.close()
            self._bridge.call(self._ended.give, None)

    def _wait_for_batch(self) -> bool:
        """Wait for requests, or for the time of the standing one; return False when there will be none any more."""
        requests, batch = self._queue, self._batch
        if self._ending:
            if batch:
                time.sleep(PAUSE)
            return bool(batch)
        request = self._next_request()
        room = len(batch) + BATCH
        while request is not None:
            if request is _END:
                self._ending = True
                return bool(batch)
            if isinstance(request, _Standing):
                self._standing = request
            elif request is not _NUDGE:
                batch.append(request)
            if len(batch) == room or requests.empty():
                break
            request = requests.get()
        return True

    def _next_request(self) -> Any:
        """Return the next request, None when it is time for the standing one, or the database is not to be used."""
        until = None if self._pause is None else time.monotonic() + self._pause
        while True:
            left = None if until is None else max(0.0, until - time.monotonic())
            try:
                return self._queue.get(timeout=TICK if left is None else min(TICK, left))
            except queue.Empty:
                if self._bridge.closed:
                    return _END
                if until is not None and time.monotonic() >= until:
                    return None
            if self._verified() is not None:
                return None

    def _verified(self) -> StoreError | None:
        """Return why the database is not to be used any more, None when it is."""
        if self.failure is None and self._verify is not None:
            try:
                self._verify()
            except StoreError as error:
                self.failure, self._lost = error, True
        return self.failure

    def _answers(self, db: sqlite3.Connection) -> list[_Answer]:
        """Carry out the batch, and the standing request after it; return what has been answered."""
        batch, self._batch = self._batch, []
        standing, self._pause = self._standing, None
        if self.failure is not None:
            return self._all_failed(batch)
        try:
            db.execute(self._begin)
            answers: list[_Answer] = [(request, request.operation(db), None) for request in batch]
            if standing is not None:
                answer, self._pause = standing.operation(db)
                if answer:
                    answers.append((standing, answer, None))
            db.execute("COMMIT")
        except BaseException as error:
            return self._not_done(db, batch, _rolled_back(db, error))
        self._patience.passed()
        if self._verified() is not None:
            return self._all_failed(batch)  # what was committed is nowhere
        if standing is not None and answer:
            self._standing = None
        return answers

    def _not_done(self, db: sqlite3.Connection, batch: list[_Queued[Any]], failure: BaseException) -> list[_Answer]:
        """Answer after a batch that was rolled back, or keep it to be tried again."""
        self._after_rollback()
        fault = fault_of(failure)
        if fault is Fault.OWN or not isinstance(failure, Exception):
            return self._one_by_one(db, batch, failure)
        reason = explain(self._shown, failure)
        self._patience.meet(reason)
        if self._hurried:
            self._patience.shorten()
        if fault is Fault.FINAL or self._patience.exhausted or self._verified() is not None:
            if self.failure is None:
                self.failure = (StoreError if fault is Fault.FINAL or not self._hurried else StoreBusy)(reason)
                self.failure.__cause__ = failure
            return self._all_failed(batch)
        self._pause = PAUSE
        if not self._patience.refuses:
            self._batch = batch
            return []
        self._batch = [request for request in batch if request.patient]
        text = f"{reason} (for {self._patience.seconds:.0f} s now); nothing was written"
        return [(request, None, StoreBusy(text)) for request in batch if not request.patient]

    def _all_failed(self, batch: list[_Queued[Any]]) -> list[_Answer]:
        standing, self._standing = self._standing, None
        return [(request, None, self.failure) for request in (*batch, *((standing,) if standing else ()))]

    def _one_by_one(self, db: sqlite3.Connection, batch: list[_Queued[Any]], failure: BaseException) -> list[_Answer]:
        """Carry out again what failed together, so that only the guilty one fails."""
        standing, self._standing = self._standing, None
        if not batch:
            assert standing is not None
            return [(standing, None, failure)]
        if standing is None and len(batch) == 1:
            return [(batch[0], None, failure)]
        answers: list[_Answer] = []
        for number, request in enumerate(batch):
            self._batch = [request]
            answers += self._answers(db)
            if self._batch:  # it has to wait, and so have those that came after it
                self._batch, self._standing = batch[number:], standing
                return answers
        self._standing = standing
        return answers + self._answers(db)


def _leave_no_log(db: sqlite3.Connection) -> None:
    """Write what is in the log into the file that was opened, wherever that is now, and empty the log.

    SQLite does not when it closes a file that has moved. But who opens the file that is in its place would read the log
    beside it as that file's own.
    """
    with contextlib.suppress(sqlite3.Error):
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


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
