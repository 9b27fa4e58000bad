"""What an attempt does: the block of a flow, or one call of a handler."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from .._ground.errors import HandlerChanged, HandlerError
from .._ground.values import to_plain
from .._store.run_records import run_status
from .._work.ending import in_one_way
from .._work.frame import Frame, call_handler
from .._work.handlers import Handler, registered_handlers

if TYPE_CHECKING:
    from lifecycle import Scope

    from .._store.protocol import Store
    from .attempt import Attempt
    from .job import FlowRun


async def run_block_of(
    run: FlowRun, attempt: Attempt, store: Store, scope: Scope, limiter: anyio.CapacityLimiter
) -> Any:
    """Run the top-level block of a flow that a job stands for, and return its output."""
    claimed, flow = attempt.claimed, run.flow
    context = attempt.context()
    context.secrets.expect(name for _, name in flow.secrets)
    spec = flow.jobs[claimed.name]
    blocks: dict[str, dict[str, Any]] = {name: {} for name in spec.asks}
    for name, output in (await store.outputs(run.id, spec.uses) if spec.uses else {}).items():
        blocks.setdefault(name, {})["output"] = output
    for name, (status, error) in (await store.fates(run.id, spec.asks) if spec.asks else {}).items():
        blocks[name] |= {"status": status, "error": error}
    context.names = {
        "params": run.params,
        "blocks": blocks,
        "run": {
            "id": run.id,
            "flow": flow.name,
            "directory": str(flow.directory),
            "attempt": claimed.attempt,
            **({"status": await _status_of(run, store)} if spec.asks_run else {}),
        },
    }
    frame = Frame(scope, context, context.names, flow.directory, limiter, attempt.asked, job_path=spec.block.path)
    return await frame.run_job(spec.block)


async def _status_of(run: FlowRun, store: Store) -> str:
    """Return how a run has ended so far: all its jobs but those of ``[finally]``."""
    specs = run.flow.jobs
    jobs = [job for job in await store.jobs_of(run.id) if not specs[job.name].last]
    stored = await store.run(run.id)
    return run_status(jobs, cancelled=stored is not None and stored.cancelled).value


async def run_handler(attempt: Attempt, durable: bool, scope: Scope, limiter: anyio.CapacityLimiter) -> Any:
    """Call the handler of a job that was submitted by itself, and return what it returned."""
    claimed = attempt.claimed
    handler, args = _resolve(claimed.payload)
    if handler.is_async and not handler.wants_context:  # nothing of ours that it could use: it needs no frame
        result = await in_one_way(attempt.asked, handler, handler.function, *args)
    else:
        context = attempt.context()
        frame = Frame(scope, context, {}, Path.cwd(), limiter, attempt.asked, path=claimed.name)
        result = await call_handler(handler, list(args), {}, frame)
    return to_plain(result, f"the result of {claimed.name}") if durable else result


def _resolve(payload: Any) -> tuple[Handler, Sequence[Any]]:
    if not isinstance(payload, dict):
        handler, args = payload
        return handler, args
    name = payload["handler"]
    known = registered_handlers().get(name)
    if known is None:
        raise HandlerError(registered_handlers().unknown(name))
    args = payload["args"]
    if problem := known.problem_of_values(tuple(args)):
        raise HandlerChanged(f"the job was submitted with other arguments than its handler takes now: {problem}")
    return known, args
