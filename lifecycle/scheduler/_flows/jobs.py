"""The jobs of a flow: its top-level blocks, with what only they have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from .._blocks import read_block
from .._blocks.block import Block
from .._blocks.flow import JobSpec, may_fail
from .._blocks.reader import BlockReader, FlowReading
from .._ground.limits import LAST_NEEDS
from .._ground.text import quote
from .._language.expressions import Reference
from .._language.names import Names
from .._language.needs import Needs
from .._language.params import Param
from .._language.table import TableReader
from .._store.limits import DEFAULT_QUEUE, queue_problem
from .._store.skipping import WHEN
from .schedule import PRIORITY_BOUND


def read_jobs(reader: TableReader, params: Mapping[str, Param], flow: FlowReading) -> dict[str, JobSpec]:
    """Return the jobs in ``[blocks]`` and ``[finally]``; problems go to the reader.

    Args:
        reader: over the whole flow.
        params: the parameters of the flow.
        flow: what is the same for all blocks.
    """
    blocks = TableReader(reader.table("blocks"), "blocks", reader.problems)
    last = TableReader(reader.table("finally"), "finally", reader.problems)
    names = blocks.usable_names()
    known = dict.fromkeys((*names, *last.usable_names()))
    main, final = _read_tables(blocks, known, flow), _read_tables(last, known, flow)
    if not names and not reader.problems.count:
        reader.problem("blocks", "expected at least one block, [blocks.NAME]")
    if len(main) * len(final) > LAST_NEEDS:
        reader.problem(
            "finally",
            f"{len(final):,} blocks after {len(main):,} others are {len(main) * len(final):,} needs, "
            f"more than {LAST_NEEDS:,}; put what they do into fewer blocks, as steps of a sequence",
        )
        return {}
    for name in main.keys() & final.keys():
        last.problem(name, f"the name {quote(name)} is used in [blocks] as well")
    readers = {**main, **final}
    needs = {name: _read_needs(block) for name, block in readers.items()}
    for name in main:
        for other in needs[name].names:
            if other in final and other not in main:
                main[name].problem("needs", f"block {quote(other)} of [finally] runs after all blocks of [blocks]")
    graph = Needs({**dict.fromkeys(known, ()), **{name: given.names for name, given in needs.items()}})
    graph.check(reader.problems)
    jobs = {}
    for name, block in readers.items():
        ended = partial(_before, graph, name, final, main)
        block.available = Names(params, known, ended, last=name in final)
        spec = _read_job(name, block, needs[name], last=name in final)
        if spec is not None and spec.when == "failure" and not (spec.needs or spec.last):
            block.problem("when", "a step for failures needs the blocks whose failure it is for, in needs")
        if spec is not None:
            jobs[name] = spec
    return _with_last_jobs(jobs)


class _Needing(NamedTuple):
    """What a block says of those that it needs."""

    names: tuple[str, ...]
    tolerates: tuple[str, ...]


def _read_tables(section: TableReader, usable: Collection[str], flow: FlowReading) -> dict[str, BlockReader]:
    """Return a reader for each block of ``[blocks]`` or ``[finally]``."""
    readers = {}
    for name in [name for name in usable if name in section]:
        table, path = section.raw(name), section.place(name)
        if not isinstance(table, dict):
            section.problem(name, f"expected a block (a table), got {quote(table)}")
        elif not flow.prefix or flow.count_block(path):
            readers[name] = BlockReader(table, path, flow, _no_names(), depth=flow.depth, name=name)
    return readers


def _read_needs(reader: BlockReader) -> _Needing:
    """Return the names in ``needs``, and those of them that may fail."""
    given = reader.raw("needs", [])
    if not isinstance(given, list):
        hint = f"; write needs = [{quote(given)}]" if isinstance(given, str) else ""
        reader.problem("needs", f"expected a list of names, got {quote(given)}{hint}")
        return _Needing((), ())
    names, tolerates = [], []
    for index, need in enumerate(given):
        name, may_fail = need, False
        if isinstance(need, dict):
            inner = TableReader(need, f"{reader.place('needs')}[{index}]", reader.problems)
            name, may_fail = inner.text("block"), inner.flag("may_fail")
            if "block" not in inner:
                inner.problem("block", 'missing; expected the name of a block, as in {block = "NAME", may_fail = true}')
            inner.finish()
            if not name:  # that has been told
                continue
        if isinstance(name, str):
            names.append(name)
            tolerates += [name] * may_fail
        else:
            expected = 'expected a name, or {block = "NAME", may_fail = true}'
            reader.problems.add(f"{reader.place('needs')}[{index}]", f"{expected}, got {quote(need)}")
    for name, times in Counter(names).items():
        if times > 1:
            reader.problem("needs", f"the name {quote(name)} is used twice")
    return _Needing(tuple(dict.fromkeys(names)), tuple(tolerates))


def _before(graph: Needs, name: str, final: Collection[str], main: Collection[str], other: str) -> bool:
    """Return whether a block has ended before another one begins."""
    return (name in final and other in main) or graph.before(name, other)


def _with_last_jobs(jobs: dict[str, JobSpec]) -> dict[str, JobSpec]:
    """Let the jobs of ``[finally]`` need all others."""
    main = tuple(name for name, spec in jobs.items() if not spec.last)
    allowed = tuple(sorted(may_fail(jobs)))
    return {
        name: replace(spec, needs=(*main, *spec.needs), tolerates=(*allowed, *spec.tolerates)) if spec.last else spec
        for name, spec in jobs.items()
    }


def _no_names() -> Names:
    return Names({}, frozenset(), lambda _name: False)


def _read_job(name: str, reader: BlockReader, needs: _Needing, *, last: bool) -> JobSpec | None:
    when = reader.choice("when", ("always", "success", "failure") if last else WHEN)
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
    return JobSpec(
        name,
        block,
        needs.names,
        priority,
        delay,
        retries,
        backoff,
        _uses(block, "output"),
        queue,
        when=when,
        tolerates=needs.tolerates,
        last=last,
        asks=_uses(block, "status", "error"),
        asks_run=any(reference.root == "run" and reference.steps == ("status",) for reference in _references(block)),
    )


def _read_top_block(reader: BlockReader) -> Block | None:
    if "name" in reader:
        reader.raw("name")
        reader.problem("name", "a top-level block is named by its table, [blocks.NAME]")
    block = read_block(reader)
    if block is not None:
        reader.finish()
    return block


def _uses(block: Block, *fields: str) -> frozenset[str]:
    """Return the names of the blocks of which these fields are used."""
    names = (
        reference.steps[0]
        for reference in _references(block)
        if reference.root == "blocks" and reference.steps[1:2] and reference.steps[1] in fields
    )
    return frozenset(name for name in names if isinstance(name, str))


def _references(block: Block) -> Iterator[Reference]:
    for inner in block.walk():
        yield from inner.references()
