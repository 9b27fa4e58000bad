"""Case C, rows 5 to 7, 9, 10 and 12: what a job holds while it runs, what runs beside it, and what goes on for ever.

Each miniature is written the way the warehouse's executor was.
One look, the same for both, finds its leak and none of ours.
"""

from __future__ import annotations

import asyncio
import sys
import tomllib
from typing import Any

import anyio
import pytest

from lifecycle import Scope, create_background_task, run
from lifecycle.scheduler import Context, Flow, FlowError, Scheduler, flow_of_table, handler
from lifecycle.scheduler._engine.attempt import Attempt
from lifecycle.scheduler._work.context import JobContext
from lifecycle.scheduler._work.frame import Frame

from .live import Thing, alive, settle

ROUNDS = 10


# C5 and C6: contexts, executors and records after the end


class LeakyExecutor:
    """Executes blocks with a context per task, and has no ``finally``."""

    def __init__(self) -> None:
        self.contexts: dict[int, dict[str, Any]] = {}
        self.records: dict[int, Thing] = {}

    async def execute(self, number: int, blocks: list[Any]) -> None:
        """Run the blocks of a task, one after the other; the context knows what each has put out."""
        self.records[number] = Thing("record")
        context = self.contexts[number] = {"variables": {}, "outputs": [], "path": []}
        for block in blocks:
            context["path"].append(block.__name__)
            context["outputs"].append(await block())
        del self.records[number]  # only when everything went well


async def good() -> Thing:
    """Put out something."""
    return Thing("x" * 1_000)


async def bad() -> Thing:
    """Fail."""
    raise ValueError("bad block")


@pytest.mark.asyncio
async def test_c5_the_leaky_executor_keeps_contexts_and_outputs() -> None:
    """Of every task, also of those that succeeded; the records of those that did not."""
    executor = LeakyExecutor()
    for number in range(ROUNDS):
        await executor.execute(number, [good, good])
    for number in range(ROUNDS, 2 * ROUNDS):
        with pytest.raises(ValueError, match="bad block"):
            await executor.execute(number, [good, bad])
    assert len(executor.contexts) == 2 * ROUNDS
    assert alive(Thing) == 4 * ROUNDS


@handler("case_c.end")
async def end(how: str, context: Context) -> dict[str, str]:
    """Hold something in every place that there is, and end in some way."""
    context.log(f"going to {how}")
    context.scope.callback(str, Thing("released with the block"))
    held = Thing("local")
    if how == "fail":
        raise ValueError(held)
    if how == "leak a task":
        context.scope.start_soon(anyio.sleep_forever)
    if how in ("wait", "time out"):
        await anyio.sleep_forever()
    return {"output": "x" * 1_000, "how": how}


def blocks_of(how: str) -> Flow:
    """Return a flow whose blocks end in one way, deep inside of others."""
    timeout = "timeout = 0.01" if how == "time out" else ""
    return flow_of_table(
        tomllib.loads(
            f"""
            [blocks.job]
            {timeout}
            [[blocks.job.sequence]]
            name = "first"
            call = "case_c.end"
            args = ["succeed"]
            [[blocks.job.sequence]]
            parallel = [
                {{ foreach = [1, 2], each = {{ call = "case_c.end", args = ["{how}"] }} }},
                {{ shell = ["true"] }},
            ]
            """
        )
    )


@pytest.mark.asyncio
@pytest.mark.parametrize("how", ["succeed", "fail", "wait", "time out", "leak a task"])
async def test_c5_and_c6_nothing_of_a_job_is_alive_after_its_end(how: str) -> None:
    """Context, frames, scopes, attempts and what blocks held: whatever the end."""
    async with Scheduler(drain_timeout=0) as scheduler:
        kinds = (Attempt, JobContext, Context, Frame, Scope, Thing)
        before = alive(*kinds)
        for _ in range(ROUNDS):
            flow_run = await scheduler.submit(blocks_of(how))
            if how == "wait":
                with anyio.fail_after(60):
                    while not scheduler.statistics().running:
                        await anyio.sleep(0.001)
                await flow_run.cancel("enough")
            outcome = await flow_run.wait()
        expected = {"fail": "failed", "wait": "cancelled", "time out": "timed_out"}.get(how, "succeeded")
        assert outcome.jobs[0].status.value == expected
        del flow_run, outcome
        await settle()
        assert alive(*kinds) <= before


@pytest.mark.asyncio
async def test_c5_what_a_context_keeps_is_bounded() -> None:
    """Outputs that are too large together fail the job, and of a log only the last lines are kept."""

    @handler("case_c.talk")
    async def talk(context: Context) -> str:
        for number in range(10_000):
            context.log(f"line {number}" * 1_000)
        held.append(len(context._job.tail()))
        return "x" * 300_000

    held: list[int] = []
    steps = ", ".join(f'{{ name = "s{number}", call = "case_c.talk" }}' for number in range(5))
    flow = flow_of_table(tomllib.loads(f"[blocks.a]\nsequence = [{steps}]"))
    async with Scheduler() as scheduler:
        outcome = await (await scheduler.submit(flow)).wait()
    assert max(held) <= 50 * 501
    assert "the outputs are together larger than 1,048,576 bytes" in (outcome.jobs[0].error or "")


# C7: the parallel block


