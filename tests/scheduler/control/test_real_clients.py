"""Clients as they exist: redis-py, redis-cli and redis-benchmark."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis
import redis.asyncio
import redis.asyncio.retry
import redis.backoff

from lifecycle.scheduler import Scheduler
from lifecycle.scheduler.control import ControlServer

SCRIPT = """
import sys
import redis

with redis.Redis(port=int(sys.argv[1]), protocol=int(sys.argv[2]), decode_responses=True) as client:
    assert client.ping()
    assert client.echo("hello") == "hello"
    assert client.client_setname("script") and client.client_getname() == "script"
    assert any(one["name"] == "script" for one in client.client_list())
    assert client.info()["workers"] == 2
    assert client.config_get("save") == {"save": ""}
    job = client.execute_command("LC.ENQUEUE", "nap", "ARGS", "[0.01]")
    assert (job["job"] if isinstance(job, dict) else job[1]) == 1
    with client.pipeline(transaction=False) as pipe:
        for number in range(100):
            pipe.echo(str(number))
        assert pipe.execute() == [str(number) for number in range(100)]
    with client.pubsub() as events:
        events.subscribe("lc.events")
        assert events.get_message(timeout=5)["type"] == "subscribe"
        client.execute_command("LC.ENQUEUE", "nap", "ARGS", "[0.01]", "NAME", "watched")
        while "watched" not in events.get_message(timeout=5)["data"]:
            pass
    try:
        client.execute_command("NO.SUCH")
    except redis.ResponseError as error:
        print(error)
"""


async def run_program(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


@contextlib.asynccontextmanager
async def really_served(**settings: Any) -> AsyncIterator[ControlServer]:
    async with Scheduler(workers=2) as scheduler, ControlServer(scheduler, port=0, **settings) as control:
        yield control
        async with asyncio.timeout(10):
            while control.statistics().clients:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("version", ["2", "3"])
def test_redis_py(version: str) -> None:
    """The synchronous client, in a process of its own."""

    async def main() -> str:
        async with really_served() as control:
            return await run_program(sys.executable, "-c", SCRIPT, str(control.port), version)

    assert asyncio.run(main()) == "unknown command 'NO.SUCH'\n"


@pytest.mark.parametrize("version", [2, 3])
def test_redis_py_asyncio(version: int) -> None:
    """The asynchronous client, with a pool of connections and a password."""

    once = redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 0)

    async def main() -> None:
        async with really_served(password="secret") as control:
            async with redis.asyncio.Redis(port=control.port, protocol=version, password="secret") as asking:
                assert await asyncio.gather(*[asking.echo(str(n)) for n in range(50)]) == [b"%d" % n for n in range(50)]
                job = await asking.execute_command("LC.ENQUEUE", "nap", "ARGS", "[0.01]")
                assert (job[b"job"] if isinstance(job, dict) else job[1]) == 1
            async with redis.asyncio.Redis(port=control.port, password="wrong", retry=once) as stranger:
                with pytest.raises(redis.AuthenticationError):
                    await stranger.ping()

    asyncio.run(main())


def tool(name: str) -> str:
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed: it is in Debian's redis-tools")
    return name


def test_redis_cli() -> None:
    """Both versions, and commands from its standard input."""

    async def main() -> None:
        cli = tool("redis-cli")
        async with really_served() as control:
            port = str(control.port)
            assert await run_program(cli, "-p", port, "PING") == "PONG\n"
            assert await run_program(cli, "-3", "-p", port, "LC.ENQUEUE", "nap", "ARGS", "[0.01]") == "job 1\n"
            assert "lifecycle_version" in await run_program(cli, "-p", port, "INFO", "server")
            assert await run_program(cli, "-p", port, "-r", "5", "ECHO", "x") == "x\n" * 5

    asyncio.run(main())


def test_redis_benchmark() -> None:
    """Fifty connections, with and without pipelining, and none is left."""

    async def main() -> None:
        command = tool("redis-benchmark")
        async with really_served() as control:
            for pipeline in ("1", "16"):
                how = [
                    "-p",
                    str(control.port),
                    "-t",
                    "ping_inline,ping_mbulk",
                    "-n",
                    "3000",
                    "-c",
                    "50",
                    "-P",
                    pipeline,
                ]
                output = await run_program(command, *how, "--csv")
                assert output.count("PING") == 2, output
            assert control.server.statistics().failed == 0

    asyncio.run(main())


def test_clients_that_leave_in_the_middle_of_a_command() -> None:
    """Leave nothing, and are no failure."""

    async def main() -> None:
        async with really_served() as control:
            for _ in range(20):
                with socket.create_connection(("127.0.0.1", control.port)) as raw:
                    raw.sendall(b"*2\r\n$4\r\nECHO\r\n$100\r\nhalf")
            await asyncio.sleep(0.05)
        assert control.server.statistics().failed == 0

    asyncio.run(main())
