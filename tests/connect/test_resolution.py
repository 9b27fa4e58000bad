"""Names: a resolution that an attempt has given up goes on in its thread, and what is left of it then."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from lifecycle import ConnectError, ConnectTimeout, connect, dial_tcp

from ..loops import LOOPS, some_turns

#: How long a test waits for a thread, which takes no time.
LONG = 30.0


class Resolver:
    """A resolver of names that says nothing until it is told to, and then that it has failed."""

    def __init__(self) -> None:
        self.asked = 0
        self.answers = threading.Event()

    def getaddrinfo(self, *_: object, **__: object) -> list[Any]:
        """Stand in for the system's."""
        self.asked += 1
        assert self.answers.wait(LONG)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    """Take the system's place."""
    resolver = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", resolver.getaddrinfo)
    yield resolver
    resolver.answers.set()


@pytest.fixture(params=[name for name in LOOPS if name != "uvloop"])  # which does not ask Python's
def loop(request: pytest.FixtureRequest) -> Iterator[asyncio.AbstractEventLoop]:
    """Give a loop, which the test ends."""
    loop = LOOPS[request.param]()
    yield loop
    loop.close()


async def give_up(times: int) -> None:
    """Ask for a name, and give up, so many times."""
    for _ in range(times):
        with pytest.raises(ConnectTimeout) as caught:
            await connect(dial_tcp, "slow.example", 1, timeout=0.001)
        assert caught.value.stage == "tcp"


def test_those_that_have_not_begun_never_do(resolver: Resolver, loop: asyncio.AbstractEventLoop) -> None:
    """As many go on as the loop has threads for it, however often somebody asks; no task is left, and no future."""
    executor = ThreadPoolExecutor(2)
    loop.set_default_executor(executor)

    async def main() -> None:
        await give_up(10)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        resolver.answers.set()
        await loop.shutdown_default_executor()
        assert resolver.asked == 2

    loop.run_until_complete(main())


@pytest.mark.parametrize("ends", ["waits", "closes at once"])
def test_one_that_fails_when_nobody_waits_is_no_noise(
    resolver: Resolver, loop: asyncio.AbstractEventLoop, ends: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither while the loop runs, nor when its threads are waited for, nor after it has closed."""
    executor = ThreadPoolExecutor(2)
    loop.set_default_executor(executor)
    with caplog.at_level(logging.DEBUG, "asyncio"):
        loop.run_until_complete(give_up(1))
        if ends == "waits":
            resolver.answers.set()
            loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        resolver.answers.set()
        executor.shutdown()
        gc.collect()
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []


def test_a_cancelled_caller_does_not_wait_for_the_answer(resolver: Resolver, loop: asyncio.AbstractEventLoop) -> None:
    """Nor does a close; the answer comes to nobody."""

    async def main() -> None:
        attempt = connect(dial_tcp, "slow.example", 1)
        caller = asyncio.ensure_future(attempt)
        await some_turns()
        caller.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectError):
            await caller
        assert attempt.state.value == "cancelled"
        await attempt.aclose()
        assert not resolver.answers.is_set()
        resolver.answers.set()
        await loop.shutdown_default_executor()

    loop.run_until_complete(main())
