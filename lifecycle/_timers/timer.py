"""Timer: what runs an async function when it is due; the handle to start, stop and inspect it."""

from __future__ import annotations

import functools
import math
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import asdict
from typing import Any, cast

from .._ground.calls import name_of
from .._ground.checks import checked_name, checked_timeout
from .._ground.closing import stop_with_owner
from .life import TimerLife
from .plan import Plan, RatePlan
from .records import Tally, TimerSettings, TimerStatistics

Body = Callable[[], Awaitable[object]]


class Timer:
    """Runs an async function again and again, or once, when it is due; an owner of tasks runs the timer.

    A timer is an async callable: ``owner.start_soon(timer)`` starts it, and it ends with its owner, however that
    ends, with no run left over. The function runs in a task of its own, in a fresh copy of the context variables
    that the timer was started with. It can be started again after it has ended, and begins anew then.

    Make one with `fixed_rate`, `fixed_delay`, `cron` or `once`. All methods are synchronous and belong into the
    loop's thread; they may be called from inside the function.

    Do not use it for a pause between two steps of your own code: that is ``anyio.sleep``.

    Attributes:
        name: for logs, errors and statistics.
    """

    def __init__(self, fn: Body, plan: Plan, settings: TimerSettings, name: str | None) -> None:
        check_jitter(plan, settings.jitter)
        self._fn = fn
        self._plan = plan
        self._settings = settings
        self._tally = Tally()
        self._life: TimerLife | None = None
        self._paused = False
        self.name: str = checked_name(name, name_of(fn))
        self.__name__: str = self.name
        self.__qualname__ = self.name

    def __call__(self) -> Coroutine[Any, Any, None]:
        """Return the coroutine that keeps the time: what an owner runs as a task.

        It returns when the timer was stopped or has nothing left to run, after its last run has ended.

        Cancellation: cancels the runs, waits for them (shielded, 5 s at most) and is raised then.

        Raises:
            RuntimeError: the timer is running already.
            ReleaseTimeout: a run ignored its cancellation and was abandoned.
            BaseException: what a run raised, with ``on_error="raise"``.
        """
        self._check_not_running()
        self._life = life = TimerLife(self.name, self._fn, self._plan, self._settings, self._tally, paused=self._paused)
        coro: Any = self._keep_time(life)
        coro.__name__ = coro.__qualname__ = self.name  # owners name a task after its coroutine
        stop_with_owner(coro, functools.partial(life.stop, math.inf))  # for as long as the owner drains
        return cast("Coroutine[Any, Any, None]", coro)

    async def _keep_time(self, life: TimerLife) -> None:
        if life is not self._life:  # another start came before this one's first step
            self._check_not_running()
            self._life = life
        await life.keep_time()

    def stop(self, timeout: float | None = 10.0) -> None:
        """End the timer: no further run begins, and the timer ends when its current runs have.

        Called again, it can only shorten the time. A timer that has not been started, or has ended, is left alone.

        Args:
            timeout: seconds that the current runs may take to end before they are cancelled; 0 cancels them at
                once, None waits for ever.

        Raises:
            TypeError, ValueError: *timeout* is not a number of seconds.
        """
        limit = checked_timeout(timeout, "timeout")
        if self._life is not None:
            self._life.stop(limit)

    def trigger(self) -> None:
        """Have a run now, besides those that are due; it moves none of them, and begins also during a pause.

        While ``max_instances`` runs go on, it begins when one of them ends; several such calls make one run.

        Raises:
            RuntimeError: the timer has not been started, or has ended or been stopped.
        """
        life = self._life
        if life is None or life.ended or life.stopping:
            raise RuntimeError(f"{self} does not run; start it with owner.start_soon(timer) before you trigger it")
        life.trigger()

    def pause(self) -> None:
        """Begin no more runs until `resume`; the current ones go on. Idempotent."""
        self._paused = True
        if self._life is not None:
            self._life.pause()

    def resume(self) -> None:
        """End a pause: on a grid, the next run is at the next future instant. Nothing is made up for. Idempotent."""
        if self._paused:
            self._paused = False
            if self._life is not None:
                self._life.resume()

    def reschedule(self, rule: float | str) -> None:
        """Change the period, the delay or the cron expression; a running timer is anchored anew, from now.

        Args:
            rule: the new period or delay in seconds; for cron the new expression.

        Raises:
            TypeError, ValueError: *rule* is not of this timer's kind (seconds, or a cron expression); nothing has
                changed.
        """
        plan = self._plan.changed(rule)
        check_jitter(plan, self._settings.jitter)
        self._plan = plan
        if self._life is not None and not self._life.ended:
            self._life.reschedule(plan)

    @property
    def paused(self) -> bool:
        """Whether `pause` was called and `resume` was not."""
        return self._paused

    def statistics(self) -> TimerStatistics:
        """Return what the timer has done over all its starts, and what it does at this moment."""
        life = self._life
        return TimerStatistics(
            name=self.name,
            state=self._state(),
            running=0 if life is None else life.running,
            next_due=None if life is None else life.next_due,
            **asdict(self._tally),
        )

    def __repr__(self) -> str:
        return f"timer {self.name!r} ({self._plan})"

    def _state(self) -> str:
        life = self._life
        if life is None or not life.begun or life.ended:
            return "idle"
        if life.stopping:
            return "stopping"
        return "running" if life.running else "paused" if self._paused else "waiting"

    def _check_not_running(self) -> None:
        if self._life is not None and self._life.begun and not self._life.ended:
            raise RuntimeError(f"{self} is running already; make another timer, or stop this one and wait for its end")

    def _check_invariants(self) -> None:
        statistics = self.statistics()
        ended = statistics.finished + statistics.failed + statistics.cancelled
        assert statistics.runs == statistics.running + ended, statistics
        assert statistics.timed_out <= statistics.failed, statistics
        assert statistics.running <= self._settings.max_instances, statistics


def check_jitter(plan: Plan, jitter: float) -> None:
    """Check that a jitter cannot change the order of runs.

    Raises:
        ValueError: it is not less than the period.
    """
    if isinstance(plan, RatePlan) and jitter >= plan.period:
        raise ValueError(f"jitter must be less than the period of {plan.period:g} s, got {jitter:g}")
