"""kubectl finds in the double all that it looks for; and a double can be a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from .double import OLD, Double, api_double
from .double.double import context_of
from .raw import JOBS, Raw, a_pod_of, end_pod, job

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed"),
]


class Kubectl:
    """kubectl with one configuration, and a cache of its own."""

    def __init__(self, config: Path) -> None:
        self._start = ["kubectl", f"--kubeconfig={config}", f"--cache-dir={config}-cache"]

    def process(self, *words: str) -> Any:
        """Start it."""
        pipe = asyncio.subprocess.PIPE
        return asyncio.create_subprocess_exec(*self._start, *words, stdin=pipe, stdout=pipe, stderr=pipe)

    async def __call__(self, *words: str, stdin: object = None, fails: str | None = None) -> str:
        """Return what it prints; where it is to fail, what it says about that."""
        process = await self.process(*words)
        given = None if stdin is None else json.dumps(stdin).encode()
        out, errors = await asyncio.wait_for(process.communicate(given), 30)
        if fails is not None:
            assert process.returncode, out
            assert fails in errors.decode()
            return errors.decode()
        assert process.returncode == 0, (words, errors)
        return out.decode()


@pytest_asyncio.fixture
async def double() -> AsyncIterator[Double]:
    """A double that speaks TLS."""
    async with api_double(tls=True) as it:
        yield it


@pytest.fixture
def kubectl(double: Double, tmp_path: Path) -> Kubectl:
    """kubectl for it."""
    return Kubectl(double.kubeconfig(tmp_path / "config"))


async def test_looking_around(kubectl: Kubectl) -> None:
    """Versions, resources, who one is and what one may."""
    assert "Server Version: v1.32.0" in await kubectl("version")
    resources = await kubectl("api-resources", "--no-headers")
    assert any(line.split()[:2] == ["jobs", "batch/v1"] for line in resources.splitlines())
    assert await kubectl("auth", "can-i", "create", "jobs") == "yes\n"
    assert "admin" in await kubectl("auth", "whoami")
    assert "default" in await kubectl("get", "ns")


async def test_a_job_from_its_file_to_its_end(double: Double, kubectl: Kubectl) -> None:
    """Made, shown, changed, described, waited for and removed."""
    assert await kubectl("create", "-f", "-", stdin=job()) == "job.batch/task created\n"
    await kubectl("create", "-f", "-", stdin=job(), fails="AlreadyExists")
    await kubectl("create", "-f", "-", stdin=job("odd", odd=1), fails='unknown field "spec.odd"')
    header, line = (await kubectl("get", "jobs")).splitlines()
    assert header.split() == ["NAME", "STATUS", "COMPLETIONS", "DURATION", "AGE"]
    assert line.split()[:3] == ["task", "Running", "0/1"]
    [pod] = (await kubectl("get", "pods", "-l", "job-name=task", "-o", "name")).split()
    assert (await kubectl("get", "pods", "-l", "job-name=other")) == ""
    assert json.loads(await kubectl("get", "job", "task", "-o", "json"))["spec"]["completions"] == 1
    assert "kind: Job" in await kubectl("get", "job", "task", "-o", "yaml")
    await kubectl("label", "job", "task", "a=b")
    await kubectl("annotate", "job", "task", "c=d")
    await kubectl("patch", "job", "task", "-p", '{"spec":{"backoffLimit":3}}')
    told = await kubectl("describe", "job", "task")
    assert "Backoff Limit:    3" in told
    assert f"Created pod: {pod.removeprefix('pod/')}" in told
    waiting = asyncio.create_task(kubectl("wait", "--for=condition=complete", "job/task", "--timeout=20s"))
    async with asking_tls(double) as raw:
        await end_pod(raw, pod.removeprefix("pod/"))
    assert await waiting == "job.batch/task condition met\n"
    assert (await kubectl("get", "jobs")).splitlines()[1].split()[:3] == ["task", "Complete", "1/1"]
    assert "Completed" in await kubectl("get", "pods")
    assert 'job.batch "task" deleted' in await kubectl("delete", "job", "task")
    assert await kubectl("get", "jobs,pods") == ""


@contextlib.asynccontextmanager
async def asking_tls(double: Double) -> AsyncIterator[Raw]:
    """Return a client that trusts whoever answers."""
    connector = aiohttp.TCPConnector(ssl=False)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield Raw(double.url, double.token, session)


async def test_applying(kubectl: Kubectl) -> None:
    """In the manner of clients, which the server only sees as patches; twice is once."""
    assert await kubectl("apply", "-f", "-", stdin=job()) == "job.batch/task created\n"
    assert await kubectl("apply", "-f", "-", stdin=job()) == "job.batch/task unchanged\n"
    assert await kubectl("apply", "-f", "-", stdin=job(backoffLimit=2)) == "job.batch/task configured\n"
    await kubectl("apply", "-f", "-", stdin=job(completions=7), fails="field is immutable")
    await kubectl("apply", "--server-side", "-f", "-", stdin=job("more"), fails="415")


@pytest.mark.parametrize("how", ["foreground", "background", "orphan"])
async def test_removal(kubectl: Kubectl, how: str) -> None:
    """With all three policies, waited for."""
    assert await kubectl("create", "job", "task", "--image=busybox", "--", "true") == "job.batch/task created\n"
    await kubectl("delete", "job", "task", f"--cascade={how}", "--wait", "--timeout=20s")
    assert await kubectl("get", "jobs") == ""
    pods = await kubectl("get", "pods", "-o", "name")
    assert bool(pods) is (how == "orphan")


async def test_watching(double: Double, kubectl: Kubectl) -> None:
    """Each change is a line."""
    process = await kubectl.process("get", "jobs", "-w", "-o", "name")
    tables = await kubectl.process("get", "jobs", "-w")
    while len(double.serving.watches) < 2:
        await asyncio.sleep(0.01)
    await kubectl("create", "-f", "-", stdin=job())
    assert await process.stdout.readline() == b"job.batch/task\n"
    assert (await tables.stdout.readline()).split()[0] == b"NAME"
    assert (await tables.stdout.readline()).split()[0] == b"task"
    for each in (process, tables):
        each.kill()
        await each.communicate()


async def test_a_node_that_has_the_logs(double: Double, kubectl: Kubectl) -> None:
    """They come through the double as the node sends them; what the node refuses, it refuses."""
    follow = asyncio.Event()

    async def log(request: web.BaseRequest) -> web.StreamResponse:
        assert request.path.startswith("/containerLogs/default/task-")
        if request.query.get("tailLines") == "7":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if request.query.get("previous") == "true":
            return web.Response(status=400, text="previous terminated container not found")
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"one\n")
        if request.query.get("follow") == "true":
            await follow.wait()
            await response.write(b"two\n")
        if request.query.get("timestamps") == "true":
            await response.write(b"hal")
            assert request.transport is not None
            request.transport.close()
        return response

    runner = web.ServerRunner(web.Server(log))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context_of())
    await site.start()
    port = runner.addresses[0][1]
    async with asking_tls(double) as raw:
        await raw.done("POST", JOBS, job())
        name = await a_pod_of(raw, "task")
        pods = "/api/v1/namespaces/default/pods"
        assert await raw.ask("GET", f"{pods}/{name}/log") == (204, "")
        addresses = [{"type": "InternalIP", "address": "127.0.0.1"}]
        endpoint = {"daemonEndpoints": {"kubeletEndpoint": {"Port": port}}, "addresses": addresses}
        await raw.done("POST", "/api/v1/nodes", {"metadata": {"name": "here"}, "status": endpoint})
        await raw.done("POST", f"{pods}/{name}/binding", {"metadata": {"name": name}, "target": {"name": "here"}})
        assert await kubectl("logs", "job/task") == "one\n"
        following = await kubectl.process("logs", "-f", "job/task")
        assert await following.stdout.readline() == b"one\n"
        follow.set()
        assert await following.stdout.readline() == b"two\n"
        await following.communicate()
        await kubectl("logs", "-p", "job/task", fails="previous terminated container not found")
        assert await kubectl("logs", "--timestamps", "job/task") == "one\nhal"  # broken off, which nobody tells
        await kubectl("logs", "--tail=7", "job/task", fails="EOF")
        await runner.cleanup()
        await kubectl("logs", "job/task", fails="connection refused")


async def test_one_of_1_20(tmp_path: Path) -> None:
    """kubectl can live with it as well, and the columns are those of then."""
    async with api_double(tls=True, manner=OLD, strict=False) as double:  # without TLS it sends no token
        kubectl = Kubectl(double.kubeconfig(tmp_path / "config"))
        await kubectl("create", "--validate=false", "-f", "-", stdin=job())
        header = (await kubectl("get", "jobs")).splitlines()[0]
        assert header.split() == ["NAME", "COMPLETIONS", "DURATION", "AGE"]


@pytest.mark.parametrize("kept", [True, False])
async def test_a_process_that_is_killed(tmp_path: Path, kept: bool) -> None:
    """It comes back with its objects or without, and goes on with the Jobs that it has."""
    config, journal = tmp_path / "config", ["--journal", str(tmp_path / "journal")] if kept else []
    pipe = asyncio.subprocess.PIPE
    words = ["-m", "tests.kubernetes.double", "--token", "secret", "--kubeconfig", str(config), *journal]

    stack = contextlib.ExitStack()  # a test that fails leaves no process

    async def start(port: str) -> tuple[Any, str]:
        process = await asyncio.create_subprocess_exec(sys.executable, *words, "--port", port, stdout=pipe)
        assert process.stdout is not None
        stack.callback(lambda: process.kill() if process.returncode is None else None)
        return process, json.loads(await process.stdout.readline())["url"]

    process, url = await start("0")
    async with aiohttp.ClientSession() as session, contextlib.AsyncExitStack() as last:
        last.enter_context(stack)
        raw = Raw(url, "secret", session)
        made = await raw.done("POST", JOBS, job())
        await a_pod_of(raw, "task")
        process.send_signal(signal.SIGKILL)
        await process.wait()
        process, again = await start(url.rpartition(":")[2])
        assert again == url
        status, found = await raw.ask("GET", f"{JOBS}/task")
        assert status == (200 if kept else 404)
        if kept:
            assert found["metadata"]["uid"] == made["metadata"]["uid"]
            version = made["metadata"]["resourceVersion"]
            assert (await raw.events(f"{JOBS}?resourceVersion={version}", 1))[0][0] == "MODIFIED"
            await end_pod(raw, await a_pod_of(raw, "task"))
            await raw.until(f"{JOBS}/task", lambda it: it["status"].get("succeeded"))
        while (await raw.done("POST", "/double/facts", {}))["watches"]:
            pass  # a client that has gone is noticed
        await raw.done("POST", "/double/fault", {"action": "answer", "with": {"code": 503}, "verb": "list"})
        assert (await raw.ask("GET", JOBS))[0] == 503
        process.terminate()
        await process.communicate()
        assert process.returncode == 0
