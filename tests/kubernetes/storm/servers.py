"""The clusters of a storm, each with a server and nodes in processes of their own, and what can be done to them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

from ..api import Api, ApiError
from ..keeper import Keeper
from ..real import RealCluster, free_ports

ROOT = Path(__file__).resolve().parents[3]
PYTHON = ["env", f"PYTHONPATH={ROOT}", sys.executable, "-m"]

NAMESPACE = "storm"
TIGHT = "tight"
"""A namespace whose quota has room for no pod."""

QUOTA = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}

PATIENCE = 60.0


class Processes:
    """Processes that end with us, whatever we end with; an order is given at a time."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._keeper = Keeper()
        self._lock = asyncio.Lock()

    async def run(self, name: str, command: list[str]) -> None:
        """Start one."""
        await self._ask(run=name, command=command, log=str(self._directory / f"{name}.log"))

    async def kill(self, name: str) -> None:
        """End one with SIGKILL."""
        await self._ask(kill=name)

    async def end(self, name: str) -> int:
        """End one with SIGTERM, and return its exit code."""
        await self._ask(send=name, signal=signal.SIGTERM)
        while (code := await self._ask(look=name)) is None:
            await asyncio.sleep(0.05)
        return int(code)

    def log(self, name: str) -> str:
        """Return what one has said."""
        return (self._directory / f"{name}.log").read_text(errors="replace")

    async def _ask(self, **order: object) -> Any:
        async with self._lock:
            return await asyncio.to_thread(self._keeper.ask, **order)

    def close(self) -> None:
        """Kill all."""
        self._keeper.close()


class Server:
    """One cluster: an API server, a file that says how it is reached, two nodes.

    Args:
        directory: where its files are.
        name: its name.
        processes: who keeps its processes.

    Attributes:
        kubeconfig: of the scheduler.
        admin: a client that may do everything.
    """

    def __init__(self, directory: Path, name: str, processes: Processes) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.directory = directory
        self.kubeconfig = directory / "kubeconfig"
        self._admin = directory / "kubeconfig-admin"
        self._processes = processes
        self._stack = contextlib.AsyncExitStack()

    @property
    def admin(self) -> Api:
        """A client that may do everything."""
        return self._api

    async def start(self) -> None:
        """Start it, with its namespaces and nodes."""
        await self.start_api()
        self._api = await self._stack.enter_async_context(Api.from_kubeconfig(self._admin))
        for space in (NAMESPACE, TIGHT):
            made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space}}
            await self._api.post("/api/v1/namespaces", made)
        quotas = f"/api/v1/namespaces/{TIGHT}/resourcequotas"
        await self._api.post(quotas, QUOTA)
        await self._processes.run(f"{self.name}-nodes", [*PYTHON, "tests.kubernetes.storm.nodes", str(self._admin)])
        await self._until(self._is_ready)

    async def _is_ready(self) -> bool:
        nodes = (await self._api.get("/api/v1/nodes"))["items"]
        quota = await self._api.get(f"/api/v1/namespaces/{TIGHT}/resourcequotas/none")
        return len(nodes) == 2 and bool((quota.get("status") or {}).get("hard"))

    async def close(self) -> None:
        """End it; its nodes first.

        Raises:
            AssertionError: a kubelet has failed by itself.
        """
        code = await self._processes.end(f"{self.name}-nodes")
        await self._stack.aclose()
        await self.stop_api()
        assert code == 0, self._processes.log(f"{self.name}-nodes")[-3000:]

    async def start_api(self) -> None:
        """Start the API server, where it was."""
        raise NotImplementedError

    async def stop_api(self) -> None:
        """Kill the API server."""
        raise NotImplementedError

    async def trouble(self, chance: random.Random) -> str:
        """Let something go wrong, and return what."""
        raise NotImplementedError

    async def restart(self, chance: random.Random) -> str:
        """Kill the API server, and start it again a moment later."""
        await self.stop_api()
        await asyncio.sleep(chance.uniform(0.0, 1.0))
        await self.start_api()
        return "killed"

    async def left(self) -> list[str]:
        """Return what Jobs and pods there are."""
        paths = {"Job": "/apis/batch/v1/jobs", "Pod": "/api/v1/pods"}
        return [
            f"{kind} {item['metadata']['name']}"
            for kind, path in paths.items()
            for item in (await self._api.surely("GET", path))["items"]
        ]

    async def _until(self, true: Any) -> None:
        until = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(ApiError, aiohttp.ClientError, OSError):
                if await true():
                    return
            assert time.monotonic() < until, f"{self.name} does not start: {self._processes.log(self.name)[-3000:]}"
            await asyncio.sleep(0.05)


