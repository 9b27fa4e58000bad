"""How the cost of every public operation grows with the number of things that an owner holds.

    python -m benchmarks.growth [--largest 100000] [--only WORD] [--without WORD ...]

Prints the processor time per operation at each size, and the exponent of a power law through the larger sizes: 0 where
an operation costs the same however many others there are, 1 where n of them take the square of n. Rows above 0.15 are
marked. Each row is the best of some rounds, with the collector off, whose work grows as well.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks._sizes import sized
from benchmarks.growth_cases import CASES, Case, silence

#: What a power law through noise may show for an operation whose cost does not grow.
TOLERATED = 0.15
#: Seconds that the rounds at one size may take together, about.
PATIENCE = sized(1.0, 0.0)
ROUNDS = sized(5, 1)
#: Seconds that are added to everything, so that what takes no time has a logarithm.
TICK = 1e-7
#: How many of the larger sizes the power law goes through: a constant share weighs in the smaller ones.
FITTED = 3

Rows = dict[str, dict[int, float]]


async def measure(case: Case, size: int) -> dict[str, float]:
    """Return the seconds per operation of each lap of *case*, the best of some rounds."""
    best: dict[str, float] = {}

    @contextmanager
    def laps(name: str, operations: int) -> Iterator[None]:
        begun = time.process_time()
        yield
        taken = (time.process_time() - begun + TICK) / max(1, operations)
        best[name] = min(taken, best.get(name, math.inf))

    begun = time.perf_counter()
    for _ in range(ROUNDS):
        gc.collect()
        gc.disable()
        try:
            await case(size, laps)
        finally:
            gc.enable()
        if time.perf_counter() - begun > PATIENCE:
            break
    return best


def grow(case: Case, sizes: list[int], patience: float) -> Rows:
    """Return the rows of *case*; the sizes end where the next is likely to take longer than *patience* seconds."""
    rows: Rows = {}
    for size in sizes:
        begun = time.perf_counter()
        for name, seconds in asyncio.run(measure(case, size)).items():
            rows.setdefault(name, {})[size] = seconds
        if (time.perf_counter() - begun) * 12 > patience * (1 if size >= 10_000 else ROUNDS):
            break
    return rows


def exponent(seconds: dict[int, float]) -> float:
    """Return the slope of the line through the larger sizes, both axes logarithmic."""
    points = [(math.log(size), math.log(taken)) for size, taken in sorted(seconds.items())[-FITTED:]]
    if len(points) < 2:
        return math.nan
    middle, height = (sum(values) / len(points) for values in zip(*points, strict=True))
    spread = sum((x - middle) ** 2 for x, _ in points)
    return sum((x - middle) * (y - height) for x, y in points) / spread


def print_rows(name: str, rows: Rows, sizes: list[int]) -> int:
    """Print the rows of one case; return how many grow."""
    grown = 0
    for row, seconds in rows.items():
        cells = "".join(f"{seconds[size] * 1e6:>12,.2f}" if size in seconds else f"{'':>12}" for size in sizes)
        slope = exponent(seconds)
        grown += slope > TOLERATED
        print(f"{f'{name}, {row}':64}{cells}{slope:>8.2f}{'  grows' if slope > TOLERATED else ''}", flush=True)
    return grown


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--largest", type=int, default=sized(100_000, 40), help="the largest size")
    parser.add_argument("--only", default="", help="cases with this in their name")
    parser.add_argument("--without", action="append", default=[], help="no case with this in its name")
    parser.add_argument("--patience", type=float, default=30.0, help="seconds that one round at one size may take")
    options = parser.parse_args()
    sizes = [size for size in sized([100, 1_000, 10_000, 100_000, 1_000_000], [20, 40]) if size <= options.largest]
    silence()
    gc.freeze()  # the modules: each round looks for garbage before it begins, which took longer than a small round
    print(f"{'microseconds per operation':64}{''.join(f'{size:>12,}' for size in sizes)}{'exponent':>9}")
    grown = sum(
        print_rows(name.replace("_", " "), grow(case, sizes, options.patience), sizes)
        for name, case in CASES.items()
        if options.only in name and not any(word in name for word in options.without)
    )
    print(f"{grown} rows grow by more than the power of {TOLERATED}")


if __name__ == "__main__":
    main()
