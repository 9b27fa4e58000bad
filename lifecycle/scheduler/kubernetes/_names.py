"""The labels and annotations by which our objects in a cluster are known."""

from __future__ import annotations

from typing import Final

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
