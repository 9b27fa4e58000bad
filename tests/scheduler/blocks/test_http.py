"""The block `http`, against a real server on loopback."""

from __future__ import annotations

import asyncio
import gzip
import json
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
import pytest_asyncio

from lifecycle import serve_tcp
from lifecycle.scheduler import JobStatus, Scheduler
from lifecycle.scheduler.errors import HttpFailed, OutputTooLarge

from ..tools import Ran, flow_of, problems_of, run_flow
from .web_server import SLOW, Peer, answer

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def peer(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Peer]:
    """A peer on loopback; all connections to it are gone at the end of the test."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    peer = Peer()
    async with serve_tcp(peer.serve, drain_timeout=1.0) as server:
        peer.url = f"http://127.0.0.1:{server.port}"
        yield peer
        with anyio.fail_after(10):
            while peer.connections:
                await anyio.sleep(0.005)


async def ask(text: str, peer: Peer, **settings: object) -> Ran:
    """Run the flow of one block `a`; URL stands for the peer's."""
    return await run_flow(flow_of("[params]\nword = 'a b/../c?d'\n[blocks.a]\n" + text.replace("URL", peer.url)))


async def test_the_answer_is_data(peer: Peer) -> None:
    """Status, headers in lower case, text, and what the JSON says."""
    peer.answers["/x"] = answer(b'{"n": [1, 2]}', Content_Type="application/json", X_Thing="Yes")
    ran = await ask("http = 'URL/x'", peer)
    output = ran.outputs["a"]
    assert (output["status"], output["json"], output["text"]) == (200, {"n": [1, 2]}, '{"n": [1, 2]}')
    assert (output["headers"]["x-thing"], output["url"]) == ("Yes", f"{peer.url}/x")


async def test_the_request_says_what_the_flow_says(peer: Peer) -> None:
    """Method, query, headers and body."""
    await ask(
        """
        http = "URL/x?q=1"
        method = "PUT"
        query = { w = "${params.word}", n = 3 }
        headers = { X-Word = "<${params.word}>" }
        json = { word = "${params.word}", list = [1, true] }
        """,
        peer,
    )
    head, _, body = peer.asked[0].partition(b"\r\n\r\n")
    assert head.startswith(b"PUT /x?q=1&w=a+b%2F..%2Fc%3Fd&n=3 HTTP/1.1\r\n")
    assert b"x-word: <a b/../c?d>" in head.lower()
    assert b"content-type: application/json" in head.lower()
    assert json.loads(body) == {"word": "a b/../c?d", "list": [1, True]}


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        ("text = 'hällo'", "hällo".encode()),
        ("form = { a = 'b&c', n = 1 }", b"a=b%26c&n=1"),
    ],
)
async def test_a_body_is_a_post(body: str, sent: bytes, peer: Peer) -> None:
    """A request with a body is a POST when nothing else is said."""
    await ask(f"http = 'URL/x'\n{body}", peer)
    assert peer.asked[0].startswith(b"POST /x HTTP/1.1")
    assert peer.asked[0].endswith(sent)


async def test_a_value_in_the_url_is_one_piece_of_it(peer: Peer) -> None:
    """A slash or a question mark in a value leads to no other place; only a whole base is taken as it is."""
    await ask("http = 'URL/x/${params.word}/y'", peer)
    assert peer.asked[0].startswith(b"GET /x/a%20b%2F..%2Fc%3Fd/y HTTP/1.1")
    flow = flow_of("[params]\nbase = ''\n[blocks.a]\nhttp = '${params.base}/x'")
    ran = await run_flow(flow, {"base": f"{peer.url}/v1"})
    assert peer.asked[1].startswith(b"GET /v1/x HTTP/1.1")
    assert ran.outputs["a"]["status"] == 200
    ran = await run_flow(flow, {"base": "file:///etc"})
    assert ran.error("a") == (
        "blocks.a: ExpressionError: http: expected a URL with http:// or https://, got 'file:///etc/x'"
    )
    ran = await run_flow(flow_of(f"[params]\nd = '..'\n[blocks.a]\nhttp = '{peer.url}/x/${{params.d}}/y'"))
    assert "would lead to another place of the server" in ran.error("a")


