"""The control server: what clients ask, what they may, and how they are let go."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import shutil
import socket
import subprocess
import sys
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio
import redis.asyncio.retry
import redis.backoff

from lifecycle import TaskGroup, take_snapshot
from lifecycle.scheduler import Scheduler
from lifecycle.scheduler import control as control_face
from lifecycle.scheduler._work.handlers import make_handler, registered_handlers
from lifecycle.scheduler.control import ControlServer, Limits
from lifecycle.scheduler.control._commands import CommandSpec
from lifecycle.scheduler.control._table import COMMANDS
from lifecycle.testing import Bubble, explore_cancellation, no_busy_loop

from ...loops import virtual
from ..tools import flow_of


async def nap(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


@pytest.fixture(autouse=True)
def _handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    table = registered_handlers()
    monkeypatch.setattr(table, "_handlers", {**table._handlers, "nap": make_handler(nap, "nap")})


class Client:
    """Speaks RESP in the plainest way."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, *words: str | bytes) -> Any:
        self.say(*words)
        return await self.answer()

    def say(self, *words: str | bytes) -> None:
        data = [word.encode() if isinstance(word, str) else word for word in words]
        self.writer.write(b"*%d\r\n" % len(data) + b"".join(b"$%d\r\n%b\r\n" % (len(one), one) for one in data))

    async def answer(self) -> Any:
        line = (await self.reader.readuntil(b"\r\n"))[:-2]
        kind, rest = line[:1], line[1:].decode()
        if kind in (b"+", b"-"):
            return line.decode()
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == "-1" else (await self.reader.readexactly(int(rest) + 2))[:-2].decode()
        if kind == b"%":
            return {await self.answer(): await self.answer() for _ in range(int(rest))}
        if kind in (b"*", b">"):
            return [await self.answer() for _ in range(int(rest))]
        return {b"_": None, b"#": rest == "t", b",": rest}[kind]

    async def close(self) -> None:
        self.writer.transport.abort()
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def served(**settings: Any) -> AsyncIterator[tuple[ControlServer, Scheduler]]:
    async with (
        Scheduler(workers=2, drain_timeout=1) as scheduler,
        ControlServer(scheduler, host="localhost", port=6480, **settings) as control,
    ):
        yield control, scheduler


async def client() -> Client:
    return Client(*await asyncio.open_connection("localhost", 6480))


# Connection commands


