"""The labels and annotations by which our objects in a cluster are known, and the names that a cluster takes."""

from __future__ import annotations

import re
from typing import Final

from .._ground.text import quote

OURS: Final = "asyncio-lifecycle"
STORE: Final = f"{OURS}/store"
RUN: Final = f"{OURS}/run"
JOB: Final = f"{OURS}/job"
FIRST: Final = f"{OURS}/first-attempt"
KEEP: Final = f"{OURS}/keep"
"""Labels: which store the job is in, the numbers of its run, of the job and of the attempt that began it."""

ATTEMPT: Final = f"{OURS}/attempt"
TITLE: Final = f"{OURS}/title"
"""Annotations: the attempt that it belongs to now, and the job's name and the block's path, for people."""

MANAGED_BY: Final = "app.kubernetes.io/managed-by"

JOB_NAME: Final = "batch.kubernetes.io/job-name"
"""The label of a pod that names its Job; before Kubernetes 1.27 it was ``job-name`` alone."""

_NAMESPACE: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def namespace_problem(namespace: object) -> str | None:
    """Return what is wrong with a namespace: it becomes a part of the path of every request, and of nothing else."""
    if isinstance(namespace, str) and _NAMESPACE.fullmatch(namespace):
        return None
    return f"expected the name of a namespace, got {quote(namespace)}"
