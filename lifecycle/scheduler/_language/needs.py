"""The graph of ``needs``: unknown names, cycles, and what ends before what."""

from __future__ import annotations

from collections.abc import Mapping

from .._ground.text import did_you_mean, quote, shorten
from .problems import Problems


class Needs:
    """Which top-level block waits for which.

    Args:
        needs: for every block the names of those that must succeed first.
    """

    def __init__(self, needs: Mapping[str, tuple[str, ...]]) -> None:
        self._needs = needs

    def check(self, problems: Problems) -> None:
        """Report unknown names, a block that needs itself, and one cycle for each knot."""
        for name, needed in self._needs.items():
            for other in needed:
                if other not in self._needs:
                    message = f"unknown block {quote(other)}{did_you_mean(other, self._needs)}"
                    problems.add(f"blocks.{name}.needs", message)
        for cycle in self._cycles():
            text = " -> ".join([*cycle, cycle[0]])
            problems.add(f"blocks.{cycle[0]}.needs", f"a cycle: {shorten(text, 300)}")

    def before(self, name: str, other: str) -> bool:
        """Return whether *other* ends before *name* starts."""
        seen, waiting = {name}, [name]
        while waiting:
            for needed in self._needs.get(waiting.pop(), ()):
                if needed == other:
                    return True
                if needed not in seen:
                    seen.add(needed)
                    waiting.append(needed)
        return False

    def _cycles(self) -> list[list[str]]:
        """Return one cycle for each knot, found by a depth-first walk without recursion (flows can be long)."""
        done: set[str] = set()
        cycles: list[list[str]] = []
        for root in self._needs:
            if root not in done:
                self._walk(root, done, cycles)
        return cycles

    def _walk(self, root: str, done: set[str], cycles: list[list[str]]) -> None:
        path = [root]
        position = {root: 0}
        branches = [iter(self._needs[root])]
        while path:
            needed = next(branches[-1], None)
            if needed is None:
                branches.pop()
                done.add(position_key := path.pop())
                del position[position_key]
            elif needed in position:
                cycles.append(path[position[needed] :])
                done.update(path)
            elif needed not in done and needed in self._needs:
                position[needed] = len(path)
                path.append(needed)
                branches.append(iter(self._needs[needed]))
