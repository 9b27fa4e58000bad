"""The ledger: exactly once, in order, with owner path and creation site; and things of the outside world."""

import asyncio
import contextlib
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lifecycle import Scope
from lifecycle._ground import trace
from lifecycle.testing import Bubble, LeakError, Ledger, run_virtual


def test_what_lives_is_named_with_path_and_site() -> None:
    """The owner path leads from the outermost owner, the site to the line that made it."""
    ledger = Ledger()
    scope = ledger.acquire("session", kind="scope")
    ledger.acquire("socket", owner=scope, kind="resource")
    with pytest.raises(LeakError) as caught:
        ledger.assert_clean()
    text = str(caught.value)
    assert "2 thing(s) left" in text
    assert "resource 'session / socket' made at testing/test_ledger.py" in text


def test_released_things_leave_at_once() -> None:
    """The ledger holds only what is alive."""
    ledger = Ledger()
    with ledger.acquire("first"):
        second = ledger.acquire("second")
        assert [token.name for token in ledger.live] == ["first", "second"]
        second.release()
    ledger.assert_clean()
    assert ledger.released == ["second", "first"]


def test_a_second_release_is_a_violation() -> None:
    """Exactly once: the second time is remembered even though nothing lives."""
    ledger = Ledger()
    token = ledger.acquire("socket")
    token.release()
    token.release()
    with pytest.raises(LeakError, match="released 2 times: resource 'socket'"):
        ledger.assert_clean()


def test_an_owner_must_outlive_what_it_owns() -> None:
    """Order: an owner released first is a violation."""
    ledger = Ledger()
    owner = ledger.acquire("pool")
    child = ledger.acquire("connection", owner=owner)
    owner.release()
    child.release()
    with pytest.raises(LeakError, match="released before 1 thing"):
        ledger.assert_clean()


def test_primitives_report_only_while_it_records() -> None:
    """On: owner and entries; off: nothing, and nothing is left switched on."""
    ledger = Ledger()

    async def main() -> list[str]:
        async with Scope("session") as scope:
            scope.callback(print)
            scope.start_soon(asyncio.sleep, 1, name="sleeper")
            return [token.path for token in ledger.live]

    assert asyncio.run(main()) == []
    with ledger.recording():
        paths = asyncio.run(main())
    assert "session" in paths
    assert "session / sleeper" in paths
    ledger.assert_clean()
    assert trace.sink is None


def test_a_token_of_another_ledger_is_left_alone() -> None:
    """A primitive opened under one ledger and closed under another hurts neither."""
    first, second = Ledger(), Ledger()
    token = first.acquire("socket")
    second.closed(token)
    assert [found.name for found in first.live] == ["socket"]
    second.assert_clean()


def test_files_sockets_and_processes_are_asked(tmp_path: Path) -> None:
    """Things of known kinds live until they say that they are closed."""
    ledger = Ledger()
    file = ledger.track((tmp_path / "file").open("w"), "file")
    ours, theirs = socket.socketpair()
    ledger.track(ours, "socket")
    process = ledger.track(subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE), "process")
    assert [token.name for token in ledger.live] == ["file", "socket", "process"]
    file.close()
    ours.close()
    theirs.close()
    process.communicate(b"\n")
    ledger.assert_clean()


def test_anything_that_closes_reports_it() -> None:
    """Objects with close() or aclose(), also those with slots; a close that fails has not ended anything."""
    ledger = Ledger()

    class Plain:
        def close(self) -> str:
            return "closed"

    class Slotted:
        __slots__ = ("fails",)

        def __init__(self) -> None:
            self.fails = True

        async def aclose(self) -> None:
            if self.fails:
                self.fails = False
                raise OSError

    plain, slotted = ledger.track(Plain(), "plain"), ledger.track(Slotted(), "slotted")
    assert plain.close() == "closed"
    with contextlib.suppress(OSError):
        asyncio.run(slotted.aclose())
    assert [token.name for token in ledger.live] == ["slotted"]
    asyncio.run(slotted.aclose())
    ledger.assert_clean()
    with pytest.raises(TypeError, match="neither aclose"):
        ledger.track(object())
    ledger.assert_clean()


def test_transports_and_writers_are_asked() -> None:
    """An asyncio stream writer lives until it is closing."""

    async def scenario(bubble: Bubble) -> None:
        await bubble.network.peer(_silent, "server", 7)
        _, writer = await asyncio.open_connection("server", 7)
        bubble.ledger.track(writer, "writer")
        bubble.ledger.track(writer.transport, "transport")
        assert len(bubble.ledger.live) == 2
        writer.close()
        assert not bubble.ledger.live

    run_virtual(scenario)


async def _silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


def test_a_descriptor_left_open_is_residue() -> None:
    """With real I/O, the descriptors of the process are compared."""
    kept = []

    async def scenario(bubble: Bubble) -> None:
        kept.extend(socket.socketpair())

    with pytest.raises(LeakError, match=r"file descriptor \d+ to socket"):
        run_virtual(scenario, io=True)
    for end in kept:
        end.close()