@virtual
async def test_what_every_client_says_first(bubble: Bubble) -> None:
    """Both versions of the protocol, names, and what is asked about the server."""
    async with served():
        one = await client()
        assert await one.ask("PING") == "+PONG"
        assert await one.ask("ping", "hello") == "hello"
        assert await one.ask("ECHO", b"a\r\nb") == "a\r\nb"
        assert await one.ask("SELECT", "0") == "+OK"
        assert (await one.ask("SELECT", "1")).startswith("-ERR DB index")
        assert (await one.ask("HELLO", "4")).startswith("-NOPROTO")
        assert (await one.ask("HELLO", "3", "SETNAME", "me"))["proto"] == 3
        assert (await one.ask("HELLO"))["proto"] == 3
        assert await one.ask("CLIENT", "GETNAME") == "me"
        assert await one.ask("CLIENT", "SETINFO", "LIB-NAME", "test") == "+OK"
        assert await one.ask("CLIENT", "ID") == 1
        assert "id=1 addr=10.0.0.1:49152 name=me" in await one.ask("CLIENT", "LIST")
        assert await one.ask("CONFIG", "GET", "save", "append*") == {"appendonly": "no", "save": ""}
        assert "# Scheduler\r\nname:scheduler\r\nworkers:2" in await one.ask("INFO")
        assert (await one.ask("INFO", "clients")).startswith("# Clients")
        assert await one.ask("COMMAND", "COUNT") == len(COMMANDS)
        assert (await one.ask("COMMAND", "DOCS", "lc.list"))["lc.list"]["summary"].startswith("LC.LIST [STATUS")
        assert ["ping", -1, ["loading"], 0, 0, 0] in await one.ask("COMMAND")
        assert await one.ask("COMMAND", "LIST") == sorted(name.decode().lower() for name in COMMANDS)
        await one.close()


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (["NO.SUCH"], "-ERR unknown command 'NO.SUCH'"),
        (["ECHO"], "-ERR wrong number of arguments for 'echo' command"),
        (["PING", "a", "b"], "-ERR wrong number of arguments for 'ping' command"),
        (["AUTH", "x"], "-ERR AUTH called without any password"),
        (["HELLO", "3", "WHAT"], "-ERR Syntax error in HELLO"),
        (["HELLO", "3", "SETNAME", "a b"], "-ERR Client names cannot contain"),
        (["CLIENT", "PAUSE"], "-ERR unknown subcommand 'PAUSE'"),
        (["CLIENT", "SETINFO", "X", "y"], "-ERR expected CLIENT SETINFO"),
        (["CLIENT", "SETNAME"], "-ERR wrong number"),
        (["CLIENT", "KILL", "10.0.0.9:1"], "-ERR No such client"),
        (["CLIENT", "KILL", "A", "B", "C"], "-ERR expected CLIENT KILL"),
        (["CONFIG", "SET", "a"], "-ERR unknown subcommand"),
        (["COMMAND", "GETKEYS"], "-ERR unknown subcommand"),
        (["LC.ENQUEUE", "nothing"], "-ERR unknown handler 'nothing'"),
        (["LC.ENQUEUE", "nap", "ARGS", "{}"], "-ERR ARGS: expected a JSON array"),
        (["LC.ENQUEUE", "nap", "ARGS", "["], "-ERR ARGS: expected JSON"),
        (["LC.ENQUEUE", "nap", "ARGS", "[" * 100_000], "-ERR ARGS: expected JSON"),
        (["LC.ENQUEUE", "nap", "PRIORITY", "high"], "-ERR PRIORITY: expected a number, got 'high'"),
        (["LC.ENQUEUE", "nap", "PRIORITY"], "-ERR option PRIORITY has no value"),
        (["LC.ENQUEUE", "nap", "COLOUR", "red"], "-ERR unknown option 'COLOUR'; there are ARGS"),
        (["LC.ENQUEUE", "nap", "ARGS", "[1, 2]"], "-ERR arguments: handler 'nap'"),
        (["LC.ENQUEUE", "nap", "DELAY", "nan"], "-ERR delay"),
        (["LC.ENQUEUE", "nap", "PARAMS", "{}"], "-ERR there is no flow 'nap'"),
        (["LC.ENQUEUE", b"\xff"], "-ERR expected UTF-8"),
        (["LC.STATUS", "x"], "-ERR job: expected a number"),
        (["LC.STATUS", "9" * 5000], "-ERR job: expected a number"),
        (["LC.LIST", "STATUS", "lost"], "-ERR unknown status 'lost'; there are pending"),
        (["LC.LIST", "LIMIT", "0"], "-ERR LIMIT: expected 1 to 10,000"),
        (["LC.WATCH", "MAYBE"], "-ERR expected ON or OFF"),
        (["SUBSCRIBE", "news"], "-ERR there is one channel: lc.events"),
    ],
)
def test_what_is_not_right_is_told_and_the_connection_goes_on(words: list[str | bytes], refusal: str) -> None:
    """With an error that says what to do."""

    @virtual
    async def scenario(bubble: Bubble) -> None:
        async with served():
            one = await client()
            answer = await one.ask(*words)
            assert answer.startswith(refusal), answer
            assert await one.ask("PING") == "+PONG"
            await one.close()

    scenario()


@virtual
async def test_inline_commands_and_pipelines(bubble: Bubble) -> None:
    """Answered in order, also where one of them takes time."""
    async with served():
        one = await client()
        one.writer.write(b"PING\r\nECHO 'a b'\n")
        for number in range(100):
            one.say("LC.STATUS", "77") if number % 10 == 0 else one.say("ECHO", str(number))
        assert await one.answer() == "+PONG"
        assert await one.answer() == "a b"
        expected = [None if number % 10 == 0 else str(number) for number in range(100)]
        assert [await one.answer() for _ in range(100)] == expected
        await one.close()


