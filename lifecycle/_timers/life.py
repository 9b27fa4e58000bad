"""One life of a timer, from a start to the end of its task: waits for what is due, and owns the runs.

Theory of operation
-------------------

One task keeps the time. It alternates between a synchronous *step*, which does what is due (at most one run) and
says how long to wait, and a *bell*, which sleeps that long or until it is rung: by `stop`, `trigger`, `pause`,
`resume`, `reschedule`, and the end of a run. Every run is a task of its own, in a fresh copy of the context in which
the timer was started, owned by a `TaskManager` that the time-keeping task opens and closes: however the timer ends,
no run is left.

The next occasion is looked for when there is a free place for a run, and not before: so a run that takes longer than
the period is what makes occasions *missed*, and a late wake-up is not.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Sequence
from contextvars import copy_context

from .._ground import kernel, trace
from .._ground.bell import Bell
from .._ground.errors import ReleaseTimeout
from .._ground.foreign import combine, in_words
from .._ground.watchers import tell_failure
from .._manager.manager import TaskManager
from .._manager.records import AbandonedTask
from .._task.handle import CANCELLED, FINISHED
from .plan import Plan
from .records import Tally, TimerRun, TimerSettings
from .run import Run, logger, nothing
from .schedule import Occasion, Occasions

#: Seconds that a wake-up may be early and still count as on time: what two clock values that far up cannot tell apart.
EARLY = 1e-6

#: Seconds of the longest single sleep of a timer that goes by the wall clock, which may be set meanwhile.
SLICE = 60.0

#: Seconds of the shortest sleep by the wall clock: where it lags behind the loop's, waking early must not spin.
FLOOR = 0.001

#: Seconds that the wall clock may be set back while the timer waits until it has caught up; beyond, it starts anew.
SET_BACK = 3 * 3600.0


class TimerLife:
    """One life of a timer.

    Args:
        name: the timer's name.
        fn: the body.
        plan: what kind of timer it is.
        settings: its options.
        tally: the timer's counters, over all its lives.
        paused: begin paused.
    """

    def __init__(
        self,
        name: str,
        fn: Callable[[], Awaitable[object]],
        plan: Plan,
        settings: TimerSettings,
        tally: Tally,
        *,
        paused: bool,
    ) -> None:
        self._name = name
        self._fn = fn
        self._plan = plan
        self._settings = settings
        self._tally = tally
        self._paused = paused
        self.begun = False
        self.ended = False
        self.stopping = False
        self._stop_timeout = kernel.FOREVER
        self._triggered = False
        self._runs: dict[Run, None] = {}
        self._runs_left = kernel.FOREVER if settings.max_runs is None else settings.max_runs
        self._errors: list[BaseException] = []

    # The task that keeps the time

    async def keep_time(self) -> None:
        """Run what is due until the timer is stopped or has nothing left to run, and let the last runs end.

        Cancellation: cancels the runs and waits for them, shielded, for a bounded time.
        """
        self._begin()
        token = trace.opened("timer", self._name) if trace.sink is not None else None
        cancellation = None
        try:
            async with self._crew as crew:
                try:
                    while (wait := self._step()) is not None:
                        await self._bell.sleep(min(wait, self._slice))
                except BaseException:
                    self._stop_timeout = 0.0
                    raise
                finally:
                    self.stopping = True
                    crew.drain_timeout = self._stop_timeout
        except CancelledError as error:
            cancellation = error
        finally:
            self._record_ends()
            self.ended = True
            if token is not None:
                trace.closed(token)
        self._raise_errors((await self._crew.aclose()).abandoned if cancellation is not None else ())
        try:
            if cancellation is not None:
                raise cancellation
        finally:
            del cancellation  # which its traceback would refer to: a cycle

    def _raise_errors(self, abandoned: Sequence[AbandonedTask]) -> None:
        """Raise what runs left to be raised, rather than a cancellation, which would hide it."""
        for left in abandoned:
            name = f"{left.name} of {self._crew}"
            self._errors.append(ReleaseTimeout(name, self._crew.cancel_timeout, abandoned=True, stack=left.stack))
        errors, self._errors = self._errors, []  # whose tracebacks lead back here: a cycle
        if errors:
            try:
                raise combine(f"errors in timer {self._name!r}", errors)
            finally:
                del errors

    def _begin(self) -> None:
        self._now: Callable[[], float] = self._plan.clock or kernel.clock()
        self._slice = kernel.FOREVER if self._plan.clock is None else SLICE
        self._bell = Bell()
        self._crew = TaskManager(
            f"runs of timer {self._name!r}", drain_timeout=None, context=copy_context(), eager=True
        )
        now = self._now()
        self._schedule: Occasions = self._plan.begin(now)
        self._reference = now
        self._occasion: Occasion | None = None
        self._due_at = now
        self._await_occasion(self._schedule.first())
        self.begun = True

    def _step(self) -> float | None:
        """Begin what is due, one run at most; return the seconds to wait, None when the timer has ended."""
        now = self._now()
        wait = self._wait(now)
        if wait is not None and wait <= EARLY:
            if self._triggered:
                self._begin_triggered(now)
            else:
                self._begin_due(now)
            wait = self._wait(self._now())
        if wait is None or self._slice == kernel.FOREVER:
            return wait and max(wait, 0.0)
        return max(wait, FLOOR)

    def _wait(self, now: float) -> float | None:
        """Return the seconds until a run is due; infinite when only a ring can help, None when none is to come."""
        if self.stopping:
            return None
        if len(self._runs) >= self._settings.max_instances:
            return kernel.FOREVER
        if self._runs_left > 0:
            if self._triggered:
                return 0.0
            if self._paused:
                return kernel.FOREVER
            if self._reference - now > SET_BACK:
                self.reschedule(self._plan)
            if self._occasion is None:
                self._await_occasion(self._schedule.following(self._reference, now))
            if self._occasion is not None:
                return self._due_at - now
        return kernel.FOREVER if self._runs else None

    def _await_occasion(self, occasion: Occasion | None) -> None:
        self._occasion = occasion
        if occasion is not None:
            self._due_at = occasion.due + self._draw_jitter()
            if occasion.missed:
                self._count_missed(occasion.due, occasion.missed)

    def _draw_jitter(self) -> float:
        if not self._settings.jitter:
            return 0.0
        from random import uniform  # here, because `import lifecycle` should not pay for it

        return uniform(0.0, self._settings.jitter)

    def _begin_triggered(self, now: float) -> None:
        self._triggered = False
        self._begin_run(Occasion(now), now, triggered=True)

    def _begin_due(self, now: float) -> None:
        waited_for, self._occasion = self._occasion, None
        assert waited_for is not None
        lateness = now - self._due_at
        occasion = self._schedule.at_start(waited_for, now)
        self._reference = occasion.due
        if occasion is not waited_for:
            lateness -= occasion.due - waited_for.due
            self._count_missed(occasion.due, occasion.missed - waited_for.missed)
        grace = self._settings.misfire_grace
        if grace is not None and lateness > grace:
            following, dropped = self._schedule.after_misfire(occasion, now, grace)
            self._tally.misfired += dropped
            self._tell_missed(occasion.due, dropped)
            self._await_occasion(following)
        else:
            self._begin_run(occasion, now, triggered=False)

    # What others may ask for, from anywhere in the loop

    def stop(self, timeout: float) -> None:
        """End the timer; runs that have not ended after *timeout* seconds are cancelled."""
        self._stop_timeout = min(self._stop_timeout, timeout)
        self.stopping = True
        self._ring()

    def trigger(self) -> None:
        """Begin a run now, or when there is a free place for one."""
        self._triggered = True
        self._ring()

    def pause(self) -> None:
        """Begin no more runs that are due."""
        self._paused = True
        self._ring()

    def resume(self) -> None:
        """Go on as if nothing had been due during the pause."""
        self._paused = False
        if self.begun:
            now = self._now()
            self._reference = max(self._reference, now)
            if self._occasion is not None:
                self._await_occasion(self._schedule.after_pause(self._occasion, now))
            self._ring()

    def reschedule(self, plan: Plan) -> None:
        """Go by another plan of the same kind, anchored now."""
        self._plan = plan
        if self.begun:
            now = self._now()
            self._schedule = plan.again(now)
            self._reference = now
            self._await_occasion(None if self._runs else self._schedule.first())
            self._ring()

    @property
    def next_due(self) -> float | None:
        """When the next run is due, None where that is not known."""
        return self._occasion.due if self.begun and not self.stopping and self._occasion is not None else None

    @property
    def running(self) -> int:
        """How many runs have not ended."""
        return len(self._runs)

    def _ring(self) -> None:
        if self.begun:
            self._bell.ring()

    # Runs

    def _begin_run(self, occasion: Occasion, now: float, *, triggered: bool) -> None:
        tally = self._tally
        tally.runs += 1
        tally.last_due = occasion.due
        tally.last_lateness = max(0.0, now - occasion.due)
        self._runs_left -= 1
        info = TimerRun(self._name, tally.runs, occasion.due, now, occasion.missed, triggered)
        run = Run(info, self._fn, self._settings, self._crew.cancel_timeout)
        self._runs[run] = None
        run.handle = handle = self._crew.start_soon(run.execute, name=f"run {tally.runs} of {self._name}")
        if handle.done():
            self._record_end(run)
        else:
            waiter = kernel.new_future()
            waiter.add_done_callback(lambda _: self._run_ended(run))
            handle._add_waiter(waiter)

    def _run_ended(self, run: Run) -> None:
        self._record_end(run)
        self._bell.ring()

    def _record_ends(self) -> None:
        for run in [run for run in self._runs if run.handle is not None and run.handle.done()]:
            self._record_end(run)

    def _record_end(self, run: Run) -> None:
        """Close a run's account, once, however it ended; also if it was cancelled before its first step."""
        if run not in self._runs:
            return
        del self._runs[run]
        tally = self._tally
        tally.last_duration = run.duration
        status, error = run.end()
        if status is FINISHED:
            tally.finished += 1
        elif status is CANCELLED:
            tally.cancelled += 1
            self._take_cancellation(run)
        else:
            tally.failed += 1
            tally.timed_out += run.timed_out
            assert error is not None
            self._take_error(run, error)
        run.error = None  # its traceback leads back to the run

    def _take_error(self, run: Run, error: BaseException) -> None:
        if self._settings.on_error == "raise" or not isinstance(error, Exception):
            self._errors.append(error)
            self.stop(0.0)
            return
        logger.error("run failed", exc_info=error, extra={"owner": self._name, "run": run.info.number})
        if self._settings.on_error == "stop":
            self.stop(kernel.FOREVER)

    def _take_cancellation(self, run: Run) -> None:
        if not self.stopping:
            extra = {"owner": self._name, "run": run.info.number}
            logger.warning("run cancelled from outside, the timer ends", extra=extra)
            self.stop(0.0)

    def _count_missed(self, due: float, count: int) -> None:
        self._tally.missed += count
        self._tell_missed(due, count)

    def _tell_missed(self, due: float, count: int) -> None:
        for hook in self._settings.hooks:
            try:
                getattr(hook, "missed", nothing)(self._name, due, count)
            except BaseException as error:
                tell_failure(logger, "hook failed", error, owner=self._name, hook=f"{in_words(hook)}.missed")
