"""Attacks on the page: foreign pages in a real browser, foreign names, slow and silent clients, what is not HTTP."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path

import anyio
import httpx
import pytest
import pytest_asyncio

from lifecycle.scheduler import Scheduler, handler
from lifecycle.scheduler.control import ControlServer
from lifecycle.scheduler.web import WebServer, _protocol, _visitors
from lifecycle.scheduler.web._protocol import HEADERS
from lifecycle.scheduler.web._visitors import name_of

from ..browser import needs_browser, site, visit


@handler("attacks.run")
async def run() -> None:
    """Run by nobody."""


@pytest_asyncio.fixture
async def scheduler() -> AsyncIterator[Scheduler]:
    async with Scheduler(drain_timeout=0.0) as scheduler:
        await scheduler.schedule("the treasure", "attacks.run", fixed_rate=1e6)
        yield scheduler


ATTACK = """<!doctype html><body><iframe name="hole"></iframe><script>
const command = "LC.ENQUEUE attacks.run\\r\\n", ports = [CONTROL, PAGE], seen = {};
const text = {method: "POST", body: command, headers: {"Content-Type": "text/plain"}};
const limit = promise => Promise.race([promise, new Promise(end => setTimeout(end, 3000, "nothing"))]);
const tell = (name, attempt) => limit(attempt).then(value => seen[name] = value, error => seen[name] = "" + error);
const read = (url, more) => fetch(url, more).then(answer => answer.text()).then(body => "read: " + body);
const loads = element => new Promise(end => {
  element.onload = () => end("loaded"); element.onerror = () => end("failed"); document.body.append(element); });
const socket = url => new Promise(end => {
  const it = new WebSocket(url); it.onopen = () => end("open"); it.onerror = () => end("failed"); });
const made = (kind, more) => Object.assign(document.createElement(kind), more);
async function attack() {
  const attempts = [];
  for (const port of ports) {
    const url = `http://127.0.0.1:${port}`;
    attempts.push(
      tell(`blind post ${port}`, read(url, {...text, mode: "no-cors"})),
      tell(`post ${port}`, read(url, text)),
      tell(`json ${port}`, read(url, {...text, headers: {"Content-Type": "application/json"}})),
      tell(`put ${port}`, read(url, {...text, method: "PUT"})),
      tell(`get ${port}`, read(`${url}/api/schedules`)),
      tell(`blind get ${port}`, read(`${url}/api/schedules`, {mode: "no-cors"})),
      tell(`beacon ${port}`, Promise.resolve(navigator.sendBeacon(url, command) && "sent")),
      tell(`socket ${port}`, socket(`ws://127.0.0.1:${port}/`)),
      tell(`image ${port}`, loads(made("img", {src: url}))),
      tell(`script ${port}`, loads(made("script", {src: `${url}/api/schedules`}))),
      tell(`tls ${port}`, read(`https://127.0.0.1:${port}/`)));
    const form = made("form", {method: "POST", action: url, enctype: "text/plain", target: "hole"});
    form.append(made("textarea", {name: "x\\r\\n" + command, value: "\\r\\n" + command}));
    document.body.append(form); form.submit();
    await new Promise(end => setTimeout(end, 300));
  }
  await Promise.all(attempts);
  document.body.innerHTML = ""; document.body.append(made("pre", {textContent: JSON.stringify(seen)}));
}
attack();
</script></body>"""


@needs_browser
@pytest.mark.slow
@pytest.mark.asyncio
async def test_the_page_of_somebody_else_gets_nothing_and_does_nothing(scheduler: Scheduler, tmp_path: Path) -> None:
    """In a real browser, with all that a page can send: no job was made, no answer read, and much was refused."""
    async with WebServer(scheduler, password=None) as page, ControlServer(scheduler, port=0) as control:
        attack = ATTACK.replace("CONTROL", str(control.port)).replace("PAGE", str(page.port))
        with site(attack) as port:
            shown = await visit(f"http://evil.example:{port}/", tmp_path / "profile")
        assert await scheduler.jobs() == []
        assert control.statistics().http >= 8
    match = re.search(r"<pre>(.*)</pre>", shown, re.DOTALL)
    assert match is not None, shown
    seen = json.loads(unescape(match[1]))
    assert len(seen) == 22
    wrong = {name: text for name, text in seen.items() if text in ("open", "loaded") or "treasure" in text}
    assert not wrong
    assert {text for name, text in seen.items() if text.startswith("read: ")} <= {"read: "}  # an opaque answer


@needs_browser
@pytest.mark.slow
@pytest.mark.asyncio
async def test_a_foreign_name_that_leads_here_shows_nothing(scheduler: Scheduler, tmp_path: Path) -> None:
    """A real browser thinks that it is the page of the foreign site."""
    async with WebServer(scheduler, password=None) as page:
        shown = await visit(f"http://evil.example:{page.port}/api/schedules", tmp_path / "profile")
    assert "this name is not served here" in shown
    assert "treasure" not in shown


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("localhost", "localhost"),
        ("LOCALHOST.:80", "localhost"),
        ("127.0.0.1:8000", "127.0.0.1"),
        ("[::1]:1", "::1"),
        ("[::1", None),
        ("::1", None),
        ("", None),
        ("localhost:", None),
        ("localhost:x", None),
        ("localhost:123456", None),
        ("user@localhost", None),
        ("localhost/..", None),
        ("localhost evil.example", None),
        ("a,localhost", None),
        ("lôcalhost", None),
    ],
)
def test_the_name_in_a_host_header(host: str, name: str | None) -> None:
    """With or without a port; what is neither a name nor an address has none."""
    assert name_of(host) == name


async def said(port: int, sent: bytes) -> bytes:
    """Return what a page answers to bytes, until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    try:
        async with asyncio.timeout(20.0):
            return await reader.read()
    finally:
        writer.transport.abort()


