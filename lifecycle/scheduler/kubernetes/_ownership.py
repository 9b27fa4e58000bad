"""Whose a Job is: ours by the labels of its ticket, and of which attempt by an annotation that only grows.

An attempt that takes a Job over writes its number there, on the version of the Job that it has seen. One that was
paused meanwhile and comes back finds a larger number, and leaves the Job alone: what it would delete is another's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import anyio

from lifecycle import Retry

from .._ground.errors import RemoteFailed, RemoteLost
from ..remote import Ticket
from . import _ends
from ._client import MERGE, Client
from ._faults import CONFLICT, NOT_FOUND, ApiError
from ._names import ATTEMPT, FIRST, JOB, STORE
from ._shape import is_object
from ._view import PATHS

Item = Mapping[str, Any]

LOOKS: Final = (0.0, 0.5, 1.5)
"""Seconds after which it is looked whether there is a Job: one whose creation was cut off may come a moment later."""

_ATTEMPT: Final = re.compile(r"[0-9]{1,18}")
_PAUSES: Final = Retry(backoff=(0.05, 2.0))


def job_path(namespace: str, name: str = "") -> str:
    """Return the path of a Job, or of all of them."""
    path = PATHS["Job"].format(namespace)
    return f"{path}/{name}" if name else path


async def find_job(client: Client, namespace: str, name: str, *, patience: float) -> dict[str, Any] | None:
    """Return a Job, None when there is none.

    Cancellation: ends the asking.

    Raises:
        ApiError, OSError: it cannot be known.
    """
    try:
        return await client.ask(
            "GET",
            job_path(namespace, name),
            patience=patience,
            check=lambda answer: check_answer(answer, namespace, name),
        )
    except ApiError as error:
        if error.status == NOT_FOUND:
            return None
        raise


def check_answer(job: Item, namespace: str, name: str) -> None:
    """Take an answer for what it should be.

    Raises:
        ConnectionError: it is not this Job; a proxy has said something, and nobody knows whether the server has acted.
    """
    if not is_object(job) or job["metadata"]["name"] != name:
        raise ConnectionError(f"{job_path(namespace, name)}: the answer is not this Job")


def labels_of(job: Item) -> Mapping[str, Any]:
    """Return the labels by which a Job is known: those of its pods' template, which nobody can change any more.

    Its own can be taken off it, and nothing that runs for us must be let go by that. They count where the template has
    none of ours.
    """
    template = (job.get("spec") or {}).get("template") or {}
    inner: Mapping[str, Any] = (template.get("metadata") or {}).get("labels") or {}
    return inner if STORE in inner else job["metadata"].get("labels") or {}


def is_of(job: Item, ticket: Ticket) -> bool:
    """Return whether a Job is the one of a ticket, and not somebody else's of the same name."""
    labels = labels_of(job)
    wanted = {STORE: ticket.store, JOB: str(ticket.job), FIRST: str(ticket.first)}
    return all(labels.get(key) == value for key, value in wanted.items())


def attempt_of(job: Item) -> int:
    """Return which attempt a Job belongs to now, 0 where something else is written there."""
    number = (job["metadata"].get("annotations") or {}).get(ATTEMPT) or ""
    return int(number) if _ATTEMPT.fullmatch(number) else 0


def is_being_deleted(item: Item) -> bool:
    """Return whether an object is on its way out."""
    return "deletionTimestamp" in item["metadata"]


async def take_over(client: Client, job: Item, ticket: Ticket, *, patience: float) -> bool:
    """Make a Job the attempt's own; return False when it is gone.

    Cancellation: it may be done or not.

    Raises:
        RemoteFailed: it is somebody else's.
        RemoteLost: a later attempt has it.
        ApiError, OSError: it cannot be done.
    """
    namespace, name = job["metadata"]["namespace"], ticket.name
    current: Item | None = job
    began, tries = anyio.current_time(), 0
    while current is not None:
        if not is_of(current, ticket):
            said = f"Job {name} in {namespace} of cluster {client.name!r} is there already, and is not ours"
            raise RemoteFailed(said, reason=_ends.REFUSED)
        if attempt_of(current) > ticket.attempt:
            raise RemoteLost(f"Job {name} belongs to a later attempt now", reason="taken over")
        if attempt_of(current) == ticket.attempt:
            return True
        meta = {
            "resourceVersion": current["metadata"]["resourceVersion"],
            "annotations": {ATTEMPT: str(ticket.attempt)},
        }
        try:
            body = {"metadata": meta}
            path = job_path(namespace, name)
            await client.ask("PATCH", path, patience=patience, body=body, content_type=MERGE)
        except ApiError as error:
            if error.status not in (CONFLICT, NOT_FOUND):
                raise
            if anyio.current_time() - began >= patience:
                raise TimeoutError(f"Job {name} could not be taken over: {error}") from error
            tries += 1
            await anyio.sleep(_PAUSES.pause(tries))  # its controller is at work, or a webhook answers so
            current = await find_job(client, namespace, name, patience=patience)
        else:
            return True
    return False