@virtual
async def test_quit_answers_and_abort_does_not(bubble: Bubble) -> None:
    """Both close; what was pipelined behind is dropped."""
    async with served() as (control, _):
        for words, answer in ((["QUIT"], b"+OK\r\n"), (["ABORT"], b"")):
            one = await client()
            one.say(*words)
            one.say("PING")
            assert await one.reader.read() == answer
            await one.close()
        await asyncio.sleep(0.1)
        assert control.statistics().clients == 0


@virtual
async def test_a_protocol_error_is_answered_and_the_connection_closed(bubble: Bubble) -> None:
    """After the answers to what came before it."""
    async with served() as (control, _):
        one = await client()
        one.writer.write(b"PING\r\n*1\r\n$-5\r\nPING\r\n")
        assert await one.reader.read() == b"+PONG\r\n-ERR Protocol error: invalid bulk length\r\n"
        assert control.statistics().protocol_errors == 1
        await one.close()


@virtual
async def test_without_the_password_nothing_is_done(bubble: Bubble) -> None:
    """Not by AUTH with a wrong one, not by HELLO; QUIT is always allowed."""
    async with served(password="öpen") as (control, _):
        one = await client()
        assert (await one.ask("PING")).startswith("-NOAUTH")
        assert (await one.ask("LC.ENQUEUE", "nap", "ARGS", "[1]")).startswith("-NOAUTH")
        assert (await one.ask("HELLO", "3")).startswith("-NOAUTH")
        assert (await one.ask("AUTH", "wrong")).startswith("-WRONGPASS")
        assert (await one.ask("AUTH", "root", "öpen")).startswith("-WRONGPASS")
        assert (await one.ask("PING")).startswith("-NOAUTH")
        assert await one.ask("AUTH", "öpen") == "+OK"
        assert await one.ask("PING") == "+PONG"
        two = await client()
        assert (await two.ask("HELLO", "3", "AUTH", "default", "öpen"))["proto"] == 3
        three = await client()
        assert await three.ask("QUIT") == "+OK"
        assert control.statistics().refused == 2
        for each in (one, two, three):
            await each.close()


@virtual
async def test_strangers_do_not_fill_the_memory(bubble: Bubble) -> None:
    """Who has not given the password may send little; who has, as much as ever, on the same connection."""
    async with served(password="secret") as (control, _):
        for large in (b"$20000\r\n", b"x" * 20_000, b"$10000\r\n" + b"x" * 10_000 + b"\r\n$10000\r\n"):
            stranger = await client()
            stranger.writer.write((b"" if large[:1] == b"x" else b"*9\r\n") + large)
            assert (await stranger.reader.read()).startswith(b"-ERR Protocol error: ")
            await stranger.close()
        friend = await client()
        assert await friend.ask("AUTH", "secret") == "+OK"
        assert await friend.ask("ECHO", "x" * 20_000) == "x" * 20_000
        assert control.statistics().protocol_errors == 3
        await friend.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])
def test_it_listens_elsewhere_only_with_a_password(host: str) -> None:
    """Refused before anything begins."""
    with pytest.raises(ValueError, match="without a password"):
        ControlServer(Scheduler(), host=host)
    ControlServer(Scheduler(), host=host, password="secret")
    for own in ("127.0.0.1", "127.1.2.3", "::1", "localhost"):
        ControlServer(Scheduler(), host=own)
    with pytest.raises(ValueError, match="the password is empty"):
        ControlServer(Scheduler(), host=host, password="")
    with pytest.raises(TypeError, match="the password must be a string"):
        ControlServer(Scheduler(), host=host, password=3)  # type: ignore[arg-type]


def test_limits_are_numbers_above_zero() -> None:
    """Refused where they are given."""
    with pytest.raises(TypeError, match="bulk must be a number, got '1'"):
        Limits(bulk="1")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="output_timeout must be more than 0"):
        Limits(output_timeout=0)


