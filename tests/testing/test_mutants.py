"""The seeded leak patterns: every one is killed, every correct reference is left alone."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_every_mutant_is_killed_and_no_reference_is() -> None:
    """The benchmark's own verdict, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.mutants", "--survivors"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "survivors: none" in done.stdout
    assert "correct references: none" in done.stdout
