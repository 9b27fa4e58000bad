"""The page of a service: a real server on a real port, asked by a real client."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
import pytest_asyncio
from click.testing import CliRunner

from lifecycle.cli import cli
from lifecycle.scheduler import Scheduler, handler
from lifecycle.scheduler import web as web_face
from lifecycle.scheduler.web import WebServer
from lifecycle.scheduler.web._page import LINES, _tree

from ...cli.service import serving
from ..stores import Address
from ..tools import flow_of

NASTY = "<script>alert('x')</script>"


@handler("web.sleep")
async def sleep(seconds: float) -> None:
    await anyio.sleep(seconds)


@handler("web.fail")
async def fail() -> None:
    raise ValueError(NASTY)


@pytest_asyncio.fixture
async def scheduler(durable: Address) -> AsyncIterator[Scheduler]:
    """A scheduler with a running job, a failed one and a schedule, all with nasty names."""
    async with Scheduler(durable, name=f"all {NASTY}", drain_timeout=0.0) as scheduler:
        await scheduler.submit("web.sleep", 600.0, name=f"long {NASTY}")
        await (await scheduler.submit("web.fail", name=f"bad {NASTY}")).wait()
        await scheduler.schedule(f"often {NASTY}", "web.sleep", 0.0, fixed_rate=1e6)
        await scheduler.schedule("rounds", flow_of("name = 'naps'\n[blocks.a]\nsleep = 0\n"), cron="0 3 * * *")
        while not scheduler.statistics().running:
            await anyio.sleep(0.01)
        yield scheduler


async def asked(server: WebServer, path: str, **settings: Any) -> httpx.Response:
    """Return the answer under a path."""
    async with httpx.AsyncClient(timeout=20.0, trust_env=False) as client:
        return await client.get(f"http://127.0.0.1:{server.port}{path}", **settings)


@pytest.mark.asyncio
async def test_the_page_shows_it_all_and_escapes_it(scheduler: Scheduler) -> None:
    """Whatever jobs, schedules and errors are called, there is no script and nothing from elsewhere in it."""
    async with WebServer(scheduler, password=None) as server:
        answer = await asked(server, "/")
    assert answer.status_code == 200
    text = answer.text
    for part in (
        "long &lt;script&gt;",
        "bad &lt;script&gt;",
        "often &lt;script&gt;",
        "flow naps",
        "cron 0 3 * * * (UTC)",
    ):
        assert part in text
    assert "ValueError: &lt;script&gt;" in text
    assert "jobs of all &lt;script&gt;" in text
    assert "<script" not in text
    assert "http://" not in text
    assert "src=" not in text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.asyncio
async def test_the_same_as_json(scheduler: Scheduler) -> None:
    """Jobs without results, logs and tracebacks."""
    async with WebServer(scheduler, password=None) as server:
        statistics = (await asked(server, "/api/statistics")).json()
        jobs = (await asked(server, "/api/jobs")).json()
        schedules = (await asked(server, "/api/schedules")).json()
        owners = (await asked(server, "/api/owners")).json()
    assert (statistics["running"], statistics["ended"]["failed"]) == (1, 1)
    assert [job["name"] for job in jobs["running"]] == [f"long {NASTY}"]
    assert [job["name"] for job in jobs["ended"]] == [f"bad {NASTY}"]
    assert not {"result", "log", "trace"} & set(jobs["ended"][0])
    assert [schedule["name"] for schedule in schedules] == [f"often {NASTY}", "rounds"]
    assert f"all {NASTY}" in str(owners)


@pytest.mark.asyncio
async def test_nothing_can_be_changed_and_nothing_else_is_there(scheduler: Scheduler) -> None:
    """Other methods and other paths are refused."""
    async with WebServer(scheduler, password=None) as server, httpx.AsyncClient(trust_env=False) as client:
        assert (await client.post(f"http://127.0.0.1:{server.port}/api/jobs")).status_code == 405
        assert (await client.get(f"http://127.0.0.1:{server.port}/../etc/passwd")).status_code == 404


@pytest.mark.asyncio
async def test_without_a_password_only_names_of_this_machine_are_answered_to(scheduler: Scheduler) -> None:
    """A page of somebody else cannot read it through a name that was made to lead here."""
    async with WebServer(scheduler, password=None) as server:
        assert (await asked(server, "/", headers={"Host": "evil.example"})).status_code == 421
        assert (await asked(server, "/api/jobs", headers={"Host": "127.0.0.1.evil.example"})).status_code == 421
        assert (await asked(server, "/", headers={"Host": f"localhost:{server.port}"})).status_code == 200
        assert (await asked(server, "/", headers={"Host": "[::1]:80"})).status_code == 200


@pytest.mark.asyncio
async def test_with_a_password_it_has_to_be_given(scheduler: Scheduler) -> None:
    """Whatever the user is called; what is no password at all is refused as well."""
    async with WebServer(scheduler, password="sécret:x") as server:
        assert (await asked(server, "/", auth=("any", "sécret:x"))).status_code == 200
        for headers in ({}, {"Authorization": "Basic %%%"}, {"Authorization": "Bearer sécret:x".encode()}):
            answer = await asked(server, "/api/jobs", headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Basic")
            assert "bad" not in answer.text
        assert (await asked(server, "/", auth=("any", "secret:x"))).status_code == 401
        assert (await asked(server, "/", auth=("any", "sécret:x"), headers={"Host": "a.example"})).status_code == 200


@pytest.mark.asyncio
async def test_it_shows_while_it_drains_and_says_when_there_is_nothing_to_show(durable: Address) -> None:
    """Until the block of the scheduler is left."""
    async with Scheduler(durable, drain_timeout=0.0) as scheduler:
        server = WebServer(scheduler, password=None)
        await server.__aenter__()
        scheduler.close()
        assert (await asked(server, "/")).status_code == 200
    answer = await asked(server, "/")
    assert answer.status_code == 503
    assert "is closed" in answer.text
    await server.__aexit__(None, None, None)


@pytest.mark.asyncio
async def test_it_leaves_signals_alone_and_closes_its_port(scheduler: Scheduler) -> None:
    """Also when a client keeps its connection; and a port that is taken is told."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    async with WebServer(scheduler, password=None) as server:
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{server.port} for the web page"):
            async with WebServer(scheduler, port=server.port, password=None):
                pass
        assert (await asked(server, "/")).status_code == 200
    with pytest.raises(OSError, match=r"."), socket.create_connection(("127.0.0.1", server.port), timeout=5):
        pass
    writer.close()


