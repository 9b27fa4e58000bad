"""httpcore: one request at a time; a cancelled one leaves the pool unusable."""

import asyncio

import httpcore
from httpcore_pool import fetch, then, web_server

FAULTS = ["CANCEL", "CANCEL_SCOPE"]

__all__ = ["FAULTS", "asyncio", "scenario", "then"]


async def scenario(bubble):
    await bubble.network.peer(web_server, "server", 80)
    bubble.state.pool = pool = httpcore.AsyncConnectionPool(max_connections=1)
    await fetch(pool)
