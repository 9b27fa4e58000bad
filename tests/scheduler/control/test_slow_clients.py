"""Clients that read slowly, ask for much or break off, and a server that closes meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import tracemalloc
from typing import Any

import pytest

from lifecycle import TaskGroup, take_snapshot
from lifecycle.scheduler import Scheduler
from lifecycle.scheduler.control import ControlServer, Limits
from lifecycle.scheduler.control._commands import CommandSpec
from lifecycle.scheduler.control._encoder import encode
from lifecycle.scheduler.control._long_lists import IN_A_TURN, encode_list
from lifecycle.scheduler.control._table import COMMANDS
from lifecycle.testing import Bubble, explore_cancellation, no_busy_loop

from ...loops import virtual
from .clients import client, nap, served


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
async def test_what_waits_for_all_clients_together_is_bounded(bubble: Bubble) -> None:
    """Those for which most waits are cut off; one that reads gets its list."""
    async with served(limits=Limits(output_in_all=3_000_000)) as (control, scheduler):
        for _ in range(1_000):
            await scheduler.submit(nap, 1_000, name="x" * 1_000)
        lazy = [await client() for _ in range(8)]
        for one in lazy:
            one.writer.transport.pause_reading()  # type: ignore[attr-defined]
            one.say("LC.LIST", "LIMIT", "1000")
        await asyncio.sleep(0.1)
        reads = await client()
        assert len(await reads.ask("LC.LIST", "LIMIT", "1000")) == 1_000
        assert sum(session.stream.unsent for session in control.sessions()) <= 3_000_000
        assert control.statistics().slow > 0
        for one in (*lazy, reads):
            await one.close()


@virtual
async def test_a_long_list_holds_nobody_up(bubble: Bubble) -> None:
    """While it is put together others have their turn, again and again; it is the same list."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    others = asyncio.create_task(count())
    numbers = list(range(20 * IN_A_TURN + 1))
    assert await encode_list(numbers, str, 2) == encode([*map(str, numbers)], 2)
    assert turns >= 20
    others.cancel()
    await asyncio.wait([others])


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
    """Its connection is cut after a while, and no failure is told."""
    async with served() as (control, _):
        lazy = await client()
        lazy.writer.transport.pause_reading()  # type: ignore[attr-defined]
        while not control.sessions() or not control.sessions()[0].stream.unsent:
            lazy.say("ECHO", b"x" * 20_000)
            await asyncio.sleep(0.1)
        lazy.say("QUIT")
        await asyncio.sleep(20)
        counts = control.server.statistics()
        assert (counts.live, counts.cut, counts.failed) == (0, 1, 0)
        await lazy.close()


@virtual
async def test_a_closing_server_is_not_held_up_by_a_client_that_takes_nothing(bubble: Bubble) -> None:
    """Its connection is cut in time, and its handler is not abandoned."""
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
    """Every fault at points of every task: the server, its clients, the scheduler and the task that holds them."""
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
