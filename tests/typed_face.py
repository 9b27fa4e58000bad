"""What users write, as strict type checkers see it: `make types` checks this file, nothing runs it."""

import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Any, assert_type

from lifecycle import (
    Broadcast,
    Limiter,
    Mailbox,
    Pool,
    Rate,
    Registry,
    Retry,
    Scope,
    ServedStream,
    Stages,
    TaskGroup,
    TaskHandle,
    TaskManager,
    amap,
    cached,
    connect,
    gather,
    keep_connected,
    limit_by,
    link,
    once,
    race,
    resource,
    run,
    serve_tcp,
    serve_unix,
)
from lifecycle.hooks import TaskHooks, TimerHooks
from lifecycle.types import (
    ConnectAttempt,
    ConnectionDown,
    ConnectionUp,
    Hold,
    LinkOutcome,
    Loan,
    RetryAttempt,
    RetryFailure,
    Server,
    Subscription,
    Timer,
    TimerRun,
    TryHold,
)


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
async def client_manager(host: str) -> AsyncGenerator[Client, None]:
    yield Client()


@resource
async def client_resource(host: str) -> AsyncIterator[Client]:
    yield Client()


async def limits(url: str) -> None:
    limiter = Limiter(10, limit_by=limit_by(len, limit=1, rate=lambda _: Rate(1)), rate=Rate(10, per=2.0, burst=3))
    async with limiter.hold(url, timeout=1.0) as held:
        assert_type(held, Hold)
    with limiter.try_hold(url) as tried:
        assert_type(tried, TryHold)
    limiter.pause(1.0, url)
    async with TaskManager(limit_by=limit_by(len, limit=1)) as manager, TaskGroup(rate=Rate(1)) as group:
        manager.create_task(open_client(url), limit_key="key")
        group.create_task(open_client(url), limit_key=None)
    assert_type(await amap(open_client, [url], limit_by=limit_by(len, limit=1)), list[Client])


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
        assert_type(await gather(open_client("a"), fetch("b"), limit=1), tuple[Client, int])
        assert_type(
            await gather(fetch("a"), fetch("b"), return_exceptions=True), tuple[int | Exception, int | Exception]
        )
        assert_type(await gather(*[fetch("a")]), list[int])
        assert_type(await gather([fetch("a")], limit=1), list[int])
        assert_type(await race(lambda: open_client("a"), lambda: fetch("b")), Client | int)
        assert_type(await race(*[connecting]), Client)


async def shared() -> None:
    async with Registry[str, Client](
        ttl=60.0,
        finalizer=close_client,
        on_removed=lambda registration: registration.cause,
        max_size=9,
        when_full="refuse",
    ) as clients:
        assert_type(clients.get("a"), Client | None)
        with clients.put_and_lease("b", await open_client("b"), ttl=5.0) as put:
            assert_type(put, Client)
        async with clients.put("c", put).lease() as very:
            assert_type(very, Client)
        assert_type(clients.peek("a"), Client | None)
        assert_type(clients.values(), list[Client])
        assert_type(clients.items(), list[tuple[str, Client]])
        async with clients.lease("a", lambda: open_client("a")) as leased:
            assert_type(leased, Client)
        async with clients.lease("a", lambda: open_client("a"), ttl=lambda client: 5.0) as timed:
            assert_type(timed, Client)
    async with Pool(lambda: open_client("a"), close_client, max_size=2) as pool:
        await pool.wait_ready(timeout=5.0)
        loan = pool.acquire()
        assert_type(loan, Loan[Client])
        async with loan as lent:
            assert_type(lent, Client)
    assert_type(Pool(lambda: open_client("a"), lambda client: client.aclose(), max_size=1), Pool[Client])
    assert_type(Pool(Client, lambda client: client.aclose(), max_size=1), Pool[Client])
    assert_type(
        Pool(Client, Client.aclose, max_size=1, check_timeout=None, reset_timeout=1, max_creating=2, acquire_timeout=5),
        Pool[Client],
    )
    assert_type(Pool(Client, Client.aclose, max_size=1, check=lambda client: client.aclose()), Pool[Client])
    assert_type(Pool(lambda: connect(session, "host"), close_client, max_size=1), Pool[Client])
    tokens = Registry("tokens", ttl=3600.0)
    tokens.put("ann", "secret", ttl=600.0)
    async with Scope() as scope:
        owned: Registry[str, Client] = await scope.enter(Registry("clients", finalizer=Client.aclose))
        assert_type(owned.get("a"), Client | None)


@cached(ttl=60.0)
async def fetch(key: str) -> int:
    return len(key)


class Asked:
    """Something with a cached method."""

    @cached(ttl=60.0, typed=True)
    async def answer(self, question: str) -> int:
        return len(question)


async def asking(asked: Asked) -> None:
    assert_type(asked.answer.discard("why"), bool)
    assert_type(await asked.answer("why"), int)
    assert_type(asked.answer.discard("why"), bool)
    await asked.answer(1)  # type: ignore[arg-type]


async def session(stages: Stages, host: str) -> Client:
    return await stages.acquire(open_client, host, release=close_client, name="tcp")


async def connecting() -> Client:
    assert_type(await fetch("a"), int)
    async with connect(session, "host", timeout=5.0) as client:
        assert_type(client, Client)
    return await connect(session, "host")


def on_up(up: ConnectionUp[Client]) -> None:
    assert_type(up.value, Client)
    assert_type(up.gap, float | None)


async def on_down(down: ConnectionDown[Client]) -> None:
    assert_type(down.error, BaseException | None)


