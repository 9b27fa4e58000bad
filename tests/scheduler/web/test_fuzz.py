"""Any bytes at all, sent to the page: an answer with all its headers, or a close, and the next reader is served."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.scheduler import Scheduler
from lifecycle.scheduler.web import WebServer
from lifecycle.scheduler.web._protocol import HEADERS


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


GOOD = b"GET /api/statistics HTTP/1.1\r\nHost: localhost\r\n\r\n"

methods = st.sampled_from([b"GET", b"HEAD", b"POST", b"OPTIONS", b"LC.ENQUEUE", b"\xff"])
targets = st.one_of(
    st.sampled_from(
        [b"/", b"/api/jobs", b"*", b"http://evil.example/", b"//x", b"/%00", b"/%ff?\x00", b"/" + b"a" * 9_000]
    ),
    st.binary(max_size=8),
)
versions = st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/9", b""])
names = st.sampled_from(
    b"Host,Origin,Content-Length,Transfer-Encoding,Authorization,Sec-Fetch-Site,Connection,Upgrade,Expect,\xff".split(
        b","
    )
)
values = st.one_of(
    st.sampled_from(
        [
            b"localhost",
            b"[::1",
            b"evil.example",
            b"9" * 5_000,
            b"-1",
            b"1",
            b"chunked",
            b"Basic %%%",
            b"Basic " + b"/" * 64,
            b"upgrade",
            b"websocket",
            b"cross-site",
            b"100-continue",
            b"\xef\xbb\xbf",
            b"\x00",
            b"",
        ]
    ),
    st.binary(max_size=8),
)
headers = st.lists(st.builds(lambda name, value: name + b": " + value + b"\r\n", names, values), max_size=4)
request = st.builds(
    lambda method, target, version, some: b" ".join([method, target, version]) + b"\r\n" + b"".join(some) + b"\r\n",
    methods,
    targets,
    versions,
    headers,
)
pieces = st.lists(st.one_of(request, request, st.just(GOOD), st.binary(max_size=20)), max_size=4)


async def answers(port: int, sent: list[bytes]) -> bytes:
    """Return all that comes back, until the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    got = b""
    with contextlib.suppress(OSError):
        for data in sent:
            writer.write(data)
            await writer.drain()
            await asyncio.sleep(0)
        writer.write_eof()
        async with asyncio.timeout(15.0):
            while data := await reader.read(65_536):
                got += data
    writer.transport.abort()
    return got


@pytest.fixture(scope="module")
def ports() -> Iterator[dict[str | None, int]]:
    """Two pages in a thread of their own, by their passwords, for all examples."""
    found: dict[str | None, int] = {}
    ready, end = threading.Event(), threading.Event()

    async def serve() -> None:
        async with (
            Scheduler(drain_timeout=0.0) as scheduler,
            WebServer(scheduler, password=None) as page,
            WebServer(scheduler, password="secret") as locked,
        ):
            found.update({None: page.port, "secret": locked.port})
            ready.set()
            while not end.is_set():
                await asyncio.sleep(0.05)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    ready.wait()
    yield found
    end.set()
    thread.join()


def check(sent: list[bytes], port: int, status: bytes) -> None:
    """Send the pieces to a page, and look at what it says, to this reader and to the next."""

    async def scenario() -> None:
        got = await answers(port, sent)
        if got:
            head, _, _ = got.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 "), got
            assert b" 500 " not in head.splitlines()[0], got
            for name, value in HEADERS:
                assert f"{name}: {value}".lower().encode() in head.lower(), head
        assert status in await answers(port, [GOOD])

    asyncio.run(scenario())


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(sent=pieces)
def test_any_bytes_get_an_answer_or_a_close(ports: dict[str | None, int], sent: list[bytes]) -> None:
    """None of them is an error of ours."""
    check(sent, ports[None], b" 200 ")
    check(sent, ports["secret"], b" 401 ")


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@settings(max_examples=20_000, deadline=None, database=None)
@given(sent=pieces)
def test_any_bytes_at_length(ports: dict[str | None, int], sent: list[bytes]) -> None:
    """The same, twenty thousand times."""
    check(sent, ports[None], b" 200 ")
    check(sent, ports["secret"], b" 401 ")
