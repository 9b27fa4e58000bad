"""anyio: a connect is cancelled, and the connection stays open."""

import anyio

FAULTS = ["CANCEL", "CANCEL_SCOPE"]


async def silent_server(reader, writer):
    await reader.read()


async def scenario(bubble):
    await bubble.network.peer(silent_server, "server", 80)
    stream = await anyio.connect_tcp("server", 80)
    await stream.aclose()
