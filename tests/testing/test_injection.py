"""The injection benchmark on everything that we ship: how many runs, what they leave, and whether two are equal."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_two_hundred_thousand_injected_runs_leave_nothing() -> None:
    """A minute of two processors, counted in their own time; and two full explorations have equal digests."""
    command = [sys.executable, "-m", "benchmarks.injection", "--seconds", "60"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"([\d,]+) injected runs over", done.stdout)
    assert found is not None, done.stdout
    assert int(found[1].replace(",", "")) >= 200_000
