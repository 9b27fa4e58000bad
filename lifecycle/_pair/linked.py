"""Linked: loops that end together; the end of one stops the others, whatever they are blocked in, and joins them.

Theory of operation
-------------------

Four states, each left once and in this order:

* *running*: no loop has ended;
* *lingering*: one has ended in a way that lets the others come to their own end, for a bounded time;
* *stopping*: the resource is being closed, which frees what no cancellation can free, and the loops that are left have
  been cancelled; each may take ``close_timeout``, is cancelled once more then, and is abandoned a grace later. So may
  the closing of the resource, which is cancelled when it has had its time;
* *over*: no loop is left, and the resource is closed.

Every change of state is a plain step, taken in the step in which a loop ends, by a timer, or by the call that closes.
No task has to drive it: a pair whose host waits for something else ends as promptly.
"""

from __future__ import annotations

import enum
from asyncio import Future, Task, TimerHandle
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, NamedTuple
from weakref import ref

from .._ground import kernel, trace
from .._ground.awaiters import Waiter
from .._ground.calls import coroutine_of
from .._ground.errors import ReleaseTimeout
from .._ground.foreign import holds, with_traceback
from .._ground.ladder import Ladder
from .._ground.lifeline import keep_tasks_of
from .._ground.logs import OwnerLog
from .._ground.roots import Portrait, Thing, enroll
from .._task.first_steps import FirstSteps
from .._task.handle import CANCELLED, FAILED, TaskHandle
from .._task.waiting import NOBODY
from .closer import Abort, Close, Closer
from .ends import How, LinkOutcome, LoopEnd, Unasked, failure_of

logger = OwnerLog("lifecycle.pair")

Loop = Callable[[], Coroutine[Any, Any, object]]


class Exempt(NamedTuple):
    """Tasks that are not waited for, because they wait for the one that would.

    Attributes:
        waiting: all of them; the closing of the resource, which is not cancelled, is not waited for in any of these.
        bound: those that no cancellation frees; a loop, which is cancelled, is not waited for in any of these.
    """

    waiting: frozenset[Task[Any]]
    bound: frozenset[Task[Any]]


NONE_EXEMPT = Exempt(NOBODY, NOBODY)


class LinkState(enum.Enum):
    """Where linked loops are in their life; it only moves down this list."""

    READY = "ready"
    RUNNING = "open"
    LINGERING = "draining"
    STOPPING = "closing"
    OVER = "closed"


READY, RUNNING, LINGERING, STOPPING, OVER = LinkState


