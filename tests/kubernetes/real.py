"""A real Kubernetes API server with its controllers, for tests: etcd, kube-apiserver, kube-controller-manager.

`.ci/kubernetes` builds them; without them a test is skipped, or fails where `REQUIRED` is set. No kubelet comes with
it: `.kubelet` is ours.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import NoReturn

import pytest

from .keeper import Keeper

PLACE = "LIFECYCLE_KUBERNETES"
"""The variable that names the folder with the programs."""

REQUIRED = "LIFECYCLE_KUBERNETES_REQUIRED"
"""The variable with which a test that finds no programs, or no kubectl, fails, instead of being skipped."""

#: Who may come, with which token and in which groups. ``nobody`` may do nothing until a role is bound to him.
USERS = {"admin": ("system:masters",), "nobody": ()}

CONTROLLERS = (
    "clusterrole-aggregation", "garbagecollector", "job", "namespace", "podgc", "resourcequota", "ttl-after-finished",
)  # fmt: skip

#: Alpha in this version, and on in all that came after it.
GATES = "--feature-gates=TTLAfterFinished=true"

PATIENCE = 120.0


def programs() -> Path:
    """Return where the programs are; skip the test, or fail it, where they are not built."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    place = Path(os.environ.get(PLACE) or cache / "asyncio-lifecycle" / "kubernetes")
    if not all((place / name).exists() for name in ("etcd", "kube-apiserver", "kube-controller-manager")):
        missing("no Kubernetes API server is built here: run `make kubernetes`")
    return place


def missing(message: str) -> NoReturn:
    """Skip the test, or fail it where it was asked for, since something is not on this machine."""
    if os.environ.get(REQUIRED):
        pytest.fail(message)
    pytest.skip(message)


