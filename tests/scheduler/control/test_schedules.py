"""Schedules by way of the control server."""

from __future__ import annotations

import pytest
import redis.asyncio

from lifecycle.scheduler import Scheduler, handler
from lifecycle.scheduler.control import ControlServer

from ..stores import Address
from ..tools import flow_of


@handler("control_schedules.nothing")
async def nothing() -> None:
    pass


@pytest.mark.asyncio
async def test_schedules_are_told_of_paused_resumed_and_triggered(address: Address | None) -> None:
    """Of handlers and of flows; what is not there, or no wish, is told."""
    store = address
    async with Scheduler(store) as scheduler, ControlServer(scheduler, port=0) as control:
        await scheduler.schedule("calls", "control_schedules.nothing", fixed_delay=1e6)
        await scheduler.schedule("rounds", flow_of("name = 'naps'\n[blocks.a]\nsleep = 0\n"), cron="0 3 * * *")
        async with redis.asyncio.Redis(port=control.port, protocol=3, decode_responses=True) as client:
            calls, rounds = await client.execute_command("LC.SCHEDULES")
            assert (calls["name"], calls["kind"], calls["paused"], calls["runs"]) == ("calls", "fixed_delay", False, 0)
            assert (rounds["flow"], rounds["rule"], rounds["timezone"]) == ("naps", "0 3 * * *", "UTC")
            assert "last_due" not in rounds
            assert await client.execute_command("LC.SCHEDULE", "calls", "pause") == "OK"
            assert [one["paused"] for one in await client.execute_command("LC.SCHEDULES")] == [True, False]
            assert await client.execute_command("LC.SCHEDULE", "calls", "RESUME") == "OK"
            assert not (await scheduler.schedule_named("calls").record()).paused
            assert await client.execute_command("LC.SCHEDULE", "calls", "TRIGGER") == {"job": 1}
            assert await client.execute_command("LC.SCHEDULE", "rounds", "TRIGGER") == {"run": 1}
            with pytest.raises(redis.ResponseError, match="there is no schedule 'lost'"):
                await client.execute_command("LC.SCHEDULE", "lost", "TRIGGER")
            with pytest.raises(redis.ResponseError, match="expected PAUSE, RESUME, TRIGGER, REMOVE or SET, got 'STOP'"):
                await client.execute_command("LC.SCHEDULE", "calls", "STOP")
            words = ("MAX_INSTANCES", "2", "overlap", "Queue")
            assert await client.execute_command("LC.SCHEDULE", "calls", "set", *words) == "OK"
            calls, _ = await client.execute_command("LC.SCHEDULES")
            assert (calls["max_instances"], calls["overlap"]) == (2, "queue")
            for wrong, says in [
                (("OVERLAP", "queue"), "is for a schedule with max_instances"),
                (("MAX_INSTANCES", "0"), "max_instances must be an integer from 1"),
                (("MAX_INSTANCES", "1", "OVERLAP", "both"), "overlap must be one of skip, queue, cancel_running"),
                (("LIMIT", "1"), "unknown option 'LIMIT'"),
            ]:
                with pytest.raises(redis.ResponseError, match=says):
                    await client.execute_command("LC.SCHEDULE", "calls", "SET", *wrong)
            assert (await scheduler.schedule_named("calls").record()).max_instances == 2
            assert await client.execute_command("LC.SCHEDULE", "calls", "SET") == "OK"
            assert "max_instances" not in (await client.execute_command("LC.SCHEDULES"))[0]
            with pytest.raises(redis.ResponseError, match="there is no schedule 'lost'"):
                await client.execute_command("LC.SCHEDULE", "lost", "SET", "MAX_INSTANCES", "1")
            with pytest.raises(redis.ResponseError, match="unexpected 'NOW'"):
                await client.execute_command("LC.SCHEDULE", "calls", "PAUSE", "NOW")
            assert await client.execute_command("LC.SCHEDULE", "calls", "REMOVE") == "OK"
            assert [one["name"] for one in await client.execute_command("LC.SCHEDULES")] == ["rounds"]
            with pytest.raises(redis.ResponseError, match="there is no schedule 'calls'"):
                await client.execute_command("LC.SCHEDULE", "calls", "REMOVE")