class Linked:
    """Runs loops that end together.

    Args:
        name: for errors and snapshots.
        loops: the loops by name.
        close: closes what they share: called once, when the loops that are left are to end.
        on_end: called with the end of each loop; the seconds that it returns for the first are those that the others
            may go on. None are left to them when it returns 0 for one that ends by itself while they do.
        close_timeout: seconds that a stopped loop, and the closing, may take.
        abort: cuts what they share, where closing it takes too long.
        may_end: loops that may return without ending the others.
        on_over: called when all is over, and those who wait for that were told.
    """

    def __init__(
        self,
        name: str,
        loops: Mapping[str, Loop],
        *,
        close: Close | None,
        on_end: Callable[[LoopEnd], float],
        close_timeout: float,
        abort: Abort | None = None,
        may_end: frozenset[str] = frozenset(),
        on_over: Callable[[], object] | None = None,
    ) -> None:
        self.name: str = name
        self._on_over = on_over
        self.close_timeout = close_timeout
        self.state = READY
        self._loops = loops
        self._on_end = on_end
        self._may_end = may_end
        self._live: dict[TaskHandle[Any], str] = {}
        self._early: list[TaskHandle[Any]] | None = None  # those that ended while others had not begun
        self._ends: list[LoopEnd] = []
        self._first: LoopEnd | None = None
        self._reason: str | None = None
        self._tracebacks: list[tuple[BaseException, TracebackType | None]] = []  # of what was raised, as it was then
        self._unasked: ref[Unasked] | None = None
        self._closer = Closer(close, f"pair {name!r}", name, close_timeout, abort)
        self._told: set[TaskHandle[Any]] = set()
        self._lingering: TimerHandle | None = None
        self._ladder: Ladder | None = None
        self._watchers: dict[Future[None], Exempt] = {}
        self._token: trace.Mark | None = None
        self.undelivered = 0
        self._since: float | None = None
        self._host: Task[Any] | None = None  # whose block it is
        enroll(self)

    def __repr__(self) -> str:
        return f"pair {self.name!r}"

    # Running

    def begin(self) -> None:
        """Start all loops."""
        self._host = kernel.current_task()
        self._clock = kernel.clock()
        self._since = self._clock()
        handles = [TaskHandle(self, coro, f"{self.name}.{name}") for name, coro in self._coroutines()]
        self._live = dict(zip(handles, self._loops, strict=True))
        keep_tasks_of(self, self._live)
        self._loops = {}
        self.state = RUNNING
        if trace.sink is not None:
            self._token = trace.opened("pair", self.name)
        self._early = []
        try:
            for handle in handles:
                handle._start()
        except BaseException:  # a task factory that refuses: what has begun is stopped, the rest never begins
            for handle in handles:
                if handle._task is None and not handle.done():
                    handle._discard()
            self._take_early_ends()
            self.stop("a loop could not be started")
            raise
        self._take_early_ends()
        first_steps = FirstSteps()  # a loop that is cancelled from outside before its own would never tell of its end
        for handle in handles:
            first_steps.expect(handle)

    def _coroutines(self) -> list[tuple[str, Coroutine[Any, Any, object]]]:
        made: list[tuple[str, Coroutine[Any, Any, object]]] = []
        try:
            made.extend((name, coroutine_of(loop, ())) for name, loop in self._loops.items())
        except BaseException:
            for _, coro in made:
                coro.close()
            raise
        return made

    def _take_early_ends(self) -> None:
        early, self._early = self._early or [], None
        for handle in early:
            self._take_end(handle)

    # What a handle tells its owner

    _clock: Callable[[], float]

    def _task_finished(self, handle: TaskHandle[Any]) -> None:
        self._task_ended(handle)

    def _task_ended(self, handle: TaskHandle[Any]) -> None:
        if self._early is not None:
            self._early.append(handle)
        else:
            self._take_end(handle)

    def _drop_unstarted(self, handle: TaskHandle[Any]) -> None:
        """Let it begin, and be cancelled then: a loop that was started eagerly, before it, has stopped the others."""

    def _take_end(self, handle: TaskHandle[Any]) -> None:
        name = self._live.get(handle)
        error = handle._outcome if handle._status is FAILED else None
        assert error is None or isinstance(error, BaseException)
        if name is None:  # it had been abandoned
            if error is not None:
                logger.error("abandoned loop failed", exc_info=error, extra={"owner": self.name, "loop": handle.name})
            return
        end = LoopEnd(name, self._how(handle), error, handle in self._told)
        # In words before the books are touched: those of a user's error may do anything, stopping this included.
        words = str(end) if self.state in (RUNNING, LINGERING) else ""
        del self._live[handle]
        self._told.discard(handle)
        self._ends.append(end)
        if error is not None:
            self._tracebacks.append((error, handle._traceback))
        seconds = self._on_end(end)
        if end.how == "returned" and name in self._may_end and self._live:
            return
        if self.state is RUNNING:
            self._first = end
            if seconds > 0.0 and self._live:
                self._let_linger(seconds, words)
        if self._live and seconds <= 0.0 and self.state in (RUNNING, LINGERING) and not end.told:
            self.stop(words)
        self.progress()

    def _how(self, handle: TaskHandle[Any]) -> How:
        if handle._status is FAILED:
            return "raised"
        if handle._status is CANCELLED:
            return "stopped" if handle in self._told else "cancelled"
        return "returned"

    # Stopping

    def _let_linger(self, seconds: float, why: str) -> None:
        self.state = LINGERING
        if seconds != kernel.FOREVER:
            loop = kernel.running_loop()
            late = f"{why}, and draining took longer than {seconds:g} s"
            self._lingering = loop.call_later(seconds, self.stop, late)

    def stop_one(self, name: str, reason: str, drain_timeout: float) -> None:
        """Stop one loop alone; the others may go on for *drain_timeout* seconds."""
        if self.state is READY:
            self.stop(reason)
        for handle, known in self._live.items():
            if known == name and self.state is RUNNING:
                self._reason = reason
                self._let_linger(drain_timeout, reason)
                self._told.add(handle)
                handle.cancel(reason)
                return

    def stop(self, reason: str, exempt: frozenset[Task[Any]] = NOBODY) -> None:
        """Close the resource and cancel the loops that are left, except for those that run in *exempt* tasks.

        Idempotent; a later caller without exemptions has those cancelled that an earlier one exempted.
        """
        if self.state is READY:
            self.state = OVER
        if self.state is OVER:
            return
        begins = self.state is not STOPPING
        if begins:
            self.state = STOPPING
            self._reason = reason
            self._begin_closing()
        fresh = [handle for handle in self._live if handle not in self._told and handle._task not in exempt]
        self._told.update(fresh)
        if fresh:
            self._give_time(fresh)
        if fresh or begins:  # of a crowd of callers each would look at all who wait
            self.progress()

    def _give_time(self, fresh: Sequence[TaskHandle[Any]]) -> None:
        """Cancel *fresh*; from now on every loop that is to end has ``close_timeout`` for it."""
        self._end_ladder()
        self._ladder = ladder = Ladder(lambda: self._interrupt(fresh), self._abandon, self.close_timeout)
        ladder.climb()

    def _interrupt(self, fresh: Sequence[TaskHandle[Any]]) -> None:
        """Cancel *fresh*, the second time everything that was asked to stop and still runs."""
        assert self._ladder is not None
        for handle in fresh if self._ladder.rung == 1 else [handle for handle in self._live if handle in self._told]:
            handle.cancel(self._reason)

    def _end_ladder(self) -> None:
        ladder, self._ladder = self._ladder, None  # which refers to this: a cycle
        if ladder is not None:
            ladder.end()

    def _abandon(self) -> None:
        """Go on without the loops that will not end."""
        for handle in [handle for handle in self._live if handle in self._told]:
            name = self._live.pop(handle)
            stack = kernel.suspended_at(handle._task) if handle._task is not None else ()
            error = ReleaseTimeout(f"{name} of {self}", self.close_timeout, abandoned=True, stack=stack)
            end = LoopEnd(name, "abandoned", error, told=True)
            self._ends.append(end)
            self._on_end(end)
        self._told.clear()
        self.progress()

    def _begin_closing(self) -> None:
        """Close the resource: nothing more may linger."""
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        self._closer.begin(self, self.progress)

    # The end

    def progress(self) -> None:
        """Note the end, if this is it, and wake the watchers whose condition has come true."""
        over: Callable[[], object] | None = None
        if not self._live and self.state is not OVER:
            if self.state is not STOPPING:
                self.state = STOPPING
                self._begin_closing()
            if self._closer.task is None:
                self.state = OVER
                self._host = None
                tracebacks, self._tracebacks = self._tracebacks, []
                for error, traceback in tracebacks:  # the closing may have raised the same error once more
                    with_traceback(error, traceback)
                self._end_ladder()
                self._on_end = no_time  # which refers to the owner of this: a cycle
                over, self._on_over = self._on_over, None
                if self._token is not None:
                    trace.closed(self._token)
        for future, exempt in self._watchers.items():
            if not future.done() and self.quiet(exempt):
                future.set_result(None)
        if over is not None:
            over()

    def quiet(self, exempt: Exempt = NONE_EXEMPT) -> bool:
        """Whether nothing is left but what *exempt* tasks run."""
        if self.state in (READY, OVER):
            return True
        if self.state is not STOPPING or len(self._live) > len(exempt.bound):  # as after the end of all but the last
            return False
        closing = self._closer.task is not None and self._closer.task not in exempt.waiting
        return not closing and all(handle._task in exempt.bound for handle in self._live)

    def _hosts(self, _: Task[Any]) -> Iterator[Waiter]:
        if self._host is not None:
            yield self._host, False

    def watch(self, exempt: Exempt = NONE_EXEMPT) -> Future[None]:
        """Return a future that is done when nothing is left but what *exempt* tasks run; give it to `unwatch`."""
        future = kernel.new_future()
        if self.quiet(exempt):
            future.set_result(None)
        self._watchers[future] = exempt
        return future

    def unwatch(self, future: Future[None]) -> None:
        """Forget a future that `watch` has returned."""
        self._watchers.pop(future, None)

    def standing(self, name: str) -> str:
        """Return how the loop *name* ended, ``"running"`` where it has not, ``"new"`` where it has not begun."""
        if name in self._live.values():
            return "running"
        return next((end.how for end in self._ends if end.name == name), "new")

    def outcome(self) -> LinkOutcome:
        """Return what became of them, as far as that is known."""
        error = self._closer.error
        if error is not None and holds((end.error for end in self._ends if end.error is not None), error):
            error = None  # that of a loop, which has read from what was closed
        return LinkOutcome(self._first, self._reason, tuple(self._ends), error, self.undelivered)

    def report(self) -> LinkOutcome:
        """Return the same for a caller to whom the errors in it are left; they are logged where nobody asks for them.

        All who get it are one caller: that one of them asks is enough.
        """
        outcome = self.outcome()
        unasked = self._unasked() if self._unasked is not None else None
        if self._unasked is None and (failure := failure_of(outcome, f"errors of {self}")) is not None:
            unasked = Unasked(self.name, failure)
            self._unasked = ref(unasked)
        return outcome if unasked is None else replace(outcome, _unasked=unasked)

    def _portrait(self) -> Portrait:
        things = [
            Thing("task", name, handle.status.value, handle.started_at, task=handle._task)
            for handle, name in self._live.items()
        ]
        if self._closer.task is not None:
            things.append(Thing("task", "closer", "running", task=self._closer.task))
        return Portrait("pair", self.name, self.state.value, self._since, things, mark=self._token)


def no_time(_: LoopEnd) -> float:
    """Stand in for the listener when all is over."""
    return 0.0