def test_its_face_shows_public_names_only() -> None:
    """In tracebacks, and in completion."""
    assert dir(control_face) == ["ControlServer", "ControlStatistics", "Limits"]
    assert {getattr(control_face, name).__module__ for name in dir(control_face)} == {control_face.__name__}


@virtual
async def test_clients_can_be_cut_off(bubble: Bubble) -> None:
    """By number or address; who cuts off itself still gets its answer."""
    async with served() as (control, _):
        clients = [await client() for _ in range(4)]
        assert [await one.ask("CLIENT", "ID") for one in clients] == [1, 2, 3, 4]
        assert await clients[0].ask("CLIENT", "KILL", "ID", "2") == 1
        assert await clients[0].ask("CLIENT", "KILL", "10.0.0.1:49154") == "+OK"
        assert await clients[0].ask("CLIENT", "KILL", "ADDR", "10.0.0.1:49155") == 1
        assert await clients[0].ask("CLIENT", "KILL", "ID", "99") == 0
        assert await clients[0].ask("CLIENT", "KILL", "ID", "1") == 1
        for one in clients:
            with contextlib.suppress(ConnectionError):
                assert await one.reader.read() == b""
            await one.close()
        await asyncio.sleep(0.1)
        assert control.statistics().clients == 0


# Jobs


@virtual
async def test_jobs_are_put_in_told_of_and_cancelled(bubble: Bubble) -> None:
    """Queued and running ones."""
    async with served():
        one = await client()
        await one.ask("HELLO", "3")
        for number in range(1, 5):
            settings = ["ARGS", f"[{number * 100}]", "NAME", f"nap {number}", "PRIORITY", "3", "RETRIES", "2"]
            assert await one.ask("LC.ENQUEUE", "nap", *settings) == {"job": number}
        await asyncio.sleep(1)
        found = await one.ask("LC.STATUS", "1")
        assert (found["name"], found["status"], found["priority"], found["retries"]) == ("nap 1", "running", 3, 2)
        assert [job["id"] for job in await one.ask("LC.LIST")] == [1, 2, 3, 4]
        assert [job["id"] for job in await one.ask("LC.LIST", "STATUS", "pending")] == [3, 4]
        assert [job["id"] for job in await one.ask("LC.LIST", "LIMIT", "1")] == [4]
        assert await one.ask("LC.CANCEL", "3", "not now") == 1
        assert await one.ask("LC.CANCEL", "1") == 1
        assert await one.ask("LC.CANCEL", "99") == 0
        await asyncio.sleep(1)
        assert await one.ask("LC.STATUS", "1") is None
        status = await one.ask("LC.STATUS")
        assert (status["running"], status["ended"]["cancelled"]) == (2, 2)
        await one.close()


def test_a_durable_store_tells_of_what_has_ended(tmp_path: Path) -> None:
    """With its result."""

    async def main() -> None:
        async with Scheduler(tmp_path / "jobs.db") as scheduler, ControlServer(scheduler, port=0) as control:
            one = Client(*await asyncio.open_connection("127.0.0.1", control.port))
            await one.ask("HELLO", "3")
            assert await one.ask("LC.ENQUEUE", "nap", "ARGS", "[0.01]") == {"job": 1}
            async with asyncio.timeout(10):
                while (found := await one.ask("LC.STATUS", "1"))["status"] != "succeeded":
                    await asyncio.sleep(0.01)
            assert found["result"] == "0.01"
            assert [job["status"] for job in await one.ask("LC.LIST", "STATUS", "succeeded")] == ["succeeded"]
            await one.close()

    asyncio.run(main())


