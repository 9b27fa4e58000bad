"""Intake: from what was submitted to a row in the store and a handle for the sender."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .._work.handlers import registered_handlers
from .submission import call_settings, find_handler, new_job

if TYPE_CHECKING:
    from .._blocks.flow import Flow
    from .engine import Engine
    from .job import FlowRun, Job


async def submit_call(
    engine: Engine, work: Callable[..., Any] | str, args: tuple[Any, ...], given: Mapping[str, Any]
) -> Job:
    """Submit one call of a handler, and return a handle on it."""
    with engine.refusals:
        durable = engine.store.durable
        handler = find_handler(work, registered_handlers(), durable=durable)
        new = new_job(handler, args, call_settings(given), durable=durable)
        return engine.handle(await engine.store.add_job(new), new.name)


async def submit_flow(
    engine: Engine,
    flow: Flow,
    *,
    params: Mapping[str, Any] | None = None,
    resume: bool = False,
    fresh: bool = False,
) -> FlowRun:
    """Start a run of a flow, or take over its unfinished one, and return a handle on it."""
    with engine.refusals:
        return await engine.runs.submit(flow, flow.bind(params), resume=resume, fresh=fresh)
