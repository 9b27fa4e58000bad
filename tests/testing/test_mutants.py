"""The seeded leak patterns: every one is killed, every correct reference is left alone."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def run(*command: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.mark.nightly
@pytest.mark.timeout(1200)
def test_every_mutant_of_our_own_primitives_is_killed() -> None:
    """One line of the core changed, and the scenario table notices; a mutant that does not apply is an error."""
    run("benchmarks.mutants.own")


def test_every_mutant_is_killed_and_no_reference_is() -> None:
    """The benchmark's own verdict, in a process of its own."""
    done = run("benchmarks.mutants", "--survivors")
    assert "survivors: none" in done.stdout
    assert "correct references: none" in done.stdout
