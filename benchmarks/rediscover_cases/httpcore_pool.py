"""httpcore: a request is cancelled, and its connection pool stays full for ever."""

import asyncio

import httpcore

FAULTS = ["CANCEL", "CANCEL_SCOPE"]


async def web_server(reader, writer):
    while await reader.readline():
        while (await reader.readline()).strip():
            pass
        await asyncio.sleep(0.01)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


async def fetch(pool):
    response = await pool.request("GET", "http://server/")
    assert response.content == b"ok"


async def scenario(bubble):
    await bubble.network.peer(web_server, "server", 80)
    bubble.state.pool = pool = httpcore.AsyncConnectionPool(max_connections=1)
    await asyncio.gather(fetch(pool), fetch(pool), return_exceptions=True)


async def then(bubble):
    pool = bubble.state.pool
    try:
        async with asyncio.timeout(60):
            await fetch(pool)
    except TimeoutError:
        raise AssertionError(f"the pool cannot be used any more: {pool!r}") from None
    await pool.aclose()
