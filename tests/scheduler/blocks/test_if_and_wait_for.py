"""The blocks `if` and `wait_for`."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import anyio
import pytest

from lifecycle.scheduler import JobStatus, Scheduler

from ..tools import flow_of, problems_of, run_flow

pytestmark = pytest.mark.asyncio


CONDITION = "expected a condition: true, false, one expression that is one of them, or a table"
NAME = (
    "${outptu}: unknown name 'outptu'; did you mean 'output'?; "
    "expected one of 'blocks', 'output', 'params', 'run', 'steps'"
)


class Site:
    """A storage site that becomes free after some looks."""

    def __init__(self, looks: int = 0, failures: int = 0) -> None:
        self.looks = 0
        self.needed = looks
        self.failures = failures

    async def look(self) -> dict[str, Any]:
        """Return how the site is."""
        self.looks += 1
        if self.looks <= self.failures:
            raise OSError("no answer")
        return {"state": "free" if self.looks > self.needed else "taken", "looks": self.looks}


async def test_if_runs_the_block_that_its_condition_chooses() -> None:
    """The output is that block's; without an else it is null."""
    flow = flow_of("""
        [params]
        count = 0
        [blocks.a]
        if = { value = "${params.count}", above = 2 }
        then = { shell = ["echo", "many"] }
        else = { if = { value = "${params.count}", equals = 0 }, then = { shell = ["echo", "none"] } }
        """)
    outputs = [(await run_flow(flow, {"count": count})).outputs["a"] for count in (5, 0, 1)]
    assert [output and output["stdout"] for output in outputs] == ["many\n", "none\n", None]


async def test_if_uses_the_output_of_the_job_that_it_needs() -> None:
    """The job's needs and retries stand beside the condition."""
    ran = await run_flow(
        flow_of(
            """
            [blocks.look]
            call = "look"
            [blocks.act]
            needs = ["look"]
            if = { value = "${blocks.look.output.state}", equals = "free" }
            then = { shell = ["true"] }
            """,
            look=Site().look,
        )
    )
    assert ran.jobs["act"].status is JobStatus.SUCCEEDED
    assert ran.outputs["act"]["returncode"] == 0


async def test_a_condition_that_cannot_be_told_fails_the_block() -> None:
    """Neither branch runs."""
    ran = await run_flow(flow_of("[params]\nx = 'yes'\n[blocks.a]\nif = '${params.x}'\nthen = { shell = ['true'] }"))
    assert ran.error("a") == (
        "blocks.a: ExpressionError: expected true or false, got 'yes'; compare it, as in equals = ..."
    )


async def test_wait_for_looks_until_the_condition_is_true() -> None:
    """The output is that of the last look."""
    site = Site(looks=3)
    ran = await run_flow(
        flow_of(
            """
            [blocks.a]
            wait_for = { call = "look" }
            until = { value = "${output.state}", equals = "free" }
            interval = [0.001, 0.002]
            """,
            look=site.look,
        )
    )
    assert ran.outputs["a"] == {"state": "free", "looks": 4}


async def test_wait_for_gives_up_after_so_many_looks() -> None:
    """The error says how many, and what the last one found."""
    site = Site(looks=1_000)
    text = """
        [blocks.a]
        wait_for = {{ call = "look" }}
        until = {{ value = "${{output.state}}", equals = "free" }}
        attempts = 5
        interval = 0.001
        {more}
        """
    ran = await run_flow(flow_of(text.format(more=""), look=site.look))
    assert (site.looks, ran.error("a")) == (
        5,
        "blocks.a: BlockTimeout: gave up after 5 attempts; in the last one the condition was not true",
    )
    site = Site(failures=1_000)
    ran = await run_flow(flow_of(text.format(more='on_failure = "again"'), look=site.look))
    assert ran.error("a").endswith("gave up after 5 attempts; in the last one OSError: no answer")
    assert len(ran.log("a")) == 5