@virtual
async def test_a_flow_is_run_by_its_name(bubble: Bubble) -> None:
    """With its parameters; LC.LIST tells of the jobs of the run."""
    flow = flow_of("name = 'naps'\n[params.seconds]\ndefault = 5\n[blocks.first]\nsleep = '${params.seconds}'")
    async with served(flows=[flow]):
        one = await client()
        await one.ask("HELLO", "3")
        assert await one.ask("LC.ENQUEUE", "naps", "PARAMS", '{"seconds": 2}') == {"run": 1}
        assert (await one.ask("LC.ENQUEUE", "naps", "ARGS", "[]")).startswith("-ERR 'naps' is a flow")
        assert (await one.ask("LC.ENQUEUE", "naps", "PARAMS", '{"minutes": 2}')).startswith("-ERR")
        assert [job["name"] for job in await one.ask("LC.LIST", "RUN", "1")] == ["first"]
        await asyncio.sleep(5)
        await one.close()


@pytest.mark.parametrize("version", ["2", "3"])
def test_events_come_as_they_happen(version: str) -> None:
    """As pushes or as messages, until the client has had enough; an absent watcher costs nothing."""

    @virtual
    async def scenario(bubble: Bubble) -> None:
        async with served() as (control, _):
            watcher, other = await client(), await client()
            await watcher.ask("HELLO", version)
            assert await watcher.ask("LC.WATCH") == "+OK"
            assert await watcher.ask("LC.WATCH", "ON") == "+OK"
            assert control.statistics().watching == 1
            await other.ask("LC.ENQUEUE", "nap", "ARGS", "[1]")
            kinds = []
            for _ in range(2):
                kind, channel, payload = await watcher.answer()
                assert (kind, channel) == ("message", "lc.events")
                kinds.append(json.loads(payload)["event"])
            assert kinds == ["job_started", "job_finished"]
            assert await watcher.ask("LC.WATCH", "OFF") == "+OK"
            await other.ask("LC.ENQUEUE", "nap", "ARGS", "[1]")
            assert await watcher.ask("PING") == "+PONG"
            assert control.statistics().watching == 0
            await watcher.ask("LC.WATCH")
            await watcher.close()
            await asyncio.sleep(2)
            assert control.statistics().watching == 0
            await other.close()

    scenario()


# Slow readers, crashes, drains


@virtual
async def test_a_watcher_that_takes_nothing_is_cut_off(bubble: Bubble) -> None:
    """When too much waits for it; the others are told on."""
    async with served(limits=Limits(output=10_000)) as (control, scheduler):
        lazy, eager = await client(), await client()
        await lazy.ask("LC.WATCH")
        await eager.ask("LC.WATCH")
        lazy.writer.transport.pause_reading()  # type: ignore[attr-defined]
        events = 0

        async def count() -> None:
            nonlocal events
            while True:
                await eager.answer()
                events += 1

        counting = asyncio.create_task(count())
        jobs = [await scheduler.submit(nap, 0.001, name="x" * 150) for _ in range(400)]
        for job in jobs:
            await job.wait()
        await asyncio.sleep(1)
        assert control.statistics().slow == 1
        assert control.statistics().clients == 1
        assert events == 800
        counting.cancel()
        await asyncio.wait([counting])
        await lazy.close()
        await eager.close()


@virtual
async def test_a_watcher_that_waits_for_a_large_answer_is_not_cut_off(bubble: Bubble) -> None:
    """The answer does not count as events that wait."""
    async with served(limits=Limits(output=100_000)) as (control, scheduler):
        jobs = [await scheduler.submit(nap, 1_000, name="x" * 1_000) for _ in range(1_000)]
        watcher = await client()
        await watcher.ask("LC.WATCH")
        watcher.writer.transport.pause_reading()  # type: ignore[attr-defined]
        watcher.say("LC.LIST", "LIMIT", "1000")
        await asyncio.sleep(0.1)
        assert control.sessions()[0].stream.unsent > 100_000
        await jobs[-1].cancel()
        await asyncio.sleep(0.1)
        assert (control.statistics().slow, control.statistics().clients) == (0, 1)
        await watcher.close()


