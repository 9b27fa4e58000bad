"""What a schedule submits, as the database keeps it, read back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..pace import Bound
from ..records import NewJob, NewRun
from ..terms import Terms


def work_of(said: Mapping[str, Any]) -> NewJob | NewRun:
    """Return the job or the run that `job_said` or `run_said` has made a table of."""
    if "flow" in said:
        texts = {name: said[name] for name in ("flow", "source", "digest", "params")}
        return NewRun(**texts, jobs=tuple(map(_job_of, said["jobs"])), bound=Bound(*said.get("bound") or ()))
    return _job_of(said)


def _job_of(said: Mapping[str, Any]) -> NewJob:
    first, longest = said["backoff"]
    payload, timeout = said.get("payload"), said.get("timeout")
    return NewJob(
        said["name"],
        said["kind"],
        tuple(said.get("needs", ())),
        said["priority"],
        float(said.get("delay", 0.0)),
        said["retries"],
        (float(first), float(longest)),
        None if timeout is None else float(timeout),
        None if payload is None else json.loads(payload),
        said["queue"],
        said.get("when", "success"),
        tuple(said.get("tolerates", ())),
        _terms_of(said),
    )


def _terms_of(said: Mapping[str, Any]) -> Terms | None:
    lifetime, metadata = said.get("lifetime"), said.get("metadata")
    if lifetime is None and metadata is None:
        return None
    return Terms(
        lifetime=None if lifetime is None else float(lifetime),
        metadata=None if metadata is None else json.loads(metadata),
    )