def test_a_large_tree_is_cut() -> None:
    """And the rest is counted."""
    lines = _tree("\n".join(map(str, range(LINES + 7)))).splitlines()
    assert len(lines) == LINES + 1
    assert lines[-1] == "... and 7 more lines"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--web", "nowhere"], "--web: expected HOST:PORT, got 'nowhere'"),
        (["--web", "0.0.0.0:0"], "--web 0.0.0.0:0: only with --password-file beyond this machine"),
    ],
)
def test_bad_input_is_told_before_anything_runs(arguments: list[str], problem: str) -> None:
    """With exit code 2."""
    result = CliRunner().invoke(cli, ["serve", "--control", "127.0.0.1:0", *arguments])
    assert result.exit_code == 2
    assert problem in result.stderr


def test_without_the_extra_it_says_what_to_install() -> None:
    """One line, and exit code 2; without --web it is not needed."""
    code = (
        "import sys\nsys.modules['uvicorn'] = None\n"
        "sys.argv[1:] = ['serve', '--control', '127.0.0.1:0', '--web', '127.0.0.1:0']\n"
        "from lifecycle.__main__ import main\nmain()\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert ended.stderr == "--web: needs uvicorn: pip install 'asyncio-lifecycle[web]'\n"


@pytest.mark.slow
def test_a_service_has_the_page_until_it_has_drained(tmp_path: Path) -> None:
    """In a real process: the log says where it is, and afterwards nothing is owned."""
    with serving(tmp_path, "--web", "127.0.0.1:0") as service:
        url = service.logged("web page: ").removeprefix("web page: ")
        assert httpx.get(url, trust_env=False).status_code == 200
        assert httpx.get(f"{url}api/statistics", trust_env=False).json()["name"] == "lifecycle serve"
        service.process.send_signal(signal.SIGTERM)
        assert service.ended() == 0
    assert service.log[-1]["message"] == "still owned: nothing"
    assert {record["level"] for record in service.log} == {"info"}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "example.org"])
def test_it_listens_elsewhere_only_with_a_password(host: str) -> None:
    """A reader elsewhere could call this machine by any name, also by its own."""
    with pytest.raises(ValueError, match="without a password"):
        WebServer(Scheduler(), host=host, password=None)
    with pytest.raises(ValueError, match="the password is empty"):
        WebServer(Scheduler(), password="")
    WebServer(Scheduler(), host=host, password="secret")
    assert dir(web_face) == ["WebServer", "WebStatistics"]
    assert WebServer.__module__ == web_face.__name__


@pytest.mark.asyncio
async def test_lists_of_jobs_are_narrowed_down_by_the_query(scheduler: Scheduler) -> None:
    """By what LC.LIST takes; what cannot be understood is said, and nothing else is shown."""
    async with WebServer(scheduler, password=None) as server:

        async def names(query: str) -> list[str]:
            answer = await asked(server, f"/api/jobs?{query}")
            assert answer.status_code == 200, answer.text
            return [job["name"].partition(" ")[0] for job in answer.json()["jobs"]]

        assert await names("limit=10") == ["bad", "long"]
        assert await names("status=failed,timed_out") == ["bad"]
        assert await names("since=0&until=2100-01-01T00:00Z&status=running") == ["long"]
        assert await names("flow=naps") == await names("name=x") == await names("run=1") == []
        for query, why in (
            ("state=failed", "unknown filter 'state'; there are status, run, flow"),
            ("status=lost", "'lost' is not a valid JobStatus"),
            ("limit=0", "limit must be from 1 to 1,000, got 0"),
            ("since=noon", "expected seconds since 1970, or ISO 8601 with an offset, got 'noon'"),
            ("until=2026-11-30", "until must have a time zone"),
        ):
            answer = await asked(server, f"/api/jobs?{query}")
            assert (answer.status_code, answer.text[: len(why)]) == (400, why)
