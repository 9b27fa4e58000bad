"""The seeded leak patterns and the mutants of our own: every one is killed, every correct reference is left alone."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.mutants.own import core, find
from lifecycle import Scope

ROOT = Path(__file__).parent.parent.parent


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a benchmark in a process of its own, for its own verdict."""
    return subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.timeout(300)  # it waits for nothing, but others work beside it
def test_every_seeded_leak_is_killed_and_no_reference_is() -> None:
    """64 wrong programs and 15 correct ones, in four seconds on a quiet machine."""
    done = run("benchmarks.mutants", "--survivors")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "survivors: none" in done.stdout
    assert "correct references: none" in done.stdout


@pytest.mark.nightly
@pytest.mark.timeout(300)
def test_every_mutant_of_our_own_primitives_is_killed() -> None:
    """One line of the core changed, and the scenario table notices, in half a minute on a quiet machine."""
    done = run("benchmarks.mutants.own")
    assert "survivors: none" in done.stdout, done.stdout + done.stderr


def test_a_mutant_finds_its_function_wherever_it_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every room is looked through, and a public class that names its face as its module is found all the same."""
    rooms = {module.__name__.split(".")[1] for module in core()}
    assert rooms >= {"_ground", "_task", "_scope", "_manager", "_group", "_timers", "_registry", "_pool", "_connect"}
    assert find("Scope.pop_all") is Scope.pop_all
    assert find("TaskGroup._join").__qualname__ == "TaskGroup._join"
    monkeypatch.setattr(Scope, "__module__", "lifecycle")
    assert find("Scope.pop_all") is Scope.pop_all
    with pytest.raises(LookupError):
        find("Scope.no_such_method")


@pytest.mark.nightly
def test_every_mutant_of_our_own_primitives_applies() -> None:
    """A row of the table whose line is not there any more is an error, though not of the commit that moved it."""
    done = run("benchmarks.mutants.own")
    assert done.returncode == 0, done.stdout + done.stderr
