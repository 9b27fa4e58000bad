"""A double that was killed goes on where it was, also in the middle of something."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.kubernetes.double import Double, api_double
from tests.kubernetes.double.kinds import JOBS, PODS

pytestmark = pytest.mark.asyncio

JOB: dict[str, Any] = {
    "metadata": {"name": "it"},
    "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "script/ok"}]}}},
}


async def test_pods_whose_job_went_at_the_last_moment_go_as_well(tmp_path: Path) -> None:
    """The Job is gone, its pod is not, and nobody counts it any more."""
    journal = tmp_path / "journal"
    async with api_double(journal=journal) as double:
        double.registry.create(JOBS, "default", JOB)
        await _until_pods(double, 1)
        double.jobs.close()
        double.storage.listeners.clear()  # as if it were killed before it does anything else
        double.storage.remove(double.registry.need(JOBS, "default", "it"))
        double.storage.listeners.append(double.jobs._changed)
        double.jobs.close = lambda: None  # type: ignore[method-assign]
    async with api_double(journal=journal) as double:
        await _until_pods(double, 0)


async def _until_pods(double: Double, count: int) -> None:
    async with asyncio.timeout(10):
        while len(double.storage.tables[PODS].records) != count:
            await asyncio.sleep(0.01)
