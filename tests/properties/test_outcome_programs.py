"""Random jobs of handlers that raise, cancel, fork, exit, hang and leak, in blocks of every kind, ended from outside.

One rule: each job has exactly one outcome, which is recorded and told once, and it is never better than what happened.
Nothing is left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import tempfile
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.scheduler import Event, Flow, FlowRun, JobStatus, Scheduler, flow_of_table

from ..loops import on_every_loop, run_on
from . import outcome_acts as acts
from .at_length import on_every_loop_at_length

Loop = Callable[[], asyncio.AbstractEventLoop]

BAD = "bad"
"""In the place of a value: the block can only fail."""

UNKNOWN = "unknown"
"""The block may fail or succeed; what it returns is right if it does."""


@dataclass
class Program:
    """One job.

    Attributes:
        tree: the block: ``(kind, ...)``, and what is in it.
        retries: of the job.
        timeout: of the job, in seconds.
        ending: what happens to it from outside, after so many seconds.
    """

    tree: Any
    retries: int
    timeout: float | None
    ending: float | None


@dataclass
class Batch:
    """Jobs that run at the same time."""

    programs: list[Program]
    durable: bool
    workers: int
    shutdown: bool


def leaves() -> st.SearchStrategy[Any]:
    """Return what handlers do."""
    good, bad = st.sampled_from(sorted(acts.GOOD)), st.sampled_from(sorted(acts.BAD))
    other = st.sampled_from([*sorted(acts.HANGS), *sorted(acts.EITHER), "flaky"])
    kinds = st.one_of(good, bad, bad, other, st.sampled_from(sorted(acts.FORKS)))
    return st.tuples(st.just("act"), kinds, st.booleans())


def blocks(inside: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return the blocks that hold others."""
    few = st.lists(inside, min_size=1, max_size=3)
    stop = st.sampled_from(["stop", "finish"])
    return st.one_of(
        st.tuples(st.just("sequence"), few),
        st.tuples(st.just("parallel"), few, stop, st.integers(1, 3)),
        st.tuples(st.just("foreach"), inside, st.integers(1, 3), stop, st.integers(1, 3)),
        st.tuples(st.just("retry"), inside, st.integers(1, 3)),
        st.tuples(st.just("if"), inside, st.booleans()),
        st.tuples(st.just("wait_for"), inside, st.sampled_from(["stop", "again"])),
        st.tuples(st.just("timed"), inside),
        st.tuples(st.just("subflow"), few),
    )


def hangs(tree: Any) -> bool:
    """Return whether a tree has to be ended from outside."""
    if isinstance(tree, str):
        return tree in acts.HANGS
    return isinstance(tree, (list, tuple)) and tree[0] != "timed" and any(map(hangs, tree))


PROGRAMS = st.builds(
    Program,
    tree=st.recursive(leaves(), blocks, max_leaves=6),
    retries=st.sampled_from([0, 0, 1, 2]),
    timeout=st.sampled_from([None, None, 0.03]),
    ending=st.sampled_from([None, None, 0.0, 0.002]),
).map(lambda program: replace(program, timeout=0.03) if hangs(program.tree) else program)
BATCHES = st.builds(
    Batch, programs=st.lists(PROGRAMS, min_size=1, max_size=6), durable=st.booleans(), workers=st.integers(1, 6),
    shutdown=st.sampled_from([False, False, False, True]),
)  # fmt: skip


