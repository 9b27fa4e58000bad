"""What a scheduler says to the database, as plain tables that become JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..._ground.values import to_json
from ..limits import Limit
from ..messages import Report
from ..records import Ending, JobStatus, NewJob, NewRun, flow_key
from ..terms import NO_TERMS


def job_said(job: NewJob) -> dict[str, Any]:
    """Return what is to be stored of a job; payload and metadata as texts: they may hold what jsonb refuses."""
    said: dict[str, Any] = {
        "name": job.name,
        "kind": job.kind,
        "handler": job.handler,
        "queue": job.queue,
        "priority": job.priority,
        "retries": job.retries,
        "backoff": job.backoff,
    }
    if job.delay:
        said["delay"] = job.delay
    if job.timeout is not None:
        said["timeout"] = job.timeout
    if job.payload is not None:
        said["payload"] = to_json(job.payload)
    if job.when != "success":
        said["when"] = job.when
    if job.needs:
        said["needs"], said["tolerates"] = job.needs, job.tolerates
    if job.terms is not None:
        terms = job.terms
        key = terms.key and storable(terms.key)
        known = {"at": terms.at, "expires": terms.expires, "lifetime": terms.lifetime, "key": key}
        said |= {name: value for name, value in known.items() if value is not None}
        if terms.metadata:
            said["metadata"] = to_json(terms.metadata)
    return said


def admission_said(job: NewJob) -> dict[str, Any]:
    """Return a job that is submitted on terms: with what becomes of a twin, and the jobs that it needs."""
    terms = job.terms or NO_TERMS
    return {
        **job_said(job),
        "on_twin": terms.on_twin,
        "awaits": list(dict.fromkeys(terms.needs)),
        "ended": [list(one) for one in terms.ended],
        "lost": terms.lost,
    }


def is_plain(job: NewJob) -> bool:
    """Return whether nothing has to be asked before a job is stored: it has no key, and needs nothing."""
    terms = job.terms or NO_TERMS
    return terms.key is None and not terms.needs and not terms.ended and job.when == "success"


def run_said(run: NewRun) -> dict[str, Any]:
    """Return what is to be stored of a run."""
    return {
        "flow": run.flow,
        "source": run.source,
        "digest": run.digest,
        "doer": flow_key(run.flow, run.digest),
        "params": run.params,
        "bound": list(run.bound),
        "jobs": [job_said(job) for job in run.jobs],
    }


def ending_said(job_id: int, attempt: int, ending: Ending) -> dict[str, Any]:
    """Return how an attempt has ended."""
    said: dict[str, Any] = {
        "id": job_id,
        "attempt": attempt,
        "status": ending.status.value,
        "seconds": ending.seconds,
        "failed": ending.failed,
    }
    if ending.status is JobStatus.SUCCEEDED:
        said["result"] = to_json(ending.result)
    texts = {"error": ending.error, "trace": ending.trace, "log": ending.log}
    said |= {name: storable(text) for name, text in texts.items() if text is not None}
    if ending.logged or ending.progress:
        said["logged"] = ending.logged
    if ending.progress:
        said["done"], said["total"] = ending.progress
    return said


def report_said(report: Report) -> dict[str, Any]:
    """Return what a running attempt shows of itself."""
    done, total = report.progress or (None, None)
    return {
        "id": report.id,
        "attempt": report.attempt,
        "log": storable(report.log) or None,
        "logged": report.logged,
        "done": done,
        "total": total,
    }


def limit_said(limit: Limit) -> dict[str, Any]:
    """Return a limit."""
    rate = limit.rate
    return {
        "kind": limit.key.kind,
        "name": limit.key.name,
        "paused": limit.paused,
        "at_once": limit.at_once,
        "number": None if rate is None else rate.number,
        "per": None if rate is None else rate.per,
        "burst": None if rate is None else rate.burst,
        "weight": limit.weight,
        "whole_at": limit.whole_at,
    }


_UNSTORABLE = {0: "\N{SYMBOL FOR NULL}", **dict.fromkeys(range(0xD800, 0xE000), "\N{REPLACEMENT CHARACTER}")}


def storable(text: str) -> str:
    """Return a text as the database can keep it: without NUL characters, and halves of characters."""
    if text.isascii() and "\0" not in text:
        return text
    return text.translate(_UNSTORABLE)


def encoded(said: Mapping[str, Any] | list[dict[str, Any]]) -> str:
    """Return what is said as JSON text."""
    return to_json(said)
