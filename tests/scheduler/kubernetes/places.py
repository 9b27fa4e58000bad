"""Kubeconfigs, certificates and small servers on loopback, for tests of how a cluster is reached."""

from __future__ import annotations

import base64
import functools
import json
import shutil
import ssl
import stat
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

Table = dict[str, Any]

TOKEN = {"token": "secret"}


def kubeconfig(
    file: Path,
    *,
    server: str = "https://api.test:6443",
    cluster: Table | None = None,
    user: Any = TOKEN,
    context: Table | None = None,
    name: str = "one",
    **more: Any,
) -> Path:
    """Write a kubeconfig with one of everything, of one name."""
    content = {
        "current-context": name,
        "clusters": [{"name": name, "cluster": {"server": server, **(cluster or {})}}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, **(context or {})}}],
        **more,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
    return file


def plugin(file: Path, script: str, **spec: Any) -> Table:
    """Write a credential plugin, and return the user that asks it."""
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return {"exec": {"apiVersion": VERSION, "command": str(file), **spec}}


VERSION = "client.authentication.k8s.io/v1"


def says(token: str = "told", **more: Any) -> str:
    """Return the line of a script that prints a token."""
    status = {"token": token, **more}
    return "echo '" + json.dumps({"apiVersion": VERSION, "kind": "ExecCredential", "status": status}) + "'"


def encoded(file: Path) -> str:
    """Return a file as it stands in a kubeconfig as data."""
    return base64.b64encode(file.read_bytes()).decode()


@dataclass(frozen=True)
class Certificates:
    """Files of two authorities, of a server at ``localhost`` and ``api.test``, and of a client, by the first."""

    directory: Path

    def __getattr__(self, name: str) -> Path:
        return self.directory / name.replace("_", ".")


@functools.cache
def certificates() -> Certificates:
    """Return certificates, made once in a process."""
    directory = Path(tempfile.mkdtemp(prefix="certificates-"))

    def openssl(*args: str) -> None:
        subprocess.run(["openssl", *args], cwd=directory, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
    usage = ("-addext", "keyUsage=critical,keyCertSign")  # Python 3.13 wants it
    for authority in ("ca", "other"):
        openssl("req", "-x509", *key, "-nodes", "-subj", f"/CN={authority}", "-days", "2", *usage,
                "-keyout", f"{authority}.key", "-out", f"{authority}.crt")  # fmt: skip
    for name in ("server", "client"):
        (directory / "ext").write_text("subjectAltName=DNS:localhost,DNS:api.test\nauthorityKeyIdentifier=keyid\n")
        openssl("req", *key, "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
                "-days", "2", "-extfile", "ext", "-out", f"{name}.crt")  # fmt: skip
    openssl("ec", "-in", "client.key", "-aes128", "-passout", "pass:word", "-out", "locked.key")
    (directory / "garbage").write_text("this is no certificate\n")
    return Certificates(directory)


def forget_certificates() -> None:
    """Delete them."""
    if certificates.cache_info().currsize:
        shutil.rmtree(certificates().directory)
        certificates.cache_clear()


Answer = Callable[[web.BaseRequest], Any]


@dataclass
class Server:
    """A server on loopback; answers what a test says, and keeps what it was asked."""

    answer: Answer
    address: str = ""
    asked: list[web.BaseRequest] = field(default_factory=list)

    @property
    def tokens(self) -> list[str]:
        """Whose the requests were."""
        return [request.headers.get("Authorization", "").removeprefix("Bearer ") for request in self.asked]

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        self.asked.append(request)
        said = self.answer(request)
        said = await said if hasattr(said, "__await__") else said
        if isinstance(said, web.StreamResponse):
            return said
        return web.json_response(said if isinstance(said, dict) else {}, status=said if isinstance(said, int) else 200)


@asynccontextmanager
async def serving(
    answer: Answer, trust: ssl.SSLContext | None = None, host: str = "localhost"
) -> AsyncIterator[Server]:
    """Serve on a port of loopback for the length of a block."""
    server = Server(answer)
    runner = web.ServerRunner(web.Server(server.handle, handler_cancellation=True), shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=trust)
        await site.start()
        port = runner.addresses[0][1]
        server.address = f"{'https' if trust else 'http'}://{host}:{port}"
        yield server
    finally:
        await runner.cleanup()


def served_with(*, wants_client: bool = False) -> ssl.SSLContext:
    """Return what a server with the certificate for ``localhost`` needs."""
    files = certificates()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.server_crt, files.server_key)
    if wants_client:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(files.ca_crt)
    return context
