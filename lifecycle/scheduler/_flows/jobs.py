"""The jobs of a flow: its top-level blocks, with what only they have."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from .._blocks import read_block
from .._blocks.block import Block
from .._blocks.flow import JobSpec
from .._blocks.reader import BlockReader, FlowReading
from .._ground.text import quote
from .._language.names import Names
from .._language.needs import Needs
from .._language.params import Param
from .._language.table import TableReader
from .._store.limits import DEFAULT_QUEUE, queue_problem
from .schedule import PRIORITY_BOUND


def read_jobs(reader: TableReader, params: Mapping[str, Param], flow: FlowReading) -> dict[str, JobSpec]:
    """Return the jobs in ``[blocks]``; problems go to the reader.

    Args:
        reader: over the whole flow.
        params: the parameters of the flow.
        flow: what is the same for all blocks.
    """
    blocks = TableReader(reader.table("blocks"), "blocks", reader.problems)
    names = blocks.usable_names()
    if not names and not reader.problems.count:
        reader.problem("blocks", "expected at least one block, [blocks.NAME]")
    tables = {name: table for name in names if isinstance(table := blocks.raw(name), dict)}
    for name in names:
        if name not in tables:
            blocks.problem(name, f"expected a block (a table), got {quote(blocks.raw(name))}")
    readers = {
        name: BlockReader(table, f"blocks.{name}", flow, _no_names(), depth=flow.depth, name=name)
        for name, table in tables.items()
        if not flow.prefix or flow.count_block(f"blocks.{name}")
    }
    needs = {name: block.names("needs") for name, block in readers.items()}
    graph = Needs({**dict.fromkeys(names, ()), **needs})
    graph.check(reader.problems)
    jobs = {}
    known = frozenset(names)
    for name, block in readers.items():
        block.available = Names(params, known, partial(graph.before, name))
        spec = _read_job(name, block, needs[name])
        if spec is not None:
            jobs[name] = spec
    return jobs


def _no_names() -> Names:
    return Names({}, frozenset(), lambda _name: False)


def _read_job(name: str, reader: BlockReader, needs: tuple[str, ...]) -> JobSpec | None:
    priority = reader.integer("priority", 0, minimum=-PRIORITY_BOUND, maximum=PRIORITY_BOUND)
    delay = reader.seconds("delay", 0.0) or 0.0
    retries = reader.integer("retries", 0, minimum=0, maximum=10_000)
    backoff = reader.backoff("backoff")
    queue = reader.text("queue", DEFAULT_QUEUE)
    if problem := queue_problem(queue):
        reader.problem("queue", problem)
    block = _read_top_block(reader)
    if block is None:
        return None
    return JobSpec(name, block, needs, priority, delay, retries, backoff, _uses(block), queue)


def _read_top_block(reader: BlockReader) -> Block | None:
    if "name" in reader:
        reader.raw("name")
        reader.problem("name", "a top-level block is named by its table, [blocks.NAME]")
    block = read_block(reader)
    if block is not None:
        reader.finish()
    return block


def _uses(block: Block) -> frozenset[str]:
    names = (
        reference.steps[0]
        for inner in block.walk()
        for reference in inner.references()
        if reference.root == "blocks" and reference.steps
    )
    return frozenset(name for name in names if isinstance(name, str))