async def test_another_status_fails_the_block(peer: Peer) -> None:
    """With the beginning of what the server said; what is in the query is not repeated."""
    peer.answers["/x?key=hidden"] = answer(b"no such\nthing", "404 Not Found")
    ran = await ask("http = 'URL/x?key=hidden'", peer)
    assert ran.error("a") == (
        f"blocks.a: HttpFailed: GET {peer.url}/x was answered with 404 Not Found: no such\\nthing"
    )
    ran = await ask("http = 'URL/x?key=hidden'\nok = ['200-299', 404]", peer)
    assert ran.outputs["a"]["status"] == 404
    error = HttpFailed("x", status=404, text="t")
    assert (error.status, error.text) == (404, "t")


async def test_redirects_are_followed_when_the_flow_says_so(peer: Peer) -> None:
    """Else a redirect is an answer that is no success."""
    peer.answers["/x"] = answer(b"", "302 Found", Location="/y")
    assert "was answered with 302 Found" in (await ask("http = 'URL/x'", peer)).error("a")
    assert (await ask("http = 'URL/x'\nredirects = 1", peer)).outputs["a"]["url"] == f"{peer.url}/y"
    peer.answers["/y"] = answer(b"", "302 Found", Location="/x")
    assert "ConnectionError" in (await ask("http = 'URL/x'\nredirects = 3", peer)).error("a")


async def test_an_answer_is_bounded(peer: Peer) -> None:
    """One byte more than allowed fails the block, also when it came compressed."""
    peer.answers["/x"] = answer(b"x" * 1_000)
    assert len((await ask("http = 'URL/x'\nmax_bytes = 1000", peer)).outputs["a"]["text"]) == 1_000
    ran = await ask("http = 'URL/x'\nmax_bytes = 999", peer)
    assert OutputTooLarge.__name__ in ran.error("a")
    assert f"the answer of {peer.url}/x is larger than 999 bytes" in ran.error("a")
    peer.answers["/zip"] = answer(gzip.compress(b"y" * 1_000), Content_Encoding="gzip")
    assert (await ask("http = 'URL/zip'", peer)).outputs["a"]["text"] == "y" * 1_000
    peer.answers["/bomb"] = answer(gzip.compress(bytes(50_000_000)), Content_Encoding="gzip")
    assert "is larger than 262,144 bytes" in (await ask("http = 'URL/bomb'", peer)).error("a")
    peer.answers["/br"] = answer(b"zzz", Content_Encoding="br")
    assert "encoded as 'br', which the request did not ask for" in (await ask("http = 'URL/br'", peer)).error("a")


@pytest.mark.parametrize(
    "body", [b"{", b"[NaN]", b"[" * 200 + b"]" * 200, b"[" * 100_000], ids=["broken", "nan", "deep", "very deep"]
)
async def test_json_that_is_none_is_text(body: bytes, peer: Peer) -> None:
    """The block does not fail because of it."""
    peer.answers["/x"] = answer(body, Content_Type="application/problem+json; charset=nonsense")
    ran = await ask("http = 'URL/x'", peer)
    assert (ran.outputs["a"]["json"], ran.outputs["a"]["text"]) == (None, body.decode())


async def test_a_server_that_is_not_there_or_speaks_no_http(peer: Peer) -> None:
    """The job fails with a short reason, and may be retried."""
    peer.answers["/x"] = b"hello\r\n\r\n"
    assert f"blocks.a: ConnectionError: GET {peer.url}/x:" in (await ask("http = 'URL/x'", peer)).error("a")
    ran = await run_flow(flow_of("[blocks.a]\nretries = 1\nbackoff = 0\nhttp = 'http://127.0.0.1:1/'"))
    assert "ConnectionError" in ran.error("a")
    assert ran.jobs["a"].attempts == 2


