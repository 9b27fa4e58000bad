"""Connects: n stages, callers, attempts and connections."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lifecycle import Retry, Scope, connect, dial, dial_tcp, dial_unix, serve_tcp, serve_unix

from ._kinds import Laps, case, few, manages, nothing, returns, settle, suspends, waits


@case
async def connects(n: int, laps: Laps) -> None:
    async def session(stages: Any) -> None:
        for _ in range(n):
            await stages.acquire(object, release=nothing)

    async def fails_after(stages: Any) -> None:
        await session(stages)
        raise ValueError

    attempt = connect(session)
    with laps("n stages", n):
        await attempt
    with laps("close of n stages", n):
        await attempt.scope.aclose()
    with laps("n stages rolled back", n), suppress(Exception):
        await connect(fails_after)


@case
async def connect_stages(n: int, laps: Laps) -> None:
    async def session(stages: Any) -> None:
        for _ in range(n):
            await stages.enter(manages())
            await stages.step(suspends())
            stages.start_soon(waits)

    with laps("n of each kind of stage, and their end", n):
        async with connect(session):
            await settle()


@case
async def connect_waiters(n: int, laps: Laps) -> None:
    async def session(_: Any) -> int:
        await event.wait()
        return 0

    event = asyncio.Event()
    attempt = connect(session)
    with laps("n that await one attempt", n):
        waiting = [asyncio.ensure_future(awaits(attempt)) for _ in range(n)]
        await settle()
        event.set()
        await asyncio.wait(waiting)
    await attempt.aclose()

    async def fails(_: Any) -> int:
        raise OSError

    with laps("n attempts", n), suppress(Exception):
        await connect(fails, retry=Retry(attempts=n, backoff=(0.0, 0.0), jitter=0.0))


@case
async def connect_ends(n: int, laps: Laps) -> None:
    async def session(stages: Any) -> None:
        await stages.step(waits())

    attempts = [connect(session) for _ in range(n)]
    with laps("poll n attempts", n):
        for attempt in attempts:
            attempt.poll()
        await settle()
    with laps("cancel n attempts and close them", n):
        for attempt in reversed(attempts):
            attempt.cancel()
        for attempt in attempts:
            attempt.statistics()
            await attempt.aclose()
    attempt = connect(session)
    attempt.poll()
    await settle()
    with laps("n closes of one attempt", n):
        await asyncio.gather(*[attempt.aclose() for _ in range(n)])


@case
async def dialled(n: int, laps: Laps) -> None:
    async def handle(stream: Any) -> None:
        with suppress(Exception):
            await stream.receive()

    with laps("dial what is opened at once", n):
        async with Scope() as scope:
            for _ in range(n):
                await scope.enter(connect(dial(object, close=nothing, check=returns)))
    n = few(n)
    with TemporaryDirectory() as directory:
        path = Path(directory) / "socket"
        async with serve_tcp(handle, port=0) as server, serve_unix(handle, path), Scope() as scope:
            with laps("dial_tcp", n):
                for _ in range(n):
                    await scope.enter(connect(dial_tcp, "127.0.0.1", server.port))
            with laps("dial_unix", n):
                for _ in range(n):
                    await scope.enter(connect(dial_unix, path))
            with laps("close n connections of each", n):
                await scope.aclose()


@case
async def retried(n: int, laps: Laps) -> None:
    async def fails() -> None:
        raise OSError

    retry = Retry(attempts=n, backoff=(0.0, 0.0), jitter=0.0, on_failure=nothing)
    with laps("a call of n attempts", n), suppress(OSError):
        await retry.call(fails)
    with laps("a loop of n attempts", n), suppress(OSError):
        async for attempt in retry:
            async with attempt:
                await fails()
    with laps("n decorated functions, and a call of each", n):
        for _ in range(n):
            await Retry(attempts=2)(returns)()
    with laps("n judgements", n):
        for failures in range(1, n + 1):
            retry.covers(OSError())
            retry.pause_after(failures, OSError(), 60.0)
            retry.pause(failures)


async def awaits(attempt: Any) -> None:
    await attempt
