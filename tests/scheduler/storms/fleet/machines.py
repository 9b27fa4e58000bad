"""Where the workers of a fleet run: each on a machine of its own, with a cable to the database.

A machine is a network namespace where there are such (Linux, as root), with a bridge that joins them; its link can be
taken down, which is what a pulled plug looks like. Elsewhere all are this machine, and only the cable is each its own.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

from .cable import Cable

_numbers = itertools.count(1)


def have_namespaces() -> bool:
    """Return whether machines can be told apart by the kernel."""
    if not hasattr(os, "geteuid") or os.geteuid() or shutil.which("ip") is None:
        return False
    name = f"lc{os.getpid()}probe"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True)
    subprocess.run(["ip", "netns", "del", name], capture_output=True)
    return made.returncode == 0


class Machine:
    """One machine.

    Args:
        url: the database, at a Unix socket.
        delay: seconds between it and the database, in each direction.

    Attributes:
        prefix: what a command has to begin with to run there.
        address: of the database, as this machine has it.
    """

    def __init__(self, url: str, delay: float) -> None:
        self.prefix: list[str] = []
        self.cable = self._cable(url, delay)
        self.address = f"postgresql://postgres@{self.cable.host}:{self.cable.port}{urlsplit(url).path}"

    def _cable(self, url: str, delay: float, host: str = "127.0.0.1") -> Cable:
        directory = parse_qs(urlsplit(url).query)["host"][0]
        return Cable(f"{directory}/.s.PGSQL.5432", host, delay)

    def cut(self) -> None:
        """Let nothing of it through any more; neither side is told."""
        self.cable.silence()

    def mend(self) -> None:
        """Let everything through again."""
        self.cable.mend()

    def close(self) -> None:
        """Let it go."""
        self.cable.close()


class Namespace(Machine):
    """A machine with a network of its own."""

    def __init__(self, url: str, delay: float, bridge: Bridge) -> None:
        self._bridge = bridge
        number = next(_numbers)
        self.name = f"lc{os.getpid() % 100_000}n{number}"
        self._link = f"lc{os.getpid() % 100_000}v{number}"
        super().__init__(url, delay)
        self.prefix = ["ip", "netns", "exec", self.name]
        inside = f"{bridge.network}.{number + 1}/24"
        _ip("netns", "add", self.name)
        _ip("link", "add", self._link, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        _ip("link", "set", self._link, "master", bridge.name, "up")
        _ip("-n", self.name, "addr", "add", inside, "dev", "eth0")
        _ip("-n", self.name, "link", "set", "eth0", "up")
        _ip("-n", self.name, "link", "set", "lo", "up")

    def _cable(self, url: str, delay: float, host: str = "127.0.0.1") -> Cable:
        return super()._cable(url, delay, f"{self._bridge.network}.1")

    def cut(self) -> None:
        """Pull the plug."""
        _ip("link", "set", self._link, "down")

    def mend(self) -> None:
        """Put it in again."""
        _ip("link", "set", self._link, "up")
        super().mend()

    def close(self) -> None:
        """Let it go."""
        super().close()
        for what in (("link", "del", self._link), ("netns", "del", self.name)):
            with contextlib.suppress(subprocess.CalledProcessError):
                _ip(*what)


class Bridge:
    """What joins the machines; this one is the first in its network."""

    def __init__(self) -> None:
        self.name = f"lc{os.getpid() % 100_000}b{next(_numbers)}"
        self.network = f"10.{os.getpid() % 200 + 20}.{next(_numbers) % 250}"
        _ip("link", "add", self.name, "type", "bridge")
        _ip("addr", "add", f"{self.network}.1/24", "dev", self.name)
        _ip("link", "set", self.name, "up")

    def close(self) -> None:
        """Take it away."""
        _ip("link", "del", self.name)


@contextlib.contextmanager
def machines(url: str, count: int, *, delay: float, apart: bool) -> Iterator[list[Machine]]:
    """Lend so many machines.

    Args:
        url: the database.
        count: how many.
        delay: seconds between each of them and the database, in each direction.
        apart: whether each has a network of its own.
    """
    with contextlib.ExitStack() as stack:
        bridge = None
        if apart:
            bridge = Bridge()
            stack.callback(bridge.close)
        found: list[Machine] = []
        for _ in range(count):
            machine = Machine(url, delay) if bridge is None else Namespace(url, delay, bridge)
            stack.callback(machine.close)
            found.append(machine)
        yield found


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
