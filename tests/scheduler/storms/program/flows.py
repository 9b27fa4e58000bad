"""Flows that the program puts in, one run after the other: one in which jobs wait for jobs, one that cleans up."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import Any

from lifecycle.scheduler import Flow, FlowRun, RunConflict, Scheduler, StoreBusy, StoreError, flow_of_table

from . import handlers as handlers  # a flow names them
from .told import CHANCE, ledger, note

Blocks = dict[str, dict[str, Any]]


def the_flow() -> Flow:
    """Return a flow of eight jobs, some of which need others, fail and come back."""
    kinds = ("quick", "plain", "flaky", "slow")
    blocks: Blocks = {}
    for number in range(8):
        kind = kinds[number % 4]
        blocks[f"b{number}"] = {
            **a_call(kind, f"b{number}"),
            "needs": [f"b{needed}" for needed in {number // 2, number // 3} if needed < number],
            "retries": 20 if kind == "flaky" else 0,
            "backoff": [0.001, 0.01],
        }
    return a_flow("storm", blocks)


def the_cleaning_flow() -> Flow:
    """Return a flow that fails in four ways, or not, and has steps that run anyway."""
    blocks: Blocks = {
        "make": a_call("flaky", "make"),
        "loose": a_call("flaky", "loose"),
        "use": {**a_call("slow", "use"), "needs": ["make"]},
        "index": {**a_call("quick", "index"), "needs": [{"block": "loose", "may_fail": True}]},
        "tell": {**a_call("quick", "tell"), "needs": ["use"], "when": "failure"},
        "tidy": {**a_call("plain", "tidy"), "needs": ["use"], "when": "always"},
    }
    last: Blocks = {
        "unlock": a_call("witness", "unlock", "${run.status}"),
        "mail": {**a_call("quick", "mail"), "needs": ["unlock"], "when": "failure"},
        "praise": {**a_call("single", "praise"), "when": "success", "queue": "narrow"},
    }
    return a_flow("cleaning", blocks, last)


def a_call(handler: str, name: str, *args: str) -> dict[str, Any]:
    """Return a block that calls a handler with what the ledger calls the job."""
    return {"call": handler, "args": [f"run${{run.id}}-{name}", *args]}


def a_flow(name: str, blocks: Blocks, last: Blocks | None = None) -> Flow:
    """Return a flow whose runs are told apart by who has put them in, and by a number."""
    table = {"name": name, "params": {"who": "", "number": 0}, "blocks": blocks}
    return flow_of_table({**table, "finally": last} if last else table, source=name)


FLOWS = (the_flow(), the_cleaning_flow())


async def submit_flows(scheduler: Scheduler, flow: Flow, role: str) -> None:
    """Put in the run of a flow that was not seen to end, or the next one, and again."""
    done = sum(line.startswith(f"ran {flow.name} {role} ") for line in ledger())
    for number in itertools.count(done + 1):
        while True:
            with contextlib.suppress(StoreBusy, RunConflict):  # a conflict: who serves it has taken it over
                run = await scheduler.submit(flow, params={"who": role, "number": number}, resume=True)
                break
            await asyncio.sleep(CHANCE.random() * 0.1)
        note("run", flow.name, role, run.id, number)
        stopping = asyncio.create_task(stop_some(run)) if flow.name == "cleaning" else None
        outcome = await run.wait()
        if stopping is not None:
            await stopping
        if not outcome.status.final:
            return
        note("ran", flow.name, role, run.id, outcome.status.value)


async def serve_flows(scheduler: Scheduler) -> None:
    """Go on with the runs that others have left, as well as with those that somebody has had tried again."""
    for flow in FLOWS:
        await scheduler.serve_flow(flow)


async def stop_some(run: FlowRun) -> None:
    """Cancel some runs while they go on, and a few of those once more, which stops their cleaning up as well."""
    for likely in (0.25, 0.2):
        await asyncio.sleep(CHANCE.random() * 0.1)
        if CHANCE.random() > likely or run.done:
            return
        note("stopping", run.id)
        # Also when the store cannot be used any more: others tell of it, and nobody may be left who waits for this one.
        with contextlib.suppress(StoreError):
            await run.cancel("not wanted any more")
