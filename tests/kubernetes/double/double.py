"""The double of an API server: it listens, and has in its hands everything that a test may want to turn."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import shutil
import socket
import ssl
import subprocess
import tempfile
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from typing import Any

from .access import Access
from .faults import ACTIONS, Faults, reset
from .jobs import JobController
from .kinds import NAMESPACES, SERVICE_ACCOUNTS
from .manners import TODAY, Manner
from .registry import Registry
from .removal import Removal
from .serving import Listener, Serving
from .statuses import Object
from .storage import Storage

SPACES = ("default", "kube-node-lease", "kube-public", "kube-system")


@cache
def certificate() -> tuple[str, str]:
    """Return the files of a certificate for 127.0.0.1 and of its key, made once in a process."""
    assert shutil.which("openssl") is not None, "openssl is not installed"
    directory = Path(tempfile.mkdtemp(prefix="double-"))
    cert, key = str(directory / "cert.pem"), str(directory / "key.pem")
    made = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=double"]
    named = ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    command = ["openssl", "req", "-x509", *made, *named, "-keyout", key, "-out", cert]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


def context_of() -> ssl.SSLContext:
    """Return what a server with that certificate needs."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate())
    return context


class Double:
    """One double; it runs in the loop in which it was started.

    Args:
        tls: whether it speaks TLS.
        port: where it listens; 0 for a free one, which it keeps when it is stopped and started.
        manner: which release it plays.
        strict: whether an unknown field is an error, whatever the request says about that.
        checked: whether all objects are held to the official schemas.
        journal: a file in which objects survive the process; None for memory.
        history: how many changes of each kind can be watched from at least.
        bookmark_interval: seconds between two bookmarks of a watch.
        backoff: seconds before a failed pod is replaced; see JobController.
    """

    def __init__(
        self,
        *,
        tls: bool = False,
        port: int = 0,
        manner: Manner = TODAY,
        strict: bool = True,
        checked: bool = True,
        journal: Path | None = None,
        history: int = 20_000,
        bookmark_interval: float = 60.0,
        backoff: float = 0.0,
    ) -> None:
        self.port = port
        self.manner = manner
        self.storage = Storage(journal, history)
        self.access = Access()
        self.faults = Faults()
        self.token = self.access.add_token()
        self.registry = Registry(self.storage, self.access, manner, strict=strict, checked=checked)
        self.removal = Removal(self.registry)
        self.jobs = JobController(self.registry, self.removal, backoff=backoff)
        self.serving = Serving(self.registry, self.removal, self.access, self.faults, manner)
        self.serving.bookmark_interval = bookmark_interval
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._protocols: Listener | None = None

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}"

    async def start_api(self) -> None:
        """Listen; a second time on the same port as before."""
        loop = asyncio.get_running_loop()
        context = context_of() if self._tls else None
        self._protocols = Listener(self.serving)
        with contextlib.closing(socket.socket()) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", self.port))
            self.port = listener.getsockname()[1]
            self._server = await loop.create_server(self._protocols, sock=listener.dup(), ssl=context, backlog=1024)

    async def stop_api(self) -> None:
        """Listen no more, and reset every connection; objects and controllers stay."""
        if self._server is None or self._protocols is None:
            return
        self._server.close()
        for protocol in self._protocols.connections:
            reset(protocol.transport)
        await self._protocols.shutdown(0.01)  # nought would mean for ever
        # A connection that is still shaking hands has no protocol yet, and is waited for by some versions of Python.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._server.wait_closed(), 0.5)
        self._server = self._protocols = None

    async def open(self) -> None:
        """Make what every cluster has, look at all Jobs, and listen."""
        for name in SPACES:
            if self.storage.get(NAMESPACES, "", name) is None:
                self.registry.create(NAMESPACES, "", {"metadata": {"name": name}})
                self.registry.create(SERVICE_ACCOUNTS, name, {"metadata": {"name": "default"}})
        self.jobs.start()
        await self.start_api()

    async def close(self) -> None:
        """Be gone."""
        self.jobs.close()
        await self.stop_api()
        await self.serving.close()
        self.storage.close()

    # What a test turns

    def compact(self, *, streams: bool = False) -> None:
        """Forget all changes until now.

        Args:
            streams: watches that are under way are told so and ended, too.
        """
        self.storage.compact()
        if streams:
            self.serving.expire_watches()

    def end_watches(self) -> None:
        """End all watches that are under way, properly, as the server does after half an hour."""
        for watch in self.serving.watches:
            watch.end()

    def kubeconfig(self, path: Path, *, token: str | None = None, namespace: str = "default") -> Path:
        """Write a configuration for clients; return the path."""
        cluster: Object = {"server": self.url}
        if self._tls:
            cluster["certificate-authority-data"] = base64.b64encode(Path(certificate()[0]).read_bytes()).decode()
        context = {"cluster": "double", "user": "user", "namespace": namespace}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "double", "cluster": cluster}],
            "users": [{"name": "user", "user": {"token": self.token if token is None else token}}],
            "contexts": [{"name": "double", "context": context}],
            "current-context": "double",
        }
        path.write_text(json.dumps(config))  # which is YAML as well
        return path

    def control(self, name: str, given: Object) -> Object:
        """Do what is asked for from another process: POST /double/NAME, with what is given as JSON."""
        if name == "compact":
            self.compact(**given)
        elif name == "fault":
            action = ACTIONS[given.pop("action")](**given.pop("with", {}))
            self.faults.add(action, **given)
        elif name == "clear":
            self.faults.clear()
        elif name == "add_token":
            return {"token": self.access.add_token(**given)}
        elif name == "revoke":
            self.access.revoke(**given)
        elif name == "refuse":
            self.access.refuse(**given)
        elif name == "end_watches":
            self.end_watches()
        elif name == "facts":
            return {
                "version": self.storage.version,
                "requests": self.serving.requests,
                "watches": len(self.serving.watches),
            }
        else:
            return {"error": f"{name} is not known"}
        return {}


@contextlib.asynccontextmanager
async def api_double(**how: Any) -> AsyncIterator[Double]:
    """Run a double while the block runs; see Double for the arguments.

    Raises:
        ExceptionGroup: the double itself has failed in something, whatever came of it.
    """
    double = Double(**how)
    try:
        await double.open()
        yield double
    finally:
        await double.close()
    if double.registry.failures:
        raise ExceptionGroup("the double has failed", double.registry.failures)
