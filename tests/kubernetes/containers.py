"""Containers that run: a process of this machine, or a script that only says what a process would have done."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .keeper import Keeper, kill_marked
from .logs import Log
from .statuses import now

SCRIPT = "script/"
"""How an image begins whose containers are scripts: words joined by ``+``, done in order.

``ok``, ``exit-3``, ``signal-9``, ``oom``: how it ends, with success when nothing is said. ``sleep-1.5``: it takes
that many seconds. ``lines-100``: it writes ``line 1`` and so on. ``say-TEXT``: its termination message. ``deaf``: it
does not end when it is told to, only when it is killed.
"""

OUT_OF_MEMORY = "oom/"
"""How an image begins whose containers are told to have used too much memory, however they end."""


class CannotStart(Exception):
    """The command cannot be run."""


@dataclass(frozen=True)
class Exit:
    """How a container has ended: its code, 128 and the number of the signal for a signal, and the reason in a word."""

    code: int
    reason: str
    started: str
    finished: str

    @classmethod
    def of(cls, code: int, started: str, *, out_of_memory: bool = False) -> Exit:
        """Return the end of now; a code below zero is a signal."""
        if out_of_memory:
            return cls(137, "OOMKilled", started, now())
        code = 128 - code if code < 0 else code
        return cls(code, "Completed" if code == 0 else "Error", started, now())


class Process:
    """A process in a group of its own, and what it writes.

    Args:
        command: what is run.
        environment: all of its variables.
        directory: where it starts.
        log: what takes what it writes.
        keeper: who ends it if we do not.
        out_of_memory: whether its end is told as one by the kernel.
    """

    #: Names the container in the environment of all its processes: a pod has no other boundary here.
    MARK = "CONTAINER_MARK"

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        directory: Path,
        log: Log,
        keeper: Keeper,
        *,
        out_of_memory: bool = False,
    ) -> None:
        self._command, self._directory, self._log, self._keeper = command, directory, log, keeper
        # Those of one kubelet begin alike.
        self._mark = environment.get(self.MARK, "") + os.urandom(16).hex()
        self._environment = {**environment, self.MARK: self._mark}
        self._out_of_memory = out_of_memory
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self.started = ""

    async def start(self) -> None:
        """Start it.

        Raises:
            CannotStart: there is no such program, or it is none.
        """
        # A pipe of our own: with asyncio's, before Python 3.12 nobody hears of the end while somebody else holds it.
        ours, theirs = os.pipe()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                env=self._environment,
                cwd=self._directory,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=theirs,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            os.close(ours)
            raise CannotStart(str(error)) from None
        finally:
            os.close(theirs)
        self.started = now()
        self._keeper.tell(mind=self._process.pid)
        self._reading = asyncio.create_task(self._read(ours))

    async def wait(self) -> Exit:
        """Return how its first process has ended; then nothing of it runs, and its log is whole."""
        assert self._process is not None
        assert self._reading is not None
        code = await self._process.wait()
        # More than one look: the environment of a process that is just becoming another program cannot be read.
        while self._kill_all() or not self._reading.done():
            await asyncio.wait([self._reading], timeout=0.02)
        self._keeper.tell(forget=self._process.pid)
        return Exit.of(code, self.started, out_of_memory=self._out_of_memory)

    def ask_to_end(self) -> None:
        """Send SIGTERM to its first process, and to no other, as a container runtime does."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to its first process; the others go with it."""
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        # Not its own `send_signal`, which reaps one that has just ended: then asyncio knows no code of it but 255.
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    async def _read(self, pipe: int) -> None:
        """Take what is written, until nobody can write any more."""
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        with os.fdopen(pipe, "rb", buffering=0) as file:
            transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
            try:
                while data := await reader.read(64 * 1024):
                    self._log.write(data)
            finally:
                transport.close()
        self._log.end()

    def _kill_all(self) -> int:
        """Kill those that its first process has left, in whatever session, and return how many were found.

        Its end is that of the container.
        """
        assert self._process is not None
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        return kill_marked(f"{self.MARK}={self._mark}".encode())


class Script:
    """A container without a process, so that there can be thousands.

    Args:
        image: the words of its script.
        log: what takes what it writes.
    """

    def __init__(self, image: str, log: Log) -> None:
        self._words = image.removeprefix(SCRIPT).split("+")
        self._log = log
        self._told: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.message = ""
        self.started = ""

    @property
    def takes_time(self) -> bool:
        """Whether it sleeps: else it is over before anybody has seen that it runs."""
        return any(word.startswith("sleep-") for word in self._words)

    async def start(self) -> None:
        """Start it."""
        self.started = now()

    async def wait(self) -> Exit:
        """Return how it has ended."""
        code, out_of_memory = 0, False
        for word in self._words:
            name, _, rest = word.partition("-")
            if name == "exit":
                code = int(rest)
            elif name == "signal":
                code = -int(rest)
            elif name == "oom":
                out_of_memory = True
            elif name == "say":
                self.message = rest[-4096:]
            elif name == "lines":
                self._log.write(b"".join(b"line %d\n" % (number + 1) for number in range(int(rest))))
            elif name == "sleep":
                told, _ = await asyncio.wait([self._told], timeout=float(rest))
                if told:
                    code, out_of_memory = self._told.result(), False
                    break
            elif name not in ("ok", "deaf"):
                self._log.write(f"no such word in a script: {word}\n".encode())
                code = 127
        self._log.end()
        return Exit.of(code, self.started, out_of_memory=out_of_memory)

    def ask_to_end(self) -> None:
        """End it as SIGTERM does, unless it is deaf."""
        if "deaf" not in self._words:
            self._end(-signal.SIGTERM)

    def kill(self) -> None:
        """End it as SIGKILL does."""
        self._end(-signal.SIGKILL)

    def _end(self, code: int) -> None:
        if not self._told.done():
            self._told.set_result(code)


Container = Process | Script


async def stop(container: Container, grace: float, ended: asyncio.Future[Exit] | asyncio.Task[Exit]) -> None:
    """Ask a container to end, and kill it when it has not after so many seconds; return when it has."""
    container.ask_to_end()
    _, late = await asyncio.wait([ended], timeout=grace)
    if late:
        container.kill()
        await asyncio.wait([ended])


def reference_is_valid(image: str) -> bool:
    """Return whether it can be the name of an image at all."""
    part = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
    host = r"(?:[A-Za-z0-9.-]+(?::\d+)?/)?"
    return (
        re.fullmatch(rf"{host}{part}(?:/{part})*(?::[\w][\w.-]{{0,127}})?(?:@[\w+.-]+:[0-9a-fA-F]+)?", image)
        is not None
    )
