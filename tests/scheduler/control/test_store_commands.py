"""The store by way of the control server."""

from __future__ import annotations

import pytest
import redis.asyncio

from lifecycle.scheduler import Scheduler, handler
from lifecycle.scheduler.control import ControlServer

from ..stores import Address


@handler("control_store.nothing")
async def nothing() -> None:
    pass


@pytest.mark.asyncio
async def test_what_it_holds_is_told_and_what_has_ended_deleted(durable: Address) -> None:
    """Without the path of the file; wrong wishes change nothing."""
    async with Scheduler(durable, name="s") as scheduler, ControlServer(scheduler, port=0) as control:
        await (await scheduler.submit(nothing)).wait()
        async with redis.asyncio.Redis(port=control.port, protocol=3, decode_responses=True) as client:
            facts = await client.execute_command("LC.STORE")
            assert facts["jobs"]["succeeded"] == 1
            assert facts["owners"][0]["name"] == "s"
            assert "path" not in facts
            assert await client.execute_command("LC.STORE", "check") == []
            for words in (
                ["PURGE"],
                ["PURGE", "KEEP", "1"],
                ["PURGE", "OLDERTHAN", "-1"],
                ["CHECK", "it"],
                ["SELL"],
                ["SELL", "it"],
            ):
                with pytest.raises(redis.ResponseError):
                    await client.execute_command("LC.STORE", *words)
            assert await client.execute_command("LC.STORE", "PURGE", "OLDERTHAN", "3600") == 0
            assert await client.execute_command("LC.STORE", "PURGE", "OLDERTHAN", "0", "NAME", "other") == 0
            for dry_run in ("1", "0"):
                words = ("OLDERTHAN", "0", "SUCCEEDED", "1", "DRY_RUN", dry_run)
                assert await client.execute_command("LC.STORE", "PURGE", *words) == 1
            rewritten = await client.execute_command("LC.STORE", "VACUUM")
            assert set(rewritten) == {"before", "after"}
            with pytest.raises(redis.ResponseError, match="SUCCEEDED: expected 1 or 0, got 'yes'"):
                await client.execute_command("LC.STORE", "PURGE", "OLDERTHAN", "0", "SUCCEEDED", "yes")


@pytest.mark.asyncio
async def test_a_store_in_memory_has_no_file() -> None:
    """The client is told."""
    async with (
        Scheduler() as scheduler,
        ControlServer(scheduler, port=0) as control,
        redis.asyncio.Redis(port=control.port) as client,
    ):
        with pytest.raises(redis.ResponseError, match="in memory"):
            await client.execute_command("LC.STORE")
