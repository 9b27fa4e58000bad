"""Attacks on the control server: pages that drive a browser against it, crowds of silent clients, guessed passwords."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import socket
from pathlib import Path

import pytest
import redis

from lifecycle.scheduler._ground.descriptors import affordable
from lifecycle.scheduler.control import ControlServer, Limits
from lifecycle.scheduler.control._http import is_http
from lifecycle.testing import Bubble

from ...cli.service import serving
from ...loops import virtual
from ..tools import wait_until
from .clients import client, served

COMMAND = b"LC.ENQUEUE nap ARGS [0]\r\n"

#: How a request of a browser begins; what its page chose comes after it.
REQUESTS = {
    "post": b"POST / HTTP/1.1\r\nHost: evil.example:6480\r\nContent-Length: 25\r\n\r\n",
    "small letters": b"post /x http/1.1\r\nhost: evil.example\r\n\r\n",
    "get": b"GET /?a=LC.LIST HTTP/1.1\r\nHost: 127.0.0.1:6480\r\n\r\n",
    "no version": b"GET /\r\n",
    "blanks before": b"  \r\n POST / HTTP/1.1\r\n",
    "preflight": b"OPTIONS / HTTP/1.1\r\nOrigin: http://evil.example\r\n\r\n",
    "a command as the method": b"PING / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    "quotes in the path": b"POST /'\"x HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    "a header alone": b"Host: evil.example\r\n",
    "a header without a blank": b"content-type:text/plain\r\n",
    "another version": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "through a proxy": b"CONNECT 127.0.0.1:6480 HTTP/1.1\r\n\r\n",
}

#: What browsers also send where a page wants it, with bytes of the page's choice behind a line end.
BINARY = {
    "TLS with a chosen session ticket": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03ticket\r\n",
    "TURN with a chosen name": b"\x00\x03\x00\x44\x21\x12\xa4\x42name\r\n",
}


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS.keys())
@pytest.mark.parametrize("pieces", [1, 3], ids=["at once", "in pieces"])
def test_http_is_cut_off_without_an_answer_and_runs_nothing(
    request_: bytes, pieces: int, caplog: pytest.LogCaptureFixture
) -> None:
    """However it begins, and however it is split: what comes after its first line is not looked at."""

    @virtual
    async def scenario(bubble: Bubble) -> None:
        async with served() as (control, scheduler):
            one = await client()
            sent = request_ + COMMAND
            size = -(-len(sent) // pieces)
            for start in range(0, len(sent), size):
                if not one.writer.transport.is_closing():
                    one.writer.write(sent[start : start + size])
                await asyncio.sleep(0.01)
            with pytest.raises(ConnectionError):
                assert await one.reader.read() == b""
                raise ConnectionError
            assert await scheduler.jobs() == []
            assert control.statistics().http == 1
            assert control.statistics().clients == 0
            await one.close()

    with caplog.at_level(logging.WARNING):
        scenario()
    assert [record.levelname for record in caplog.records if "HTTP" in record.message] == ["WARNING"]


@pytest.mark.parametrize("greeting", BINARY.values(), ids=BINARY.keys())
@virtual
async def test_binary_protocols_are_cut_off_and_run_nothing(bubble: Bubble, greeting: bytes) -> None:
    """Their lines are not lines."""
    async with served() as (_, scheduler):
        one = await client()
        one.writer.write(greeting + COMMAND)
        assert (await one.reader.read()).startswith(b"-ERR Protocol error")
        assert await scheduler.jobs() == []
        await one.close()


@pytest.mark.parametrize(
    "line",
    [b"PING", b'ECHO "a: b"', b"ECHO HTTP/1.1", b"LC.ENQUEUE nap ARGS '[\"http://a/ HTTP/1.1\"]'", b"GET key", b""],
)
def test_commands_are_not_taken_for_http(line: bytes) -> None:
    """Addresses and headers may be arguments."""
    assert not is_http(line)


@virtual
async def test_who_attacks_cannot_fill_the_log(bubble: Bubble, caplog: pytest.LogCaptureFixture) -> None:
    """One line for many of a kind, and then one a minute, with their number."""
    async with served() as (control, _):
        for _ in range(50):
            one = await client()
            one.writer.write(b"POST / HTTP/1.1\r\n")
            await asyncio.sleep(0.01)
            await one.close()
        assert control.statistics().http == 50
    assert len([record for record in caplog.records if record.levelno >= logging.INFO]) == 1


@pytest.mark.parametrize("password", [None, "secret"])
@virtual
async def test_the_silent_shut_out_nobody(bubble: Bubble, password: str | None) -> None:
    """Ten times as many as may take their time, and the server takes no more: half a second later there is room."""
    async with served(limit=40, password=password, limits=Limits(strangers=4)) as (control, _):
        known = await client()
        assert await (known.ask("PING") if password is None else known.ask("AUTH", password)) in ("+PONG", "+OK")
        silent = [await client() for _ in range(39)]
        late = await client()  # it waits in the system's line
        late.say("AUTH", password) if password else late.say("PING")
        async with asyncio.timeout(1.0):
            assert await late.answer() in ("+PONG", "+OK")
        assert await known.ask("PING") == "+PONG"
        assert control.statistics().silent >= 35
        await asyncio.sleep(11.0)
        assert control.statistics().clients == 2
        for one in [*silent, late, known]:
            await one.close()


@virtual
async def test_a_crowd_that_speaks_is_not_turned_away(bubble: Bubble) -> None:
    """However many come at once: only silence is cut off, and nobody who has spoken."""
    async with served(limits=Limits(strangers=4)) as (control, _):
        crowd = [await client() for _ in range(200)]
        for one in crowd:
            one.say("PING")
        for one in crowd:
            assert await one.answer() == "+PONG"
        await asyncio.sleep(60.0)
        assert control.statistics().clients == 200
        assert control.statistics().silent == 0
        for one in crowd:
            await one.close()


@virtual
async def test_one_byte_now_and_then_is_silence(bubble: Bubble) -> None:
    """The time of a stranger does not begin anew with each byte."""
    async with served() as (control, _):
        one = await client()
        one.writer.write(b"*1\r\n$40\r\nPI")
        for _ in range(11):
            await asyncio.sleep(1.0)
            if not one.writer.transport.is_closing():
                one.writer.write(b" ")
        assert control.statistics().clients == 0
        assert control.statistics().silent == 1
        await one.close()


@virtual
async def test_passwords_are_guessed_slowly(bubble: Bubble, caplog: pytest.LogCaptureFixture) -> None:
    """A second for each, one after the other on a connection; who knows it is not slowed."""
    async with served(password="secret") as (control, _):
        one = await client()
        began = asyncio.get_running_loop().time()
        for _ in range(5):
            one.say("AUTH", "guess")
        for _ in range(5):
            assert str(await one.answer()).startswith("-WRONGPASS")
        assert asyncio.get_running_loop().time() - began >= 5.0
        other = await client()
        began = asyncio.get_running_loop().time()
        assert await other.ask("AUTH", "secret") == "+OK"
        assert asyncio.get_running_loop().time() - began < 0.5
        assert control.statistics().refused == 5
        assert "guess" not in caplog.text
        assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == ["wrong password"]
        for client_ in (one, other):
            await client_.close()


def test_connections_leave_descriptors_to_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most half of those that the process may have; a smaller limit stays."""
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (200, 400))
    assert affordable(10_000) == 100
    assert affordable(7) == 7
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert affordable(10_000) == 10_000


