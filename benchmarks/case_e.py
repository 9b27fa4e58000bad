"""Case E of the casebook: what a peer still keeps after attempts to connect, the original's way and ours.

    python -m benchmarks.case_e [--attempts 2000] [--plot docs/explanation/case-e.svg]

Both make the same attempts, with the same faults, against a peer process of their own; after each batch the peer is
asked how many subscriptions it keeps for a client that at this moment has none.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks._sizes import sized  # noqa: E402
from tests.casebook.cluster_client import Driver  # noqa: E402
from tests.casebook.test_case_e_aeron import SHORT, WIDTH, Case, run_leaky, run_ours  # noqa: E402

#: Attempts between two looks at the peer, at least.
BATCH = 50

Run = Callable[[Driver, Case], Coroutine[Any, Any, str]]


async def attempts_of(run: Run, attempts: int, port: int) -> list[tuple[int, int]]:
    """Make the attempts; return what the peer kept, after how many."""
    chance = random.Random(5)
    kept = [(0, 0)]
    size = max(BATCH, attempts // 20)
    async with Driver.to(port) as driver:
        for made in range(size, attempts + 1, size):
            cases = iter([Case(chance) for _ in range(size)])

            async def worker(cases: Any = cases) -> None:
                for case in cases:
                    await run(driver, case)

            await asyncio.gather(*[worker() for _ in range(WIDTH)])
            await asyncio.sleep(4 * SHORT)  # what is late has come by then
            kept.append((made, (await driver.kept())["subscriptions"]))
    return kept


def measure(run: Run, attempts: int) -> list[tuple[int, int]]:
    """Run the attempts against a peer process of their own."""
    peer = [sys.executable, str(ROOT / "tests" / "casebook" / "cluster_peer.py")]
    with subprocess.Popen(peer, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        return asyncio.run(attempts_of(run, attempts, int(process.stdout.readline())))


def plot(path: str, leaky: list[tuple[int, int]], ours: list[tuple[int, int]]) -> None:
    """Draw both."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    pyplot.rcParams["svg.hashsalt"] = "case e"
    figure, axes = pyplot.subplots(figsize=(7, 3.5))
    axes.plot(*zip(*leaky, strict=True), label="the close that forgets", color="#b3261e")
    axes.plot(*zip(*ours, strict=True), label="connect", color="#1b6e3c", linewidth=2.5)
    axes.set_xlabel("attempts made")
    axes.set_ylabel("subscriptions left at the peer")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attempts", type=int, default=sized(2000, 50))
    parser.add_argument("--plot", help="an SVG file to draw to")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    leaky, ours = measure(run_leaky, options.attempts), measure(run_ours, options.attempts)
    print(f"{'attempts':>8}  {'as it was':>10}  {'connect':>8}   subscriptions left at the peer")
    for (made, left), (_, nothing) in list(zip(leaky, ours, strict=True))[:: max(1, len(ours) // 4)]:
        print(f"{made:8,}  {left:10,}  {nothing:8,}")
    if options.plot:
        plot(options.plot, leaky, ours)


if __name__ == "__main__":
    main()
