"""Limits by way of the control server."""

from __future__ import annotations

import pytest
import redis.asyncio

from lifecycle.scheduler import Scheduler, handler
from lifecycle.scheduler.control import ControlServer

from ..stores import Address


@handler("control_limits.nothing")
async def nothing() -> None:
    pass


@pytest.mark.asyncio
async def test_limits_are_set_told_paused_and_resumed(address: Address | None) -> None:
    """Of a queue, a handler, and everything; what is wrong changes nothing."""
    store = address
    async with (
        Scheduler(store, drain_timeout=0.0) as scheduler,
        ControlServer(scheduler, port=0) as control,
        redis.asyncio.Redis(port=control.port, protocol=3, decode_responses=True) as client,
    ):
        call = client.execute_command
        assert await call("LC.PAUSE") == 1
        assert await call("LC.PAUSE") == 0
        await call("LC.ENQUEUE", "control_limits.nothing", "QUEUE", "mail")
        assert await call("LC.LIMIT", "QUEUE", "mail", "LIMIT", "2", "RATE", "5", "PER", "60", "WEIGHT", "3") == "OK"
        assert await call("LC.PAUSE", "HANDLER", "control_limits.nothing") == 1
        everything, named, mail = await call("LC.LIMITS")
        assert (everything["kind"], everything["paused"], everything["ready"]) == ("all", True, 1)
        assert (named["kind"], named["paused"], named["ready"]) == ("handler", True, 1)
        assert (mail["limit"], mail["rate"]["number"], mail["weight"], mail["ready"]) == (2, 5, 3.0, 1)
        for words in (
            ["LC.LIMIT", "PER", "5"],
            ["LC.LIMIT", "RATE", "0"],
            ["LC.LIMIT", "QUEUE", "a", "HANDLER", "b", "LIMIT", "1"],
            ["LC.LIMIT", "LIMIT", "-1"],
            ["LC.LIMIT", "WEIGHT", "2"],
            ["LC.PAUSE", "mail"],
            ["LC.RESUME", "FLOW", "mail"],
        ):
            with pytest.raises(redis.ResponseError):
                await call(*words)
        assert await call("LC.LIMITS") == [everything, named, mail]
        assert await call("LC.RESUME") == 1
        assert await call("LC.RESUME") == 0
        assert await call("LC.RESUME", "HANDLER", "control_limits.nothing") == 1
