"""The quick form of benchmarks/soak.py: what is in memory is in flight."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import asyncio, json, logging, sys
from pathlib import Path
from benchmarks.soak import CLIENTS, leaky, ours, soak

logging.disable(logging.ERROR)
which, jobs = sys.argv[1], int(sys.argv[2])
runner = {"leaky": leaky, "memory": lambda: ours(None), "durable": lambda: ours(Path(sys.argv[3]))}[which]()
report = asyncio.run(soak(runner, jobs, show=False))
# asyncio keeps up to a hundred timers that were cancelled, each with its context, and so with the numbers of a job.
kept = {"CurrentJob": 100}
grown = {name: number for name, number in report.grown.items() if number > kept.get(name, 5)}
print(json.dumps({"slope": report.slope, "peak": report.peak, "grown": grown}))
"""


def soaked(which: str, jobs: int, store: Path) -> dict[str, object]:
    """Return what a soak in a process of its own has shown."""
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, which, str(jobs), str(store)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=110, cwd=Path(__file__).parents[3])
    assert ended.returncode == 0, ended.stderr
    report: dict[str, object] = json.loads(ended.stdout.splitlines()[-1])
    print(report)
    return report


@pytest.mark.slow
@pytest.mark.parametrize(("which", "jobs"), [("memory", 8_000), ("durable", 6_000)])
def test_hostile_jobs_leave_nothing_behind(tmp_path: Path, which: str, jobs: int) -> None:
    """As many live objects at the end as after the warm-up, and no growth that so few jobs could show."""
    report = soaked(which, jobs, tmp_path / "jobs.sqlite")
    assert report["grown"] == {}
    assert float(str(report["peak"])) < 150.0
    assert float(str(report["slope"])) < (200.0 if which == "memory" else 1_000.0)


@pytest.mark.slow
def test_the_leaky_miniature_is_seen_to_leak(tmp_path: Path) -> None:
    """The same jobs on what forgets nothing: the soak can fail."""
    report = soaked("leaky", 3_000, tmp_path / "jobs.sqlite")
    assert report["grown"]
    assert float(str(report["slope"])) > 1_000.0
