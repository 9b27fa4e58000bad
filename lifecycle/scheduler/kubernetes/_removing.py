"""Removing a Job and its pods: nothing is said to be gone that is not, and nothing is taken that is another's."""

from __future__ import annotations

from typing import Any, Final

import anyio

from lifecycle import Retry

from ..remote import Ticket
from . import _ends
from ._client import Client
from ._faults import CONFLICT, NOT_FOUND, ApiError, page_of
from ._job import Keep
from ._names import JOB, KEEP, STORE
from ._ownership import LOOKS, Item, attempt_of, find_job, is_being_deleted, is_of, job_path, labels_of
from ._view import PATHS, Seen

PATIENCE: Final = 60.0
"""Seconds for which a server that is not there, or has no time, is asked again."""

_PAUSES: Final = Retry(backoff=(0.1, 2.0), jitter=0.0)


async def remove(client: Client, ticket: Ticket, namespace: str) -> None:
    """Delete the Job of a ticket and return when its pods are gone; one that has ended is not waited for.

    One that a later attempt has taken over stays, and so does one that is to be kept and has ended.

    Cancellation: it may be deleted or not.

    Raises:
        ApiError, OSError: it cannot be deleted, or cannot be known to be.
    """
    job: Item | None = None
    for pause in LOOKS:
        await anyio.sleep(pause)
        if (job := await find_job(client, namespace, ticket.name, patience=PATIENCE)) is not None:
            break
    tries, empty = 0, 0
    while job is not None or empty < 2:  # seen twice: a controller may have been about to make a pod
        if job is not None:
            if not is_of(job, ticket) or attempt_of(job) > ticket.attempt:
                return
            finished = _ends.is_finished(job)
            if finished and is_kept(job):
                return
            if not is_being_deleted(job) and await delete_job(client, job) and finished:
                return
        empty = empty + 1 if await _pods_are_gone(client, ticket, namespace) else 0
        tries += 1
        await anyio.sleep(_PAUSES.pause(tries))
        # Again and again: it can have changed since it was seen, and one whose creation was cut off can come even now.
        job = await find_job(client, namespace, ticket.name, patience=PATIENCE)


def is_kept(job: Item) -> bool:
    """Return whether a Job that has ended is to be left in the cluster; also one whose labels were taken off it."""
    keep: Keep = (job["metadata"].get("labels") or {}).get(KEEP) or labels_of(job).get(KEEP) or "never"
    return keep == "always" or (keep == "failed" and _ends.has_failed(job))


async def delete_job(client: Client, job: Item) -> bool:
    """Delete a Job as it was seen, and let the cluster delete its pods; return False when it has changed since.

    Raises:
        ApiError, OSError: it cannot be deleted.
    """
    meta = job["metadata"]
    body: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        # Not in the foreground: a second request of that kind can wedge an object, and there is always a second one.
        "propagationPolicy": "Background",
        # The version as well: it is another one as soon as a later attempt has taken the Job over.
        "preconditions": {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]},
    }
    return await _delete(client, job_path(meta["namespace"], meta["name"]), body) != CONFLICT


async def delete_pod(client: Client, pod: Item) -> bool:
    """Delete a pod that no Job has, as it was seen; return whether it was there.

    Raises:
        ApiError, OSError: it cannot be deleted.
    """
    meta = pod["metadata"]
    body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": meta["uid"]}}
    return await _delete(client, f"{PATHS['Pod'].format(meta['namespace'])}/{meta['name']}", body) is None


async def _delete(client: Client, path: str, body: Item) -> int | None:
    """Delete something; return None, or the status that says that it is not there any more, or not as it was."""
    try:
        await client.ask("DELETE", path, patience=PATIENCE, body=body)
    except ApiError as error:
        if error.status not in (CONFLICT, NOT_FOUND):
            raise
        return error.status
    return None


async def _pods_are_gone(client: Client, ticket: Ticket, namespace: str) -> bool:
    """Return whether a job has no pods any more; one whose node is lost does not count.

    Those without an owner are deleted: somebody has deleted the Job and let go of them, and no Job takes them up again.
    """
    selector = f"{STORE}={ticket.store},{JOB}={ticket.job},job-name={ticket.name}"
    path = PATHS["Pod"].format(namespace)
    answer = await client.ask("GET", path, patience=PATIENCE, query={"labelSelector": selector})
    items, _ = page_of(answer, path)
    pods: dict[str, Item] = {pod["metadata"]["name"]: pod for pod in items}
    for pod in items:
        if not pod["metadata"].get("ownerReferences") and not is_being_deleted(pod):
            await delete_pod(client, pod)
    return not pods.keys() - _ends.lost_pods(Seen(pods=pods))
