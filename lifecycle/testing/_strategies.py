"""Ways to choose which ready task steps next."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class RandomWalk:
    """Choose any ready task with equal probability at every step."""

    def chooser(self, seed: int) -> Callable[[list[Any]], int]:
        """Return the choice function of one run."""
        choose = random.Random(seed).random
        return lambda steps: int(choose() * len(steps))
