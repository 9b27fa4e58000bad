"""Programs with pairs, connects, kept connections and servers, of which nothing may be left."""

from __future__ import annotations

import asyncio
from typing import Any

from lifecycle import ReaderWorker, Retry, Stages, TaskManager, connect, keep_connected, link, serve_tcp
from lifecycle.types import KeptConnection

from ._parts import (
    Error,
    Value,
    cancel_soon,
    case,
    fail,
    fail_later,
    fail_when_cancelled,
    fails,
    forever,
    make,
    pause,
    turn,
)

# Pairs


@case
async def pair_reader_fails() -> None:
    async with ReaderWorker(fail, forever, close=turn) as pair:
        await pair.wait()
        fails()


@case
async def pair_worker_fails() -> None:
    async with ReaderWorker(forever, fail, close=fail_later):
        await pause()


@case
async def pair_close_takes_too_long() -> None:
    async with ReaderWorker(forever, forever, close=forever, close_timeout=0.001):
        await turn()


@case
async def pair_is_cancelled() -> None:
    cancel_soon()
    async with ReaderWorker(forever, forever, close=pause):
        await turn()


@case
async def link_fails() -> None:
    await link(fail, forever, close=pause)


@case
async def link_is_cancelled() -> None:
    cancel_soon()
    await link(fail_when_cancelled, forever)


# Connects


async def connector(stages: Stages) -> Value:
    stages.start_soon(forever)
    value: Value = await stages.acquire(make)
    return value


async def failing_connector(stages: Stages) -> None:
    await stages.acquire(make, release=fail_later)
    await stages.step(fail(), name="greeting")


async def hanging_connector(stages: Stages) -> None:
    await stages.acquire(make)
    await stages.step(fail_when_cancelled())


@case
async def connect_succeeds() -> None:
    async with connect(connector) as value:
        del value


@case
async def connect_fails() -> None:
    await connect(failing_connector, retry=Retry(attempts=2, retry_on=Error, backoff=(0.001, 0.001)))


@case
async def connect_times_out() -> None:
    await connect(hanging_connector, timeout=0.001)


@case
async def connect_is_cancelled() -> None:
    cancel_soon()
    await connect(hanging_connector)


@case
async def connect_is_closed() -> None:
    attempt = connect(forever)
    attempt.poll()
    await pause()
    await attempt.aclose()


@case
async def connection_fails() -> None:
    async with connect(connector):
        fails()


# Kept connections


#: Tries again at once, whatever it was.
PATIENT = Retry(retry_on=Error, backoff=(0.001, 0.001))


def keep(how: Any, **options: Any) -> KeptConnection[Any]:
    return keep_connected(how, retry=PATIENT, minimum_uptime=0.001, **options)


@case
async def kept_comes_up() -> None:
    async with keep(connector, replay=turn, on_up=turn, on_down=turn) as kept, kept.use():
        await turn()


@case
async def kept_is_lost_by_a_task_and_by_its_users() -> None:
    async def mortal(stages: Stages) -> Value:
        stages.start_soon(fail_later)
        return await stages.acquire(make)

    async with keep(mortal) as kept:
        async for value in kept:
            if kept.generation == 3:
                break
            kept.report_lost(value, Error() if kept.generation == 2 else None)
            del value


@case
async def kept_hooks_fail() -> None:
    async with keep(connector, on_up=fail, on_down=fail_later) as kept:
        await kept.get()
        kept.reconnect()
        await kept.get()


@case
async def kept_replay_fails_and_it_is_given_up() -> None:
    async with keep_connected(
        connector, replay=fail, retry=Retry(attempts=2, retry_on=Error, backoff=(0.001, 0.001)), minimum_uptime=1.0
    ) as kept:
        await kept.get()


@case
async def kept_meets_a_defect() -> None:
    kept = keep_connected(failing_connector)
    try:
        await kept.get()
    finally:
        await kept.aclose()


@case
async def kept_releases_fail() -> None:
    async def clumsy(stages: Stages) -> Value:
        return await stages.acquire(make, release=fail_later)

    async with keep(clumsy) as kept:
        await kept.get()
        kept.reconnect()
        await kept.get()


@case
async def kept_is_cancelled_while_it_connects() -> None:
    cancel_soon()
    async with keep(hanging_connector) as kept:
        await kept.get()


@case
async def kept_body_fails() -> None:
    async with keep(connector) as kept:
        await kept.get()
        fails()


# Servers


@case
async def server_handles() -> None:
    async with serve_tcp(turn, "127.0.0.1", 0) as server:
        await visit(server.port)


@case
async def server_handler_fails() -> None:
    async with serve_tcp(fail, "127.0.0.1", 0, on_error=unheard) as server:
        await visit(server.port)


def unheard(*_: object) -> None: ...


async def visit(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await reader.read()
    writer.close()
    await writer.wait_closed()


@case
async def server_cuts_its_handlers() -> None:
    async with serve_tcp(fail_when_cancelled, "127.0.0.1", 0, drain_timeout=0.0, on_error=unheard) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        await pause()
    writer.close()


@case
async def server_body_fails() -> None:
    async with serve_tcp(forever, "127.0.0.1", 0, drain_timeout=0.0) as server, TaskManager() as visitors:
        visitors.start_soon(visit, server.port)
        await pause()
        server.cancel()
        fails()


@case
async def server_cannot_listen() -> None:
    async with serve_tcp(turn, "127.0.0.1", 0) as server, serve_tcp(turn, "127.0.0.1", server.port):
        pass
