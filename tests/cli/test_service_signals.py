"""The signals of a service that do not end it, and the files that it reads again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import anyio
import pytest
import redis

from lifecycle import TaskManager
from lifecycle.cli import _signals
from lifecycle.cli._flow_files import FlowFiles
from lifecycle.cli._signals import ServiceSignals
from lifecycle.cli._state import owners_and_tasks, threads

from ..scheduler.tools import wait_until
from .service import Service, serving

FLOW = "name = 'work'\n[blocks.{job}]\n{what}\n"


def runs(client: redis.Redis, service: Service, job: str) -> None:
    """Run the flow, and wait until its job of this name has succeeded."""
    client.execute_command("LC.ENQUEUE", "work")
    service.logged(f"{job}: succeeded")


@pytest.mark.slow
def test_a_hangup_reads_the_flows_again_and_no_signal_ends_the_service(tmp_path: Path) -> None:
    """A run that has begun goes on with its flow, a broken file keeps the one it had; also while it drains."""
    file = tmp_path / "work.toml"
    file.write_text(FLOW.format(job="old", what="shell = 'until [ -e go ]; do sleep 0.05; done'"))
    with serving(tmp_path, "work.toml", "--drain-timeout", "30") as service:
        with redis.Redis(port=service.port, decode_responses=True) as client:
            client.execute_command("LC.ENQUEUE", "work")
            service.logged("old: started")
            file.write_text(FLOW.format(job="new", what="sleep = 0"))
            service.process.send_signal(signal.SIGHUP)
            service.logged("flows read again")
            runs(client, service, "new")
            file.write_text("name = 'work\n")
            service.process.send_signal(signal.SIGHUP)
            service.logged("flow not read again")
            assert next(record["problem"] for record in service.log if "problem" in record).startswith("work.toml")
            runs(client, service, "new")
            service.process.send_signal(signal.SIGPIPE)
            service.process.send_signal(signal.SIGUSR1)
            service.logged("state of the process")
            state = next(record["state"] for record in service.log if "state" in record)
            for part in ("owners:", "jobs of lifecycle serve", "tasks:", "threads:", "MainThread"):
                assert part in state
            service.process.terminate()
            service.logged("draining")
            for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGPIPE):
                service.process.send_signal(number)
            wait_until(lambda: len(service.messages("state of the process")) == 2)
        (tmp_path / "go").touch()
        assert service.ended() == 0
        service.logged("old: succeeded")


def test_the_state_is_told_while_the_loop_is_blocked(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without owners and tasks, but with the line that blocks it."""
    monkeypatch.setattr(_signals, "PATIENCE", 0.05)
    caplog.set_level("INFO")

    async def nothing() -> None:
        pass

    async def main() -> None:
        async with TaskManager("mine", drain_timeout=0.0) as manager:
            manager.start_soon(signals.on_hang_up, nothing)
            await anyio.sleep(0)
            os.kill(os.getpid(), signal.SIGUSR1)
            wait_until(lambda: bool(caplog.records))

    with ServiceSignals() as signals:
        asyncio.run(main())
    (record,) = caplog.records
    state = record.state  # type: ignore[attr-defined]
    assert "does not turn" in state
    assert "in main" in state  # where it waits, or still sends the signal


def test_a_hangup_before_the_loop_counts_and_many_are_one() -> None:
    """And the handlers of before are there again afterwards."""
    before = signal.getsignal(signal.SIGHUP)
    times: list[float] = []

    async def again() -> None:
        times.append(anyio.current_time())
        await anyio.sleep(0.1)

    async def main() -> None:
        async with TaskManager("mine", drain_timeout=0.0) as manager:
            manager.start_soon(signals.on_hang_up, again)
            await anyio.sleep(0.05)
            assert len(times) == 1
            for _ in range(5):
                os.kill(os.getpid(), signal.SIGHUP)
            await anyio.sleep(0.4)
            assert len(times) == 2

    with ServiceSignals() as signals:
        os.kill(os.getpid(), signal.SIGHUP)
        asyncio.run(main())
    assert signal.getsignal(signal.SIGHUP) == before


def test_in_another_thread_the_signals_are_left_alone() -> None:
    """Where no handler can be set."""
    before = signal.getsignal(signal.SIGHUP)
    seen: list[object] = []

    def run() -> None:
        with ServiceSignals():
            seen.append(signal.getsignal(signal.SIGHUP))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before]