class DoubleServer(Server):
    """A cluster of the double. Its tokens stand in the kubeconfig, in a file of their own, or come from a plugin."""

    def __init__(self, directory: Path, name: str, processes: Processes, how: str) -> None:
        super().__init__(directory, name, processes)
        (self._port,) = free_ports(1)
        self._root, self._token = secrets.token_hex(8), secrets.token_hex(8)
        self._how = how
        self._write(self._admin, {"token": self._root})
        self._hand_out()

    def _write(self, path: Path, user: dict[str, Any]) -> None:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{self._port}"}}],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": NAMESPACE}}],
            "current-context": "x",
        }
        _replace(path, json.dumps(config))

    def _hand_out(self) -> None:
        """Let the scheduler find its token."""
        file = self.directory / "token"
        if self._how == "inline":
            self._write(self.kubeconfig, {"token": self._token})
        elif self._how == "file":
            _replace(file, self._token + "\n")
            self._write_once({"tokenFile": "token"})
        else:
            said = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential"}
            _replace(file, json.dumps({**said, "status": {"token": self._token}}))
            self._write_once({"exec": {"apiVersion": said["apiVersion"], "command": "cat", "args": [str(file)]}})

    def _write_once(self, user: dict[str, Any]) -> None:
        if not self.kubeconfig.exists():
            self._write(self.kubeconfig, user)

    async def start_api(self) -> None:
        """Start it, with all that its journal has."""
        command = ["tests.kubernetes.double", "--port", str(self._port), "--token", self._root, "--unchecked"]
        command += ["--also", self._token, "--journal", str(self.directory / "journal"), "--history", "3000"]
        await self._processes.run(self.name, [*PYTHON, *command, "--bookmark-interval", "2"])
        async with aiohttp.ClientSession() as session:

            async def answers() -> bool:
                async with session.get(f"http://127.0.0.1:{self._port}/readyz") as response:
                    return response.status == 200

            await self._until(answers)

    async def stop_api(self) -> None:
        """Kill it."""
        await self._processes.kill(self.name)

    async def order(self, name: str, **given: object) -> Any:
        """Have the double do something."""
        return await self._api.post(f"/double/{name}", given)

    async def renew_token(self) -> None:
        """Give the scheduler a new token, and take the old one a moment later."""
        old, self._token = self._token, secrets.token_hex(8)
        await self.order("add_token", token=self._token)
        self._hand_out()
        await self.order("revoke", token=old)

    async def trouble(self, chance: random.Random) -> str:
        """Let something go wrong, and return what."""
        kind = chance.choice(["killed", "token", "compacted", "ended", *_FAULTS])
        if kind == "killed":
            return await self.restart(chance)
        if kind == "token":
            await self.renew_token()
        elif kind == "compacted":
            await self.order("compact", streams=chance.random() < 0.5)
        elif kind == "ended":
            await self.order("end_watches")
        else:
            for fault in _FAULTS[kind](chance):
                await self.order("fault", **fault)
        return kind


def _fault(action: str, how: dict[str, object] | None = None, **which: object) -> dict[str, object]:
    return {"action": action, "with": how or {}, **which}


#: What each kind of trouble is, for a double.
_FAULTS: dict[str, Any] = {
    "429": lambda chance: [_fault("answer", {"code": 429, "retry_after": 1}, times=chance.randint(5, 60))],
    "500": lambda chance: [_fault("answer", {"code": chance.choice([500, 502, 503, 504])}, times=20)],
    "watches": lambda chance: [
        _fault("break", {"how": how, "after": chance.randint(0, 20)}, verb="watch")
        for how in ("end", "cut", "reset", "garbage", "gone", "error")
    ],
    "lost": lambda chance: [
        _fault("lose", {"when": chance.choice(["before", "middle"])}, verb=verb, times=5)
        for verb in ("create", "delete", "get", "patch")
    ],
    "reset": lambda chance: [_fault("reset", times=chance.randint(5, 30))],
    "slow": lambda chance: [_fault("delay", {"seconds": chance.uniform(0.1, 1.0)}, times=30)],
}


class RealServer(Server):
    """A real cluster; its server can be killed, and its controllers stopped."""

    def __init__(self, directory: Path, name: str, processes: Processes) -> None:
        super().__init__(directory, name, processes)
        self._cluster = RealCluster(directory / "cluster")

    async def start(self) -> None:
        """Start all of it."""
        await asyncio.to_thread(self._cluster.start)
        self._cluster.write_kubeconfig(self._admin)
        self._cluster.write_kubeconfig(self.kubeconfig, namespace=NAMESPACE)
        await super().start()

    async def start_api(self) -> None:
        """Start it; it may run already."""
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", int(self._cluster.server.rpartition(":")[2]))
            writer.close()
            return
        await self._cluster.start_api()

    async def stop_api(self) -> None:
        """Kill it."""
        await self._cluster.stop_api()

    async def close(self) -> None:
        """End all of it."""
        try:
            await super().close()
        finally:
            await asyncio.to_thread(self._cluster.close)

    async def trouble(self, chance: random.Random) -> str:
        """Let something go wrong, and return what."""
        kind = chance.choice(["killed", "paused", "controllers"])
        if kind == "killed":
            return await self.restart(chance)
        if kind == "paused":
            await self._cluster.pause_api()
            await asyncio.sleep(chance.uniform(0.5, 3.0))
            await self._cluster.resume_api()
        else:
            await self._cluster.stop_controllers()
            await self._cluster.start_controllers()
        return kind


@contextlib.asynccontextmanager
async def servers(directory: Path, doubles: int = 0, real: int = 0) -> AsyncIterator[list[Server]]:
    """Run so many clusters for the time of the block."""
    processes = Processes(directory)
    made: list[Server] = []
    try:
        hows = ("inline", "file", "plugin")
        made += [DoubleServer(directory / f"c{i}", f"c{i}", processes, hows[i % 3]) for i in range(doubles)]
        made += [RealServer(directory / f"r{i}", f"r{i}", processes) for i in range(real)]
        for server in made:
            await server.start()
        yield made
        for server in made:
            await server.close()
    finally:
        for server in made:
            if isinstance(server, RealServer):
                await asyncio.to_thread(server._cluster.close)
        processes.close()


def _replace(path: Path, text: str) -> None:
    """Write a file so that nobody reads half of it."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(text)
    os.replace(new, path)