async def test_a_look_that_fails_ends_the_waiting_unless_it_may_fail() -> None:
    """`on_failure = "again"` takes a failure for one more look in vain."""
    text = '[blocks.a]\nwait_for = { call = "look" }\nuntil = true\ninterval = 0.001\n'
    site = Site(failures=2)
    ran = await run_flow(flow_of(text, look=site.look))
    assert (site.looks, ran.error("a")) == (1, "blocks.a.wait_for: OSError: no answer")
    site = Site(failures=2)
    ran = await run_flow(flow_of(text + 'on_failure = "again"', look=site.look))
    assert (site.looks, ran.jobs["a"].status) == (3, JobStatus.SUCCEEDED)


async def test_wait_for_is_bounded_in_time_also_when_nobody_says_so() -> None:
    """Its timeout bounds all looks and pauses together."""
    flow = flow_of("[blocks.a]\nwait_for = { sleep = 0 }\nuntil = false")
    assert flow.jobs["a"].block.timeout == 300.0
    ran = await run_flow(flow_of("[blocks.a]\nwait_for = { sleep = 10 }\nuntil = false\ntimeout = 0.05"))
    assert ran.jobs["a"].status is JobStatus.TIMED_OUT
    ran = await run_flow(
        flow_of("[blocks.a]\nsequence = [{ wait_for = { sleep = 10 }, until = false, timeout = 0.05 }]")
    )
    assert ran.error("a") == "blocks.a.sequence[0]: BlockTimeout: took longer than its timeout of 0.05 s"


async def test_wait_for_stops_when_it_is_cancelled() -> None:
    """In a look, and in the pause between two."""
    for flow in (
        flow_of("[blocks.a]\nwait_for = { sleep = 100 }\nuntil = false"),
        flow_of("[blocks.a]\nwait_for = { sleep = 0 }\nuntil = false\ninterval = 100"),
    ):
        async with Scheduler() as scheduler:
            run = await scheduler.submit(flow)
            with anyio.fail_after(30):
                while not scheduler.statistics().running:
                    await anyio.sleep(0.001)
                await run.cancel("enough")
                outcome = await run.wait()
        assert [(job.status, job.error) for job in outcome.jobs] == [(JobStatus.CANCELLED, "enough")]
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_the_outputs_of_looks_in_vain_are_not_kept() -> None:
    """What is kept is one output (casebook C10)."""
    alive: list[int] = []

    async def look() -> dict[str, Any]:
        kept = [thing for thing in gc.get_objects() if type(thing) is dict and "look of case C10" in thing]
        alive.append(len(kept))
        return {"look of case C10": [[]]}

    await run_flow(
        flow_of(
            '[blocks.a]\nwait_for = { call = "look" }\nuntil = false\nattempts = 20\ninterval = [0.00001, 0.0001]',
            look=look,
        )
    )
    assert max(alive) <= 1


async def test_problems_are_told_with_their_place() -> None:
    """Before anything runs."""
    assert problems_of("[blocks.a]\nif = 3\nelse = { sleep = 1 }") == [
        f"flow.toml: blocks.a.if: {CONDITION}, got 3",
        'flow.toml: blocks.a.then: missing; expected a block, as in then = { call = "NAME" }',
    ]
    assert problems_of("[blocks.a]\nwait_for = { sleep = 1 }\nuntil = '${outptu}'\nattempts = 0\ninterval = 0") == [
        "flow.toml: blocks.a.interval: expected a first pause of more than 0 seconds",
        f"flow.toml: blocks.a.until: {NAME}",
        "flow.toml: blocks.a.attempts: expected an integer from 1 to 1,000,000, got 0",
    ]
    assert problems_of("[blocks.a]\nif = { value = '${output}', equals = 1 }\nthen = { sleep = 1 }") == [
        "flow.toml: blocks.a.if: ${output}: unknown name 'output'; expected one of 'blocks', 'params', 'run', 'steps'"
    ]
