"""Finalizing: a small crew of tasks that ends values, many per task, each with a deadline.

A task per value would cost ten times what most finalizers do. So a worker takes one value after the other; further
workers come only while finalizers suspend. One timer watches all of them, on the rungs of the common ladder: a
finalizer that takes too long is cancelled, and cancelled again as long after; one that ignores both is abandoned
together with its worker, and the others go on.
"""

from __future__ import annotations

from asyncio import CancelledError, Task, TimerHandle, sleep
from collections import deque
from collections.abc import Callable
from contextvars import Context
from inspect import isawaitable
from time import perf_counter
from types import CoroutineType
from typing import Any, Generic, TypeVar

from .._ground import kernel
from .._ground.errors import ReleaseTimeout, failure_of
from .._ground.foreign import is_fatal
from .._ground.ladder import patience
from .._ground.logs import OwnerLog
from .._task.work import Employer, work_of

E = TypeVar("E")

logger = OwnerLog("lifecycle.registry")

#: How many finalizers may be suspended at once.
WORKERS = 16

#: Seconds that one turn of sweeping or finalizing may hold the loop, and after how many steps the time is looked at.
TURN = 0.0003
STEPS = 16

#: A turn of finalizing may hold it this many times as long as the rest of the loop has taken since the last one, and
#: this many seconds at most: values that leave faster would otherwise outrun the crew, and what is still to be
#: finalized would grow for ever.
SHARE = 3.0
LONGEST_TURN = 0.003

#: Seconds until a worker is asked for again where the loop's task factory has refused one.
PAUSE = 0.05


def _runs(task: Task[None] | None) -> bool:
    return kernel.has_loop() and kernel.current_task() is task


class Worker(Generic[E]):
    """One task of the crew, and the finalizer it is in."""

    __slots__ = ("abandoned", "cancellations", "entry", "number", "since", "task")

    def __init__(self) -> None:
        self.number = 0  # of its entry, in order of arrival
        self.task: Task[None] | None = None
        self.entry: E | None = None
        self.since = kernel.FOREVER  # when the pending finalizer was called
        self.abandoned = False
        self.cancellations: list[kernel.Cancellation] = []  # of the finalizer that it is in, by us


