"""Again by hand and waiting over the wire."""

from __future__ import annotations

import asyncio

import pytest

from lifecycle.scheduler import Scheduler, handler
from lifecycle.scheduler.control import ControlServer
from lifecycle.testing import Bubble

from ...loops import virtual
from ..stores import Address
from ..tools import flow_of
from .clients import Client, client, served

mended: set[str] = set()


@handler("control.flaky")
async def flaky(name: str) -> str:
    """Fail until it is mended."""
    if name not in mended:
        raise ValueError(f"{name} is broken")
    return name


FLOW = """
[blocks.a]
call = "control.flaky"
args = ["a"]
[blocks.b]
needs = ["a"]
sleep = 0
"""


@pytest.mark.asyncio
async def test_jobs_and_runs_are_tried_again_and_waited_for(durable: Address) -> None:
    """With what there is to say of them, and the reason where it is refused."""
    mended.clear()
    flow = flow_of(FLOW)
    async with Scheduler(durable) as scheduler:
        await scheduler.serve_flow(flow)
        async with ControlServer(scheduler, host="127.0.0.1", port=0, flows=[flow], password=None) as control:
            one = Client(*await asyncio.open_connection("127.0.0.1", control.port))
            await one.ask("HELLO", "3")
            assert await one.ask("LC.ENQUEUE", "control.flaky", "ARGS", '["x"]') == {"job": 1}
            assert (await one.ask("LC.WAIT", "1", "30"))["error"] == "ValueError: x is broken"
            assert await one.ask("LC.ENQUEUE", "flow") == {"run": 1}
            assert (await one.ask("LC.RUN", "1", "WAIT"))["status"] == "failed"
            mended.update("xa")
            assert await one.ask("LC.RETRY", "1") == {"job": 1}
            assert (await one.ask("LC.WAIT", "1"))["result"] == '"x"'
            assert str(await one.ask("LC.RETRY", "1")).startswith("-ERR job 1 cannot be tried again: it has succeeded")
            assert await one.ask("LC.RETRY", "1", "FORCE") == {"job": 1}
            assert str(await one.ask("LC.RETRY", "99")).startswith("-ERR there is no job 99")
            assert await one.ask("LC.RUN", "1", "RETRY") == 2
            ended = await one.ask("LC.RUN", "1", "WAIT", "30")
            assert (ended["status"], ended["jobs"]) == ("succeeded", {"succeeded": 2})
            assert await one.ask("LC.RUN", "1", "resume") == 0
            assert await one.ask("LC.RUN", "1", "CANCEL", "why") == 0
            assert [run["id"] for run in await one.ask("LC.RUNS", "STATUS", "succeeded", "FLOW", "flow")] == [1]
            assert await one.ask("LC.RUNS", "STATUS", "failed,running") == []
            assert await one.ask("LC.RUN", "7") is None
            await one.close()


@virtual
async def test_a_wait_ends_with_its_time_or_with_the_job(bubble: Bubble) -> None:
    """A store in memory forgets it then; its outcome is told all the same."""
    async with served():
        one = await client()
        await one.ask("HELLO", "3")
        await one.ask("LC.ENQUEUE", "nap", "ARGS", "[10]")
        assert await one.ask("LC.WAIT", "1", "5") is None
        assert bubble.clock.now == pytest.approx(5, abs=1)
        assert await one.ask("LC.WAIT", "1") == {"id": 1, "name": "nap", "status": "succeeded"}
        assert bubble.clock.now == pytest.approx(10, abs=1)
        assert await one.ask("LC.PRIORITY", "1", "5") == 0
        assert await one.ask("LC.ENQUEUE", "nap", "ARGS", "[10]", "DELAY", "10") == {"job": 2}
        assert await one.ask("LC.PRIORITY", "2", "5") == 1
        assert (await one.ask("LC.STATUS", "2"))["priority"] == 5
        for words, error in (
            (["LC.PRIORITY", "2", "urgent"], "priority: expected a whole number, got 'urgent'"),
            (["LC.PRIORITY", "2", "9999999"], "priority must be an integer from -1,000,000 to 1,000,000"),
            (["LC.WAIT", "1"], "there is no job 1"),
            (["LC.WAIT", "1", "soon"], "timeout: expected a number, got 'soon'"),
            (["LC.WAIT", "1", "nan"], "timeout: expected 0 or more seconds, got 'nan'"),
            (["LC.RETRY", "1", "PLEASE"], "expected FORCE, got 'PLEASE'"),
            (["LC.RUN", "1", "WALK"], "expected CANCEL, RETRY, RESUME or WAIT, got 'WALK'"),
            (["LC.RUN", "1", "RETRY", "now"], "unexpected 'now'"),
            (["LC.RUN", "1", "RETRY"], "there is no run 1"),
            (["LC.RUNS", "LIMIT", "0"], "LIMIT: expected 1 to 10,000"),
        ):
            assert str(await one.ask(*words)).startswith(f"-ERR {error}"), words
        await one.close()