async def kept_connections() -> None:
    async with keep_connected(session, "host", on_up=on_up, on_down=on_down, replay=close_client) as kept:
        assert_type(await kept.get(timeout=1.0), Client)
        assert_type(kept.get_nowait(), Client)
        assert_type(kept.current, Client | None)
        async with kept.use() as client:
            assert_type(client, Client)
        async for each in kept:
            assert_type(each, Client)
    keep_connected(session, 1)  # type: ignore[arg-type]


async def opened() -> Scope:
    """The block does not swallow errors by itself: nothing is missing after it."""
    async with Scope("opening") as opening:
        await opening.acquire(open_client, "host")
        return opening.pop_all()


async def returning(attempt: ConnectAttempt[Client]) -> int:
    async with TaskGroup(), TaskManager(), attempt, client_resource("host"):
        return 3


wrapped = cached(ttl=1.0)(open_client).__wrapped__
opening: Callable[[str], Coroutine[Any, Any, Client]] = wrapped
assert callable(client_resource.__wrapped__)


async def mistakes(scope: Scope, manager: TaskManager, pool: Pool[Client], clients: Registry[str, Client]) -> None:
    """What must not pass: that a checker says so is checked, because an `ignore` that nothing needs is an error."""
    scope.start_soon(open_client)  # type: ignore[arg-type]
    manager.start_soon(open_client, 1)  # type: ignore[arg-type]
    connect(session, 1)  # type: ignore[arg-type]
    client_resource(1)  # type: ignore[arg-type]
    await fetch(1)  # type: ignore[arg-type]
    await race(open_client)  # type: ignore[arg-type]
    await amap(open_client, [1])  # type: ignore[arg-type]
    clients.put(1, Client())  # type: ignore[arg-type]
    run(open_client)  # type: ignore[arg-type]
    Pool(lambda: open_client("a"), lambda client: client.missing(), max_size=1)  # type: ignore[attr-defined]
    Pool(Client, close_client)  # type: ignore[call-overload]
    Pool(Client, close_client, max_size=1, min=1)  # type: ignore[call-overload]
    name, number = await gather(open_client("a"), fetch("b"))
    name.missing()  # type: ignore[attr-defined]
    number.missing()  # type: ignore[attr-defined]
    async with pool.acquire() as client:
        client.missing()  # type: ignore[attr-defined]


async def handed_over(drop: Callable[[Client], None]) -> None:
    mailbox: Mailbox[Client] = Mailbox(capacity=None, overflow="drop_oldest", on_drop=drop)
    assert_type(await mailbox.send(Client()), bool)
    assert_type(await mailbox.receive(), Client)
    assert_type(mailbox.receive_nowait(), Client)
    async for client in mailbox:
        assert_type(client, Client)
    assert_type(mailbox.discard(), list[Client])
    mailbox.send_nowait(1)  # type: ignore[arg-type]
    Mailbox(overflow="disconnect")  # type: ignore[arg-type]
    async with Broadcast[Client]("clients", replay=1) as broadcast:
        assert_type(await broadcast.publish(Client()), int)
        with broadcast.subscribe(overflow="disconnect") as subscription:
            assert_type(subscription, Subscription[Client])
            assert_type(await subscription.receive(), Client)
        broadcast.subscribe(overflow="refuse")  # type: ignore[arg-type]


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


retry = Retry(attempts=3, retry_on=lambda error: 1.5 if isinstance(error, OSError) else False)


@retry
async def fetch_again(key: str, *, size: int = 1) -> Client:
    """Fetch, and again."""
    return Client()


class Fetcher:
    """Something with methods."""

    @retry
    async def fetch(self, key: str) -> int:
        """Fetch, and again."""
        return len(key)

    @staticmethod
    @retry
    async def parse(text: str) -> int:
        """Read, and again."""
        return int(text)


async def trying_again() -> Client:
    takes: Callable[[str], Coroutine[Any, Any, Client]] = fetch_again
    assert_type(await takes("a"), Client)
    assert_type(await fetch_again("a", size=2), Client)
    assert_type(await Fetcher().fetch("a"), int)
    assert_type(await Fetcher.parse("7"), int)
    assert_type(await retry.call(fetch, "a"), int)
    assert_type(await retry.call(lambda: open_client("a")), Client)
    assert_type(await retry.call(open_client, host="a"), Client)
    async for attempt in retry:
        assert_type(attempt, RetryAttempt)
        async with attempt as entered:
            assert_type(entered, RetryAttempt)
            assert_type((attempt.number, attempt.error), tuple[int, BaseException | None])
            return await open_client("a")
    raise AssertionError


async def told(failure: RetryFailure) -> None:
    assert_type((failure.attempt, failure.pause, failure.error), tuple[int, float | None, BaseException])


with_a_hook = Retry(on_failure=told, give_up_on=(ValueError, KeyError))


async def linked(
    pump: Callable[[str, int], Coroutine[Any, Any, None]], beat: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    outcome = await link(beat, (pump, "up", 1), down=(pump, "down", 2), may_end=["down"], close=print, abort=print)
    assert_type(outcome, LinkOutcome)
    outcome.raise_errors()


def served(handler: Callable[[ServedStream], Coroutine[Any, Any, None]], listening: socket.socket) -> None:
    assert_type(serve_tcp(handler, sock=[listening], drain="tell"), Server)
    assert_type(serve_tcp(handler, reuse_port=True), Server)
    assert_type(serve_unix(handler, "control.sock", mode=0o660, owner=("root", None)), Server)
    assert_type(serve_unix(handler, sock=listening), Server)
