"""Mutants of our own primitives: one line changed, and the scenario table must notice.

    python -m benchmarks.mutants.own

A mutant names a function of the core and a text in it that is replaced; one whose text is not there any more is an
error, so that the list cannot rot in silence. The function's code object is exchanged while the mutant is explored.
"""

from __future__ import annotations

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

from .own_table import OWN, OwnMutant


@functools.cache
def core() -> list[Any]:
    """Return the modules of the core; a mutant is known by class and function, wherever they live."""
    directory = Path(lifecycle.__file__).parent
    return [importlib.import_module(f"lifecycle.{path.stem}") for path in sorted(directory.glob("_[a-z]*.py"))]


def find(where: str) -> FunctionType:
    """Return the function that a mutant changes.

    Raises:
        LookupError: no module of the core defines it any more.
    """
    first, *rest = where.split(".")
    for module in core():
        found = vars(module).get(first)
        if getattr(found, "__module__", None) != module.__name__:
            continue
        with contextlib.suppress(AttributeError):
            for part in rest:
                found = inspect.getattr_static(found, part)
            return found.fget if isinstance(found, property) else found
    raise LookupError(f"{where} is not there any more")


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
    changed = "\n" * (first - 1) + source.replace(mutant.old, mutant.new, 1)
    namespace: dict[str, Any] = {}
    code = compile("from __future__ import annotations\n" + changed, function.__code__.co_filename, "exec")
    exec(code, function.__globals__, namespace)  # noqa: S102 - our own source, one line changed
    new = namespace[function.__name__]
    plain = function.__code__
    function.__code__ = (new.fget if isinstance(new, property) else new).__code__
    try:
        yield
    finally:
        function.__code__ = plain


def kill(mutant: OwnMutant, scenarios: dict[str, Any]) -> tuple[str, str] | None:
    """Return the scenario that noticed a mutant, and what it says; None for a survivor."""
    with applied(mutant):
        for prefix in mutant.scenarios:
            for name, scenario in scenarios.items():
                if name.startswith(prefix):
                    report = explore_cancellation(
                        scenario, stop_at_first=True, max_steps=5_000, invariants=[no_busy_loop]
                    )
                    if report.failures:
                        return name, report.failures[0].residue[0].splitlines()[0][:80]
    return None


def main() -> None:
    logging.disable(logging.CRITICAL)
    sys.path.insert(0, str(Path(__file__).parent.parent.parent / "tests"))
    from testing.scenarios import SCENARIOS

    began = time.perf_counter()
    survivors, rotten = [], []
    for mutant in OWN:
        try:
            found = kill(mutant, SCENARIOS)
        except LookupError as error:
            rotten.append(str(error))
            continue
        if found is None:
            survivors.append(f"{mutant.what} ({mutant.where})")
        else:
            print(f"{mutant.what:44} {found[0]:32} {found[1]}")
    print(f"\n{len(OWN) - len(survivors) - len(rotten)} of {len(OWN)} killed in {time.perf_counter() - began:.1f} s")
    for survivor in survivors:
        print(f"survived: {survivor}")
    for text in rotten:
        print(f"does not apply: {text}")
    sys.exit(1 if survivors or rotten else 0)


if __name__ == "__main__":
    main()
