"""Intake: from what was submitted to a row in the store and a handle for the sender."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .._ground.checks import check_flag
from .._ground.errors import JobConflict
from .._store.records import Settled
from .._store.terms import NO_TERMS, REPLACED
from .submission import call_settings, check_flow_settings, new_call, new_run
from .terms import plain_metadata

if TYPE_CHECKING:
    from .._blocks.flow import Flow
    from .._store.admission import Found
    from .._store.records import NewJob
    from .._store.terms import Terms
    from .engine import Engine
    from .job import FlowRun, Job


async def submit_call(
    engine: Engine, work: Callable[..., Any] | str, args: tuple[Any, ...], given: Mapping[str, Any]
) -> Job:
    """Submit one call of a handler, and return a handle on it."""
    with engine.refusals:
        store = engine.store
        new = new_call(work, args, call_settings(given), durable=store.durable, shared=store.shared)
        if carried := engine.carry.values():
            new = with_metadata(new, carried)
        if new.terms is None and new.when == "success":
            return engine.handle(await engine.store.add_job(new), new.name)
        return await _admit(engine, new, new.terms or NO_TERMS)


def with_metadata(new: NewJob, metadata: Mapping[str, Any]) -> NewJob:
    """Return a job with these metadata too; its own win."""
    terms = new.terms or NO_TERMS
    return new._replace(terms=terms._replace(metadata={**metadata, **(terms.metadata or {})}))


async def _admit(engine: Engine, new: NewJob, terms: Terms) -> Job:
    """Submit a job on terms, and see to what follows from that.

    Raises:
        JobConflict: another job has its key.
        LookupError: it needs a job that there is not.
    """
    admitted = await engine.store.admit_job(new)
    if admitted.unknown:
        numbers = ", ".join(map(str, admitted.unknown))
        more = "" if engine.store.durable else "; a store in memory forgets a job that has ended: give its handle"
        raise LookupError(f"needs {numbers}: there is no such job in the store{more}")
    twin = admitted.twin
    if admitted.job is None:
        assert twin is not None
        assert terms.key is not None
        if terms.on_twin == "return":
            return await engine.find(twin.id)
        raise JobConflict(_conflict(terms, twin), twin.id, terms.key)
    job = engine.handle(admitted.job, new.name)
    if admitted.replaced is not None and twin is not None:
        await engine.cancelled(twin.id, twin.name, REPLACED, admitted.replaced)
    if admitted.unrun is not None:
        await engine.settle(Settled(True, None, (admitted.unrun,)))
    return job


def _conflict(terms: Terms, twin: Found) -> str:
    one = f"job {twin.id} {twin.name!r}, which is {twin.status.value}, has the key {terms.key!r}"
    if terms.on_twin == "replace":
        return f"{one}; a job cannot replace one that it needs, or that waits for one"
    return f"{one}; wait for it, cancel it, or submit with on_twin='return' or 'replace'"


async def submit_flow(engine: Engine, flow: Flow, args: tuple[Any, ...], given: Mapping[str, Any]) -> FlowRun:
    """Start a run of a flow, or take over its unfinished one, and return a handle on it."""
    with engine.refusals:
        check_flow_settings(flow, args, given, ("params", "resume", "fresh", "metadata"))
        params, metadata = given.get("params"), given.get("metadata")
        resume, fresh = given.get("resume", False), given.get("fresh", False)
        check_flag(resume, "resume")
        check_flag(fresh, "fresh")
        values = flow.bind(params)
        run = new_run(flow, values)
        if metadata := {**engine.carry.values(), **(plain_metadata(metadata) or {})}:
            run = replace(run, jobs=tuple(with_metadata(job, metadata) for job in run.jobs))
        return await engine.runs.submit(flow, values, run, resume=resume, fresh=fresh)
