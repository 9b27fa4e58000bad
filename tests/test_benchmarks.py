"""Every benchmark still runs: they know our insides, and nobody sees it when one of these is renamed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

MODULES = sorted(path.stem for path in (ROOT / "benchmarks").glob("[a-z]*.py"))

#: What else than the sizes keeps one of them short.
ARGUMENTS = {"rediscover": ["--only", "no row, for each installs packages"]}


@pytest.mark.slow
@pytest.mark.timeout(300)  # others work beside it
@pytest.mark.parametrize("module", MODULES)
def test_a_benchmark_runs_at_a_tiny_size(module: str) -> None:
    """Ours at least: a peer that is not installed is left out."""
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", *ARGUMENTS.get(module, [])],
        cwd=ROOT,
        env={**os.environ, "BENCHMARKS": "quick"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "left out: lifecycle" not in done.stdout
