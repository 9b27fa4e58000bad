"""What an attempt does: the block of a flow, or one call of a handler."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from ._context import JobContext
from ._errors import HandlerError
from ._frame import Frame, call_handler
from ._handlers import Handler, registered_handlers
from ._values import to_plain

if TYPE_CHECKING:
    from lifecycle import Scope

    from ._job import FlowRun
    from .store._protocol import Store
    from .store._records import Claimed


async def run_block_of(
    run: FlowRun, claimed: Claimed, store: Store, scope: Scope, context: JobContext, limiter: anyio.CapacityLimiter
) -> Any:
    """Run the top-level block of a flow that a job stands for, and return its output."""
    flow = run.flow
    spec = flow.jobs[claimed.name]
    outputs = await store.outputs(run.id, spec.uses) if spec.uses else {}
    context.names = {
        "params": run.params,
        "blocks": {name: {"output": output} for name, output in outputs.items()},
        "run": {
            "id": run.id,
            "flow": flow.name,
            "directory": str(flow.directory),
            "attempt": claimed.attempt,
        },
    }
    frame = Frame(scope, context, context.names, flow.directory, limiter, job_path=spec.block.path)
    return await frame.run(spec.block, timed=False)  # the job's own timeout is the attempt's


async def run_handler(
    claimed: Claimed, durable: bool, scope: Scope, context: JobContext, limiter: anyio.CapacityLimiter
) -> Any:
    """Call the handler of a job that was submitted by itself, and return what it returned."""
    handler, args = _resolve(claimed.payload)
    frame = Frame(scope, context, {}, Path.cwd(), limiter, path=claimed.name)
    result = await call_handler(handler, list(args), {}, frame)
    return to_plain(result, f"the result of {claimed.name}") if durable else result


def _resolve(payload: Any) -> tuple[Handler, list[Any]]:
    if not isinstance(payload, dict):
        handler, args = payload
        return handler, args
    name = payload["handler"]
    known = registered_handlers().get(name)
    if known is None:
        raise HandlerError(registered_handlers().unknown(name))
    return known, payload["args"]