SENT = {
    "the page": (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
    "another": (b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    "a change": (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n", 405),
    "an upgrade": (b"GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", 404),
    "no HTTP": (b"LC.ENQUEUE x\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "no host, and an old client": (b"GET / HTTP/1.0\r\n\r\n", 200),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", 400),
    "no host in the host": (b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400),
    "a foreign name": (b"GET / HTTP/1.1\r\nHost: 127.0.0.1.evil.example\r\n\r\n", 421),
    "an address of the network": (b"GET / HTTP/1.1\r\nHost: 192.168.0.1\r\n\r\n", 421),
    "an image of a foreign page": (b"GET / HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\n\r\n", 403),
    "a link in a foreign page": (
        b"GET / HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Dest: document\r\n\r\n",
        200,
    ),
    "a form in a foreign page": (
        b"POST / HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Dest: document\r\n\r\n",
        403,
    ),
    "a header too long": (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 20_000, 400),
    "a zero byte": (b"GET /\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    "a path of another encoding": (b"GET /%ff%00%0d%0aX:y HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
}


@pytest.mark.parametrize(("sent", "status"), SENT.values(), ids=SENT.keys())
@pytest.mark.asyncio
async def test_every_answer_tells_a_browser_to_be_careful(scheduler: Scheduler, sent: bytes, status: int) -> None:
    """Errors as well, whoever makes them, and each once."""
    async with WebServer(scheduler, password=None) as page:
        head, _, body = (await said(page.port, sent)).partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0].split()[1] == str(status), head
    given = [tuple(line.lower().split(": ", 1)) for line in lines[1:]]
    for name, value in HEADERS:
        assert [one for one in given if one[0] == name] == [(name, value.lower())]
    assert ("treasure" in body.decode()) is (status == 200)


@pytest.mark.asyncio
async def test_an_error_of_ours_is_told_without_its_cause(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With the same headers."""
    async with WebServer(scheduler, password=None) as page:
        monkeypatch.setattr(scheduler, "schedules", None)
        answer = await said(page.port, SENT["the page"][0])
    assert b" 500 " in answer
    assert b"NoneType" not in answer
    assert b"x-frame-options" in answer


@pytest.mark.parametrize("greeting", [b"", b"GET / HTTP/1.1\r\nHost: localhost\r\nX-a: "], ids=["silent", "slow"])
@pytest.mark.asyncio
async def test_slow_clients_shut_out_nobody(
    scheduler: Scheduler, greeting: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Many that say nothing, or never come to the end of it: others are served, and soon these are gone."""
    async with WebServer(scheduler, password=None) as page:
        slow = [await asyncio.open_connection("127.0.0.1", page.port) for _ in range(100)]
        for _, writer in slow:
            writer.write(greeting)
        assert b" 200 " in await said(page.port, SENT["the page"][0])
        await until(lambda: page.statistics().connections <= 32)
        for _, writer in slow:
            writer.transport.abort()
    assert {record.levelname for record in caplog.records if "too slow" in record.message} == {"WARNING"}


async def until(condition: object) -> None:
    async with asyncio.timeout(20.0):
        while not condition():  # type: ignore[operator]
            await anyio.sleep(0.02)


@pytest.mark.asyncio
async def test_a_request_has_a_time_to_come_in_and_an_answer_to_be_read(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A byte now and then is not enough, and nor is a reader who does not read."""
    monkeypatch.setattr(_protocol, "ASKING", 0.6)
    monkeypatch.setattr(_protocol, "READING", 0.6)
    monkeypatch.setattr("lifecycle.scheduler.web._application.page_of", lambda facts: "x" * 20_000_000)
    async with WebServer(scheduler, password=None) as page:
        _, dribbling = await asyncio.open_connection("127.0.0.1", page.port)
        _reader, lazy = await asyncio.open_connection("127.0.0.1", page.port, limit=1_000)
        lazy.write(SENT["the page"][0])
        for _ in range(5):
            dribbling.write(b"G")
            await anyio.sleep(0.1)
        assert page.statistics().connections == 2
        await until(lambda: page.statistics().connections == 0)
        for writer in (dribbling, lazy):
            writer.transport.abort()


@pytest.mark.asyncio
async def test_a_connection_too_many_is_turned_away(scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, so that there are never more; and again welcome when others have left."""
    monkeypatch.setattr(_protocol, "MOST", 5)
    async with WebServer(scheduler, password=None) as page:
        others = [await asyncio.open_connection("127.0.0.1", page.port) for _ in range(5)]
        await until(lambda: page.statistics().connections == 5)
        with pytest.raises(ConnectionError):
            assert await said(page.port, SENT["the page"][0]) == b""
            raise ConnectionError
        for _, writer in others:
            writer.transport.abort()
        await until(lambda: page.statistics().connections == 0)
        assert b" 200 " in await said(page.port, SENT["the page"][0])


@pytest.mark.asyncio
async def test_readers_too_many_are_asked_to_come_again(scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that no crowd of them keeps the scheduler from its work."""
    monkeypatch.setattr(_visitors, "AT_ONCE", 0)
    async with WebServer(scheduler, password=None) as page:
        assert b" 503 " in await said(page.port, SENT["the page"][0])


@pytest.mark.asyncio
async def test_a_wrong_password_is_answered_slowly_and_told(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Once for many; what was given is not in the log. Who gives none is asked for one at once."""
    async with WebServer(scheduler, password="secret") as page, httpx.AsyncClient(trust_env=False) as client:
        monkeypatch.setattr(_visitors, "PAUSE", 0.05)
        url = f"http://127.0.0.1:{page.port}/"
        assert (await client.get(url)).status_code == 401
        assert not caplog.records
        for _ in range(3):
            assert (await client.get(url, auth=("any", "guessed"))).status_code == 401
        assert (await client.get(url, auth=("any", "secret"))).status_code == 200
    told = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.message for record in told] == ["wrong password"]
    assert "guessed" not in caplog.text
