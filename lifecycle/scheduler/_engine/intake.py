"""Taking work in: from what was submitted to a row in the store and a handle for the sender."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .._ground.events import Event
from .._store.records import flow_key
from .._work.handlers import registered_handlers
from .job import FlowRun, Job
from .submission import call_settings, find_handler, new_job, new_run

if TYPE_CHECKING:
    from .._blocks.flow import Flow
    from .._store.records import OpenedRun
    from .engine import Engine

logger = logging.getLogger("lifecycle.scheduler")


async def submit_call(
    engine: Engine, work: Callable[..., Any] | str, args: tuple[Any, ...], given: Mapping[str, Any]
) -> Job:
    """Put in one call of a handler, and return a handle on it."""
    durable = engine.store.durable
    handler = find_handler(work, registered_handlers(), durable=durable)
    new = new_job(handler, args, call_settings(given), durable=durable)
    job = Job(await engine.store.add_job(new), new.name, engine.cancel_job)
    engine.jobs[job.id] = job
    engine.care()
    return job


async def submit_flow(
    engine: Engine,
    flow: Flow,
    *,
    params: Mapping[str, Any] | None = None,
    resume: bool = False,
    fresh: bool = False,
) -> FlowRun:
    """Put in a run of a flow, or take over its unfinished one, and return a handle on it."""
    bound = flow.bind(params)
    return hold_run(engine, flow, bound, await engine.store.open_run(new_run(flow, bound), resume=resume, fresh=fresh))


def hold_run(engine: Engine, flow: Flow, params: Mapping[str, Any], opened: OpenedRun) -> FlowRun:
    """Return the handle on a run that is ours in the store; what belongs to it is owned from now on."""
    if opened.run_id in engine.runs:
        return engine.runs[opened.run_id]
    scope = engine.owner.child(f"run {opened.run_id} of {flow.name}")
    run = FlowRun(flow, params, opened, scope, engine.cancel_run)
    engine.runs[run.id] = run
    scope.callback(engine.runs.pop, run.id, None)
    scope.push_async_callback(engine.close_run, run)
    data = {"flow": flow.name, "jobs": run.jobs, "unfinished": run.unfinished, "resumed": run.resumed}
    engine.feed.tell(Event("run_started", run_id=run.id, data=data))
    engine.care()
    return run


async def serve_flow(engine: Engine, flow: Flow) -> None:
    """Let schedules put in runs of a flow, and go on with those that nobody works on."""
    engine.flows = {**engine.flows, flow_key(flow.name, flow.digest): flow}  # a new one: the store's thread reads it
    left = await engine.store.adopt_runs(flow.name, flow.digest)
    for run in left.changed:
        logger.warning(
            "run %d of %r was begun with another version of the flow and is left alone: finish it with that one, or "
            "cancel it with `lifecycle jobs cancel --run %d`",
            run,
            flow.name,
            run,
            extra={"run": run, "flow": flow.name},
        )
    engine.store.look_again()


async def take_up_run(engine: Engine, number: int) -> FlowRun | None:
    """Return the handle on a run that the store has begun for us: a schedule was due, or a dead process had left it.

    None when its flow is not served here: then its sender was cancelled while it was put in.
    """
    stored = await engine.store.run(number)
    run = engine.runs.get(number)
    if run is not None or stored is None or stored.key not in engine.flows:
        return run
    run = hold_run(engine, engine.flows[stored.key], json.loads(stored.params), stored.opened)
    if not stored.opened.unfinished:
        await engine.end_run(number)  # it was over before it was looked at
    return run
