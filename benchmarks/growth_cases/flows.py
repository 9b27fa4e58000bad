"""Flows of the scheduler, with n blocks: read, refused with a problem in each, submitted and run."""

from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from lifecycle.scheduler import Flow, FlowError, Scheduler, flow_of_table, load_flow

from ._kinds import CASES, Laps, case

Blocks = dict[str, dict[str, Any]]

MOST = 20_000
"""A flow has no more blocks than this."""


def wide(n: int) -> Blocks:
    return {f"b{number}": {"sleep": 0} for number in range(n)}


def chain(n: int) -> Blocks:
    """Each needs the one before it, and uses what the first of all has returned."""
    blocks: Blocks = {"b0": {"sleep": 0}}
    for number in range(1, n):
        use = {"if": {"value": "${blocks.b0.output}", "empty": True}, "then": {"sleep": 0}}
        blocks[f"b{number}"] = {**use, "needs": [f"b{number - 1}"]}
    return blocks


def tree(n: int) -> Blocks:
    first: Blocks = {"b0": {"sleep": 0}}
    return first | {f"b{number}": {"sleep": 0, "needs": [f"b{(number - 1) // 10}"]} for number in range(1, n)}


def star(n: int) -> Blocks:
    """The last needs all others."""
    return wide(n - 1) | {"last": {"sleep": 0, "needs": list(wide(n - 1))}}


def steps(n: int) -> Blocks:
    """Each named step uses what the first of all has returned."""
    uses = {"if": {"value": "${steps.s0.output}", "empty": True}, "then": {"sleep": 0}}
    first = {"name": "s0", "sleep": 0}
    return {"all": {"sequence": [first, *({"name": f"s{number}", **uses} for number in range(1, (n + 1) // 2))]}}


def typing_errors(n: int) -> Blocks:
    """Each needs a block whose name is nearly that of another."""
    return {f"load_{number}": {"sleep": 0, "needs": [f"laod_{number}"]} for number in range(n)}


def unknown_outputs(n: int) -> Blocks:
    return {f"load_{number}": {"shell": ["echo", f"${{blocks.laod_{number}.output}}"]} for number in range(n)}


def unknown_params(n: int) -> Blocks:
    return {f"load_{number}": {"shell": ["echo", f"${{params.laod_{number}}}"]} for number in range(n)}


def read(kind: str, make: Any, *, valid: bool = True) -> None:
    """Make a case of reading such a flow."""

    async def run(n: int, laps: Laps) -> None:
        n = min(n, MOST)
        params = {} if valid else {f"load_{number}": "" for number in range(n)}
        table = {"params": params, "blocks": make(n)}
        with laps("read", n), suppress(FlowError):
            flow_of_table(table)
            assert valid

    CASES[f"flow: {kind}"] = run


read("wide", wide)
read("chain", chain)
read("tree", tree)
read("star", star)
read("steps of one block", steps)
read("typing errors in needs", typing_errors, valid=False)
read("typing errors in outputs", unknown_outputs, valid=False)
read("typing errors in parameters", unknown_params, valid=False)


@case
async def flow_files(n: int, laps: Laps) -> None:
    n = min(n, MOST)
    with tempfile.TemporaryDirectory() as place:
        file = Path(place, "flow.toml")
        file.write_text("".join(f'[blocks.b{number}]\nneeds = ["b{number - 1}"]\nsleep = 0\n' for number in range(n)))
        with laps("a file whose first block needs what is not there", n), suppress(FlowError):
            load_flow(file)
        file.write_text("a." * n + "a = 1\n")
        with laps("a key of n parts", n), suppress(FlowError):
            load_flow(file)
        file = Path(place, "flow.json")
        file.write_text("{" + ", ".join(f'"{min(number, n - 2)}": 1' for number in range(n)) + "}")
        with laps("a name that comes twice, at the end", n), suppress(FlowError):
            load_flow(file)
        file.write_text(json.dumps({"blocks": wide(n)}))
        with laps("JSON", n):
            load_flow(file)


def submitted(kind: str, make: Any, durable: bool) -> None:
    """Make a case of submitting such a flow, and of running it."""

    async def run(n: int, laps: Laps) -> None:
        n = min(n, MOST)
        flow: Flow = flow_of_table({"blocks": make(n)})
        with tempfile.TemporaryDirectory() as place:
            async with Scheduler(Path(place, "jobs.sqlite") if durable else None) as scheduler:
                with laps("submit", n):
                    run = await scheduler.submit(flow)
                with laps("run", n):
                    await run.wait()

    CASES[f"run {'in a file' if durable else 'in memory'}: {kind}"] = run


submitted("wide", wide, durable=False)
submitted("tree", tree, durable=False)
submitted("wide", wide, durable=True)
submitted("tree", tree, durable=True)
