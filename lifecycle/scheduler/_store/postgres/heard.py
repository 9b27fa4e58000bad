"""What the database answers, as the records that a scheduler works with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..._ground.errors import RunConflict
from ..admission import Admitted, Found
from ..records import ALONE, Cancelling, Claimed, JobStatus, OpenedRun, Settled, Skipped
from ..revival import Revived


def claimed_of(said: Mapping[str, Any]) -> list[Claimed]:
    """Return the attempts that were started."""
    recorded: Mapping[str, int] = said.get("recorded") or {}
    created: Mapping[str, float] = said.get("created") or {}
    rows = [(row, str(row[0])) for row in said["jobs"]]
    return [_claimed_of(row, recorded.get(number, 0), float(created.get(number, 0.0))) for row, number in rows]


def _claimed_of(row: Sequence[Any], recorded: int, created: float) -> Claimed:
    number, run, name, kind, attempt, failures, retries, pause, longest, timeout, todo, expires, more = row
    todo, more = todo and json.loads(todo), more and json.loads(more)
    backoff, first = (pause, longest), recorded + 1
    return Claimed(
        number, run, name, kind, attempt, failures, retries, backoff, timeout, todo, expires, more, first, created
    )


def skipped_of(said: Sequence[Any]) -> Skipped:
    """Return a job that has ended without an attempt."""
    number, name, reason, status, run = said
    return Skipped(number, name, reason, JobStatus(status), run)


def settled_of(said: Any) -> Settled:
    """Return what followed from an end; *said* is true, or nothing, where nothing did."""
    if said is True or not said:
        return ALONE
    if not said.get("accepted", True):
        return Settled(accepted=False)
    skipped = tuple(sorted(map(skipped_of, said.get("skipped", ())), key=lambda one: one.id))
    return Settled(True, said.get("run"), skipped, bool(said.get("run_finished")))


def cancelling_of(said: Any) -> Cancelling:
    """Return what a request to cancel a job met."""
    if not said["found"]:
        return Cancelling(found=False)
    settled = said.get("settled")
    return Cancelling(True, JobStatus(said["before"]), None if settled is None else settled_of(settled))


def cancelled_run_of(said: Any) -> tuple[Settled, tuple[int, ...]]:
    """Return what followed when a run was cancelled, and which of its jobs have to be stopped."""
    if said is None:
        return Settled(accepted=False), ()
    settled = said["settled"]
    # In the order in which they were skipped: those of the run first.
    skipped = tuple(map(skipped_of, settled["skipped"]))
    return Settled(True, settled["run"], skipped, settled["run_finished"]), tuple(said["running"])


def opened_of(said: Any) -> OpenedRun:
    """Return a run that was stored or taken over.

    Raises:
        RunConflict: it was not.
    """
    if "conflict" in said:
        runs = tuple(said.get("runs", ()))
        raise RunConflict(said["conflict"], flow_changed=bool(said.get("flow_changed")), run_ids=runs)
    return OpenedRun(said["run"], said["resumed"], said["jobs"], said["unfinished"], bool(said["waits"]))


def admitted_of(said: Any) -> Admitted:
    """Return what became of a job that was submitted on terms."""
    twin, replaced, unrun = said.get("twin"), said.get("replaced"), said.get("unrun")
    return Admitted(
        said.get("job"),
        None if twin is None else Found(twin[0], twin[1], JobStatus(twin[2]), bool(twin[3])),
        tuple(said.get("unknown") or ()),
        None if replaced is None else cancelling_of(replaced),
        None if unrun is None else skipped_of(unrun),
    )


def revived_of(said: Any) -> Revived:
    """Return what a request to try jobs again met."""
    refused = {int(number): why for number, why in said["refused"].items()}
    return Revived(tuple(said["jobs"]), said["skipped"], tuple(said["missing"]), refused, tuple(said["ours"]))
