"""redis-py: a request is cancelled, the next one gets its reply (CVE-2023-28858 and CVE-2023-28859)."""

import asyncio

import redis.asyncio

FAULTS = ["CANCEL"]


async def resp_server(reader, writer):
    while line := await reader.readline():
        words = []
        for _ in range(int(line[1:])):
            size = int((await reader.readline())[1:])
            words.append((await reader.readexactly(size + 2))[:-2].decode())
        await asyncio.sleep(0.01)
        if words[0].upper() == "GET":
            value = f"value of {words[1]}"
            writer.write(f"${len(value)}\r\n{value}\r\n".encode())
        else:
            writer.write(b"+OK\r\n")


async def scenario(bubble):
    await bubble.network.peer(resp_server, "localhost", 6379)
    bubble.state.client = client = redis.asyncio.Redis(host="localhost", port=6379)
    assert await client.get("a") == b"value of a"
    assert await client.get("b") == b"value of b"


async def then(bubble):
    client = bubble.state.client
    assert await client.get("c") == b"value of c", "got the reply to another request"
    await client.connection_pool.disconnect()