class Crowd:
    """Counts who is there at the same time."""

    def __init__(self) -> None:
        self.now = 0
        self.most = 0
        self.begun = 0

    async def visit(self, number: int, bad: int = -1) -> int:
        """Be there for a moment."""
        self.begun += 1
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await anyio.sleep(0.001)
            if number == bad:
                raise ValueError(f"bad {number}")
        finally:
            self.now -= 1
        return number


@pytest.mark.asyncio
async def test_c7_the_leaky_block_starts_an_executor_per_child_at_once() -> None:
    """Two hundred at the same time."""
    crowd = Crowd()
    await asyncio.gather(*(crowd.visit(number) for number in range(200)))
    assert crowd.most == 200


@pytest.mark.asyncio
async def test_c7_ours_is_ten_wide_in_order_and_ends_as_the_flow_says() -> None:
    """Results in order; the first failure stops the rest, or lets it finish."""
    crowd = Crowd()
    handler("case_c.visit")(crowd.visit)

    async def outcome_of(more: str) -> Any:
        crowd.most = crowd.begun = 0
        branches = ", ".join(f'{{ call = "case_c.visit", args = {{ number = {n}, bad = 60 }} }}' for n in range(200))
        flow = flow_of_table(tomllib.loads(f"[blocks.a]\nparallel = [{branches}]\n{more}"))
        async with Scheduler() as scheduler:
            return (await (await scheduler.submit(flow)).wait()).jobs[0]

    stopped = await outcome_of("")
    assert (crowd.most, stopped.error) == (10, "blocks.a.parallel[60]: ValueError: bad 60")
    assert crowd.begun < 100
    finished = await outcome_of('on_failure = "finish"\nwidth = 20')
    assert (crowd.most, crowd.begun, finished.error) == (20, 200, "blocks.a.parallel[60]: ValueError: bad 60")


# C9: work on the side


def test_c9_leaky_side_work_is_lost_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody waits for it, and its errors are told by the garbage collector, if at all."""
    synced: list[int] = []

    async def sync_description(number: int) -> None:
        await asyncio.sleep(0.01)
        synced.append(number)

    async def service() -> None:
        for number in range(ROUNDS):
            asyncio.create_task(sync_description(number))  # noqa: RUF006 (the defect)
        await asyncio.sleep(0)

    asyncio.run(service())
    assert synced == []


def test_c9_ours_is_named_counted_drained_and_its_errors_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The process ends when its side work has."""
    synced: list[int] = []

    async def sync_description(number: int) -> None:
        await asyncio.sleep(0.01)
        if number == 3:
            raise OSError("no database")
        synced.append(number)

    async def service() -> list[str]:
        handles = [create_background_task(sync_description(number), name=f"sync {number}") for number in range(ROUNDS)]
        return [handle.name for handle in handles]

    assert run(service) == [f"sync {number}" for number in range(ROUNDS)]
    assert sorted(synced) == [number for number in range(ROUNDS) if number != 3]
    assert [record for record in caplog.records if getattr(record, "task", None) == "sync 3"]


# C10: waiting for a site


@pytest.mark.asyncio
async def test_c10_the_leaky_block_asks_for_ever() -> None:
    """Without a bound, and as fast as it can."""
    asked = 0

    async def site_is_free() -> bool:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        return False

    async def idle_site() -> None:
        while True:
            if await site_is_free():
                return

    with anyio.move_on_after(0.05) as limit:
        await idle_site()
    assert limit.cancelled_caught
    assert asked > 50


@pytest.mark.asyncio
async def test_c10_ours_backs_off_and_gives_up() -> None:
    """After the last look, with an error that says so."""
    asked: list[float] = []

    @handler("case_c.site_is_free")
    async def site_is_free() -> bool:
        asked.append(asyncio.get_running_loop().time())
        return False

    text = "[blocks.a]\nwait_for = { call = 'case_c.site_is_free' }\nattempts = 6\ninterval = [0.001, 10]"
    async with Scheduler() as scheduler:
        outcome = await (await scheduler.submit(flow_of_table(tomllib.loads(text)))).wait()
    assert "gave up after 6 attempts" in (outcome.jobs[0].error or "")
    assert len(asked) == 6
    assert asked[5] - asked[4] >= 0.8 * 0.016 * 0.99  # doubled four times, shortened by a fifth at most


# C12: blocks in blocks


def nested(levels: int) -> dict[str, Any]:
    """Return a block within *levels* others."""
    block: dict[str, Any] = {"sleep": 0}
    for _ in range(levels):
        block = {"sequence": [block]}
    return block


@pytest.mark.asyncio
async def test_c12_the_leaky_executor_recurses_until_python_stops_it() -> None:
    """With an error that says nothing about the flow."""

    async def execute(block: dict[str, Any]) -> None:
        for child in block.get("sequence", []):
            await execute(child)

    with pytest.raises(RecursionError) as caught:
        await execute(nested(sys.getrecursionlimit() + 100))
    assert "sequence" not in str(caught.value)


def test_c12_ours_refuses_it_before_anything_runs_and_names_the_place() -> None:
    """Thirty-two levels are allowed."""
    assert flow_of_table({"blocks": {"a": nested(31)}})
    with pytest.raises(FlowError) as caught:
        flow_of_table({"blocks": {"a": nested(40)}})
    assert "blocks.a.sequence[0].sequence[0]." in str(caught.value)
    assert "blocks nested deeper than 32 levels" in str(caught.value)
