"""A process that runs jobs on a cluster until it is killed.

Its arguments are STORE, KUBECONFIG, RUNS, a LEASE and SECONDS.
It serves the flow `NUMBERED`, begins as many runs of it as a third argument says, and tells when it has.
"""

from __future__ import annotations

import sys

import anyio

from lifecycle.scheduler import Flow, Scheduler, flow_of_table
from lifecycle.scheduler.kubernetes import Cluster, Kubernetes


def numbered(seconds: str) -> Flow:
    """Return a flow of two Jobs, one after the other in one job of ours; their label is its number."""
    labels = {"number": "n${params.number}"}
    steps = [
        {"kubernetes": f"script/sleep-{seconds}+say-first", "name": "first", "labels": {**labels, "step": "first"}},
        {"kubernetes": "script/sleep-0.5+say-${steps.first.output.output}", "labels": {**labels, "step": "second"}},
    ]
    params = {"number": {"type": "integer"}}
    return flow_of_table({"name": "numbered", "params": params, "blocks": {"work": {"sequence": steps}}})


async def serve(store: str, kubeconfig: str, runs: str, lease: str = "15", seconds: str = "0.3") -> None:
    """Serve the flow for ever."""
    host = Kubernetes({"default": Cluster(kubeconfig=kubeconfig, timeout=15.0)})
    async with Scheduler(
        store, workers=16, max_crashes=None, lease=float(lease), hosts={"kubernetes": host}
    ) as scheduler:
        flow = numbered(seconds)
        await scheduler.serve_flow(flow)
        for number in range(int(runs)):
            await scheduler.submit(flow, params={"number": number})
        print("serving", flush=True)
        await anyio.sleep_forever()


if __name__ == "__main__":
    anyio.run(serve, *sys.argv[1:])
