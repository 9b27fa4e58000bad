"""Runs one rediscovery case in the environment of the package under test; prints one line of JSON.

The package under test brings its own anyio, which may be older than the one this project needs, so the kit is loaded
without the rest of the project: a bare ``lifecycle`` package, and the names of errors that such an anyio lacks.
"""

from __future__ import annotations

import importlib
import json
import logging
import sys
import types
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
SCHEDULES = 40


def load_kit() -> Any:
    """Import ``lifecycle.testing`` alone."""
    import anyio

    for name in ("TaskCancelled", "TaskNotFinished"):
        if not hasattr(anyio, name):
            setattr(anyio, name, type(name, (Exception,), {}))
    package = types.ModuleType("lifecycle")
    package.__path__ = [str(ROOT / "lifecycle")]
    sys.modules["lifecycle"] = package
    return importlib.import_module("lifecycle.testing")


def main() -> None:
    logging.disable(logging.CRITICAL)
    kit = load_kit()
    sys.path.insert(0, str(Path(__file__).parent))
    case = importlib.import_module(sys.argv[1])
    faults = [getattr(kit.faults, name) for name in case.FAULTS]
    then = getattr(case, "then", None)
    invariants = getattr(case, "INVARIANTS", ())

    def explore(**how: Any) -> Any:
        return kit.explore_cancellation(case.scenario, faults=faults, then=then, invariants=invariants, **how)

    # The usual order first; only what survives it is struck under other orders as well.
    usual = explore()
    report = usual if usual.failures else explore(schedules=SCHEDULES)
    runs, seconds = report.first_failure or (0, 0.0)
    failure = report.failures[0] if report.failures else None
    answer = {
        "points": usual.points,
        "runs": report.runs,
        "failed": len(report.failures),
        "orders": 1 if usual.failures else 1 + SCHEDULES,
        "first_run": runs,
        "first_ms": round(seconds * 1000, 1),
        "token": failure.token if failure else "",
        "says": failure.residue[0].splitlines()[0] if failure else "",
        "report": str(report) if "--report" in sys.argv else "",
    }
    if failure is not None:
        again = kit.replay(failure.token, case.scenario, then=then, invariants=invariants)
        answer["replayed"] = bool(again.failures)
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
