"""Case B of the casebook: clients of Kubernetes clusters that live, over jobs that have run.

    python -m benchmarks.case_b [--jobs 600] [--plot docs/explanation/case-b.svg]

The same jobs on three clusters, which one API server stands for: as DolphinScheduler had its cache, as its fix left it,
and by this scheduler. Jobs succeed, fail and are killed; after each one the clients are counted that are not closed.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import logging
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks._sizes import sized  # noqa: E402
from lifecycle.scheduler import Scheduler, flow_of_table  # noqa: E402
from lifecycle.scheduler.kubernetes import Cluster, Kubernetes  # noqa: E402
from tests.casebook.kubernetes_clients import (  # noqa: E402
    CLUSTERS,
    ENDS,
    AsItWas,
    Mended,
    configuration_of,
    run_jobs,
)
from tests.kubernetes.storm.servers import NAMESPACE, servers  # noqa: E402
from tests.kubernetes.storm.tally import counted_clients  # noqa: E402

#: So many jobs are on their way at once.
WIDTH = 20

Run = Callable[[Path, int], Awaitable[list[int]]]


async def as_it_was(kubeconfig: Path, jobs: int) -> list[int]:
    """Run the jobs with the original's cache; return how many clients were open after each."""
    clients = AsItWas(configuration_of(kubeconfig))
    account = await run_jobs(clients, jobs, WIDTH)
    await clients.kill_all()
    return account.counts


async def as_mended(kubeconfig: Path, jobs: int) -> list[int]:
    """The same with its fix."""
    return (await run_jobs(Mended(configuration_of(kubeconfig)), jobs, WIDTH)).counts


async def ours(kubeconfig: Path, jobs: int) -> list[int]:
    """The same by this scheduler."""
    counts: list[int] = []
    numbers = iter(range(jobs))
    with tempfile.TemporaryDirectory() as directory, counted_clients() as tally:
        known = {name: Cluster(kubeconfig=kubeconfig, namespace=NAMESPACE) for name in CLUSTERS}
        store, hosts = Path(directory, "jobs.sqlite"), {"kubernetes": Kubernetes(known)}
        async with Scheduler(store, workers=WIDTH, hosts=hosts) as scheduler:

            async def worker() -> None:
                for number in numbers:
                    image, ordered = ENDS[number % len(ENDS)]
                    cluster = CLUSTERS[number // len(ENDS) % len(CLUSTERS)]
                    block = {"kubernetes": image, "cluster": cluster, "grace": 1}
                    run = await scheduler.submit(flow_of_table({"name": "job", "blocks": {"work": block}}))
                    if ordered == "DELETED":
                        await asyncio.sleep(0.1)
                        await run.cancel("as it was ordered")
                    await run.wait()
                    counts.append(tally.alive)

            await asyncio.gather(*[worker() for _ in range(WIDTH)])
    return counts


KINDS: dict[str, Run] = {"as it was": as_it_was, "its fix": as_mended, "scheduler": ours}
COLOURS = {"as it was": "#b3261e", "its fix": "#c98a00", "scheduler": "#1b6e3c"}
LABELS = {
    "as it was": "a client for each task, removed by a kill",
    "its fix": "a client for each task, removed in a finally",
    "scheduler": "a client for each cluster, leased",
}


async def measure(jobs: int) -> dict[str, list[int]]:
    """Run the jobs in each way, on a server of its own."""
    counts = {}
    for kind, run in KINDS.items():
        with tempfile.TemporaryDirectory() as directory:
            async with servers(Path(directory), doubles=1) as (server,):
                counts[kind] = await run(server.kubeconfig, jobs)
    return counts


def plot(path: str, counts: dict[str, list[int]]) -> None:
    """Draw all."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    pyplot.rcParams["svg.hashsalt"] = "case b"
    figure, axes = pyplot.subplots(figsize=(7, 3.5))
    for kind, values in counts.items():
        step = max(1, len(values) // 200)
        axes.plot(range(1, len(values) + 1, step), values[::step], label=LABELS[kind], color=COLOURS[kind], linewidth=2)
    axes.set_xlabel("jobs that have run")
    axes.set_ylabel("clients that live")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=sized(600, 20))
    parser.add_argument("--plot", help="an SVG file to draw to")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    counts = asyncio.run(measure(options.jobs))
    print(f"{'jobs':>6}  " + "  ".join(f"{kind:>9}" for kind in counts) + "   clients that live")
    for jobs in itertools.chain(range(options.jobs // 4, options.jobs, max(1, options.jobs // 4)), [options.jobs]):
        print(f"{jobs:6,}  " + "  ".join(f"{values[jobs - 1]:9,}" for values in counts.values()))
    if options.plot:
        plot(options.plot, counts)


if __name__ == "__main__":
    main()