@virtual
async def test_few_bytes_that_ask_for_much_do_not_fill_the_memory(bubble: Bubble) -> None:
    """What has been answered goes out, and what is not taken holds up the rest; then all of it comes, in order."""
    async with served() as (control, _):
        greedy, other = await client(), await client()
        greedy.writer.transport.pause_reading()  # type: ignore[attr-defined]
        greedy.writer.write(b"".join(b"COMMAND\r\nECHO %d\r\n" % number for number in range(2_000)))
        for _ in range(20):
            await asyncio.sleep(0.1)
            assert control.sessions()[0].stream.unsent < 200_000
        assert await other.ask("PING") == "+PONG"
        greedy.writer.transport.resume_reading()  # type: ignore[attr-defined]
        for number in range(2_000):
            assert len(await greedy.answer()) > 10
            assert await greedy.answer() == str(number)
        await greedy.close()
        await other.close()


@pytest.mark.parametrize("command", [b"PING\r\n", b"LC.STATUS 99\r\n"])
@virtual
async def test_a_long_pipeline_leaves_others_their_turn(bubble: Bubble, command: bytes) -> None:
    """Also one of commands that might have to wait and do not."""
    async with served() as (control, _):
        greedy, other = await client(), await client()
        greedy.writer.write(command * 3_000)
        other.say("PING")
        assert await other.answer() == "+PONG"
        assert control.sessions()[0].commands < 2_000
        for _ in range(3_000):
            await greedy.answer()
        await greedy.close()
        await other.close()


@virtual
async def test_a_client_that_leaves_its_last_answers_is_no_error(bubble: Bubble) -> None:
    """Its connection is cut after a while, and nobody is told of a failure."""
    async with served() as (control, _):
        lazy = await client()
        lazy.writer.transport.pause_reading()  # type: ignore[attr-defined]
        while not control.sessions() or not control.sessions()[0].stream.unsent:
            lazy.say("ECHO", b"x" * 20_000)
            await asyncio.sleep(0.1)
        lazy.say("QUIT")
        await asyncio.sleep(20)
        counts = control.server.statistics()
        assert (counts.live, counts.finished, counts.failed) == (0, 1, 0)
        await lazy.close()


@virtual
async def test_a_closing_server_is_not_held_up_by_a_client_that_takes_nothing(bubble: Bubble) -> None:
    """Its connection is cut in time, and its handler is not left behind."""
    async with Scheduler() as scheduler:
        async with ControlServer(scheduler, host="localhost", port=6480, drain_timeout=1) as control:
            lazy = await client()
            lazy.writer.transport.pause_reading()  # type: ignore[attr-defined]
            for _ in range(10):
                lazy.say("ECHO", b"x" * 100_000)
            await asyncio.sleep(0.1)
            assert control.sessions()[0].stream.unsent
        assert asyncio.get_running_loop().time() < 10
        counts = control.server.statistics()
        assert (counts.live, counts.failed) == (0, 0)
        await lazy.close()


@virtual
async def test_what_clients_ask_for_is_not_kept(bubble: Bubble) -> None:
    """However many long patterns CONFIG GET gets."""
    async with served():
        one = await client()
        tracemalloc.start()
        try:
            for number in range(20):
                assert await one.ask("CONFIG", "GET", f"{number}" + "[ab]" * 10_000) == []
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert kept < 1_000_000
        assert await one.ask("CONFIG", "GET", "*only", "[z-a]", "[", "s?ve") == ["appendonly", "no", "save", ""]
        await one.close()


@virtual
async def test_a_client_that_does_not_take_its_answers_is_cut_off(bubble: Bubble) -> None:
    """After ``output_timeout``, with a bounded amount waiting for it until then."""
    async with served(limits=Limits(output_timeout=5)) as (control, _):
        lazy = await client()
        lazy.writer.transport.pause_reading()  # type: ignore[attr-defined]
        for _ in range(40):
            lazy.say("ECHO", b"x" * 100_000)
        await asyncio.sleep(4)
        assert control.statistics().clients == 1
        assert control.sessions()[0].stream.unsent < 1_000_000
        await asyncio.sleep(3)
        assert (control.statistics().slow, control.statistics().clients) == (1, 0)
        await lazy.close()


