"""Peers of a server in threads of their own, with sockets that block: slow ones, rude ones, and such as break off."""

from __future__ import annotations

import shutil
import socket
import ssl
import struct
import subprocess
import threading
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from lifecycle.types import Server

#: Keeps what waits on the way small, so that a peer that does not read is felt.
BUFFER = 65536


def certificate(directory: Path) -> tuple[Path, Path]:
    """Make a key and a certificate of this machine in *directory*."""
    key, cert = directory / "key.pem", directory / "cert.pem"
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    subject = ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command = ["openssl", "req", "-x509", *kind, *subject, "-keyout", key, "-out", cert]
    subprocess.run(command, check=True, capture_output=True)
    return key, cert


@cache
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return the contexts of a server and of a client that trusts it."""
    with TemporaryDirectory() as directory:
        key, cert = certificate(Path(directory))
        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        server.load_cert_chain(cert, key)
        return server, ssl.create_default_context(cafile=str(cert))


class Peer:
    """One connection to a server; its methods block, and are to be called in threads."""

    def __init__(self, server: Server, *, tls: bool) -> None:
        self._port = server.port
        self._tls = tls
        self.connected = threading.Event()
        self.socket = socket.socket()

    def connect(self) -> None:
        """Connect, with a handshake under TLS."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        self.socket.settimeout(30)
        self.socket.connect(("127.0.0.1", self._port))
        if self._tls:
            # Python would take an end without good-bye for one with it.
            self.socket = contexts()[1].wrap_socket(
                self.socket, server_hostname="localhost", suppress_ragged_eofs=False
            )
        self.connected.set()

    def ask(self, question: bytes) -> None:
        """Connect, and say something."""
        self.connect()
        self.socket.sendall(question)

    def read(self, most: int | None = None) -> tuple[int, str]:
        """Return how many bytes came, and how they ended: ``"end"``, or the name of an error."""
        received = 0
        try:
            while most is None or received < most:
                data = self.socket.recv(BUFFER)
                if not data:
                    return received, "end"
                received += len(data)
        except OSError as error:
            return received, type(error).__name__
        return received, "more"

    def break_off(self) -> None:
        """Reset the connection."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        self.socket.close()
