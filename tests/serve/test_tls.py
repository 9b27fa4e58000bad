"""TLS: handshakes in time and too late, and a server that closes meanwhile."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lifecycle import serve_tcp

from ..loops import on_every_loop, run_on
from .clients import balance, connect, echo, hang_up, until


def certificate(directory: Path) -> tuple[Path, Path]:
    key, cert = directory / "key.pem", directory / "cert.pem"
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    subject = ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command = ["openssl", "req", "-x509", *kind, *subject, "-keyout", key, "-out", cert]
    subprocess.run(command, check=True, capture_output=True)
    return key, cert


@on_every_loop
def test_tls(new_loop: Any, tmp_path: Path) -> None:
    """Encrypted connections are served; handshakes that fail, or take too long, are counted and harm no other."""
    key, cert = certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    trusting = ssl.create_default_context(cafile=str(cert))

    async def main() -> None:
        async with serve_tcp(echo, ssl=context, handshake_timeout=0.3, drain_timeout=1) as server:
            silent = await connect(server)
            reader, writer = await connect(server)
            writer.write(b"this is no TLS")
            await reader.read()
            await hang_up(writer)
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", server.port, ssl=trusting, server_hostname="localhost"
            )
            writer.write(b"secret")
            assert await reader.read(100) == b"secret"
            assert await silent[0].read() == b""
            await hang_up(silent[1])
            await hang_up(writer)
            await until(lambda: not server.statistics().live)
            assert balance(server) == {"finished": 1, "handshake_failures": 2}

    run_on(new_loop, main())


def test_a_closed_server_goes_on_with_a_handshake_that_has_begun(tmp_path: Path) -> None:
    """The connection is there, and those that are there go on."""
    key, cert = certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    trusting = ssl.create_default_context(cafile=str(cert))

    async def main() -> None:
        async with serve_tcp(echo, ssl=context) as server:
            reader, writer = await connect(server)
            await until(lambda: server.statistics().live)
            server.close()
            await writer.start_tls(trusting, server_hostname="localhost")
            await asyncio.sleep(0.05)  # the handler has begun
            writer.write(b"secret")
            assert await reader.read(100) == b"secret"
            await hang_up(writer)

    run_on(asyncio.new_event_loop, main())
