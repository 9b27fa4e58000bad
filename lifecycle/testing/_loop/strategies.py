"""Ways to choose which ready task steps next; each is a value, and makes the choice function of one run.

Batch shuffling, the usual way, is nearly blind (0 of 500 seeds found a race that a random walk found 58
times): every task moves once per batch, in lockstep. All of these choose among all ready tasks at every step.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..._ground.checks import checked_count
from .._checks import checked_pairs

Chooser = Callable[[list[Any]], int]

# Steps in a row that one task may take while others wait: a task that spins must not starve the rest.
FAIRNESS = 300


class Strategy:
    """How the order of ready task steps is chosen. Choice 0 is always asyncio's own order."""

    def chooser(self, seed: int) -> Chooser | None:
        """Return the choice function of one run; None leaves asyncio's order untouched."""
        raise NotImplementedError

    def token(self, seed: int) -> str:
        """Return the strategy and seed as they stand in a replay token."""
        raise NotImplementedError


@dataclass(frozen=True)
class FIFO(Strategy):
    """asyncio's own order: first ready, first run."""

    def chooser(self, seed: int) -> Chooser | None:
        return None

    def token(self, seed: int) -> str:
        return "fifo"


@dataclass(frozen=True)
class RandomWalk(Strategy):
    """Any ready task with equal probability at every step; the best finder for its price."""

    def chooser(self, seed: int) -> Chooser:
        choose = random.Random(seed).random
        return lambda steps: int(choose() * len(steps))

    def token(self, seed: int) -> str:
        return f"rw-{seed}"


@dataclass(frozen=True)
class PriorityChanges(Strategy):
    """Random priorities with ``depth - 1`` random changes (Burckhardt et al., ASPLOS 2010).

    Args:
        depth: how many ordering constraints a bug may need to be found with a known probability.
        steps: the number of choices among which the changes are spread.
    """

    depth: int = 3
    steps: int = 200

    def __post_init__(self) -> None:
        checked_count(self.depth, "depth", least=1)
        checked_count(self.steps, "steps", least=1)

    def chooser(self, seed: int) -> Chooser:
        source = random.Random(seed)
        changes = {source.randrange(self.steps): -rank for rank in range(1, self.depth)}
        priorities: dict[int, float] = {}
        made = streak = 0
        last = -1

        def choose(steps: list[Any]) -> int:
            nonlocal made, streak, last
            keys = [_task_number(step) for step in steps]
            for key in keys:
                if key not in priorities:
                    priorities[key] = source.random()
            best = max(range(len(keys)), key=lambda index: priorities[keys[index]])
            streak = streak + 1 if keys[best] == last else 0
            if streak > FAIRNESS:
                streak, best = 0, 0
                priorities[last] = -float(made)
            last = keys[best]
            if made in changes:
                priorities[last] = float(changes[made])
            made += 1
            return best

        return choose

    def token(self, seed: int) -> str:
        return f"pct{self.depth}.{self.steps}-{seed}"


@dataclass(frozen=True)
class DelayBounded(Strategy):
    """asyncio's order with at most ``delays`` random delays of the step at the head (Emmi et al., POPL 2011).

    Args:
        delays: how many steps are delayed.
        steps: the number of choices among which the delays are spread.
    """

    delays: int = 2
    steps: int = 200

    def __post_init__(self) -> None:
        checked_count(self.delays, "delays")
        checked_count(self.steps, "steps", least=1)

    def chooser(self, seed: int) -> Chooser:
        source = random.Random(seed)
        at = [source.randrange(self.steps) for _ in range(self.delays)]
        made = -1

        def choose(steps: list[Any]) -> int:
            nonlocal made
            made += 1
            return min(at.count(made), len(steps) - 1)

        return choose

    def token(self, seed: int) -> str:
        return f"db{self.delays}.{self.steps}-{seed}"


@dataclass(frozen=True)
class Choices(Strategy):
    """Replays recorded choices; asyncio's order past the end or where a choice is out of range."""

    choices: tuple[int, ...] = ()

    def chooser(self, seed: int) -> Chooser:
        remaining = iter(self.choices)
        return lambda steps: min(next(remaining, 0), len(steps) - 1)

    def token(self, seed: int) -> str:
        return "c-" + ".".join(str(choice) for choice in self.choices)


@dataclass(frozen=True)
class Deviations(Strategy):
    """asyncio's order, but at the n-th choice the task at another place in the queue; readable, and short."""

    deviations: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        checked_pairs(self.deviations, "deviations")

    def chooser(self, seed: int) -> Chooser:
        places = dict(self.deviations)
        made = -1

        def choose(steps: list[Any]) -> int:
            nonlocal made
            made += 1
            return min(places.get(made, 0), len(steps) - 1)

        return choose

    def token(self, seed: int) -> str:
        return "d-" + "_".join(f"{step}.{place}" for step, place in self.deviations)


def _task_number(step: Any) -> int:
    return getattr(step._callback.__self__, "number", 0)


def strategy_from_token(text: str) -> tuple[Strategy, int]:
    """Read the schedule part of a replay token."""
    kind, _, rest = text.partition("-")
    if kind == "fifo":
        return FIFO(), 0
    if kind == "rw":
        return RandomWalk(), int(rest)
    if kind == "c":
        return Choices(tuple(int(choice) for choice in rest.split(".") if choice)), 0
    if kind == "d":
        pairs = [part.split(".") for part in rest.split("_") if part]
        return Deviations(tuple((int(step), int(place)) for step, place in pairs)), 0
    for prefix, make in (("pct", PriorityChanges), ("db", DelayBounded)):
        if kind.startswith(prefix):
            first, _, second = kind.removeprefix(prefix).partition(".")
            return make(int(first), int(second)), int(rest)
    raise ValueError(f"unknown schedule {text!r}")
