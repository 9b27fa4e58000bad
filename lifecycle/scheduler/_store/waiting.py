"""What a job that does not run yet waits for, in words; and the work that no living scheduler takes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

from .._ground.text import plural, quote
from .._ground.times import local_time
from .limits import Openings
from .pace import Bound

NAMED: Final = 5
"""Jobs that are named among those that one waits for."""


FREE_WORKER: Final = "a free worker"


class LeftWork(NamedTuple):
    """Unfinished work that no scheduler has taken.

    Attributes:
        handlers: how many jobs wait for each handler.
        flows: how many runs there are of each flow.
    """

    handlers: Mapping[str, int] = {}
    flows: Mapping[str, int] = {}


def worker_or_limit(openings: Openings, queue: str, handler: str | None) -> str:
    """Return what a job waits for that could begin: the limit that keeps it out, or a worker."""
    barrier = openings.barrier(queue, handler)
    if barrier is None:
        return FREE_WORKER
    limit, opens = barrier
    what = str(limit.key) if limit.key.name else "the whole store"
    if limit.paused:
        return f"{what} to be resumed"
    if opens is not None:
        return f"the rate of {what}, which lets in the next one at {local_time(opens)}"
    return f"a place of {what}: {openings.running(limit.key):,} of {limit.at_once:,} are taken"


def nobody_takes(flow: str | None, handler: str | None, any_alive: bool) -> str:
    """Return what a job waits for that no scheduler has taken."""
    what = f"flow {quote(flow)}" if flow is not None else f"handler {quote(handler, 100)}"
    lacks = "that serves its" if flow is not None else "that has its"
    return f"a scheduler {lacks} {what}" + ("; none of those that live does" if any_alive else "; none lives")


def needs_of(unmet: int, names: Sequence[str] = ()) -> str:
    """Return the jobs that a job waits for, *unmet* of them, some by their names."""
    if not names:
        return f"{plural(unmet, 'job')} that it needs"
    more = f" and {unmet - len(names):,} more" if unmet > len(names) else ""
    return f"{', '.join(quote(name, 100) for name in names)}{more}, which it needs"


def ends_of(runs: Sequence[int], unowned: Collection[int] = ()) -> str:
    """Return the runs of its flow that a run waits for; some of them may be *unowned*: no scheduler works on them."""
    shown = ", ".join(map(str, runs[:NAMED])) + (f" and {len(runs) - NAMED:,} more" if len(runs) > NAMED else "")
    what = f"run {shown} of its flow to end" if len(runs) == 1 else f"one of the runs {shown} of its flow to end"
    left = [str(number) for number in runs if number in unowned][:NAMED]
    return f"{what}; no scheduler works on {', '.join(left)}" if left else what


def refused_beside(flow: str, runs: Sequence[int], bound: Bound) -> str:
    """Return why one more run of a flow is not begun."""
    of, limit = f"of flow {quote(flow)}", f"and its max_instances is {bound.max_instances}"
    if len(runs) == 1:
        return f"run {runs[0]} {of} goes on, {limit}; wait for it, or cancel it"
    return f"{len(runs)} runs {of} go on, {limit}; wait for one of them, or cancel it"


def until(due: float) -> str:
    """Return a time that a job waits for, with its zone."""
    return f"its time, {local_time(due)}"