def free_ports(count: int) -> list[int]:
    """Return ports on which nobody listens, below those that the kernel gives to outgoing connections.

    So none of them is taken by chance while a server that will start again is down.
    """
    found: list[int] = []
    while len(found) < count:
        port = random.SystemRandom().randrange(12_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            if port not in found:
                found.append(port)
    return found


class RealCluster:
    """An API server with its store and its controllers, on ports that it keeps over restarts.

    Args:
        directory: where it lives; it is made where it is missing, and what is in it stays when the server has ended.
        controllers: which of Kubernetes' controllers run.
        options: more options for kube-apiserver.

    Attributes:
        kubeconfig: a file for clients, with a token of somebody who may do everything.
        server: the address of the API.
        ca: the file with the certificate that clients trust.
    """

    def __init__(self, directory: Path, controllers: Iterable[str] = CONTROLLERS, options: Iterable[str] = ()) -> None:
        self._programs = programs()
        self.directory = directory
        self._controllers, self._options = tuple(controllers), tuple(options)
        self._etcd, self._peer, self._api, self._manager = free_ports(4)
        self.server = f"https://127.0.0.1:{self._api}"
        self.ca = directory / "certs" / "apiserver.crt"
        self.kubeconfig = directory / "kubeconfig"
        self.tokens = {user: f"token-of-{user}-{os.urandom(8).hex()}" for user in USERS}
        self._keeper: Keeper | None = None

    def start(self) -> None:
        """Start all of it, and return when it can be used."""
        self.directory.mkdir(parents=True, exist_ok=True)
        key = self.directory / "accounts.key"
        subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
        rows = [f'{self.tokens[user]},{user},{user},"{",".join(groups)}"' for user, groups in USERS.items()]
        (self.directory / "tokens.csv").write_text("\n".join(rows) + "\n")
        self._keeper = Keeper()
        try:
            self._run("etcd", self._etcd_command())
            self._await("etcd", lambda: socket.create_connection(("127.0.0.1", self._etcd), 1).close())
            self.start_api_now()
            self.write_kubeconfig(self.kubeconfig)
            self.start_controllers_now()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End all of it; nothing happens the second time."""
        if self._keeper is not None:
            self._keeper.close()
            self._keeper = None

    def start_api_now(self) -> None:
        """Start the API server, and return when it is ready."""
        self._run("kube-apiserver", self._api_command())
        self._await("kube-apiserver", self._ask_whether_ready)

    def start_controllers_now(self) -> None:
        """Start the controllers, and return when they work."""
        self._run("kube-controller-manager", self._manager_command())
        self._await("kube-controller-manager", lambda: self._get(f"https://127.0.0.1:{self._manager}/healthz"))

    async def stop_api(self) -> None:
        """End the API server without a word: every connection to it breaks. What it has stored stays."""
        await asyncio.to_thread(self._ask, kill="kube-apiserver")

    async def start_api(self) -> None:
        """Start it again where it was, and return when it is ready."""
        await asyncio.to_thread(self.start_api_now)

    async def pause_api(self) -> None:
        """Stop it where it is: connections stay, and nothing is answered."""
        await asyncio.to_thread(self._ask, send="kube-apiserver", signal=signal.SIGSTOP)

    async def resume_api(self) -> None:
        """Let it go on."""
        await asyncio.to_thread(self._ask, send="kube-apiserver", signal=signal.SIGCONT)

    async def stop_controllers(self) -> None:
        """End the controllers: jobs make no pods and see no ends until they are back."""
        await asyncio.to_thread(self._ask, kill="kube-controller-manager")

    async def start_controllers(self) -> None:
        """Start them again, and return when they work."""
        await asyncio.to_thread(self.start_controllers_now)

    def write_kubeconfig(self, path: Path, user: str = "admin", namespace: str = "default") -> None:
        """Write a file for a client that comes as one of the `USERS`; JSON, which is YAML too."""
        authority = base64.b64encode(self.ca.read_bytes()).decode()
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "real", "cluster": {"server": self.server, "certificate-authority-data": authority}}],
            "users": [{"name": user, "user": {"token": self.tokens[user]}}],
            "contexts": [{"name": "real", "context": {"cluster": "real", "user": user, "namespace": namespace}}],
            "current-context": "real",
        }
        path.write_text(json.dumps(content))

    def log(self, name: str = "kube-apiserver") -> str:
        """Return what one of the programs has said."""
        path = self.directory / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _etcd_command(self) -> list[str]:
        client, peer = f"http://127.0.0.1:{self._etcd}", f"http://127.0.0.1:{self._peer}"
        return [
            f"--data-dir={self.directory / 'etcd'}", f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}", f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=default={peer}",
            "--heartbeat-interval=20", "--election-timeout=200",  # it is alone, and need not wait for others
        ]  # fmt: skip

    def _api_command(self) -> list[str]:
        key = self.directory / "accounts.key"
        return [
            f"--etcd-servers=http://127.0.0.1:{self._etcd}", "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1", f"--secure-port={self._api}", f"--cert-dir={self.directory / 'certs'}",
            f"--token-auth-file={self.directory / 'tokens.csv'}", "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc", f"--service-account-signing-key-file={key}",
            f"--service-account-key-file={key}", "--service-cluster-ip-range=10.0.0.0/24",
            "--endpoint-reconciler-type=none", "--kubelet-preferred-address-types=InternalIP",
            "--disable-admission-plugins=ServiceAccount",  # with it each pod waits for an account with a secret
            GATES, *self._options,
        ]  # fmt: skip

    def _manager_command(self) -> list[str]:
        return [
            f"--kubeconfig={self.kubeconfig}", f"--controllers={','.join(self._controllers)}", "--leader-elect=false",
            f"--cert-dir={self.directory / 'manager'}", "--bind-address=127.0.0.1", "--port=0",
            f"--secure-port={self._manager}", "--use-service-account-credentials=false",
            # Its default is a politeness of 20 requests per second.
            "--kube-api-qps=2000", "--kube-api-burst=4000", GATES,
        ]  # fmt: skip

    def _run(self, name: str, options: list[str]) -> None:
        self._ask(run=name, command=[str(self._programs / name), *options], log=str(self.directory / f"{name}.log"))

    def _ask(self, **order: object) -> object:
        assert self._keeper is not None, "it does not run"
        return self._keeper.ask(**order)

    def _await(self, name: str, question: Callable[[], object]) -> None:
        until = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(OSError):  # the errors of urllib and of TLS are such
                question()
                return
            if (code := self._ask(look=name)) is not None or time.monotonic() > until:
                raise RuntimeError(f"{name} does not start ({code}): {self.log(name)[-3000:]}")
            time.sleep(0.02)

    def _ask_whether_ready(self) -> None:
        self._get(f"{self.server}/readyz")
        # It is ready a moment before its own namespaces are there.
        self._get(f"{self.server}/api/v1/namespaces/default")

    def _get(self, url: str) -> None:
        trusting = ssl._create_unverified_context()  # its certificate may not be written yet
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {self.tokens['admin']}"})
        with urllib.request.urlopen(request, timeout=5, context=trusting):
            pass


@contextlib.asynccontextmanager
async def real_cluster(
    directory: Path, controllers: Iterable[str] = CONTROLLERS, options: Iterable[str] = ()
) -> AsyncIterator[RealCluster]:
    """Run a cluster of one's own for the time of the block; what it has stored is removed at the end."""
    cluster = RealCluster(directory, controllers, options)
    await asyncio.to_thread(cluster.start)
    try:
        yield cluster
    finally:
        await asyncio.to_thread(cluster.close)
        shutil.rmtree(directory / "etcd", ignore_errors=True)