class Crew(Generic[E]):
    """Ends entries in the background.

    Args:
        finalize: begins the end of one entry; may return an awaitable.
        name: the owner's name, for logs.
        timeout: seconds that each may take.
        label: what a person calls an entry.
        done: told of each entry's end, exactly once, with what went wrong.
        employer: who waits for all of them when the owner closes.
        context: what its tasks run in copies of, and its timers.
    """

    def __init__(
        self,
        finalize: Callable[[E], object],
        *,
        name: str,
        timeout: float,
        label: Callable[[E], str],
        done: Callable[[E, BaseException | None], None],
        employer: Employer,
        context: Context,
    ) -> None:
        self._finalize = finalize
        self._name = name
        self._timeout = timeout
        self._label = label
        self._done = done
        self._employer = employer
        self._context = context
        self._queue: deque[E] = deque()
        self._workers: dict[Worker[E], None] = {}
        self._abandoned: dict[Worker[E], None] = {}
        self._suspended = 0  # workers inside a finalizer that may suspend; the others will look at the queue
        self._timer: TimerHandle | None = None
        self._again: TimerHandle | None = None  # where no worker could be hired
        self._turn_ends = 0.0
        self._rests_since = kernel.FOREVER  # when the last turn was over
        self._taken = 0
        self._clock: Callable[[], float] = self._bind_clock

    def _bind_clock(self) -> float:
        self._clock = kernel.clock()
        return self._clock()

    def submit(self, entry: E) -> None:
        """Have *entry* ended soon; where no loop runs, when one does."""
        self._queue.append(entry)
        if self._suspended == len(self._workers):
            self._hire_worker()

    def resume(self) -> None:
        """Begin with what was submitted before there was a loop."""
        if self._suspended == len(self._workers):
            self._hire_worker()

    def leave_loop(self) -> list[E]:
        """Forget all that was under way in a loop that is closed, and return what was; start anew with the rest."""
        under_way = [worker.entry for worker in self._workers if worker.entry is not None]
        for worker in (*self._workers, *self._abandoned):
            worker.abandoned, worker.entry = True, None
        self._workers.clear()
        self._abandoned.clear()
        self._suspended = 0
        self._timer = self._again = None
        self._turn_ends = 0.0
        self._rests_since = kernel.FOREVER
        self._clock = self._bind_clock
        return under_way

    def __len__(self) -> int:
        """How many entries have not ended."""
        return len(self._queue) + sum(worker.entry is not None for worker in self._workers)

    def idle(self, exempt: frozenset[Task[Any]]) -> bool:
        """Whether nothing is left to end but what *exempt* tasks, which wait for the asker, are ending."""
        busy = any(worker.entry is not None and worker.task not in exempt for worker in self._workers)
        return not busy and not self._queue

    def tasks(self) -> list[Task[None]]:
        """Return the tasks of the crew, those that were abandoned included."""
        return [worker.task for worker in (*self._workers, *self._abandoned) if worker.task is not None]

    def has(self, task: Task[Any]) -> bool:
        """Whether *task* is one of the crew."""
        return any(worker.task is task for worker in self._workers)

    def ends(self, entry: E, tasks: frozenset[Task[Any]]) -> bool:
        """Whether one of *tasks* is in the finalizer of *entry*."""
        return any(worker.entry is entry and worker.task in tasks for worker in self._workers)

    def fence(self, exempt: frozenset[Task[Any]]) -> Callable[[], bool]:
        """Return a question: has everything ended that was submitted until now, but for *exempt* tasks' work?"""
        last = self._taken + len(self._queue)

        def passed() -> bool:
            return self._taken >= last and not any(
                worker.entry is not None and worker.number <= last and worker.task not in exempt
                for worker in self._workers
            )

        return passed

    # The workers

    def _hire_worker(self) -> None:
        if not self._queue or len(self._workers) >= WORKERS:
            return
        if self._again is not None or not kernel.has_loop():
            return
        worker: Worker[E] = Worker()
        work = self._work(worker)
        try:
            worker.task = kernel.spawn(work, "finalizer", self._context.copy())
        except Exception as error:  # of a task factory: what is in line must not depend on it
            work.close()
            logger.error("finalizers cannot be started", exc_info=error, extra={"owner": self._name})
            loop = kernel.running_loop()
            self._again = loop.call_later(PAUSE, self._hire_again, context=self._context)
            return
        self._workers[worker] = None
        worker.task.add_done_callback(lambda task: self._strike_out(worker, task), context=self._context)

    def _hire_again(self) -> None:
        self._again = None
        self.resume()

    def _strike_out(self, worker: Worker[E], task: Task[None]) -> None:
        """Strike a worker out, also one that was cancelled from outside before its first step."""
        kernel.retrieve(task)
        self._workers.pop(worker, None)
        self._abandoned.pop(worker, None)
        if self._suspended == len(self._workers):
            self._hire_worker()
        if not self._workers:
            self._rests_since = kernel.FOREVER
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    @work_of("self._employer")
    async def _work(self, worker: Worker[E]) -> None:
        if worker.task is None:  # an eager first step, inside the step that submits
            await self._give_loop_a_turn()
        steps = 0
        while self._queue and not worker.abandoned:
            worker.entry = entry = self._queue.popleft()
            self._taken = worker.number = self._taken + 1
            try:
                pending = self._finalize(entry)
                if pending is not None and (type(pending) is CoroutineType or isawaitable(pending)):
                    if kernel.current_task().cancelling():  # by the one before, or for that; it is not this one's
                        await self._absorb_cancellations()
                    self._watch(worker)
                    await pending
                error = None
            except BaseException as raised:
                if isinstance(raised, GeneratorExit) and not _runs(worker.task):  # destroyed, with its loop
                    raise
                error = raised
            self._take_outcome(worker, entry, error)
            if error is not None and is_fatal(error):
                raise error
            error = pending = None  # what it refers to must not live until the next one
            steps += 1
            if steps % STEPS == 0 and self._turn_is_over():
                await self._give_loop_a_turn()

    def _watch(self, worker: Worker[E]) -> None:
        """Give a finalizer that may suspend its time, and the queue another worker meanwhile."""
        worker.since = now = self._clock()
        self._suspended += 1
        if self._timer is None and self._timeout != kernel.FOREVER:
            self._watch_until(now + self._timeout)
        if self._suspended == len(self._workers):
            self._hire_worker()

    def _take_outcome(self, worker: Worker[E], entry: E, error: BaseException | None) -> None:
        if worker.abandoned:
            if error is not None and not isinstance(error, CancelledError):
                extra = {"owner": self._name, "key": self._label(entry)}
                logger.error("abandoned finalizer failed", exc_info=error, extra=extra)
            return
        worker.entry = None
        if worker.since != kernel.FOREVER:
            worker.since = kernel.FOREVER
            self._suspended -= 1
        if worker.cancellations:
            error = self._take_cancellations_back(worker, entry, error)
        elif error is not None:
            error = failure_of(f"finalizing {self._label(entry)}", error)
        self._done(entry, error)

    def _take_cancellations_back(
        self, worker: Worker[E], entry: E, error: BaseException | None
    ) -> BaseException | None:
        for cancellation in worker.cancellations:
            if cancellation.withdraw():
                kernel.current_task().uncancel()
        worker.cancellations.clear()
        if error is None or isinstance(error, CancelledError):
            return ReleaseTimeout(self._label(entry), self._timeout, abandoned=False)
        return error

    async def _absorb_cancellations(self) -> None:
        task = kernel.current_task()
        while task.cancelling():
            task.uncancel()
        await kernel.absorb_cancellation(task, 0)

    # Turns: all workers together hold the loop no longer than one turn per iteration

    def _turn_is_over(self) -> bool:
        now = perf_counter()
        if self._turn_ends == 0.0:
            of_the_others, self._rests_since = now - self._rests_since, kernel.FOREVER
            self._turn_ends = now + min(max(TURN, SHARE * of_the_others), LONGEST_TURN)
            kernel.running_loop().call_soon(self._new_turn, context=self._context)
        if now < self._turn_ends:
            return False
        self._rests_since = min(self._rests_since, now)
        return True

    def _new_turn(self) -> None:
        self._turn_ends = 0.0

    async def _give_loop_a_turn(self) -> None:
        try:
            await sleep(0)
        except CancelledError:  # from outside; what is queued is ended all the same
            return

    # The watchdog

    def _check_deadlines(self) -> None:
        """Cancel or abandon the finalizers that are due, and come back when the next one is."""
        self._timer = None
        now = self._clock()
        due = kernel.FOREVER
        for worker in list(self._workers):
            deadline = self._deadline(worker)
            if now >= deadline:
                self._cancel_or_abandon(worker)
                deadline = self._deadline(worker)
            due = min(due, deadline)
        if due != kernel.FOREVER:
            self._watch_until(due)

    def _watch_until(self, due: float) -> None:
        self._timer = kernel.running_loop().call_at(due, self._check_deadlines, context=self._context)

    def _deadline(self, worker: Worker[E]) -> float:
        """Return when the next rung of the ladder is due."""
        rung = len(worker.cancellations)
        return worker.since + self._timeout * min(rung + 1, 2) + (patience(2, self._timeout) if rung == 2 else 0.0)

    def _cancel_or_abandon(self, worker: Worker[E]) -> None:
        """Cancel a finalizer that has had its time, cancel it again, or abandon it."""
        assert worker.task is not None
        assert worker.entry is not None
        if len(worker.cancellations) < 2:
            reason = f"finalizing {self._label(worker.entry)} took too long"
            worker.cancellations.append(kernel.cancel(worker.task, reason))
            return
        entry, worker.entry = worker.entry, None
        worker.abandoned = True
        worker.since = kernel.FOREVER
        del self._workers[worker]
        self._abandoned[worker] = None
        self._suspended -= 1
        stack = kernel.suspended_at(worker.task)
        self._hire_worker()
        self._done(entry, ReleaseTimeout(self._label(entry), self._timeout, abandoned=True, stack=stack))
