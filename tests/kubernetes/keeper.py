"""Keep processes for as long as whoever started this program is there, then leave nothing of them.

The kernel closes the connection of whoever ends, in whatever way it ends: a test run that is killed, also with a signal
that nobody can catch, leaves no process. This program has a session of its own, so that neither Ctrl-C nor a signal to
the group of a test run comes to it before the run is over.

Each line that comes is an order in JSON, and is answered with a line when it is done:

- ``{"run": NAME, "command": [...], "log": PATH}`` starts a process that is called NAME; its answer is its id.
- ``{"kill": NAME}`` ends it with SIGKILL, and waits until it is gone.
- ``{"send": NAME, "signal": NUMBER}`` sends a signal to it.
- ``{"look": NAME}`` answers its exit code, null while it runs.

Without an answer, so that they cost nothing:

- ``{"mind": PID}`` tells of a process group that somebody else has started, and that ends with us.
- ``{"forget": PID}`` takes that back.
- ``{"mark": TEXT}`` tells what all processes that end with us have in their environment, whatever their group is.

Standard library only, and run without site packages: it starts in a moment.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from typing import Any


def kill_marked(mark: bytes) -> int:
    """Kill all processes that have that in their environment, and return how many there were.

    Look again: the environment of a process that is just becoming another program cannot be read.
    """
    found = 0
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                with open(f"/proc/{entry.name}/environ", "rb") as environ:
                    if mark not in environ.read():
                        continue
                os.kill(int(entry.name), signal.SIGKILL)
                found += 1
    return found


class Kept:
    """What is running."""

    def __init__(self) -> None:
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.groups: set[int] = set()
        self.marks: set[bytes] = set()

    def obey(self, order: dict[str, Any]) -> object:
        """Do what is asked for, and return the answer."""
        match order:
            case {"run": name, "command": command, "log": path}:
                with open(path, "ab") as log:
                    self.processes[name] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
                return self.processes[name].pid
            case {"kill": name}:
                if (process := self.processes.pop(name, None)) is not None:
                    process.kill()
                    process.wait()
            case {"send": name, "signal": number}:
                self.processes[name].send_signal(number)
            case {"look": name}:
                return self.processes[name].poll()
            case {"mind": pid}:
                self.groups.add(pid)
            case {"forget": pid}:
                self.groups.discard(pid)
            case {"mark": text}:
                self.marks.add(text.encode())
        return None

    def end(self) -> None:
        """Kill all of it."""
        for pid in self.groups:
            with contextlib.suppress(OSError):
                os.killpg(pid, signal.SIGKILL)
        for name in reversed(self.processes):  # those who write before those who keep what is written
            self.processes[name].kill()
        for process in self.processes.values():
            process.wait()
        self.groups.clear()
        self.processes.clear()
        while sum(map(kill_marked, self.marks)):  # one that starts others meanwhile is seen with them
            time.sleep(0.01)
        self.marks.clear()


def serve(orders: socket.socket) -> None:
    """Obey until the other side is gone."""
    kept = Kept()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        with orders, orders.makefile("rb") as lines, contextlib.suppress(OSError):
            for line in lines:
                order = json.loads(line)
                answer = kept.obey(order)
                if not order.keys() & {"mind", "forget", "mark"}:
                    orders.sendall(json.dumps(answer).encode() + b"\n")
            kept.end()  # before our side is closed: that says that it is done
    finally:
        kept.end()


def main() -> None:
    """Become a process of its own; the first argument is the descriptor of the socket that orders come from."""
    orders = socket.socket(fileno=int(sys.argv[1]))
    if os.fork():
        os._exit(0)
    os.setsid()
    serve(orders)


class Keeper:
    """Our side of it.

    It is used by one thread at a time. No child inherits its descriptor across an exec; one that is only forked keeps
    what is kept alive.
    """

    def __init__(self) -> None:
        self._orders, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-I", "-S", __file__, str(theirs.fileno())]
            subprocess.run(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, check=True)
        self._answers = self._orders.makefile("rb")

    def ask(self, **order: object) -> Any:
        """Give an order, and return the answer."""
        self.tell(**order)
        if not (answer := self._answers.readline()):
            raise ConnectionError(f"the keeper has ended over {order}")
        return json.loads(answer)

    def tell(self, **order: object) -> None:
        """Give an order that is not answered."""
        self._orders.sendall(json.dumps(order).encode() + b"\n")

    def close(self) -> None:
        """Let go; return when all is gone. Nothing happens the second time."""
        if self._answers.closed:
            return
        with self._orders, self._answers, contextlib.suppress(OSError):
            self._orders.shutdown(socket.SHUT_WR)
            self._answers.read()


if __name__ == "__main__":
    main()
