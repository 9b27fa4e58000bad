"""fixed_rate, fixed_delay, cron and once: the four kinds of timers, run by any owner of tasks."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from datetime import tzinfo
from typing import Any, TypedDict, overload

from typing_extensions import Unpack

from .._ground.checks import (
    checked_async,
    checked_callable,
    checked_period,
    checked_seconds,
)
from .._ground.signatures import check_call_without_arguments
from .plan import DelayPlan, OncePlan, Plan, RatePlan
from .records import ErrorPolicy, TimerSettings
from .schedule import MissedPolicy
from .timer import Body, Timer

_LATER = object()


class RunOptions(TypedDict, total=False):
    """What the options of all repeating timers are, for type checkers; described at `fixed_rate`."""

    misfire_grace: float | None
    jitter: float
    run_timeout: float | None
    on_error: ErrorPolicy
    max_runs: int | None
    hooks: Sequence[object]
    name: str | None


class RateOptions(RunOptions, total=False):
    """The options of `fixed_rate`."""

    initial_delay: float
    missed: MissedPolicy
    max_instances: int


class DelayOptions(RunOptions, total=False):
    """The options of `fixed_delay`."""

    initial_delay: float


class CronOptions(RunOptions, total=False):
    """The options of `cron`, besides the time zone."""

    missed: MissedPolicy
    max_instances: int
    clock: Callable[[], float] | None


@overload
def fixed_rate(fn: Body, period: float, **options: Unpack[RateOptions]) -> Timer: ...
@overload
def fixed_rate(fn: float, /, **options: Unpack[RateOptions]) -> Callable[[Body], Timer]: ...
def fixed_rate(
    fn: Body | float,
    period: float | None = None,
    *,
    initial_delay: float = 0.0,
    missed: MissedPolicy = "skip",
    misfire_grace: float | None = None,
    jitter: float = 0.0,
    max_instances: int = 1,
    run_timeout: float | None = None,
    on_error: ErrorPolicy = "log",
    max_runs: int | None = None,
    hooks: Sequence[object] = (),
    name: str | None = None,
) -> Any:
    """Return a timer that runs ``fn()`` at ``start + initial_delay + n * period``, without drift.

    Example::

        async with Scope("poller") as scope:
            scope.start_soon(fixed_rate(poll, 5.0, run_timeout=3.0))

    Without *fn* it is a decorator, which makes the function a timer::

        @fixed_rate(5.0)
        async def poll(): ...

    Args:
        fn: an async function without arguments, or anything else that returns an awaitable when it is called so.
        period: seconds between two runs, from a microsecond to a century.
        initial_delay: seconds before the first run; 0 or more.
        missed: what becomes of instants that pass while a run keeps the timer busy. ``"skip"``: dropped, the next run
            is at the next future instant. ``"coalesce"``: one run for all of them, at once. ``"burst"``: all are run,
            one after the other. The grid keeps its phase in each case.
        misfire_grace: seconds that a run may begin late; later than that it is dropped and counted. None: a run
            begins however late it is.
        jitter: each run is delayed by a random time of up to *jitter* seconds, less than *period*; the grid stays.
        max_instances: how many runs may go on at once.
        run_timeout: seconds that a run may take; then it is cancelled and has failed, whatever it makes of
            that. One that swallows it is cancelled once more five seconds later; one that ignores that as well is
            logged, with its place, and goes on in its own. None for no bound.
        on_error: ``"log"``: an error is logged and the timer goes on. ``"stop"``: it is logged and the timer ends.
            ``"raise"``: the timer ends, its other runs are cancelled, and its task raises the error to its owner.
        max_runs: end after this number of runs of one start. None for no bound.
        hooks: objects with some of the methods of `TimerHooks`.
        name: for logs, errors and statistics; by default the function's.

    Raises:
        TypeError, ValueError: an argument is out of its range. Nothing has happened.
    """
    settings = TimerSettings(
        initial_delay=initial_delay,
        missed=missed,
        misfire_grace=misfire_grace,
        jitter=jitter,
        max_instances=max_instances,
        run_timeout=run_timeout,
        on_error=on_error,
        max_runs=max_runs,
        hooks=tuple(hooks),
    )
    body, rule = _body_and_rule(fn, period)
    return _timer_or_decorator(body, RatePlan(checked_period(rule), float(initial_delay), missed), settings, name)


@overload
def fixed_delay(fn: Body, delay: float, **options: Unpack[DelayOptions]) -> Timer: ...
@overload
def fixed_delay(fn: float, /, **options: Unpack[DelayOptions]) -> Callable[[Body], Timer]: ...
def fixed_delay(
    fn: Body | float,
    delay: float | None = None,
    *,
    initial_delay: float = 0.0,
    misfire_grace: float | None = None,
    jitter: float = 0.0,
    run_timeout: float | None = None,
    on_error: ErrorPolicy = "log",
    max_runs: int | None = None,
    hooks: Sequence[object] = (),
    name: str | None = None,
) -> Any:
    """Return a timer that runs ``fn()``, waits *delay* seconds from its end, and runs it again.

    Without *fn* it is a decorator: ``@fixed_delay(5.0)``.

    Args:
        fn: an async function without arguments.
        delay: seconds from the end of a run to the next, from a microsecond to a century.
        initial_delay: seconds before the first run; 0 or more.
        misfire_grace, jitter, run_timeout, on_error, max_runs, hooks, name: as for `fixed_rate`.

    Raises:
        TypeError, ValueError: an argument is out of its range. Nothing has happened.
    """
    settings = TimerSettings(
        initial_delay=initial_delay,
        misfire_grace=misfire_grace,
        jitter=jitter,
        run_timeout=run_timeout,
        on_error=on_error,
        max_runs=max_runs,
        hooks=tuple(hooks),
    )
    body, rule = _body_and_rule(fn, delay)
    return _timer_or_decorator(body, DelayPlan(checked_period(rule, "delay"), float(initial_delay)), settings, name)


@overload
def cron(fn: Body, expression: str, *, timezone: str | tzinfo, **options: Unpack[CronOptions]) -> Timer: ...
@overload
def cron(fn: str, /, *, timezone: str | tzinfo, **options: Unpack[CronOptions]) -> Callable[[Body], Timer]: ...
def cron(
    fn: Body | str,
    expression: str | None = None,
    *,
    timezone: str | tzinfo,
    missed: MissedPolicy = "skip",
    misfire_grace: float | None = None,
    jitter: float = 0.0,
    max_instances: int = 1,
    run_timeout: float | None = None,
    on_error: ErrorPolicy = "log",
    max_runs: int | None = None,
    hooks: Sequence[object] = (),
    name: str | None = None,
    clock: Callable[[], float] | None = None,
) -> Any:
    """Return a timer that runs ``fn()`` at the times of a cron expression on the wall clock of *timezone*.

    The wall clock is read again at least every 60 seconds, so that a clock that is set, and a machine that was
    suspended, are noticed. The next run is computed from when the last one was *due*: none happens twice because
    the clock was set back. (Set back by more than three hours, the timer begins anew.)

    An expression that names hours runs each time of day once: one that the clock skips in spring at the first
    instant after the gap, one that it shows twice in autumn the first time. One that takes every hour runs on
    through both.

    Without *fn* it is a decorator: ``@cron("0 4 * * *", timezone="Europe/Berlin")``. It needs
    ``cronsim``: ``pip install asyncio-lifecycle[scheduler]``.

    Args:
        fn: an async function without arguments.
        expression: minute, hour, day of month, month and day of week; with six fields, seconds come first. Where
            both day fields are restricted, either may match.
        timezone: a name such as ``"Europe/Berlin"``, or a ``tzinfo``.
        missed, misfire_grace, jitter, max_instances, run_timeout, on_error, max_runs, hooks, name: as for
            `fixed_rate`.
        clock: returns the seconds since the epoch; by default ``time.time``.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: an argument is out of its range, the expression cannot be read or names a date that does not
            exist, or the time zone is not known. Nothing has happened.
        ImportError: ``cronsim`` is not installed.
    """
    settings = TimerSettings(
        missed=missed,
        misfire_grace=misfire_grace,
        jitter=jitter,
        max_instances=max_instances,
        run_timeout=run_timeout,
        on_error=on_error,
        max_runs=max_runs,
        hooks=tuple(hooks),
    )
    if clock is not None:
        checked_callable(clock, "clock")
    from .cron import CronPlan, CronRule

    body, rule = _body_and_rule(fn, expression)
    return _timer_or_decorator(body, CronPlan(CronRule(rule, timezone), missed, clock or time.time), settings, name)


def once(
    fn: Body,
    delay: float,
    *,
    jitter: float = 0.0,
    run_timeout: float | None = None,
    on_error: ErrorPolicy = "log",
    hooks: Sequence[object] = (),
    name: str | None = None,
) -> Timer:
    """Return a timer that runs ``fn()`` once, *delay* seconds after its start, and ends.

    Args:
        fn: an async function without arguments.
        delay: seconds, from 0 to a century.
        jitter, run_timeout, on_error, hooks, name: as for `fixed_rate`.

    Raises:
        TypeError, ValueError: an argument is out of its range. Nothing has happened.
    """
    settings = TimerSettings(jitter=jitter, run_timeout=run_timeout, on_error=on_error, hooks=tuple(hooks))
    return _timer(fn, plan=OncePlan(checked_seconds(delay, "delay")), settings=settings, name=name)


def _body_and_rule(fn: Any, rule: Any) -> tuple[Any, Any]:
    """Return the body and the rule; a decorator is called with the rule alone, and gets its body later."""
    return (_LATER, fn) if rule is None else (fn, rule)


def _timer_or_decorator(
    body: Any, plan: Plan, settings: TimerSettings, name: str | None
) -> Timer | Callable[[Body], Timer]:
    make = functools.partial(_timer, plan=plan, settings=settings, name=name)
    return make if body is _LATER else make(body)


def _timer(fn: Body, *, plan: Plan, settings: TimerSettings, name: str | None) -> Timer:
    claim = "a timer runs an async function without arguments"
    checked_async(fn, claim)
    if isinstance(fn, Timer):
        raise TypeError(f"{claim}, got {fn!r}, which is a timer itself; give it to an owner: owner.start_soon(timer)")
    check_call_without_arguments(fn, claim)
    return Timer(fn, plan, settings, name)
