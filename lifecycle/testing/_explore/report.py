"""What an exploration has found, in words and in numbers."""

import hashlib
from dataclasses import dataclass, field

from .._errors import LeakError

SHOWN = 5


@dataclass(frozen=True)
class Failure:
    """One run that went wrong.

    Attributes:
        fault: the names of the faults that struck, ``no fault`` for a plain run.
        target: the name of the task that was struck.
        point: the index of the boundary at which it was struck; -1 without a fault.
        chain: where the task stood at that instant, outermost call first.
        residue: everything that was wrong afterwards, with creation sites.
        schedule: how ready tasks were chosen.
        token: give it to ``replay`` to see this run again.
    """

    fault: str
    target: str
    point: int
    chain: str
    residue: tuple[str, ...]
    schedule: str
    token: str

    def __str__(self) -> str:
        where = f"{self.fault} of task {self.target!r} at point {self.point}" if self.target else self.fault
        if self.schedule != "fifo":
            where += f", schedule {self.schedule}"
        lines = [where]
        if self.chain:
            lines.append(f"  while at {self.chain}")
        lines += [f"  left: {_indent(item)}" for item in self.residue]
        lines.append(f"  replay: {self.token}")
        return "\n".join(lines)


def _indent(text: str) -> str:
    return text.replace("\n", "\n        ")


@dataclass
class ExplorationReport:
    """The result of an exploration; ``assert_clean()`` turns a bad one into an error.

    Attributes:
        scenario: its importable name.
        points: pairs of a task and a boundary at which that task could be struck, under asyncio's order.
        runs: runs made, with and without faults.
        fired: runs in which every planned fault struck.
        missed: runs in which a planned fault found its task gone: a sign of hidden nondeterminism.
        skipped: planned runs that the budget did not allow.
        failures: the runs that went wrong, smallest point first within a fault.
        targets: names of the tasks that were struck.
        unmet: what was to be struck and was not there: targets that no run has met, faults without a place.
        by_fault: per fault, how many runs were made and how many failed.
        seconds: real time it took.
    """

    scenario: str
    points: int = 0
    runs: int = 0
    fired: int = 0
    missed: int = 0
    skipped: int = 0
    failures: list[Failure] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    unmet: list[str] = field(default_factory=list)
    by_fault: dict[str, tuple[int, int]] = field(default_factory=dict)
    seconds: float = 0.0
    first_failure: tuple[int, float] | None = None
    _hash: hashlib.blake2b = field(default_factory=lambda: hashlib.blake2b(digest_size=16), repr=False)

    @property
    def digest(self) -> str:
        """A hash over all runs and their outcomes; equal for two equal explorations."""
        return self._hash.hexdigest()

    def record(self, token: str, trace: int, complaints: list[str]) -> None:
        """Take one run into the digest."""
        self._hash.update(f"{token} {trace} {len(complaints)}\n".encode())

    def count(self, fault: str, failed: bool) -> None:
        """Take one run into the table per fault."""
        runs, failures = self.by_fault.get(fault, (0, 0))
        self.by_fault[fault] = (runs + 1, failures + failed)

    def count_late_failure(self, fault: str) -> None:
        """A run that was taken in as good turned out bad when its garbage was collected."""
        runs, failures = self.by_fault[fault]
        self.by_fault[fault] = (runs, failures + 1)

    @property
    def clean(self) -> bool:
        """Whether nothing went wrong, no fault missed its task, and everything that was to be struck was there."""
        return not self.failures and not self.missed and not self.unmet

    def assert_clean(self) -> None:
        """Check that no run went wrong.

        Raises:
            LeakError: with the first failures: fault, point, call chain, what was left, replay token.
        """
        if not self.clean:
            raise LeakError(str(self))

    def __str__(self) -> str:
        rate = f", {self.runs / self.seconds:,.0f} runs/s" if self.seconds else ""
        head = f"{self.scenario}: {self.points} points, {self.runs} runs, {len(self.failures)} failed{rate}"
        lines = [head]
        if self.skipped:
            lines.append(f"not run for lack of budget: {self.skipped}")
        lines += self.unmet
        if self.missed:
            lines.append(f"{self.missed} faults found their task gone: the scenario is not deterministic")
        for fault, (runs, failed) in self.by_fault.items():
            if failed:
                lines.append(f"  {fault}: {failed} of {runs} runs failed")
        stories = self._stories()
        for failure, number in stories[:SHOWN]:
            lines.append("")
            lines.append(str(failure))
            if number > 1:
                lines.append(f"  and {number - 1} more that end like this")
        if len(stories) > SHOWN:
            lines.append(f"\n... and {len(stories) - SHOWN} more stories; see report.failures")
        return "\n".join(lines)

    def _stories(self) -> list[tuple[Failure, int]]:
        """Return the first failure of each kind, with how many there are: those that were left with the same."""
        kinds: dict[tuple[str, ...], list[Failure]] = {}
        for failure in self.failures:
            kinds.setdefault(failure.residue, []).append(failure)
        return [(alike[0], len(alike)) for alike in kinds.values()]
