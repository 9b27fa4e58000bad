"""Taking work in: from what was submitted to a row in the store and a handle for the sender."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ._events import Event
from ._handlers import registered_handlers
from ._job import FlowRun, Job
from ._submission import call_settings, find_handler, new_job, new_run

if TYPE_CHECKING:
    from lifecycle import Scope

    from ._engine import Engine
    from ._feed import Feed
    from .flow._model import Flow


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
    owner: Scope,
    feed: Feed,
    flow: Flow,
    *,
    params: Mapping[str, Any] | None = None,
    resume: bool = False,
    fresh: bool = False,
) -> FlowRun:
    """Put in a run of a flow, or take over its unfinished one, and return a handle on it; *owner* owns the run."""
    bound = flow.bind(params)
    opened = await engine.store.open_run(new_run(flow, bound), resume=resume, fresh=fresh)
    scope = owner.child(f"run {opened.run_id} of {flow.name}")
    run = FlowRun(flow, bound, opened, scope, engine.cancel_run)
    engine.runs[run.id] = run
    scope.callback(engine.runs.pop, run.id, None)
    scope.push_async_callback(engine.close_run, run)
    data = {"flow": flow.name, "jobs": run.jobs, "unfinished": run.unfinished, "resumed": run.resumed}
    feed.tell(Event("run_started", run_id=run.id, data=data))
    engine.care()
    return run
