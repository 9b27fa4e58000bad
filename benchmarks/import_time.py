"""How long does `import lifecycle` take, beside the imports that it stands on?

    python -m benchmarks.import_time [--rounds 40]

Each import is timed inside a fresh interpreter, which has loaded nothing but what every interpreter loads. The
candidates take turns, so that a noisy moment of the machine hits all of them; the median of the rounds is printed.

The goal is `import anyio` plus 10 ms. anyio loads its asyncio backend, and with it asyncio, only when a loop runs; a
program that uses either of them pays for both before its first line of work. So the sum of the two is printed as well.
"""

import argparse
import statistics
import subprocess
import sys

from benchmarks._sizes import sized

CANDIDATES = {
    "import anyio": "import anyio",
    "import asyncio": "import asyncio",
    "import anyio, and its asyncio backend": "import anyio, anyio._backends._asyncio",
    "import lifecycle": "import lifecycle",
    "from lifecycle import its owners": "from lifecycle import Scope, TaskManager, run",
}

GOAL = 0.010
"""Seconds that `import lifecycle` may take beyond `import anyio`."""

_TIMED = "import time; began = time.perf_counter(); {}; print(time.perf_counter() - began)"


def time_of(statement: str) -> float:
    """Return the seconds that *statement* takes as the first thing that a fresh interpreter does."""
    command = [sys.executable, "-I", "-c", _TIMED.format(statement)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure(rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each candidate, one figure per round, in turns."""
    for statement in CANDIDATES.values():
        time_of(statement)  # write the byte code, fill the caches
    times: dict[str, list[float]] = {name: [] for name in CANDIDATES}
    for _ in range(rounds):
        for name, statement in CANDIDATES.items():
            times[name].append(time_of(statement))
    return times


def main() -> None:
    """Measure, and print the medians beside the goal."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=sized(40, 1), help="fresh interpreters per candidate")
    times = measure(parser.parse_args().rounds)
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    for name, median in medians.items():
        print(f"{name:40} {median * 1e3:7.1f} ms   best {min(times[name]) * 1e3:7.1f} ms")
    own = medians["import lifecycle"] - medians["import anyio, and its asyncio backend"]
    print(f"{'lifecycle itself':40} {own * 1e3:7.1f} ms")
    beyond = medians["import lifecycle"] - medians["import anyio"]
    verdict = "met" if beyond <= GOAL else "NOT met"
    print(f"beyond import anyio: {beyond * 1e3:.1f} ms; goal {GOAL * 1e3:.0f} ms: {verdict}")


if __name__ == "__main__":
    main()
