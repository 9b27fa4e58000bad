"""The graph of ``needs``: unknown names, cycles, and what ends before what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property

from .._ground.text import did_you_mean, quote, shorten
from .problems import Message, Problems


class Needs:
    """Which top-level block waits for which.

    Args:
        needs: for every block the names of those that must have ended before.
    """

    def __init__(self, needs: Mapping[str, tuple[str, ...]]) -> None:
        self._needs = needs
        self._place = {name: place for place, name in enumerate(needs)}
        self._order: list[str] = []  # each block after those that it needs; of use when there is no cycle
        self._cycles: list[list[str]] = []  # one for each knot
        done: set[str] = set()
        for root in needs:
            if root not in done:
                self._walk(root, done)

    def check(self, problems: Problems) -> None:
        """Report unknown names, a block that needs itself, and one cycle for each knot."""
        for name, needed in self._needs.items():
            for other in needed:
                if other not in self._needs:
                    problems.add(f"blocks.{name}.needs", self._unknown(other))
        for cycle in self._cycles:
            text = " -> ".join([*cycle, cycle[0]])
            problems.add(f"blocks.{cycle[0]}.needs", f"a cycle: {shorten(text, 300)}")

    def _unknown(self, name: str) -> Message:
        return lambda: f"unknown block {quote(name)}{did_you_mean(name, self._needs)}"

    def before(self, name: str, other: str) -> bool:
        """Return whether *other* ends before *name* starts; in a flow with a cycle, which is reported, anything may."""
        if self._cycles or other in self._needs[name]:
            return True
        return bool(self._above[name] >> self._place[other] & 1)

    @cached_property
    def _above(self) -> Mapping[str, int]:
        """For each block a number whose bits say which blocks end before it.

        A walk for each reference would take quadratic time in a long chain; of the largest flow the bits take 50 MB,
        for a moment, and only when an expression uses a block that is not itself in ``needs``.
        """
        above: dict[str, int] = {}
        for name in self._order:
            bits = 0
            for needed in self._needs[name]:
                if needed in above:
                    bits |= above[needed] | 1 << self._place[needed]
            above[name] = bits
        return above

    def _walk(self, root: str, done: set[str]) -> None:
        """Walk from *root* to all that it needs, depth first, without recursion: flows can be long."""
        path = [root]
        position = {root: 0}
        branches: list[Iterator[str]] = [iter(self._needs[root])]
        while path:
            needed = next(branches[-1], None)
            if needed is None:
                branches.pop()
                ended = path.pop()
                del position[ended]
                done.add(ended)
                self._order.append(ended)
            elif needed in position:
                self._cycles.append(path[position[needed] :])
                done.update(path)
            elif needed not in done and needed in self._needs:
                position[needed] = len(path)
                path.append(needed)
                branches.append(iter(self._needs[needed]))
