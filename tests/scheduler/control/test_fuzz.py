"""Any bytes at all, sent to a control server in any pieces: an answer, an error or a close, and nothing is left."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.scheduler import Scheduler
from lifecycle.scheduler.control import ControlServer, Limits
from lifecycle.scheduler.control._table import COMMANDS
from lifecycle.testing import Bubble, run_virtual

SMALL = Limits(arguments=16, bulk=256, command=512, inline=256, output=100_000)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def resp(words: list[bytes]) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


subwords = b"GET ID KILL LIST SETNAME ARGS [] {} LIMIT STATUS 2 3 AUTH".split()
odd_numbers = [b"9" * 200, b"9" * 20, b"-1", b"nan", b"inf", b"1e999", b"\xef\xbb\xbf1", "٣".encode(), b"1_0", b""]
odd_values = [
    b'["\\ud800"]',
    b'["\\u0000"]',
    b"[NaN]",
    b"[1e999]",
    b"[" * 200,
    b"\xef\xbb\xbf[]",
    b'{"\\ud800": 1}',
    b"\x00",
    b"\xff",
]
names = st.sampled_from(sorted(COMMANDS))
word = st.one_of(
    st.sampled_from(subwords),
    st.sampled_from(odd_numbers),
    st.sampled_from(odd_values),
    st.integers(-5, 10**20).map(lambda n: b"%d" % n),
    st.binary(max_size=12),
)
command = st.builds(lambda name, rest: resp([name, *rest]), names, st.lists(word, max_size=6))
inline = st.builds(lambda name, rest: b" ".join([name.lower(), *rest]) + b"\r\n", names, st.lists(word, max_size=4))
foreign = [b"POST / HTTP/1.1\r\n", b"Host: x\r\n", b"GET /\r\n", b"\x16\x03\x01\x02\x00\x01", b"\x00\x03\x00\x44!\x12"]
fragments = [*foreign, b"*", b"$", b"*1\r\n", b"*3\r\n$4\r\n", b"\r\n", b"$-1\r\n", b'"']
noise = st.one_of(st.binary(max_size=30), st.sampled_from(fragments))
piece = st.one_of(command, command, inline, noise)
pieces = st.lists(piece, max_size=8)


def check(sent: list[bytes]) -> bytes:
    """Send the pieces to a server of its own, leave, and look at what became of it; return what it answered."""
    answer = b""

    async def scenario(bubble: Bubble) -> None:
        nonlocal answer
        async with (
            Scheduler(drain_timeout=0, adopt=False) as scheduler,
            ControlServer(scheduler, host="localhost", port=1, limits=SMALL, drain_timeout=1) as control,
        ):
            reader, writer = await asyncio.open_connection("localhost", 1, limit=10_000_000)
            for data in sent:
                writer.write(data)
                await asyncio.sleep(0.001)
                for session in control.sessions():
                    assert session._parser.kept <= SMALL.command + 2 * SMALL.inline
                    assert session.stream.unsent <= 1_000_000
            if not writer.transport.is_closing():
                writer.write_eof()
            with contextlib.suppress(ConnectionError):  # a reset: also a close
                answer = await reader.read()
            writer.transport.abort()
            assert answer[:1] in b"+-:$*%_#,>", answer
            assert b"internal error" not in answer, answer
            await asyncio.sleep(0.1)
            counts = control.server.statistics()
            assert (counts.live, counts.failed) == (0, 0)

    run_virtual(scenario)
    return answer


@pytest.mark.slow
@settings(max_examples=250, deadline=None)
@given(sent=pieces)
def test_any_bytes_get_an_answer_an_error_or_a_close(sent: list[bytes]) -> None:
    """And never crash the server, nor grow a buffer beyond its bound."""
    check(sent)


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(first=st.sampled_from([b"POST / HTTP/1.1\r\n", b"get /?x HTTP/1.0\n", b"Host:x\r\n"]), rest=pieces)
def test_behind_http_nothing_is_even_answered(first: bytes, rest: list[bytes]) -> None:
    """Whatever comes after its first line."""
    assert check([first, *rest]) == b""


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@settings(max_examples=100_000, deadline=None, database=None)
@given(sent=pieces)
def test_any_bytes_at_length(sent: list[bytes]) -> None:
    """The same, a hundred thousand times."""
    check(sent)
