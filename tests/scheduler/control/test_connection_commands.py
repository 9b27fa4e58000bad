"""What clients say first and may do: greeting, password, refusals, pipelines, being cut off."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from lifecycle.scheduler import Scheduler
from lifecycle.scheduler import control as control_face
from lifecycle.scheduler.control import ControlServer, Limits
from lifecycle.scheduler.control._table import COMMANDS
from lifecycle.testing import Bubble

from ...loops import virtual
from .clients import client, served


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
        (["LC.ENQUEUE", "nap", "PRIORITY", "high"], "-ERR PRIORITY: expected a whole number, got 'high'"),
        (["LC.ENQUEUE", "nap", "PRIORITY"], "-ERR option PRIORITY has no value"),
        (["LC.ENQUEUE", "nap", "COLOUR", "red"], "-ERR unknown option 'COLOUR'; there are ARGS"),
        (["LC.ENQUEUE", "nap", "ARGS", "[1, 2]"], "-ERR arguments: handler 'nap'"),
        (["LC.ENQUEUE", "nap", "DELAY", "nan"], "-ERR delay"),
        (["LC.ENQUEUE", "nap", "PARAMS", "{}"], "-ERR there is no flow 'nap'"),
        (["LC.ENQUEUE", b"\xff"], "-ERR expected UTF-8"),
        (["LC.STATUS", "x"], "-ERR job: expected a whole number"),
        (["LC.STATUS", "9" * 5000], "-ERR job: expected a whole number"),
        (["LC.LIST", "STATUS", "lost"], "-ERR unknown status 'lost'; there are pending"),
        (["LC.LIST", "LIMIT", "0"], "-ERR LIMIT: expected 1 to 10,000"),
        (["LC.LIST", "SINCE", "yesterday"], "-ERR SINCE: expected seconds since 1970, or ISO 8601"),
        (
            ["LC.LIST", "UNTIL", "2026-11-30T17:00"],
            "-ERR UNTIL: expected seconds since 1970, or ISO 8601 with an offset",
        ),
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
    with pytest.raises(TypeError, match="bulk must be an integer, got '1'"):
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
