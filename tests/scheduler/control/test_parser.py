"""The parser and the encoder of the control server: every piece, every bound, every malformed input."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.scheduler.control import Limits
from lifecycle.scheduler.control._encoder import Push, encode, error
from lifecycle.scheduler.control._inline import split_inline
from lifecycle.scheduler.control._parser import Parser

SMALL = Limits(arguments=8, bulk=64, command=128, inline=100)


def resp(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def parse(data: bytes, limits: Limits = SMALL) -> tuple[list[list[bytes]], str | None]:
    parser = Parser(limits)
    commands = parser.feed(data)
    return commands, str(parser.error) if parser.error else None


def test_commands_in_resp_and_inline_are_understood() -> None:
    """One after the other in one piece, empty ones left out."""
    data = resp(b"PING") + b"ping hello\r\n" + b"*0\r\n" + b"\r\n" + b"*-1\r\n"
    data += resp(b"ECHO", b"a\r\nb") + resp(b"", b"")
    assert parse(data) == ([[b"PING"], [b"ping", b"hello"], [b"ECHO", b"a\r\nb"], [b"", b""]], None)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"*x\r\n", "invalid multibulk length"),
        (b"*9\r\n", "invalid multibulk length"),
        (b"*1_0\r\n", "invalid multibulk length"),
        (b"*" + b"1" * 40, "invalid multibulk length"),
        (b"*1\r\n:5\r\n", "expected '$', got ':'"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$65\r\n", "invalid bulk length"),
        (b"*1\r\n$+4\r\n", "invalid bulk length"),
        (b"*1\r\n$" + b"0" * 40, "invalid bulk length"),
        (b"*1\r\n$2\r\nabc\r\n", "expected a line end after an argument"),
        (resp(*[bytes(60)] * 3), "too big a command"),
        (b"x" * 101, "too big inline request"),
        (b"a b c d e f g h i\r\n", "too many arguments"),
        (b'say "hello\r\n', "unbalanced quotes in request"),
    ],
)
def test_what_is_no_command_is_told(data: bytes, problem: str) -> None:
    """After the commands before it; what comes later is dropped, and nothing is kept."""
    parser = Parser(SMALL)
    assert parser.feed(resp(b"PING") + data) == [[b"PING"]]
    assert str(parser.error) == problem
    assert parser.feed(resp(b"PING")) == []
    assert parser.kept == 0


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"a  b\tc", [b"a", b"b", b"c"]),
        (rb'set "a b" "\x41\n\"\\"', [b"set", b"a b", b'A\n"\\']),
        (rb"set 'a \'b' ''", [b"set", b"a 'b", b""]),
        (b'a"b"', None),
        (b'"a"b', None),
        (b"'a", None),
        (b"  ", []),
        (b"", []),
    ],
)
def test_inline_words(line: bytes, words: list[bytes] | None) -> None:
    """Quotes and escapes as in Redis."""
    assert split_inline(line) == words


words = st.lists(st.binary(max_size=30), min_size=1, max_size=4)


@settings(max_examples=200, deadline=None)
@given(commands=st.lists(words, min_size=1, max_size=5), cuts=st.lists(st.integers(0, 200), max_size=10))
def test_the_pieces_do_not_matter(commands: list[list[bytes]], cuts: list[int]) -> None:
    """However the bytes are cut, the same commands come out, and nothing is kept in the end."""
    data = b"".join(resp(*command) for command in commands)
    parser = Parser(SMALL)
    found: list[list[bytes]] = []
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    for begin, end in itertools.pairwise(places):
        found += parser.feed(data[begin:end])
    assert (found, parser.error, parser.kept) == (commands, None, 0)


def test_one_byte_at_a_time_costs_no_more_than_its_bytes() -> None:
    """A long argument is not looked at anew with each byte."""
    parser = Parser(Limits())
    data = resp(b"ECHO", b"x" * 100_000)
    found = []
    for byte in data:
        found += parser.feed(bytes([byte]))
    assert found == [[b"ECHO", b"x" * 100_000]]


ugly = st.lists(
    st.one_of(
        st.binary(max_size=20),
        st.sampled_from(
            [b"*", b"$", b"\r\n", b"-1", b"*1\r\n", b"$4\r\nPING\r\n", b'"', b"'", b"*2\r\n$4\r\nECHO\r\n"]
        ),
        st.integers(-(2**70), 2**70).map(lambda number: b"%d" % number),
    ),
    max_size=12,
).map(b"".join)


def check_any_bytes(pieces: list[bytes]) -> None:
    parser = Parser(SMALL)
    most = SMALL.command + 2 * SMALL.inline
    for piece in pieces:
        for command in parser.feed(piece):
            assert 1 <= len(command) <= SMALL.arguments
            assert sum(map(len, command)) <= max(SMALL.command, SMALL.inline)
        assert parser.kept <= most


@settings(max_examples=500, deadline=None)
@given(pieces=st.lists(ugly, max_size=6))
def test_any_bytes_give_commands_or_an_error_within_the_bounds(pieces: list[bytes]) -> None:
    """Never an exception, never more kept than one command may have."""
    check_any_bytes(pieces)


@pytest.mark.nightly
@pytest.mark.timeout(1200)
@settings(max_examples=100_000, deadline=None, database=None)
@given(pieces=st.lists(ugly, max_size=6))
def test_any_bytes_at_length(pieces: list[bytes]) -> None:
    """The same, a hundred thousand times."""
    check_any_bytes(pieces)


@pytest.mark.parametrize(
    ("value", "two", "three"),
    [
        (None, b"$-1\r\n", b"_\r\n"),
        (True, b":1\r\n", b"#t\r\n"),
        (7, b":7\r\n", b":7\r\n"),
        (1.5, b"$3\r\n1.5\r\n", b",1.5\r\n"),
        ("é", b"$2\r\n\xc3\xa9\r\n", b"$2\r\n\xc3\xa9\r\n"),
        ([1, b"x"], b"*2\r\n:1\r\n$1\r\nx\r\n", b"*2\r\n:1\r\n$1\r\nx\r\n"),
        ({"a": 1}, b"*2\r\n$1\r\na\r\n:1\r\n", b"%1\r\n$1\r\na\r\n:1\r\n"),
        (Push(["x"]), b"*1\r\n$1\r\nx\r\n", b">1\r\n$1\r\nx\r\n"),
    ],
)
def test_values_in_both_versions(value: Any, two: bytes, three: bytes) -> None:
    """RESP2 gets the nearest that it has."""
    assert (encode(value, 2), encode(value, 3)) == (two, three)


def test_what_cannot_be_expressed_is_refused() -> None:
    """And an error stays on its line whatever is in it."""
    with pytest.raises(TypeError, match="cannot express"):
        encode(object(), 3)
    assert error("two\r\nlines\n") == b"-ERR two lines\r\n"
