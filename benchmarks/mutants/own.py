"""Mutants of our own primitives: one line changed, and the scenario table must notice.

    python -m benchmarks.mutants.own

A mutant names a function of the core and a text in it that is replaced; one whose text is not there any more is an
error, so that the list cannot rot in silence. The function's code object is exchanged while the mutant is explored.
First comes what leak checkers do, a clean run; a mutant that survives it in all its scenarios is struck everywhere.
"""

from __future__ import annotations
import __future__

import contextlib
import functools
import importlib
import inspect
import logging
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

import lifecycle
from lifecycle.testing import explore_cancellation, no_busy_loop
from lifecycle.testing.faults import DEFAULT, Fault

from . import own_connected, own_handed, own_kept, own_lent, own_limits, own_table, own_told
from .own_table import OwnMutant

# The core's files begin with it.
FUTURE_FLAG = __future__.annotations.compiler_flag

OWN = [
    *own_table.OWN,
    *own_told.TOLD,
    *own_kept.KEPT,
    *own_handed.HANDED,
    *own_lent.LENT,
    *own_limits.LIMITS,
    *own_connected.CONNECTED,
]

CHECKS: dict[str, tuple[Fault, ...]] = {"clean run": (), "struck": DEFAULT}


@functools.cache
def core() -> list[Any]:
    """Return the modules of the core; a mutant is known by class and function, wherever they live."""
    directory = Path(lifecycle.__file__).parent
    files = sorted([*directory.glob("_[a-z]*.py"), *directory.glob("_[a-z]*/[a-z]*.py")])
    names = [".".join(path.relative_to(directory).with_suffix("").parts) for path in files]
    return [importlib.import_module(f"lifecycle.{name}") for name in names]


def find(where: str) -> FunctionType:
    """Return the function that a mutant changes: its qualified name, after that of its module where several have one.

    A module counts only if the code is in its own file: others know the name because they import it, and what
    ``__module__`` says of a public name is its face.

    Raises:
        LookupError: no module of the core defines it any more, or several do.
    """
    place, _, name = where.rpartition(":")
    first, *rest = name.split(".")
    functions = []
    for module in core():
        found: Any = vars(module).get(first)
        with contextlib.suppress(AttributeError):
            for part in rest:
                found = inspect.getattr_static(found, part)
            found = found.fget if isinstance(found, property) else found
            if found.__code__.co_filename == module.__file__ and module.__name__.endswith(place):
                functions.append(found)
    if len(functions) != 1:
        raise LookupError(f"{where} is {'in several modules' if functions else 'not there any more'}")
    return functions[0]


@contextlib.contextmanager
def applied(mutant: OwnMutant) -> Iterator[None]:
    """Exchange the code of the function that a mutant changes.

    Raises:
        LookupError: its text is not there any more.
    """
    function = find(mutant.where)
    lines, first = inspect.getsourcelines(function)
    source = textwrap.dedent("".join(lines))
    if mutant.old not in source:
        raise LookupError(f"{mutant.where} has no {mutant.old!r} any more")
    # In a class, so that what says super() has one around it.
    changed = "\n" * (first - 2) + "class Around:\n" + textwrap.indent(source.replace(mutant.old, mutant.new, 1), " ")
    namespace: dict[str, Any] = {}
    code = compile(changed, function.__code__.co_filename, "exec", FUTURE_FLAG)
    exec(code, function.__globals__, namespace)  # noqa: S102 - our own source, one line changed
    new = vars(namespace["Around"])[function.__name__]
    plain = function.__code__
    function.__code__ = (new.fget if isinstance(new, property) else new).__code__
    try:
        yield
    finally:
        function.__code__ = plain


def kill(mutant: OwnMutant, scenarios: dict[str, Any]) -> tuple[str, str, str] | None:
    """Return the check that noticed a mutant, the scenario, and what it says; None for a survivor."""
    noticing = [
        (name, scenario)
        for prefix in mutant.scenarios
        for name, scenario in scenarios.items()
        if name.startswith(prefix)
    ]
    with applied(mutant):
        for check, faults in CHECKS.items():
            for name, scenario in noticing:
                report = explore_cancellation(
                    scenario, faults=faults, stop_at_first=True, max_steps=5_000, invariants=[no_busy_loop]
                )
                if report.failures:
                    return check, name, report.failures[0].residue[0].splitlines()[0][:80]
    return None


def main() -> None:
    logging.disable(logging.CRITICAL)
    sys.path.insert(0, str(Path(__file__).parent.parent.parent))
    from tests.testing.scenarios import SCENARIOS

    began = time.perf_counter()
    survivors, rotten = [], []
    killed = dict.fromkeys(CHECKS, 0)
    table = [
        mutant
        for mutant in OWN
        if mutant.since <= sys.version_info and (mutant.until is None or sys.version_info < mutant.until)
    ]
    for mutant in table:
        try:
            found = kill(mutant, SCENARIOS)
        except LookupError as error:
            rotten.append(str(error))
            continue
        if found is None:
            survivors.append(f"{mutant.what} ({mutant.where})")
        else:
            killed[found[0]] += 1
            print(f"{mutant.what:44} {found[0]:10} {found[1]:32} {found[2]}")
    print()
    total = 0
    for check, number in killed.items():
        total += number
        print(f"{check:10} {total:3} of {len(table) - len(rotten)} that apply")
    print(f"survivors: {', '.join(survivors) or 'none'}")
    for text in rotten:
        print(f"does not apply: {text}")
    print(f"{time.perf_counter() - began:.1f} s")
    sys.exit(1 if survivors or rotten else 0)


if __name__ == "__main__":
    main()
