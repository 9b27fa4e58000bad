"""How many seeded leak patterns does each level of testing kill?

    python -m benchmarks.mutants [--survivors]

A clean-run check is what leak checkers do: run once, look at what is left. The columns to its right add one kind of
fault after the other; the references are correct programs and must stay silent under all of it.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time

from lifecycle.testing import ExplorationReport, explore_cancellation
from lifecycle.testing.faults import CANCEL, DEFAULT, RAISES

from . import acquiring, references, sharing, tasks, wiring
from ._table import MUTANTS, REFERENCES, Mutant

_FILES = (acquiring, references, sharing, tasks, wiring)

ORDERS = 10


def clean_run(mutant: Mutant) -> ExplorationReport:
    return _explore(mutant, faults=())


def _explore(mutant: Mutant, **how: object) -> ExplorationReport:
    return explore_cancellation(mutant.scenario, then=mutant.then, stop_at_first=True, **how)  # type: ignore[arg-type]


LEVELS = {
    "clean run": clean_run,
    "+ cancel main": lambda mutant: _explore(mutant, faults=[CANCEL], targets="main"),
    "+ raise": lambda mutant: _explore(mutant, faults=[CANCEL, *RAISES], targets="main"),
    "+ siblings": lambda mutant: _explore(mutant, faults=[CANCEL, *RAISES]),
    "+ all faults": lambda mutant: _explore(mutant, faults=DEFAULT),
    f"+ {ORDERS} orders": lambda mutant: _explore(mutant, faults=DEFAULT, schedules=ORDERS),
}


def judge(mutant: Mutant) -> tuple[str | None, ExplorationReport | None]:
    """Return the first level that kills a mutant, with its report."""
    for level, explore in LEVELS.items():
        report = explore(mutant)
        if report.failures:
            return level, report
    return None, None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--survivors", action="store_true", help="print only what was not killed")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    began = time.perf_counter()
    killed: dict[str, int] = dict.fromkeys(LEVELS, 0)
    survivors = []
    for mutant in MUTANTS:
        level, report = judge(mutant)
        if level is None or report is None:
            survivors.append(mutant.name)
            continue
        killed[level] += 1
        if not options.survivors:
            says = report.failures[0].residue[0].splitlines()[0][:90]
            print(f"{mutant.name:42} {level:14} {says}")
    alarms = [reference.name for reference in REFERENCES if _explore(reference, schedules=ORDERS).failures]
    seconds = time.perf_counter() - began
    print()
    total = 0
    for level, number in killed.items():
        total += number
        print(f"{level:16} {total:3} of {len(MUTANTS)}")
    print(f"survivors: {', '.join(survivors) or 'none'}")
    print(f"false alarms on {len(REFERENCES)} correct references: {', '.join(alarms) or 'none'}")
    print(f"{seconds:.1f} s")
    sys.exit(1 if survivors or alarms else 0)


if __name__ == "__main__":
    main()