class Writer:
    """Writes a tree as a flow, and says what its output has to be."""

    def __init__(self, directory: Path, numbers: Iterator[int], *, asked: bool) -> None:
        self._asked = asked
        self._directory = directory
        self._numbers = numbers

    def block(self, tree: Any, *, timed: bool = False) -> tuple[dict[str, Any], Any]:
        """Return the table of a block, and its value, BAD or UNKNOWN."""
        return getattr(self, f"_{tree[0]}")(*tree[1:], timed=timed)  # type: ignore[no-any-return]

    def _act(self, kind: str, alone: bool, *, timed: bool) -> tuple[dict[str, Any], Any]:
        number = next(self._numbers)
        table = {"call": "act alone" if alone else "act", "args": [kind, number]}
        if kind in acts.IN_THREADS:
            table["call"] = "thread"
        elif kind in acts.WITH_CONTEXT:
            table["call"] = "act"
        if kind in acts.HANGS:
            return table, BAD
        if kind in acts.RETURNS and (timed or self._asked):
            return (
                table,
                UNKNOWN,
            )  # two cancellations in one step are one, and a job may return although it was cancelled
        if kind in acts.BAD:
            return table, BAD
        # A flaky one fails once, wherever it is tried again.
        return table, UNKNOWN if timed or kind in acts.EITHER or kind == "flaky" else number

    def _sequence(self, steps: list[Any], *, timed: bool) -> tuple[dict[str, Any], Any]:
        tables, values = zip(*(self.block(step, timed=timed) for step in steps), strict=True)
        return {"sequence": list(tables)}, self._together(values, values[-1])

    def _parallel(self, branches: list[Any], stop: str, width: int, *, timed: bool) -> tuple[dict[str, Any], Any]:
        tables, values = zip(*(self.block(branch, timed=timed) for branch in branches), strict=True)
        table = {"parallel": list(tables), "on_failure": stop, "width": width}
        return table, self._together(values, list(values))

    def _foreach(self, each: Any, count: int, stop: str, width: int, *, timed: bool) -> tuple[dict[str, Any], Any]:
        table, value = self.block(each, timed=timed)
        whole = {"foreach": list(range(count)), "each": table, "on_failure": stop, "width": width}
        return whole, self._together([value], [value] * count)

    def _retry(self, do: Any, attempts: int, *, timed: bool) -> tuple[dict[str, Any], Any]:
        table, value = self.block(do, timed=timed)
        return {"retry": {"attempts": attempts, "backoff": [0.0, 0.001]}, "do": table}, value

    def _if(self, chosen: Any, then: bool, *, timed: bool) -> tuple[dict[str, Any], Any]:
        table, value = self.block(chosen, timed=timed)
        other = {"call": "act", "args": ["raises", 0]}
        return {"if": then, "then": table if then else other, "else": other if then else table}, value

    def _wait_for(self, do: Any, on_failure: str, *, timed: bool) -> tuple[dict[str, Any], Any]:
        table, value = self.block(do, timed=timed)
        whole = {"wait_for": table, "interval": [0.001, 0.001], "attempts": 2, "on_failure": on_failure}
        return {**whole, "until": True}, value

    def _timed(self, inside: Any, *, timed: bool) -> tuple[dict[str, Any], Any]:
        table, value = self.block(inside, timed=True)
        return {"sequence": [{**table, "timeout": 0.03}]}, value

    def _subflow(self, jobs: list[Any], *, timed: bool) -> tuple[dict[str, Any], Any]:
        written = [self.block(job, timed=timed) for job in jobs]
        names = [f"j{place}" for place in range(len(jobs))]
        path = self._directory / f"sub{next(self._numbers)}.json"
        path.write_text(json.dumps({"blocks": dict(zip(names, (table for table, _ in written), strict=True))}))
        values = [value for _, value in written]
        return {"subflow": path.name}, self._together(values, dict(zip(names, values, strict=True)))

    def _together(self, values: Any, whole: Any) -> Any:
        if any(value is BAD for value in values):
            return BAD
        return UNKNOWN if any(value is UNKNOWN for value in values) else whole


def check(batch: Batch, number: int, value: Any, record: Any, program: Program) -> None:
    """Check one job against what can have happened to it."""
    status = record.status
    allowed = {JobStatus.SUCCEEDED} if value is not BAD else set()
    if value is BAD or value is UNKNOWN:
        allowed |= {JobStatus.FAILED}
    if program.timeout is not None:
        allowed |= {JobStatus.TIMED_OUT, JobStatus.FAILED}
    if program.ending is not None:
        allowed |= {JobStatus.CANCELLED}
    if batch.shutdown:
        allowed |= {JobStatus.INTERRUPTED, JobStatus.PENDING}
    assert status in allowed, (number, status, record.error, allowed)
    if status is JobStatus.SUCCEEDED:
        assert record.error is None
    elif status.final:
        assert record.result is None
        assert record.error


