"""Attacks on the sweep: one place that cannot be swept must not keep the others from it, nor last for ever."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

import pytest

from lifecycle.scheduler._ground.errors import RemoteFailed
from lifecycle.scheduler.kubernetes import KubernetesJob, job_manifest
from lifecycle.scheduler.remote import Ticket

from ..clusters import Cluster
from ..double.faults import Answer, Faults
from .scheduling import host, names

pytestmark = pytest.mark.asyncio


async def _all_over(jobs: Collection[int]) -> Mapping[int, bool]:
    return dict.fromkeys(jobs, True)


def _ticket(number: int = 1) -> Ticket:
    return Ticket(f"attack-{number}", "0123456789", None, number, 1, 1, "attack")


def _work(**how: Any) -> KubernetesJob:
    return KubernetesJob(manifest=job_manifest("script/sleep-600", grace=1), **how)


def _say(_line: str) -> None:
    """Nobody reads it."""


async def test_a_job_that_can_be_nowhere_leaves_the_sweep_alone(cluster: Cluster) -> None:
    """It is refused; and what is left of others is found, again and again."""
    async with host(cluster) as kubernetes:
        await kubernetes.start(_ticket(), _work(), _say)
        with pytest.raises(RemoteFailed) as refused:
            await kubernetes.start(_ticket(2), _work(cluster="a-typo", namespace="jobs"), _say)
        assert refused.value.reason == "refused"
        assert await kubernetes.sweep(_ticket().store, _all_over) >= 1
        assert await names(cluster, "jobs") == []


async def test_what_goes_wrong_in_one_place_does_not_keep_the_sweep_from_the_others(cluster: Cluster) -> None:
    """Whatever it is: here, an answer that no API server gives."""
    async with host(cluster) as kubernetes:
        await kubernetes.start(_ticket(), _work(), _say)
        answer = {"kind": "JobList", "metadata": {}, "items": [{"metadata": {"name": "a", "labels": ["odd"]}}]}
        _faults(cluster).add(Answer(code=200, raw=json.dumps(answer)), path="/namespaces/aaa/", verb="list", times=None)
        with pytest.raises(RemoteFailed):
            await kubernetes.start(_ticket(2), _work(namespace="aaa"), _say)
        assert await kubernetes.sweep(_ticket().store, _all_over) >= 1


async def test_a_place_that_may_not_be_listed_is_given_up_in_the_end(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody may look there: it is not asked again each minute for ever, and told of once."""
    async with host(cluster) as kubernetes:
        _faults(cluster).add(Answer(code=403, message="no"), path="/namespaces/closed/", times=None)
        with pytest.raises(RemoteFailed):
            await kubernetes.start(_ticket(), _work(namespace="closed"), _say)
        for _ in range(80):
            await kubernetes.sweep(_ticket().store, _all_over)
        assert ("default", "closed") not in kubernetes._to_sweep
    assert [record.message for record in caplog.records] == ["work elsewhere could not be swept"]


async def test_a_place_that_fails_anew_is_told_of_anew(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    """Between the two it could be swept."""
    async with host(cluster) as kubernetes:
        await kubernetes.start(_ticket(), _work(), _say)
        for _ in range(2):
            _faults(cluster).add(Answer(code=403, message="no"), verb="list", path="/jobs", times=None)
            await kubernetes.sweep(_ticket().store, _all_over)
            await kubernetes.sweep(_ticket().store, _all_over)
            _faults(cluster).clear()
            await kubernetes.sweep(_ticket().store, _all_over)
    assert [record.message for record in caplog.records] == ["work elsewhere could not be swept"] * 2


def _faults(cluster: Cluster) -> Faults:
    """Return what can go wrong in a double; a real server cannot be told to."""
    if cluster.kind != "double":
        pytest.skip("the server is to answer what a real one does not")
    faults: Faults = cluster.servers.faults  # type: ignore[attr-defined]
    return faults