@virtual
async def test_a_defect_in_a_command_is_answered_logged_and_stays_there(bubble: Bubble) -> None:
    """As an internal error, without its text."""

    def crash(session: Any, words: list[bytes]) -> bytes:
        raise ZeroDivisionError("secret")

    COMMANDS[b"CRASH"] = CommandSpec("CRASH", crash, 0, 0, False, "")
    try:
        async with served():
            one = await client()
            assert await one.ask("CRASH") == "-ERR internal error: ZeroDivisionError; see the server's log"
            assert await one.ask("PING") == "+PONG"
            await one.close()
    finally:
        del COMMANDS[b"CRASH"]


async def say_and_leave(*lines: bytes, arrives: float = 0.0, stays: float = 0.0, rude: bool = False) -> None:
    await asyncio.sleep(arrives)
    with contextlib.suppress(ConnectionError):
        one = await client()
        try:
            one.writer.write(b"".join(line + b"\r\n" for line in lines))
            if not rude:
                await one.reader.read(10)
            await asyncio.sleep(stays)
        finally:
            one.writer.transport.abort()


async def clients_of_all_kinds(bubble: Bubble) -> None:
    """One watches, one asks and quits, one is rude and kills the first, one aborts; then all is closed."""
    async with (
        Scheduler(workers=1, drain_timeout=0.05) as scheduler,
        ControlServer(scheduler, host="localhost", port=6480, drain_timeout=0.02),
        TaskGroup() as group,
    ):
        enqueue = b"LC.ENQUEUE nap ARGS [0.01]"
        group.create_task(say_and_leave(b"LC.WATCH", stays=0.1))
        group.create_task(say_and_leave(b"PING", enqueue, b"LC.LIST", b"QUIT", b"PING", arrives=0.002))
        group.create_task(say_and_leave(enqueue, b"CLIENT KILL ID 1", b"LC.STATUS 1", arrives=0.004, rude=True))
        group.create_task(say_and_leave(b"LC.STATUS", b"ABORT", arrives=0.004))
        await asyncio.sleep(0.04)


@pytest.mark.parametrize("budget", [200, pytest.param(None, marks=pytest.mark.nightly)])
def test_nothing_stays_behind_whoever_is_struck_wherever(budget: int | None) -> None:
    """Every fault at points of every task: the server, its clients, the scheduler and whoever holds them."""
    logging.disable(logging.CRITICAL)  # what was injected is logged, as it should be
    try:
        explore_cancellation(clients_of_all_kinds, budget=budget, invariants=[no_busy_loop]).assert_clean()
    finally:
        logging.disable(logging.NOTSET)


@pytest.mark.usefixtures("no_strangers")
@virtual
async def test_a_closing_server_answers_what_it_has_read(bubble: Bubble) -> None:
    """Then the connections close, and nothing is left."""
    async with Scheduler() as scheduler:
        async with ControlServer(scheduler, host="localhost", port=6480) as control:
            one, idle = await client(), await client()
            for _ in range(10):
                one.say("ECHO", "hello")
            await one.answer()
        answers = [await one.answer() for _ in range(9)]
        assert answers == ["hello"] * 9
        assert await one.reader.read() == b""
        assert await idle.reader.read() == b""
        assert control.statistics().clients == 0
        await one.close()
        await idle.close()
        assert "control server" not in str(take_snapshot())


# Real clients


