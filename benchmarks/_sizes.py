"""How large a benchmark is: with ``BENCHMARKS=quick`` in the environment so small that it only shows that it runs."""

from __future__ import annotations

import os
from typing import TypeVar

T = TypeVar("T")

QUICK = os.environ.get("BENCHMARKS") == "quick"


def sized(full: T, quick: T) -> T:
    """Return the size that this run is to have."""
    return quick if QUICK else full
