"""A process that leads a group of its own, and the pipes that it writes to: started, read, waited for, and ended whole.

Not by asyncio, for two reasons. Its ``process.wait()`` waits for the pipes to close, and a grandchild that inherited
them keeps them open for as long as it likes. And its start is several steps: who is cancelled between them gets no
process, so that nobody knows the group which is to be ended.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import anyio

POLL: Final = 0.02
"""Seconds between two looks at whether something has ended of which no event tells."""


class Pipe:
    """A pipe of which this process reads, and which `ProcessGroup` writes to.

    Attributes:
        write: the descriptor that is written to, -1 once that is closed here.
    """

    __slots__ = ("_read", "write")

    def __init__(self) -> None:
        self._read, self.write = os.pipe()
        os.set_blocking(self._read, False)

    async def read(self, add: Callable[[bytes], object]) -> None:
        """Hand all that is written to *add*, in pieces, until nobody has the other end any more.

        Cancellation: ends the reading.
        """
        while True:
            await anyio.wait_readable(self._read)
            try:
                piece = os.read(self._read, 65_536)
            except BlockingIOError:
                continue
            if not piece:
                return
            add(piece)

    def close_write(self) -> None:
        """Close the end that is written to: the process has it now. Idempotent."""
        write, self.write = self.write, -1
        if write >= 0:
            os.close(write)

    def close(self) -> None:
        """Close both ends. Idempotent."""
        self.close_write()
        read, self._read = self._read, -1
        if read >= 0:
            os.close(read)


class ProcessGroup:
    """A process that leads a group of its own; it runs when this returns.

    Args:
        argv: a list of arguments, or a line for ``/bin/sh -c``.
        stdout, stderr: what it writes to; our ends of them are closed.
        env: all of its environment.
        cwd: where it runs, None for where we do.

    Raises:
        OSError: it could not be started.
        ValueError: an argument holds a null byte.
    """

    def __init__(
        self, argv: Sequence[str] | str, stdout: Pipe, stderr: Pipe, env: Mapping[str, str], cwd: Path | None = None
    ) -> None:
        self._process = subprocess.Popen(
            argv,
            shell=isinstance(argv, str),
            stdin=subprocess.DEVNULL,
            stdout=stdout.write,
            stderr=stderr.write,
            env=env,
            cwd=cwd,
            start_new_session=True,
        )
        for pipe in (stdout, stderr):
            pipe.close_write()

    @property
    def ended(self) -> bool:
        """Whether the process has ended; others of its group may run."""
        return self._process.poll() is not None

    async def wait(self) -> int:
        """Return the exit code of the process, or minus the number of the signal that ended it. Any number may wait.

        Cancellation: ends the waiting.
        """
        if not self.ended:
            with contextlib.ExitStack() as stack:
                try:
                    end = os.pidfd_open(self._process.pid)
                except (AttributeError, OSError):  # few systems have it
                    while not self.ended:  # noqa: ASYNC110 (no event tells of it)
                        await anyio.sleep(POLL)
                else:
                    stack.callback(os.close, end)
                    await anyio.wait_readable(end)
        return self._process.wait()

    async def end(self, grace: float | None) -> None:
        """End whatever is left of the group, and reap the process.

        Args:
            grace: seconds between SIGTERM and SIGKILL; None for no SIGTERM.
        """
        group = self._process.pid
        if grace is not None and _signal_group(group, signal.SIGTERM):
            with anyio.move_on_after(grace):
                await self.wait()
                while group_lives(group):  # noqa: ASYNC110 (the end of a grandchild raises no event)
                    await anyio.sleep(POLL)
        _signal_group(group, signal.SIGKILL)
        await self.wait()


def _signal_group(group: int, number: int) -> bool:
    """Send a signal to every process of a group; return whether there was one."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
        return True
    return False


def group_lives(group: int) -> bool:
    """Return whether a process of the group still runs.

    One that has ended but was not reaped does not count: orphans are reaped by process 1, and in many a container that
    does it late or never.
    """
    if not _signal_group(group, 0):
        return False
    try:
        numbers = [name for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return True
    return any(_runs_in(group, number) for number in numbers)


def _runs_in(group: int, number: str) -> bool:
    with contextlib.suppress(OSError, ValueError, IndexError):
        # pid (name, which may hold spaces and parentheses) state ppid pgrp
        fields = Path(f"/proc/{number}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return int(fields[2]) == group and fields[0] not in "ZX"
    return False