@pytest.mark.asyncio
async def test_the_state_names_owners_and_where_tasks_wait() -> None:
    """Down to the innermost coroutine, generators included."""

    async def items() -> object:
        await anyio.sleep(60)
        yield 1

    async def inner() -> None:
        async for _ in items():  # type: ignore[attr-defined]
            pass

    async with TaskManager("state's own", drain_timeout=0.0) as manager:
        manager.start_soon(inner, name="deep")
        await anyio.sleep(0.01)
        state = owners_and_tasks()
    assert "state's own" in state
    chain = state[state.index("  deep\n") :]
    assert "in inner" in chain
    assert "in items" in chain
    assert "in sleep" in chain
    assert "MainThread" in threads()


def test_a_file_that_is_not_right_keeps_its_flow_and_its_name(tmp_path: Path) -> None:
    """Nobody else can take the name of a flow that is served, and one that is right again is read again."""
    one, two = tmp_path / "one.toml", tmp_path / "two.toml"
    for path, name in ((one, "a"), (two, "b")):
        path.write_text(f"name = '{name}'\n[blocks.x]\nsleep = 0\n")
    files, problems = FlowFiles((one, two)).read()
    assert not problems
    one.write_text("name = ")
    two.write_text("name = 'a'\n[blocks.y]\nsleep = 0\n")
    later, problems = files.read()
    assert [flow.name for flow in later.served] == ["a", "b"]
    assert later.served == files.served
    assert len(problems) == 2
    assert "another flow 'a'" in problems[1]
    one.write_text("name = 'b'\n[blocks.z]\nsleep = 0\n")
    last, problems = later.read()
    assert not problems
    assert [flow.name for flow in last.served] == ["b", "a"]
    two.unlink()
    gone, problems = last.read()
    assert [flow.name for flow in gone.served] == ["b", "a"]
    assert "two.toml" in problems[0]


FORKS = """
import os, time
from pathlib import Path
from lifecycle.scheduler import handler

@handler("signals.fork")
def fork(directory):
    if not (child := os.fork()):
        os.close(2)
        Path(directory, "child").write_text(str(os.getpid()))
        while not Path(directory, "go").exists():
            time.sleep(0.05)
        os._exit(0)
    return child
"""


@pytest.mark.slow
def test_a_forked_child_keeps_neither_ports_nor_connections(tmp_path: Path) -> None:
    """When the service is gone its clients know, and another one has its ports."""
    (tmp_path / "forks.py").write_text(FORKS)
    flow = f"name = 'work'\nhandlers = 'forks.py'\n[blocks.a]\ncall = 'signals.fork'\nargs = ['{tmp_path}']\n"
    (tmp_path / "work.toml").write_text(flow)
    try:
        with serving(tmp_path, "work.toml", "--web", "127.0.0.1:0") as service:
            web = int(service.logged("web page").rpartition(":")[2].rstrip("/"))
            control = service.port
            with socket.create_connection(("127.0.0.1", control), timeout=10) as connection:
                connection.sendall(b"LC.ENQUEUE work\r\n")
                assert b"run" in connection.recv(1_000)
                wait_until((tmp_path / "child").exists)
                service.process.kill()
                with contextlib.suppress(ConnectionResetError):
                    assert connection.recv(1) == b""
        for port in (control, web):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), timeout=10)
            socket.create_server(("127.0.0.1", port)).close()
    finally:
        (tmp_path / "go").touch()


@pytest.mark.parametrize(("command", "name"), [("serve", "SIGHUP"), ("serve", "SIGUSR1"), ("worker", "SIGHUP")])
def test_neither_ends_a_service_that_is_being_started_or_has_ended(command: str, name: str) -> None:
    """Before the command line is imported, and when its block is over; both ended the process."""
    program = f"""
import atexit, importlib.abc, os, signal, sys
import lifecycle.__main__

def send():
    sent.append(os.kill(os.getpid(), signal.{name}))

class Early(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname, path, target=None):
        if fullname == "lifecycle.cli":
            send()

sent = []
sys.meta_path.insert(0, Early())
atexit.register(send)
sys.argv = ["lifecycle", "{command}", "--help"]
try:
    lifecycle.__main__.main()
finally:
    print(len(sent), "sent")
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.endswith("1 sent\n")