async def perform(batch: Batch, directory: Path) -> Counter[str]:
    """Run a batch and check what became of it; return how many jobs ended how."""
    acts.tried.clear()
    acts.leaked.clear()
    told: dict[int, list[Event]] = {}

    def listen(event: Event) -> None:
        if event.kind == "job_finished" and event.job_id is not None:
            told.setdefault(event.job_id, []).append(event)

    table = acts.handlers()
    written: list[tuple[Flow, Any, Program]] = []
    numbers = iter(range(1, 1_000_000))
    for program in batch.programs:
        writer = Writer(
            directory, numbers, asked=batch.shutdown or program.ending is not None or program.timeout is not None
        )
        block, value = writer.block(program.tree)
        if program.timeout is not None:
            block = {**block, "timeout": program.timeout}
        block = {**block, "retries": program.retries, "backoff": [0.0, 0.001]}
        document = {"name": f"flow{len(written)}", "blocks": {"a": block}}
        written.append((flow_of_table(document, directory=directory, handlers=table), value, program))
    store = directory / "jobs.sqlite" if batch.durable else None
    patience = 0.0 if batch.shutdown else 30.0
    outcomes = []
    async with Scheduler(store, workers=batch.workers, on_event=listen, drain_timeout=patience) as scheduler:
        forget, scheduler._store.forget = scheduler._store.forget, lambda run_id: None  # type: ignore[method-assign]
        runs = [await scheduler.submit(flow, fresh=True) for flow, _, _ in written]
        loop = asyncio.get_running_loop()
        for run, (_, _, program) in zip(runs, written, strict=True):
            if program.ending is not None:
                loop.call_later(program.ending, cancel_soon, run)
        if batch.shutdown:
            await asyncio.sleep(0.003)
        else:
            for run in runs:
                async with asyncio.timeout(30):
                    outcomes.append(await run.wait())
            for run, (_, value, _) in zip(runs, written, strict=True):
                outputs = await scheduler._store.outputs(run.id, ["a"])
                if outputs:
                    check_output(value, outputs["a"])
                forget(run.id)
    if batch.shutdown:
        outcomes = [await run.wait() for run in runs]
    for number, (outcome, (_, value, program)) in enumerate(zip(outcomes, written, strict=True)):
        (record,) = outcome.jobs
        check(batch, number, value, record, program)
        assert record.attempts <= program.retries + 1
        heard = [event.data["status"] for event in told.get(record.id, [])]
        if record.status.final and not (batch.shutdown and heard in ([], ["interrupted"])):
            assert heard == [record.status.value]
        else:  # told as interrupted if it had begun, also where its end was just being recorded
            assert heard in ([], ["interrupted"], ["cancelled"] if program.ending is not None else [])
    engine = scheduler._life.engine
    assert engine is not None
    assert not engine.running
    assert engine.busy == 0
    while acts.leaked:  # nobody's but the handlers'
        await asyncio.wait(set(acts.leaked))
        acts.leaked -= {task for task in acts.leaked if task.done()}
    assert asyncio.all_tasks() == {asyncio.current_task()}
    return Counter(record.status.value for outcome in outcomes for record in outcome.jobs)


def cancel_soon(run: FlowRun) -> None:
    """Cancel a run, as its user."""
    acts.leaked.add(asyncio.get_running_loop().create_task(run.cancel("enough")))


def check_output(value: Any, output: Any) -> None:
    """Check that an output is what all its parts have returned: none is missing, none is None."""
    assert value is not BAD
    match value:
        case "unknown":
            assert not holds_none(output), output
        case list():
            assert len(output) == len(value)
        case _:
            pass
    if value is not UNKNOWN:
        assert output == value


def holds_none(output: Any) -> bool:
    """Return whether there is a None where a result has to be."""
    if isinstance(output, dict):
        return any(map(holds_none, output.values()))
    return any(map(holds_none, output)) if isinstance(output, list) else output is None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what handlers print, and what the log says of them, out of the report; look for threads that are left."""
    before = set(threading.enumerate())
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
    left = [thread.name for thread in set(threading.enumerate()) - before if "AnyIO" not in thread.name]
    assert left == [], left


seen: Counter[str] = Counter()


def run_batch(new_loop: Loop, batch: Batch) -> None:
    """Run one batch in a directory and a loop of its own."""
    with quiet(), tempfile.TemporaryDirectory() as directory:
        seen.update(run_on(new_loop, perform(batch, Path(directory))))


@on_every_loop
@settings(max_examples=18, deadline=None)
@given(batch=BATCHES)
def test_every_job_has_one_outcome_which_is_never_better_than_what_happened(new_loop: Loop, batch: Batch) -> None:
    """Dozens of programs, on both stores."""
    run_batch(new_loop, batch)


@on_every_loop_at_length(1_100, BATCHES)
def test_the_same_at_length(new_loop: Loop, batch: Batch) -> None:
    """Ten thousand programs in a night."""
    run_batch(new_loop, batch)


@pytest.mark.nightly
@pytest.mark.timeout(7200)
def test_what_was_seen() -> None:
    """Print how the jobs of this process have ended."""
    print(dict(seen))
