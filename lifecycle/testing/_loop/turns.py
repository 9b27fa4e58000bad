"""How a virtual loop turns: a clock that jumps, numbered steps, and an error when no task can run any more.

This is the one file that touches the private parts of asyncio's base loop: ``_run_once``, ``_ready``,
``_scheduled``, ``_timer_cancelled_count`` and the fields of ``Handle``. A subclass of the base loop, rather
than a loop written from nothing, keeps every public behaviour of asyncio; doing without file descriptors
makes it a third faster.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from typing import Any

from .._errors import DeadlockError, LivelockError
from .._sites import dump_tasks, mark_loop_edge
from .clock import VirtualClock
from .outside import OutsideWorld
from .task import NumberingLoop, VirtualTask

Handle = asyncio.Handle
# Called before each step with its handle and task, and with None before the clock jumps.
Observer = Callable[[Handle | None, "asyncio.Task[Any] | None"], None]
Chooser = Callable[[list[Handle]], int]

# Turns in which no task ran before the clock jumps all the same: anyio re-sends a cancellation every turn to
# a task that cannot take it yet, which would otherwise hold the clock for ever.
IDLE_TURNS = 64
# Turns in a row in which anyio re-sent a cancellation to a task that took it and waited on, as the join of an
# asyncio.TaskGroup does.
REDELIVERY_TURNS = 128
# Turns that tasks may run without time passing before the clock is moved anyway: a loop that polls the real clock would
# never end otherwise.
BUSY_TURNS = 5_000


class VirtualMixin(NumberingLoop):
    """What both virtual loops share: turns, the clock and the dump."""

    _closed: bool = True  # until it is made: one whose arguments are refused has nothing to close
    _ready: Any
    _scheduled: list[Any]
    _timer_cancelled_count: int
    _stopping: bool
    _default_executor: Any
    _process_events: Callable[[Any], None]

    def _set_up(self, clock: VirtualClock | None, max_steps: int, patience: float, selector: Any = None) -> None:
        self._begin_numbering()
        self.clock: VirtualClock = VirtualClock() if clock is None else clock
        self.max_steps = max_steps
        self.steps: int = 0
        self.trace: int = 0
        self.jumps_while_busy: int = 0
        self._foreign_tasks: dict[asyncio.Task[Any], None] = {}
        self.observer: Observer | None = None
        self.chooser: Chooser | None = None
        self.problems: list[dict[str, Any]] = []
        self.signal_handlers: dict[int, tuple[Callable[..., object], tuple[Any, ...]]] = {}
        self._turns_here = 0
        self._idle_turns = 0
        self._redeliveries = 0
        self._redelivered = False
        self._idle_waiters: list[asyncio.Future[None]] = []
        self.outside: OutsideWorld = OutsideWorld(self, patience, selector)

    # Time.

    def time(self) -> float:
        return self.clock.now

    async def wait_all_blocked(self) -> None:
        """Wait until every other task is blocked, without letting time pass.

        Cancellation: raised at once, nothing is left behind.
        """
        waiter: asyncio.Future[None] = self.create_future()
        self._idle_waiters.append(waiter)
        try:
            await waiter
        finally:
            if waiter in self._idle_waiters:
                self._idle_waiters.remove(waiter)

    # One turn.

    def _run_once(self) -> None:
        ready = self._ready
        self.outside.poll()
        if not ready and not self._stopping:
            self._nothing_ready()
        self._move_due_timers()
        chooser = self.chooser
        ran_task = self._run_batch(len(ready)) if chooser is None else self._run_chosen(chooser)
        self._turns_here += 1
        self._idle_turns = 0 if ran_task else self._idle_turns + 1
        self._redeliveries = self._redeliveries + 1 if self._redelivered else 0
        self._redelivered = False
        if self._idle_turns > IDLE_TURNS or self._redeliveries > REDELIVERY_TURNS or self._turns_here > BUSY_TURNS:
            self._jump_while_busy()

    def _run_batch(self, count: int) -> bool:
        """Run what is ready now, first in first out, as asyncio does; say whether a task was among it."""
        ready = self._ready
        ran_task = False
        while count:
            count -= 1
            handle = ready.popleft()
            if not handle._cancelled and self._run_handle(handle):
                ran_task = True
            del handle  # as in `_run_handle`
        return ran_task

    def _run_chosen(self, chooser: Chooser) -> bool:
        """Run the plain callbacks in order, then one task step chosen among all that are ready.

        The order of ``call_soon`` is documented and transports rely on it, so only task steps trade places.
        """
        ready = self._ready
        waiting = list(ready)
        ready.clear()
        steps: list[Handle] = []
        for handle in waiting:
            if handle._cancelled:
                continue
            if _task_of(handle) is None:
                self._run_handle(handle)
            else:
                steps.append(handle)
        if not steps:
            return False
        index = chooser(steps) if len(steps) > 1 else 0
        chosen = steps.pop(index)
        ready.extendleft(reversed(steps))
        if not chosen._cancelled:
            self._run_handle(chosen)
        return True

    def _run_handle(self, handle: Any) -> bool:
        owner = getattr(handle._callback, "__self__", None)
        task = owner if isinstance(owner, asyncio.Task) else None
        if self.observer is not None:
            self.observer(handle, task)
            if handle._cancelled:
                return False
        if task is not None:
            if type(task) is not VirtualTask:
                self._foreign_tasks[task] = None
            self.steps += 1
            self.trace = hash((self.trace, getattr(task, "number", 0)))
            if self.steps > self.max_steps:
                raise LivelockError(f"{self.max_steps} steps were not enough, at {self.time():g} s", self.dump())
        elif getattr(handle._callback, "__name__", "") == "_deliver_cancellation":
            self._redelivered = True
        try:  # what Handle._run does, without its frame
            handle._context.run(handle._callback, *handle._args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            message = f"Exception in callback {handle!r}"
            self.call_exception_handler({"message": message, "exception": error, "handle": handle})
        ran_task = task is not None
        del handle, owner, task  # what a task has raised may keep this frame: a cycle
        return ran_task

    # Blocking.

    def _nothing_ready(self) -> None:
        """Wake what waits for just this, else wait for the outside, else jump, else it is a deadlock."""
        while self._idle_waiters:
            waiter = self._idle_waiters.pop(0)
            if not waiter.done():
                waiter.set_result(None)
                return
        when = self._next_timer()
        delay = None if when is None else max(0.0, when - self.clock.now)
        if self.outside.wait(delay):
            return
        if self.observer is not None:
            self.observer(None, None)
            if self._ready or self._next_timer() != when:
                return
        if when is None:
            raise DeadlockError(f"every task is blocked and no timer is set, at {self.time():g} s", self.dump())
        self._jump(when)

    def _jump(self, when: float) -> None:
        self.clock.now = max(self.clock.now, when)
        self._turns_here = self._idle_turns = self._redeliveries = 0

    def _jump_while_busy(self) -> None:
        when = self._next_timer()
        if when is not None:
            self.jumps_while_busy += 1
            self._jump(when)
        elif self._idle_turns > 10 * IDLE_TURNS and not self.outside.wait(None):
            message = "only callbacks run that call themselves again, and no timer is set"
            raise DeadlockError(f"{message}, at {self.time():g} s", self.dump())

    def _next_timer(self) -> float | None:
        timers = self._scheduled
        while timers and timers[0]._cancelled:
            self._timer_cancelled_count -= 1
            heapq.heappop(timers)._scheduled = False
        return timers[0]._when if timers else None

    def _move_due_timers(self) -> None:
        timers = self._scheduled
        now = self.clock.now
        while timers and timers[0]._when <= now:
            timer = heapq.heappop(timers)
            timer._scheduled = False
            if timer._cancelled:
                self._timer_cancelled_count -= 1
            else:
                self._ready.append(timer)

    # Ends.

    def run_main(self, main: asyncio.Future[Any]) -> None:
        """Run until ``main`` is done; its result stays in it."""
        main.add_done_callback(self._main_done)
        try:
            self.run_forever()
        finally:
            main.remove_done_callback(self._main_done)

    def _main_done(self, main: asyncio.Future[Any]) -> None:
        self.stop()

    def settle(self, turns: int = 200) -> None:
        """Let what is ready run, without letting time pass: what is about to end may end."""
        while self._ready and turns:
            turns -= 1
            self.stop()
            self.run_forever()

    def live_timers(self) -> list[asyncio.TimerHandle]:
        """Timers that are set and not cancelled."""
        return [timer for timer in self._scheduled if not timer._cancelled]

    def dump(self) -> str:
        """Every live task: where it waits and where it was made."""
        return dump_tasks(self.live_tasks())

    def live_tasks(self) -> list[asyncio.Task[Any]]:
        """Tasks that are not done, in the order in which they were made."""
        made = [task for ref in self.tasks_made if (task := ref()) is not None]
        return [task for task in (*made, *self._foreign_tasks) if not task.done()]

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep what asyncio would only log; a run with an entry here has failed."""
        self.problems.append(context)
        if self._exception_handler is not None:  # type: ignore[attr-defined]
            super().call_exception_handler(context)

    # The outside.

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        future = super().run_in_executor(executor, func, *args)
        self.outside.expect(future)
        return future

    def add_signal_handler(self, sig: int, callback: Any, *args: Any) -> None:  # type: ignore[override]
        self.signal_handlers[sig] = (callback, args)

    def remove_signal_handler(self, sig: int) -> bool:
        return self.signal_handlers.pop(sig, None) is not None

    def deliver_signal(self, sig: int) -> None:
        """Call the handler of a signal as if the process had received it."""
        callback, args = self.signal_handlers[sig]
        self.call_soon(callback, *args)


mark_loop_edge(VirtualMixin._run_handle)


def _task_of(handle: Any) -> asyncio.Task[Any] | None:
    owner = getattr(handle._callback, "__self__", None)
    return owner if isinstance(owner, asyncio.Task) else None
