"""``lifecycle serve`` in a process of its own, whose log tests read as it comes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..scheduler.tools import wait_until

HANDLERS = """
import anyio
from pathlib import Path
from lifecycle.scheduler import handler

@handler("log.tick")
async def tick(name, until="", *, context) -> str:
    number = 0
    while not (until and Path(until).exists()):
        number += 1
        context.log(f"{name} ticks {number}")
        await anyio.sleep(0.05)
    return name
"""


class Service:
    """``lifecycle serve --log-json`` in a process of its own, whose log is read as it comes."""

    def __init__(self, directory: Path, *arguments: str, before: str = ":") -> None:
        command = ["sh", "-c", f'{before}; exec "$@"', "sh"]
        command += [sys.executable, "-m", "lifecycle", "serve", "--db", "jobs.db", "--handlers", "handlers.py"]
        command += ["--control", "127.0.0.1:0", "--log-json", *arguments]
        (directory / "handlers.py").write_text(HANDLERS)
        environment = {**os.environ, "PYTHONWARNINGS": ""}
        self.process = subprocess.Popen(command, cwd=directory, stderr=subprocess.PIPE, text=True, env=environment)
        self.log: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(json.loads(line))

    def messages(self, text: str) -> list[str]:
        """Return what was logged that has a text in it."""
        return [record["message"] for record in self.log if text in record["message"]]

    def logged(self, text: str) -> str:
        """Wait until something is logged that has a text in it, and return it."""
        wait_until(lambda: bool(self.messages(text)) or not self._reader.is_alive())
        found = self.messages(text)
        assert found, f"it ended and never logged {text!r}: {self.log}"
        return found[0]

    @property
    def port(self) -> int:
        """Where its control server listens."""
        return int(self.logged("control server").rpartition(" ")[2])

    def ended(self) -> int:
        """Wait for its end, and return its exit code."""
        code = self.process.wait(60)
        self._reader.join(60)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code


@contextmanager
def serving(directory: Path, *arguments: str, before: str = ":") -> Iterator[Service]:
    """Run a service, with a line of shell *before* it, and kill what a failed test has left of it."""
    service = Service(directory, *arguments, before=before)
    try:
        yield service
    finally:
        service.process.kill()
        service.ended()
