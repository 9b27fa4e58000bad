"""What users write, as strict type checkers see it: `make types` checks this file, nothing runs it."""

from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Any, assert_type

from lifecycle import (
    Pool,
    Registry,
    Scope,
    Stages,
    TaskGroup,
    TaskHandle,
    TaskManager,
    amap,
    cached,
    connect,
    gather,
    once,
    resource,
    run,
)
from lifecycle.hooks import TaskHooks, TimerHooks
from lifecycle.types import Loan, Timer, TimerRun


class Client:
    """Something to own."""

    async def aclose(self) -> None:
        """End it."""


async def open_client(host: str) -> Client:
    return Client()


def make_client(host: str, port: int) -> Client:
    return Client()


async def close_client(client: Client) -> None:
    await client.aclose()


@asynccontextmanager
async def client_manager(host: str) -> AsyncIterator[Client]:
    yield Client()


@resource
async def client_resource(host: str) -> AsyncIterator[Client]:
    yield Client()


async def owners() -> None:
    async with Scope("session") as scope, TaskManager("mail") as manager, TaskGroup() as group:
        assert_type(await scope.acquire(open_client, "host"), Client)
        assert_type(await scope.acquire(open_client, "host", release=close_client, timeout=1.0), Client)
        assert_type(await scope.acquire(make_client, "host", 1), Client)
        assert_type(await scope.enter(client_manager("host")), Client)
        assert_type(await scope.enter(client_resource("host")), Client)
        assert_type(scope.start_soon(open_client, "host"), TaskHandle[Client])
        assert_type(manager.start_soon(open_client, "host"), TaskHandle[Client])
        assert_type(manager.start_soon_threadsafe(open_client, "host"), Future[Client])
        handle = await manager.spawn(open_client, "host")
        assert_type(handle, TaskHandle[Client])
        handle.add_done_callback(lambda done: print(done.result().aclose))
        assert_type((handle.result(), handle.exception(), handle.done()), tuple[Client, BaseException | None, bool])
        assert_type(await group.start_soon(open_client, "host"), Client)
        assert_type(await amap(open_client, ["a", "b"], limit=2), list[Client])
        both = await gather(open_client("a"), open_client("b"))
        assert_type(both[0], Client)


async def shared() -> None:
    async with Registry[str, Client](ttl=60.0, finalizer=close_client) as clients:
        assert_type(clients.get("a"), Client | None)
        async with clients.lease("a", lambda: open_client("a")) as leased:
            assert_type(leased, Client)
    async with Pool(lambda: open_client("a"), close_client, max_size=2) as pool:
        loan = pool.acquire()
        assert_type(loan, Loan[Client])
        async with loan as lent:
            assert_type(lent, Client)


@cached(ttl=60.0)
async def fetch(key: str) -> int:
    return len(key)


async def session(stages: Stages, host: str) -> Client:
    return await stages.acquire(open_client, host, release=close_client, name="tcp")


async def connecting() -> Client:
    assert_type(await fetch("a"), int)
    async with connect(session, "host", timeout=5.0) as client:
        assert_type(client, Client)
    return await connect(session, "host")


class Watch(TaskHooks):
    """Derives from what a hook looks like, and has one of its methods."""

    def after(self, handle: TaskHandle[Any]) -> None:
        print(handle.name)


class Late(TimerHooks):
    """The same, of timers."""

    async def before(self, run: TimerRun) -> None:
        print(run.lateness)


def watched() -> None:
    TaskManager(hooks=[Watch()])
    assert_type(once(connecting, 1.0, hooks=[Late()]), Timer)


def main() -> None:
    assert_type(run(connecting), Client)