@pytest.mark.parametrize("limit", [0, -1, "many", None])
def test_a_wrong_limit_is_refused(limit: object) -> None:
    """Before anything listens."""
    with pytest.raises((TypeError, ValueError), match="limit"):
        ControlServer(object(), limit=limit)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("count", "descriptors_"),
    [pytest.param(500, 256, marks=pytest.mark.slow), pytest.param(10_000, 1_024, marks=pytest.mark.nightly)],
)
def test_a_flood_of_connections_hurts_nobody(tmp_path: Path, count: int, descriptors_: int) -> None:
    """More than the process has descriptors: who is known is served, jobs run, and newcomers are let in soon."""
    with serving(tmp_path, before=f"ulimit -n {descriptors_}") as service, contextlib.ExitStack() as flood:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        flood.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        known = flood.enter_context(redis.Redis(port=service.port, decode_responses=True, socket_timeout=20.0))
        assert known.ping()
        for _ in range(count):
            one = flood.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", service.port))
        job = known.execute_command("LC.ENQUEUE", "log.tick", "ARGS", f'["flood", "{tmp_path}"]')["job"]
        wait_until(lambda: known.execute_command("LC.STATUS", job)["status"] == "succeeded")
        with redis.Redis(port=service.port, socket_timeout=30.0) as late:
            assert late.ping()
        wait_until(lambda: known.info()["silent_clients_cut"] > 0)
        assert not service.messages("cannot take connections")
