"""A process that runs jobs on a cluster until it is killed; its arguments are STORE, KUBECONFIG and RUNS.

It serves the flow `NUMBERED`, begins as many runs of it as a third argument says, and tells when it has.
"""

from __future__ import annotations

import sys

import anyio

from lifecycle.scheduler import Flow, Scheduler, flow_of_table
from lifecycle.scheduler.kubernetes import Cluster, Kubernetes


def numbered() -> Flow:
    """Return a flow of two Jobs, one after the other in one job of ours; its number is their label."""
    labels = {"number": "n${params.number}"}
    steps = [
        {"kubernetes": "script/sleep-0.3+say-first", "name": "first", "labels": {**labels, "step": "first"}},
        {"kubernetes": "script/sleep-0.5+say-${steps.first.output.output}", "labels": {**labels, "step": "second"}},
    ]
    params = {"number": {"type": "integer"}}
    return flow_of_table({"name": "numbered", "params": params, "blocks": {"work": {"sequence": steps}}})


async def serve(store: str, kubeconfig: str, runs: str) -> None:
    """Serve the flow for ever."""
    host = Kubernetes({"default": Cluster(kubeconfig=kubeconfig, timeout=15.0)})
    async with Scheduler(store, workers=16, max_crashes=None, hosts={"kubernetes": host}) as scheduler:
        flow = numbered()
        await scheduler.serve_flow(flow)
        for number in range(int(runs)):
            await scheduler.submit(flow, params={"number": number})
        print("serving", flush=True)
        await anyio.sleep_forever()


if __name__ == "__main__":
    anyio.run(serve, *sys.argv[1:])
