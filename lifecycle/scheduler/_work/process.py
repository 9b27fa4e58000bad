"""Shell commands: a process group, its pipes and its readers, owned by one scope and gone when it closes."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from .._ground.errors import ShellFailed
from .._ground.limits import SHELL_BYTES
from .._ground.text import quote, shorten
from .group import Pipe, ProcessGroup
from .output import HeadTail

if TYPE_CHECKING:
    from .frame import Frame

LINGER = 0.25
"""Seconds that the pipes may stay open after the command has ended, for what is still in them."""


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
        out, err = [await scope.acquire(Pipe, name="pipe") for _ in range(2)]
        readers = [
            scope.start_soon(pipe.read, buffer.add, name=f"reader of {command.path}")
            for pipe, buffer in zip((out, err), (stdout, stderr), strict=True)
        ]
        env = {**os.environ, **command.env}
        group = await scope.acquire(
            ProcessGroup,
            command.argv,
            out,
            err,
            env,
            command.cwd,
            release=lambda group: group.end(command.grace),
            name="process group",
        )
        returncode = await group.wait()
        with anyio.move_on_after(LINGER):
            for reader in readers:
                await reader.wait()
    stdout.finish()
    stderr.finish()
    output = {"stdout": stdout.text(), "stderr": stderr.text(), "returncode": returncode}
    if returncode not in command.ok:
        raise _failure(command, returncode, stderr)
    return {**output, "dropped": stdout.dropped + stderr.dropped}


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
