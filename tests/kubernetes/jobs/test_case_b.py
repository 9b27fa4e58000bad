"""Case B: jobs in thousands on several clusters, with every end there is, while servers and networks break.

Whatever becomes of the jobs, there is one client for each cluster, it is never closed while somebody uses it, and when
the last job has ended there is nothing left: no client, no descriptor, no task, no Job, no pod.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..storm.fates import FATES
from ..storm.servers import servers
from ..storm.storm import Report, Storm


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """What fails, and what is tried again, is logged, as it should be; thousands of lines help nobody."""
    loggers = [logging.getLogger(name) for name in ("lifecycle.scheduler", "lifecycle.retry")]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    yield
    for logger in loggers:
        logger.setLevel(logging.NOTSET)


def run(directory: Path, count: int, *, doubles: int = 0, real: int = 0, width: int, pause: float) -> Report:
    """Let a storm pass, and return what it has shown."""

    async def passes() -> Report:
        async with servers(directory, doubles, real) as clusters:
            return await Storm(clusters, count, width=width, pause=pause, seed=count).run(directory / "jobs.sqlite")

    report = asyncio.run(passes())
    print(report)
    return report


def check(report: Report, clusters: int) -> None:
    """Check that nothing was lost, and nothing left."""
    assert report.wrong == []
    assert set(report.ends) == {fate.name for fate in FATES}
    assert report.tally.most <= clusters
    assert report.tally.closed_in_use == 0
    assert report.clients_at_rest == 0
    assert report.left == []
    assert report.swept == 0
    assert report.after == report.before


@pytest.mark.timeout(300)  # much of it is waiting, for longer where others work beside it
def test_a_hundred_jobs_in_a_storm(tmp_path: Path) -> None:
    """Each has the end that was ordered, and leaves nothing."""
    check(run(tmp_path, 100, doubles=2, width=50, pause=4.0), clusters=2)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_ten_thousand_jobs_in_a_storm(tmp_path: Path) -> None:
    """The same, for as long as it takes: nothing grows."""
    report = run(tmp_path, 10_000, doubles=3, width=150, pause=8.0)
    check(report, clusters=3)
    assert report.slope < 2_000


@pytest.mark.kubernetes
@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_five_hundred_jobs_on_two_real_clusters(tmp_path: Path) -> None:
    """The same on API servers that are killed, stopped for a moment, and left by their controllers."""
    check(run(tmp_path, 500, real=2, width=60, pause=8.0), clusters=2)
