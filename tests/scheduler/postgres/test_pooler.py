"""Behind PgBouncer in transaction mode: each statement may get another connection of the server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from lifecycle.scheduler import Scheduler, flow_of_table

from .tools import Gate, begun, gated, named, open_sender

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        PGBOUNCER is None, reason="not there: install Debian's pgbouncer (it is in .ci/debian-packages)"
    ),
]

SETTINGS = """
[databases]
* = host={host} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 3
"""


@pytest.fixture
def pooled(database: str) -> Iterator[str]:
    """The address of a database by way of a pooler, which has three connections to it for everybody."""
    parts = urlsplit(database)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    host = parse_qs(parts.query)["host"][0]
    # Not below pytest's directory, into which only its own user can look.
    with tempfile.NamedTemporaryFile("w", suffix=".ini", encoding="utf-8") as settings:
        os.chmod(settings.name, 0o644)
        settings.write(SETTINGS.format(host=host, port=port))
        settings.flush()
        with pooler(settings.name, port, Path(host).owner()):
            yield f"postgresql://postgres@127.0.0.1:{port}{parts.path}"


@contextlib.contextmanager
def pooler(settings: str, port: int, owner: str) -> Iterator[None]:
    """Run a pooler as the user to whom the server belongs, if we are root: as root it does not."""
    assert PGBOUNCER is not None
    user = ["-u", owner] if os.getuid() == 0 else []
    process = subprocess.Popen([PGBOUNCER, "-q", *user, settings], stderr=subprocess.PIPE, text=True)
    try:
        ends = time.monotonic() + 20
        while True:
            assert process.poll() is None, process.stderr and process.stderr.read()
            try:
                socket.create_connection(("127.0.0.1", port), 1.0).close()
                break
            except OSError:
                assert time.monotonic() < ends, "the pooler does not come up"
                time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.communicate(timeout=20)


def test_everything_works_behind_a_pooler(pooled: str) -> None:
    """Jobs, a flow, and a cancellation of what runs elsewhere; prepared statements are done without."""
    begun.clear()
    flow = flow_of_table(
        {
            "name": "pooled",
            "blocks": {
                "first": {"call": "pg.named", "args": ["one"]},
                "second": {"call": "pg.named", "args": ["two"], "needs": ["first"]},
            },
        }
    )

    async def main() -> None:
        async with Scheduler(pooled, name="a", workers=4) as one, Scheduler(pooled, name="b", workers=4) as other:
            async with asyncio.timeout(60):
                jobs = [await one.submit(named, f"job{number}") for number in range(60)]
                assert {(await job.wait()).status.value for job in jobs} == {"succeeded"}
                assert (await (await other.submit(flow)).wait()).status.value == "succeeded"
                gate = Gate()
                job = await one.submit(gated, gate.name)
                await gate.reached()
                assert await other.cancel(job.id, "by the other")
                assert (await job.wait()).status.value == "cancelled"

    asyncio.run(main())
    assert sum(begun[f"job{number}"] for number in range(60)) == 60


def test_what_is_not_told_is_looked_for(pooled: str) -> None:
    """Long before the next beat: messages do not come through a pooler, even where one hears what one says oneself."""

    async def main() -> None:
        async with open_sender(pooled, lease=900.0) as sender, Scheduler(pooled, workers=1, lease=900.0):
            async with asyncio.timeout(90):
                for number in range(3):
                    await asyncio.sleep(0.2)
                    assert await (await sender.submit(named, f"looked for {number}")).wait()

    asyncio.run(main())