async def test_a_header_cannot_be_two(peer: Peer) -> None:
    """A line end in a value is refused and not sent."""
    flow = flow_of(f"[params]\nx = ''\n[blocks.a]\nhttp = '{peer.url}/x'\nheaders = {{ X-A = '${{params.x}}' }}")
    ran = await run_flow(flow, {"x": "1\r\nX-B: 2"})
    assert ran.jobs["a"].status is JobStatus.FAILED
    assert peer.asked == []


async def test_a_timeout_and_a_cancel_close_the_connection(peer: Peer) -> None:
    """The fixture sees that the peer has none any more."""
    assert flow_of("[blocks.a]\nhttp = 'http://x'").jobs["a"].block.timeout == 30.0
    ran = await ask(f"http = 'URL{SLOW}'\ntimeout = 0.1", peer)
    assert ran.jobs["a"].status is JobStatus.TIMED_OUT
    async with Scheduler() as scheduler:
        run = await scheduler.submit(flow_of(f"[blocks.a]\nparallel = [{{ http = '{peer.url}{SLOW}' }}]"))
        with anyio.fail_after(30):
            while len(peer.asked) < 2:
                await anyio.sleep(0.005)
            await run.cancel("enough")
            outcome = await run.wait()
    assert outcome.jobs[0].status is JobStatus.CANCELLED


async def test_certificates_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`ca` names one to trust, relative to the flow; `verify = false` says that none is looked at."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    await asyncio.to_thread(
        subprocess.run, [*command, *names, "-keyout", key, "-out", cert], check=True, capture_output=True
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    peer = Peer()
    async with serve_tcp(peer.serve, ssl=context, drain_timeout=1.0) as server:
        block = f"[blocks.a]\nhttp = 'https://127.0.0.1:{server.port}/x'\n"
        assert "CERTIFICATE_VERIFY_FAILED" in (await run_flow(flow_of(block))).error("a")
        for more in ("ca = 'cert.pem'", "verify = false"):
            ran = await run_flow(flow_of(block + more, directory=tmp_path))
            assert ran.outputs["a"]["status"] == 200


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("http = 3", "http: expected a URL, got 3"),
        ("http = 'ftp://x'", "http: expected a URL with http:// or https://, got 'ftp://x'"),
        ("http = 'http://'", "http: expected a URL with http:// or https://, got 'http://'"),
        ("http = 'http://x/a b'", "http: a URL holds no spaces and no control characters; encode them"),
        ("http = 'http://x'\nmethod = 'FETCH'", "method: expected one of 'DELETE', 'GET', 'HEAD', 'OPTIONS', 'PATCH'"),
        ("http = 'http://x'\njson = 1\ntext = 'a'", "text: a request has one body, and this one has 'json' already"),
        ("http = 'http://x'\nheaders = { 'a b' = 'c' }", "headers: expected a header's name, got 'a b'"),
        ("http = 'http://x'\nheaders = { a = \"b\\nc\" }", "headers.a: a header's value is one line"),
        ("http = 'http://x'\nquery = { a = [1] }", "query.a: expected a string or a number, got a list of 1"),
        ("http = 'http://x'\nok = [99]", "ok: expected a list of statuses, as in [200, 404] or ['200-299']"),
        ("http = 'http://x'\nok = ['300-200']", "ok: expected a list of statuses"),
        ("http = 'http://x'\nmax_bytes = -1", "max_bytes: expected an integer from 0 to 1,048,576, got -1"),
        ("http = 'http://x'\nca = '../ca.pem'", "ca: the path: '../ca.pem' leads out of the flow's directory"),
        ("http = 'http://x/${params.x}'", "http: ${params.x}: unknown parameter 'x'"),
        ("http = 'http://x'\nretry_on = [500]", "retry_on: unknown key"),
    ],
)
async def test_problems_are_told_with_their_place(text: str, problem: str) -> None:
    """Before anything was sent."""
    problems = problems_of(f"[blocks.a]\n{text}")
    assert any(line.startswith(f"flow.toml: blocks.a.{problem}") for line in problems), problems