SCRIPT = """
import sys
import redis

with redis.Redis(port=int(sys.argv[1]), protocol=int(sys.argv[2]), decode_responses=True) as client:
    assert client.ping()
    assert client.echo("hello") == "hello"
    assert client.client_setname("script") and client.client_getname() == "script"
    assert any(one["name"] == "script" for one in client.client_list())
    assert client.info()["workers"] == 2
    assert client.config_get("save") == {"save": ""}
    job = client.execute_command("LC.ENQUEUE", "nap", "ARGS", "[0.01]")
    assert (job["job"] if isinstance(job, dict) else job[1]) == 1
    with client.pipeline(transaction=False) as pipe:
        for number in range(100):
            pipe.echo(str(number))
        assert pipe.execute() == [str(number) for number in range(100)]
    with client.pubsub() as events:
        events.subscribe("lc.events")
        assert events.get_message(timeout=5)["type"] == "subscribe"
        client.execute_command("LC.ENQUEUE", "nap", "ARGS", "[0.01]", "NAME", "watched")
        while "watched" not in events.get_message(timeout=5)["data"]:
            pass
    try:
        client.execute_command("NO.SUCH")
    except redis.ResponseError as error:
        print(error)
"""


async def run_program(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


@contextlib.asynccontextmanager
async def really_served(**settings: Any) -> AsyncIterator[ControlServer]:
    async with Scheduler(workers=2) as scheduler, ControlServer(scheduler, port=0, **settings) as control:
        yield control
        async with asyncio.timeout(10):
            while control.statistics().clients:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("version", ["2", "3"])
def test_redis_py(version: str) -> None:
    """The synchronous client, in a process of its own."""

    async def main() -> str:
        async with really_served() as control:
            return await run_program(sys.executable, "-c", SCRIPT, str(control.port), version)

    assert asyncio.run(main()) == "unknown command 'NO.SUCH'\n"


@pytest.mark.parametrize("version", [2, 3])
def test_redis_py_asyncio(version: int) -> None:
    """The asynchronous client, with a pool of connections and a password."""

    once = redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 0)

    async def main() -> None:
        async with really_served(password="secret") as control:
            async with redis.asyncio.Redis(port=control.port, protocol=version, password="secret") as asking:
                assert await asyncio.gather(*[asking.echo(str(n)) for n in range(50)]) == [b"%d" % n for n in range(50)]
                job = await asking.execute_command("LC.ENQUEUE", "nap", "ARGS", "[0.01]")
                assert (job[b"job"] if isinstance(job, dict) else job[1]) == 1
            async with redis.asyncio.Redis(port=control.port, password="wrong", retry=once) as stranger:
                with pytest.raises(redis.AuthenticationError):
                    await stranger.ping()

    asyncio.run(main())


def tool(name: str) -> str:
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed: it is in Debian's redis-tools")
    return name


def test_redis_cli() -> None:
    """Both versions, and commands from its standard input."""

    async def main() -> None:
        cli = tool("redis-cli")
        async with really_served() as control:
            port = str(control.port)
            assert await run_program(cli, "-p", port, "PING") == "PONG\n"
            assert await run_program(cli, "-3", "-p", port, "LC.ENQUEUE", "nap", "ARGS", "[0.01]") == "job 1\n"
            assert "lifecycle_version" in await run_program(cli, "-p", port, "INFO", "server")
            assert await run_program(cli, "-p", port, "-r", "5", "ECHO", "x") == "x\n" * 5

    asyncio.run(main())


def test_redis_benchmark() -> None:
    """Fifty connections, with and without pipelining, and none is left."""

    async def main() -> None:
        command = tool("redis-benchmark")
        async with really_served() as control:
            for pipeline in ("1", "16"):
                how = [
                    "-p",
                    str(control.port),
                    "-t",
                    "ping_inline,ping_mbulk",
                    "-n",
                    "3000",
                    "-c",
                    "50",
                    "-P",
                    pipeline,
                ]
                output = await run_program(command, *how, "--csv")
                assert output.count("PING") == 2, output
            assert control.server.statistics().failed == 0

    asyncio.run(main())


def test_clients_that_leave_in_the_middle_of_a_command() -> None:
    """Leave nothing, and are no failure."""

    async def main() -> None:
        async with really_served() as control:
            for _ in range(20):
                with socket.create_connection(("127.0.0.1", control.port)) as raw:
                    raw.sendall(b"*2\r\n$4\r\nECHO\r\n$100\r\nhalf")
            await asyncio.sleep(0.05)
        assert control.server.statistics().failed == 0

    asyncio.run(main())
