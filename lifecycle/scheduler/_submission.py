"""From what was submitted to what a store keeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ._handlers import Handler, HandlerTable, make_handler, name_of
from ._limits import RESULT_BYTES
from ._text import one_line, shorten
from ._values import to_plain
from .flow._model import Flow, JobSpec
from .flow._table import integer_problem, seconds_problem
from .store._owners import canonical
from .store._records import NewJob, NewRun


def find_handler(submitted: Callable[..., Any] | str, table: HandlerTable, *, durable: bool) -> Handler:
    """Return the handler that was submitted, as a function or by its name.

    Raises:
        LookupError: no handler has this name.
        TypeError: it is no callable, or a durable store could not find it again by a name.
    """
    if isinstance(submitted, str):
        known = table.get(submitted)
        if known is None:
            raise LookupError(table.unknown(submitted))
        return known
    if not callable(submitted):
        raise TypeError(f"expected a function, the name of a handler, or a flow, got {submitted!r}")
    known = table.get(name_of(submitted))
    if known is not None and known.function is submitted:
        return known
    if durable:
        raise TypeError(
            f"{name_of(submitted)} has no name that a durable store could find it by after a restart; "
            "mark it with @handler(NAME)"
        )
    return make_handler(submitted)


def new_job(
    handler: Handler,
    args: tuple[Any, ...],
    *,
    durable: bool,
    name: str | None,
    priority: int,
    delay: float,
    retries: int,
    backoff: tuple[float, float],
    timeout: float | None,
) -> NewJob:
    """Return the job that calls a handler, its settings checked.

    Raises:
        ValueError, TypeError: a setting or an argument is not right.
    """
    checks = {
        "priority": integer_problem(priority, -(10**6), 10**6),
        "retries": integer_problem(retries, 0, 10_000),
        "delay": seconds_problem(delay),
        "timeout": None if timeout is None else seconds_problem(timeout, positive=True),
        "backoff": seconds_problem(backoff[0]) or seconds_problem(backoff[1]),
        "arguments": handler.problem(list(args), {}),
    }
    for what, problem in checks.items():
        if problem:
            raise ValueError(f"{what}: {problem}")
    payload: Any = (handler, args)
    if durable:
        plain = to_plain(list(args), f"the arguments of {handler.name}", RESULT_BYTES)
        payload = {"handler": handler.name, "args": plain}
    return NewJob(
        one_line(shorten(name or handler.name, 200)),
        "call",
        priority=priority,
        delay=float(delay),
        retries=retries,
        backoff=backoff,
        timeout=timeout,
        payload=payload,
    )


def new_run(flow: Flow, params: Mapping[str, Any]) -> NewRun:
    """Return the run of a flow with these values of its parameters."""
    jobs = tuple(_flow_job(spec) for spec in flow.jobs.values())
    return NewRun(flow.name, flow.source, flow.digest, canonical(params), jobs)


def _flow_job(spec: JobSpec) -> NewJob:
    return NewJob(
        spec.name,
        spec.block.kind,
        needs=spec.needs,
        priority=spec.priority,
        delay=spec.delay,
        retries=spec.retries,
        backoff=spec.backoff,
        timeout=spec.block.timeout,
    )
