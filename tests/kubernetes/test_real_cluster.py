"""The real API server with our kubelet: what a Job goes through, as kubectl and the API tell it."""

from __future__ import annotations

import pytest

from .clusters import Cluster

pytestmark = [pytest.mark.kubernetes, pytest.mark.asyncio]


async def test_a_job_made_by_kubectl_runs_a_command(cluster: Cluster) -> None:
    """It completes, and its log says what the command has written."""
    await cluster.kubectl("create", "job", "hello", "--image=python", "--", "sh", "-c", "echo one; echo two >&2")
    assert await cluster.job_ended("hello") == "Complete"
    assert await cluster.kubectl("logs", "-f", "job/hello") == "one\ntwo\n"
