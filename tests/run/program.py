"""A program under `run`, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

LOOPS = pytest.mark.parametrize("use_uvloop", [False, True], ids=["asyncio", "uvloop"])


class Program:
    """A real process that runs a program, and what it has said."""

    def __init__(self, *parts: str, before: Sequence[str] = ()) -> None:
        head = """
            import asyncio, os, signal, sys, time, threading
            import anyio, anyio.to_thread
            from lifecycle import Scope, TaskManager, create_background_task, run

            def say(*words):
                print(*words, flush=True)
        """
        source = "".join(map(textwrap.dedent, (head, *parts)))
        command = [*before, sys.executable, "-X", "dev", "-c", source]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def wait_for(self, line: str) -> None:
        """Wait until the program has said so."""
        assert self.process.stdout is not None
        for said in self.process.stdout:
            if said.strip() == line:
                return
        raise AssertionError(f"never said {line!r}: {self.process.communicate()[1]}")

    def signal(self, number: int) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def end(self) -> tuple[int, list[str], str]:
        """Return the exit code, what it said after the last wait, and its errors."""
        output, errors = self.process.communicate(timeout=60)
        lines = errors.splitlines(keepends=True)
        # On a busy machine any step may be slow enough for asyncio to say so.
        told = "".join(line for line in lines if not line.startswith("Executing <"))
        return self.process.returncode, output.split("\n")[:-1], told


@contextmanager
def running(*parts: str, before: Sequence[str] = ()) -> Iterator[Program]:
    """Run a program, by the command *before* if there is one, and see to it that it is gone afterwards."""
    program = Program(*parts, before=before)
    try:
        yield program
    finally:
        program.process.kill()
        program.process.communicate()
