"""Jobs, flows and events over the wire."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest
import redis.asyncio

from lifecycle.scheduler import Scheduler
from lifecycle.scheduler.control import ControlServer
from lifecycle.testing import Bubble

from ...loops import virtual
from ..stores import Address
from ..tools import flow_of
from .clients import Client, client, served


@virtual
async def test_jobs_are_put_in_told_of_and_cancelled(bubble: Bubble) -> None:
    """Queued and running ones."""
    async with served():
        one = await client()
        await one.ask("HELLO", "3")
        for number in range(1, 5):
            settings = ["ARGS", f"[{number * 100}]", "NAME", f"nap {number}", "PRIORITY", "3", "RETRIES", "2"]
            assert await one.ask("LC.ENQUEUE", "nap", *settings) == {"job": number}
        await asyncio.sleep(1)
        found = await one.ask("LC.STATUS", "1")
        assert (found["name"], found["status"], found["priority"], found["retries"]) == ("nap 1", "running", 3, 2)
        assert [job["id"] for job in await one.ask("LC.LIST")] == [1, 2, 3, 4]
        assert [job["id"] for job in await one.ask("LC.LIST", "STATUS", "pending")] == [3, 4]
        assert [job["id"] for job in await one.ask("LC.LIST", "STATUS", "Running,pending")] == [1, 2, 3, 4]
        assert [job["id"] for job in await one.ask("LC.LIST", "LIMIT", "1")] == [4]
        assert await one.ask("LC.LIST", "FLOW", "f") == await one.ask("LC.LIST", "NAME", "nobody") == []
        assert len(await one.ask("LC.LIST", "SINCE", "0", "UNTIL", "2100-01-01T00:00+01:00")) == 4
        assert await one.ask("LC.LIST", "SINCE", "2100-01-01T00:00Z") == []
        assert await one.ask("LC.CANCEL", "3", "not now") == 1
        assert await one.ask("LC.CANCEL", "1") == 1
        assert await one.ask("LC.CANCEL", "99") == 0
        await asyncio.sleep(1)
        assert await one.ask("LC.STATUS", "1") is None
        status = await one.ask("LC.STATUS")
        assert (status["running"], status["ended"]["cancelled"]) == (2, 2)
        assert (status["waiting"], status["refused"], status["left"]) == (0, 0, {})
        await one.close()


@virtual
async def test_a_job_may_run_however_another_one_ends(bubble: Bubble) -> None:
    """Or only because it failed; a word that is not known is told."""
    async with served():
        one = await client()
        assert await one.ask("LC.ENQUEUE", "nap", "ARGS", "[100]") == ["job", 1]
        assert await one.ask("LC.ENQUEUE", "nap", "ARGS", "[0]", "NEEDS", "[1]", "WHEN", "Always") == ["job", 2]
        assert await one.ask("LC.ENQUEUE", "nap", "ARGS", "[0]", "NEEDS", "[1]") == ["job", 3]
        assert "when must be one of" in str(await one.ask("LC.ENQUEUE", "nap", "NEEDS", "[1]", "WHEN", "never"))
        assert await one.ask("LC.CANCEL", "1") == 1
        await asyncio.sleep(1)
        ended = await one.ask("LC.STATUS")
        ended = dict(zip(ended[::2], ended[1::2], strict=True))["ended"]
        ended = dict(zip(ended[::2], ended[1::2], strict=True))
        assert (ended["succeeded"], ended["cancelled"]) == (1, 2)
        await one.close()


@virtual
async def test_what_a_client_submits_and_is_refused_is_in_the_log(
    bubble: Bubble, caplog: pytest.LogCaptureFixture
) -> None:
    """Once in a while: the client gets every error, and nobody else would hear of it."""
    caplog.set_level(logging.WARNING, "lifecycle.scheduler")
    async with served():
        one = await client()
        for _ in range(3):
            assert "unknown handler 'map'" in str(await one.ask("LC.ENQUEUE", "map"))
        await one.ask("HELLO", "3")
        assert (await one.ask("LC.STATUS"))["refused"] == 3
        await one.close()
    (record,) = [record for record in caplog.records if record.msg == "work of a client refused"]
    assert record.work == "map"  # type: ignore[attr-defined]
    assert record.error.startswith("unknown handler 'map'; did you mean 'nap'?")  # type: ignore[attr-defined]


def test_a_durable_store_tells_of_what_has_ended(durable: Address) -> None:
    """With its result."""

    async def main() -> None:
        async with Scheduler(durable) as scheduler, ControlServer(scheduler, port=0) as control:
            one = Client(*await asyncio.open_connection("127.0.0.1", control.port))
            await one.ask("HELLO", "3")
            assert await one.ask("LC.ENQUEUE", "nap", "ARGS", "[0.01]") == {"job": 1}
            async with asyncio.timeout(10):
                while (found := await one.ask("LC.STATUS", "1"))["status"] != "succeeded":
                    await asyncio.sleep(0.01)
            assert found["result"] == "0.01"
            assert [job["status"] for job in await one.ask("LC.LIST", "STATUS", "succeeded")] == ["succeeded"]
            await one.close()

    asyncio.run(main())


@virtual
async def test_a_flow_is_run_by_its_name(bubble: Bubble) -> None:
    """With its parameters; LC.LIST tells of the jobs of the run."""
    flow = flow_of("name = 'naps'\n[params.seconds]\ndefault = 5\n[blocks.first]\nsleep = '${params.seconds}'")
    async with served(flows=[flow]):
        one = await client()
        await one.ask("HELLO", "3")
        assert await one.ask("LC.ENQUEUE", "naps", "PARAMS", '{"seconds": 2}') == {"run": 1}
        assert (await one.ask("LC.ENQUEUE", "naps", "ARGS", "[]")).startswith("-ERR 'naps' is a flow")
        assert (await one.ask("LC.ENQUEUE", "naps", "PARAMS", '{"minutes": 2}')).startswith("-ERR")
        assert [job["name"] for job in await one.ask("LC.LIST", "RUN", "1")] == ["first"]
        await asyncio.sleep(5)
        await one.close()


@pytest.mark.parametrize("version", ["2", "3"])
def test_events_come_as_they_happen(version: str) -> None:
    """As pushes or as messages, until the client has had enough; an absent watcher costs nothing."""

    @virtual
    async def scenario(bubble: Bubble) -> None:
        async with served() as (control, _):
            watcher, other = await client(), await client()
            await watcher.ask("HELLO", version)
            assert await watcher.ask("LC.WATCH") == "+OK"
            assert await watcher.ask("LC.WATCH", "ON") == "+OK"
            assert control.statistics().watching == 1
            await other.ask("LC.ENQUEUE", "nap", "ARGS", "[1]")
            kinds = []
            for _ in range(2):
                kind, channel, payload = await watcher.answer()
                assert (kind, channel) == ("message", "lc.events")
                kinds.append(json.loads(payload)["event"])
            assert kinds == ["job_started", "job_finished"]
            assert await watcher.ask("LC.WATCH", "OFF") == "+OK"
            await other.ask("LC.ENQUEUE", "nap", "ARGS", "[1]")
            assert await watcher.ask("PING") == "+PONG"
            assert control.statistics().watching == 0
            await watcher.ask("LC.WATCH")
            await watcher.close()
            await asyncio.sleep(2)
            assert control.statistics().watching == 0
            await other.close()

    scenario()


WRONG = {
    ("LC.ENQUEUE", "x", "PRIORITY", "1", "priority", "2"): "option PRIORITY is given twice",
    ("LC.ENQUEUE", "x", "PRIORITY", "1.5"): "PRIORITY: expected a whole number, got '1.5'",
    ("LC.ENQUEUE", "x", "DELAY", "1h"): "DELAY: expected a number, got '1h'",
    ("LC.ENQUEUE", "x", "BACKOFF", "1,y"): "BACKOFF: expected a number, got 'y'",
    ("LC.ENQUEUE", "x", "EXPIRES", "1h"): "EXPIRES: expected seconds from now on, or ISO 8601 with an offset, got '1h'",
    ("LC.ENQUEUE", "x", "AT", "2026-11-30T20:00"): "AT: expected seconds since 1970, or ISO 8601 with an offset, got ",
    ("LC.LIST", "STATUS", "failed,lost"): "unknown status 'lost'; there are pending, ",
    (
        "LC.LIST",
        "SINCE",
        "2026-11-30",
    ): "SINCE: expected seconds since 1970, or ISO 8601 with an offset, got ",
    ("LC.RUNS", "STATUS", "skipped"): "status: a run is never skipped; there are cancelled, ",
    ("LC.RUN", "99", "WAIT"): "there is no run 99 in the store",
}


@pytest.mark.asyncio
async def test_wrong_words_are_told_in_those_of_the_commands(address: Address | None) -> None:
    """Not in those of Python; and what is not there cannot be cancelled, and is no error."""
    store = address
    async with (
        Scheduler(store) as scheduler,
        ControlServer(scheduler, port=0) as control,
        redis.asyncio.Redis(port=control.port, decode_responses=True) as plain,
    ):
        for words, told in WRONG.items():
            with pytest.raises(redis.ResponseError) as refused:
                await plain.execute_command(*words)
            assert str(refused.value).startswith(told)
        assert await plain.execute_command("LC.RUN", "99", "CANCEL") == 0
        assert await plain.execute_command("LC.CANCEL", "99") == 0
        assert await plain.execute_command("LC.LIST") == []
