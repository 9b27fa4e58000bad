"""Attacks by what programs print: it is kept in every store, and ends no job."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lifecycle.scheduler import JobStatus, Scheduler

from ..clusters import Cluster
from .scheduling import host, run_job

pytestmark = [pytest.mark.asyncio]

OUTPUTS = {
    "a zero byte": r"b'\"a\\u0000b\"'",
    "half a surrogate pair": r"b'\"a\\ud800b\"'",
    "a number that is none": "b'NaN'",
    "infinity": "b'[Infinity, 1e999]'",
    "a large number": "b'9' * 4000",
    "deep": "b'[' * 500 + b']' * 500",
    "binary": "bytes(range(256)) * 8",
}


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
@pytest.mark.parametrize("output", OUTPUTS.values(), ids=OUTPUTS)
async def test_whatever_a_program_writes_its_job_has_succeeded(
    cluster: Cluster, request: pytest.FixtureRequest, tmp_path: Path, kind: str, output: str
) -> None:
    """An output that is no plain data is text; a log may be anything."""
    program = (
        f"import sys; out = {output}; open('/dev/termination-log', 'wb').write(out[:4096]); "
        "sys.stdout.buffer.write(bytes(range(256)) * 40 + b'\\n' + out + b'\\nlast\\n')"
    )
    store = request.getfixturevalue("database") if kind == "postgres" else tmp_path / "jobs.sqlite"
    async with Scheduler(store, hosts={"kubernetes": host(cluster)}) as scheduler:
        job = await run_job(scheduler, "python", sys.executable, "-c", program)
        assert job.status is JobStatus.SUCCEEDED, job.error
        assert job.result["output"] is not None
        assert (job.log or "").endswith("last")
        assert job.attempts == 1
