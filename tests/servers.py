"""Server processes that the tests start, pause, kill and start again; and a look at what this process has."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable

import psutil


def stop_where_it_is(pid: int) -> None:
    """Stop a process, and return when it does nothing any more; nor does one that has ended, reaped or not."""
    until = time.monotonic() + 60.0
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        process.send_signal(signal.SIGSTOP)
        while process.status() not in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            assert time.monotonic() < until, f"process {pid} goes on"
            time.sleep(0.001)


class Server:
    """A server process on a loopback port of its own, which it keeps over restarts.

    Args:
        command: what to run, for a port.
    """

    def __init__(self, command: Callable[[int], list[str]]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port: int = listener.getsockname()[1]
        self._command = command(self.port)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(self._command, stdin=quiet, stdout=quiet, stderr=quiet)
        ends = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            assert self._process.poll() is None, f"{self._command} has ended"
            assert time.monotonic() < ends, f"{self._command} does not listen"
            time.sleep(0.01)

    def pause(self) -> None:
        """Stop it where it is; the kernel goes on taking connections for it."""
        assert self._process is not None
        stop_where_it_is(self._process.pid)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it without a word, and wait until it is gone."""
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.wait(30)
            self._process = None

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)


def descriptors() -> int:
    """Return how many file descriptors this process has open; 0 where nobody can say."""
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


@contextlib.asynccontextmanager
async def leaving_nothing() -> AsyncIterator[None]:
    """Check that the block leaves no task and no descriptor in this process; the loop may take a moment over it."""
    tasks, files = len(asyncio.all_tasks()), descriptors()
    yield
    for _ in range(500):
        left = len(asyncio.all_tasks()) - tasks, descriptors() - files
        if max(left) <= 0:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{left[0]} tasks and {left[1]} descriptors are left: {asyncio.all_tasks()}")
