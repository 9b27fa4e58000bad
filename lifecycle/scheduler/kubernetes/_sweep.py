"""Sweeping one namespace: Jobs and pods of a store that belong to no job any more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..remote import Over
from . import _ends
from ._client import Client
from ._faults import GONE, ApiError, next_page, page_of
from ._names import JOB, STORE
from ._ownership import is_being_deleted
from ._removing import PATIENCE, delete_job, delete_pod, is_kept
from ._view import PATHS
from ._watch import PAGE

BEGINNINGS: Final = 3
"""How often a list is begun at most in one sweep; the next one begins anew."""


async def sweep_namespace(client: Client, namespace: str, store: str, over: Over) -> int:
    """Delete what is left in a namespace of a store's jobs that are over; return how much that was.

    Nothing is deleted on half knowledge: everything has been listed, and the store has said which jobs are over.

    Cancellation: ends it.

    Raises:
        ApiError, OSError: it cannot be listed, or something cannot be deleted.
    """
    jobs = await _list(client, PATHS["Job"].format(namespace), store)
    pods = await _list(client, PATHS["Pod"].format(namespace), store)
    judged = await over({number for item in (*jobs, *pods) if (number := _number(item)) is not None})
    found = 0
    for job in jobs:
        left = judged.get(_number(job) or 0) and not is_being_deleted(job)
        if left and not (_ends.is_finished(job) and is_kept(job)):
            found += await delete_job(client, job)
    there = {job["metadata"]["uid"] for job in jobs}
    for pod in pods:
        owners = {one.get("uid") for one in pod["metadata"].get("ownerReferences") or ()}
        if judged.get(_number(pod) or 0) and not is_being_deleted(pod) and not owners & there:
            found += await delete_pod(client, pod)
    return found


async def _list(client: Client, path: str, store: str) -> list[dict[str, Any]]:
    query: dict[str, str | int] = {"labelSelector": f"{STORE}={store}", "limit": PAGE}
    items: list[dict[str, Any]] = []
    begun = 1
    while True:
        try:
            page = await client.ask("GET", path, patience=PATIENCE, query=query)
        except ApiError as error:
            if error.status != GONE or "continue" not in query or begun == BEGINNINGS:
                raise
            begun += 1
            del query["continue"]  # the list has changed too much meanwhile: from the beginning
            items.clear()
            continue
        found, meta = page_of(page, path)
        items += found
        if not meta.get("continue"):
            return items
        query["continue"] = next_page(query, meta, path)


def _number(item: Mapping[str, Any]) -> int | None:
    number = (item["metadata"].get("labels") or {}).get(JOB) or ""
    return int(number) if number.isdecimal() else None
