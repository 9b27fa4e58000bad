"""Shell commands: a process group, its pipes and its readers, owned by one scope and gone when it closes.

The pipes are our own and not asyncio's, because asyncio's ``process.wait()`` waits for the pipes to close, and a
grandchild that inherited them keeps them open for as long as it likes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import Process

from .._ground.errors import ShellFailed
from .._ground.limits import SHELL_BYTES
from .._ground.text import quote, shorten
from .output import HeadTail

if TYPE_CHECKING:
    from lifecycle import Scope

    from .frame import Frame

LINGER = 0.25
"""Seconds that the pipes may stay open after the command has ended, for what is still in them."""

POLL = 0.02
"""Seconds between two looks at whether a group has ended."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command and how to run it.

    Attributes:
        argv: a list of arguments, or a line for ``/bin/sh -c``.
        env: variables added to the environment.
        cwd: the directory to run in.
        grace: seconds between SIGTERM and SIGKILL.
        ok: the exit codes that count as success.
        path: the block's path.
    """

    argv: list[str] | str
    env: Mapping[str, str]
    cwd: Path
    grace: float
    ok: tuple[int, ...]
    path: str


async def run_command(frame: Frame, command: Command) -> dict[str, Any]:
    """Run a command and return its ``stdout``, ``stderr``, ``returncode`` and how many bytes were ``dropped``.

    Processes that it leaves in its group are ended with it.

    Cancellation: the group gets SIGTERM, after ``grace`` seconds SIGKILL; it is reaped before this returns.

    Raises:
        ShellFailed: the exit code does not count as success.
        OSError: it could not be started.
    """
    secrets = frame.context.secrets.forms
    stdout, stderr = HeadTail(SHELL_BYTES, secrets), HeadTail(SHELL_BYTES, secrets)
    # The scope must have time for SIGTERM, the grace and SIGKILL.
    async with frame.scope.child(f"shell of {command.path}") as scope:
        scope.close_timeout = max(scope.close_timeout, command.grace + 10.0)
        # The readers stand below the process in the ledger: they empty the pipes until the last process is gone.
        pipes = [_open_pipe(scope) for _ in range(2)]
        readers = [
            scope.start_soon(_collect, pipe, buffer, name=f"reader of {command.path}")
            for (pipe, _), buffer in zip(pipes, (stdout, stderr), strict=True)
        ]
        ends = [write.fd for _, write in pipes]
        release = partial(_end_group, grace=command.grace)
        process: Process = await scope.acquire(_start, command, ends, release=release, name="process group")
        for _, write in pipes:
            write.close()
        returncode = await process.wait()
        with anyio.move_on_after(LINGER):
            for reader in readers:
                await reader.wait()
    stdout.finish()
    stderr.finish()
    output = {"stdout": stdout.text(), "stderr": stderr.text(), "returncode": returncode}
    if returncode not in command.ok:
        raise _failure(command, returncode, stderr)
    return {**output, "dropped": stdout.dropped + stderr.dropped}


class _Descriptor:
    """A file descriptor that is closed once."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def close(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def _open_pipe(scope: Scope) -> tuple[_Descriptor, _Descriptor]:
    read, write = (_Descriptor(fd) for fd in os.pipe())
    scope.callback(read.close)
    scope.callback(write.close)
    os.set_blocking(read.fd, False)
    return read, write


async def _collect(pipe: _Descriptor, buffer: HeadTail) -> None:
    while True:
        await anyio.wait_readable(pipe.fd)
        try:
            chunk = os.read(pipe.fd, 65_536)
        except BlockingIOError:
            continue
        if not chunk:
            return
        buffer.add(chunk)


async def _start(command: Command, ends: list[int]) -> Process:
    stdout, stderr = ends
    return await anyio.open_process(
        command.argv,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        cwd=command.cwd,
        env={**os.environ, **command.env},
        start_new_session=True,
    )


async def _end_group(process: Process, *, grace: float) -> None:
    """End whatever is left of the process group, and reap the process."""
    if _signal_group(process.pid, signal.SIGTERM):
        with anyio.move_on_after(grace):
            await process.wait()
            while group_lives(process.pid):  # noqa: ASYNC110 (the end of a grandchild raises no event)
                await anyio.sleep(POLL)
        _signal_group(process.pid, signal.SIGKILL)
    await process.wait()


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


def _failure(command: Command, returncode: int, stderr: HeadTail) -> ShellFailed:
    said = stderr.tail(400).strip()
    if returncode < 0:
        ended = f"was ended by signal {_signal_name(-returncode)}"
    else:
        ended = f"ended with exit code {returncode}"
    line = command.argv if isinstance(command.argv, str) else " ".join(command.argv)
    message = f"command {quote(shorten(line, 80), 80)} {ended}{f': {said}' if said else ''}"
    return ShellFailed(message, returncode=returncode, stderr=stderr.tail(4_000))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
