"""Run a PostgreSQL server for as long as anybody holds a connection to this program, then leave nothing of it.

The kernel closes the connections of whoever ends, in whatever way it ends: a test run that is killed, also with a
signal that nobody can catch, leaves no server, and of several workers of one run the last one ends it. This program
has a session of its own, so that neither Ctrl-C nor a signal to the group of a test run comes to it before the run is
over.

A client gets the line ``ready`` when the server takes connections. Then it may ask, a line each, for ``stop MANNER``
and ``start``, and is answered ``ready`` when that is done. It leaves by closing its side: when the other side is closed
too, the server is gone, or somebody else uses it.

Standard library only, and run without site packages: it starts in a moment.
"""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

#: What PostgreSQL calls them, and how it is told.
MANNERS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}
PATIENCE = 60.0


class Kept:
    """A server with its data in a directory.

    Args:
        directory: what is removed at the end; the data is in a folder of its own below.
        programs: where the programs of PostgreSQL are.
        user: who runs them; nobody else than we for an empty name.
        options: of the server.
    """

    def __init__(self, directory: str, programs: str, user: str, *options: str) -> None:
        self.directory = Path(directory)
        self.data = self.directory / "data"
        self._programs, self._user, self._options = Path(programs), user or None, options
        self._process: subprocess.Popen[bytes] | None = None

    def make(self) -> None:
        """Make the data of a new server; nothing of it has to outlive the machine."""
        how = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
        self._popen("initdb", "-D", str(self.data), *how).wait(PATIENCE)

    def start(self) -> None:
        """Start the server, and return when it takes connections; it does nothing where it runs."""
        if self._process is not None:
            return
        self._process = self._popen("postgres", "-D", str(self.data), "-k", str(self.data), "-h", "", *self._options)
        until = time.monotonic() + PATIENCE
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError("the server does not start")
            time.sleep(0.002)

    def stop(self, manner: str) -> None:
        """End the server in one of the `MANNERS`, and wait until it is gone."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGCONT)
        self._process.send_signal(MANNERS[manner])
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()  # its own processes see that, and end
            self._process.wait()
        self._process = None

    def remove(self) -> None:
        """Remove all of it."""
        self.stop("immediate")
        shutil.rmtree(self.directory, ignore_errors=True)

    def _is_ready(self) -> bool:
        """Look into the file in which the server says how far it is, in its eighth line."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        assert self._process is not None
        return len(lines) > 7 and lines[0] == str(self._process.pid) and lines[7].strip() == "ready"

    def _popen(self, program: str, *args: str) -> subprocess.Popen[bytes]:
        with open(self.directory / "log", "ab") as log:
            return subprocess.Popen(
                [str(self._programs / program), *args],
                cwd=self.directory,
                user=self._user,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )


def serve(listener: socket.socket, kept: Kept) -> None:
    """Do what clients ask for until the last of them has left; the first has connected already."""
    clients = selectors.DefaultSelector()
    clients.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in clients.select():
            if key.fileobj is listener:
                client, _ = listener.accept()
                clients.register(client, selectors.EVENT_READ)
                client.sendall(b"ready\n")
                continue
            client = key.fileobj  # type: ignore[assignment]
            try:
                words = client.recv(100).decode().split()
            except OSError:
                words = []
            if words:
                kept.stop(words[1]) if words[0] == "stop" else kept.start()
                client.sendall(b"ready\n")
                continue
            clients.unregister(client)
            if len(clients.get_map()) == 1:
                listener.close()  # whoever comes now starts another server
                kept.remove()
                return  # and the connection is closed after that
            client.close()


def main() -> None:
    """Become a process of its own; the first argument is the descriptor of the socket that clients connect to."""
    listener = socket.socket(fileno=int(sys.argv[1]))
    if os.fork():
        os._exit(0)
    os.setsid()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    kept = Kept(*sys.argv[2:])
    try:
        kept.make()
        kept.start()
        serve(listener, kept)
    except BaseException:
        kept.stop("immediate")  # who waits reads the log, and removes what there is
        raise


if __name__ == "__main__":
    main()
