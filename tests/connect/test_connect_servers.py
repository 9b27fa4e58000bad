"""connect with redis.asyncio and httpx to real servers that are paused, killed and started again meanwhile."""

from __future__ import annotations

import asyncio
import random
import shutil
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis.asyncio

from lifecycle import ConnectError, ConnectTimeout, Retry, Stages, connect, dial

from ..servers import Server, leaving_nothing

pytestmark = pytest.mark.slow

Client = Any  # of either library


@dataclass
class Kind:
    """A library and its server.

    Attributes:
        server: started afresh for each test.
        make: makes a client, which does not connect yet.
        check: asks something of the server.
        hang: asks something that is never answered.
        count: the number of the server's connections, the asking one left out.
        errors: what the library raises for a connection that fails; neither library's error is an ``OSError``.
    """

    server: Server
    make: Callable[[], Client]
    check: Callable[[Client], Awaitable[object]]
    hang: Callable[[Client], Awaitable[object]]
    count: Callable[[Client], Coroutine[Any, Any, int]]
    errors: tuple[type[Exception], ...]

    def connector(self) -> Callable[[Stages], Coroutine[Any, Any, Client]]:
        """Return the one-line connector."""
        return dial(self.make, close=lambda client: client.aclose(), check=self.check)

    def patient(self) -> Retry:
        """Return a retry that outlives a restart."""
        errors = (OSError, TimeoutError, *self.errors)
        return Retry(timeout=30.0, backoff=(0.02, 0.1), retry_on=errors)


def redis_kind() -> Kind:
    """Return redis.asyncio, and a redis-server."""
    server = Server(lambda port: ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""])

    async def count(client: Client) -> int:
        return len(await client.client_list()) - 1

    return Kind(
        server,
        lambda: redis.asyncio.from_url(f"redis://127.0.0.1:{server.port}", retry=None),
        lambda client: client.ping(),
        lambda client: client.blpop("nothing", 0),
        count,
        (redis.ConnectionError, redis.TimeoutError),
    )


def httpx_kind() -> Kind:
    """Return httpx, and a small web server."""
    server = Server(lambda port: [sys.executable, str(Path(__file__).with_name("http_peer.py")), str(port)])

    async def count(client: Client) -> int:
        return int((await client.get("/connections")).text) - 1

    return Kind(
        server,
        lambda: httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{server.port}", timeout=None, trust_env=False, verify=False
        ),
        lambda client: client.get("/"),
        lambda client: client.get("/slow"),
        count,
        (httpx.TransportError,),
    )


@pytest.fixture(params=[redis_kind, httpx_kind], ids=["redis", "httpx"])
def kind(request: pytest.FixtureRequest) -> Iterator[Kind]:
    """Start a server of each kind."""
    if request.param is redis_kind and shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    made: Kind = request.param()
    made.server.start()
    yield made
    made.server.kill()


async def only_witness(kind: Kind) -> None:
    """Check that the server has no connection but the one that asks; it may take a moment to notice."""
    async with connect(kind.connector(), retry=kind.patient(), timeout=5.0) as witness:
        for _ in range(500):
            count = await kind.count(witness)
            if count == 0:
                return
            await asyncio.sleep(0.01)
    raise AssertionError(f"the server still has {count} connections")


def test_a_client_in_one_line(kind: Kind) -> None:
    """Connected, checked, used, closed."""

    async def main() -> None:
        async with leaving_nothing():
            async with connect(kind.connector(), timeout=10.0) as client:
                assert await kind.count(client) == 0
                await kind.check(client)
            await only_witness(kind)

    asyncio.run(main())


def test_a_paused_server_times_out_and_nothing_is_left(kind: Kind) -> None:
    """It takes the connection and says nothing; when it goes on, it finds nobody there."""

    async def main() -> None:
        async with leaving_nothing():
            kind.server.pause()
            with pytest.raises(ConnectTimeout) as caught:
                await connect(kind.connector(), timeout=0.2, retry=Retry(attempts=3, backoff=(0.01, 0.01)))
            assert (caught.value.stage, caught.value.attempts) == ("check", 3)
            assert caught.value.rollback_errors == ()
            kind.server.resume()
            await only_witness(kind)

    asyncio.run(main())


def test_a_server_that_goes_on_is_reached_by_the_next_attempt(kind: Kind) -> None:
    """Paused when the connect begins, resumed between two attempts."""

    async def main() -> None:
        async with leaving_nothing():
            kind.server.pause()
            asyncio.get_running_loop().call_later(0.5, kind.server.resume)
            attempt = connect(kind.connector(), timeout=0.3, retry=kind.patient())
            async with attempt as client:
                await kind.check(client)
            assert attempt.attempts > 1
            await only_witness(kind)

    asyncio.run(main())


def test_a_server_killed_during_a_stage_fails_that_stage(kind: Kind) -> None:
    """A question that is never answered, and then the server is gone."""

    async def connector(stages: Stages) -> None:
        client = await stages.acquire(kind.make, release=lambda client: client.aclose(), name="client")
        await stages.step(kind.check(client), name="check")
        asyncio.get_running_loop().call_later(0.1, kind.server.kill)
        await stages.step(kind.hang(client), name="question")

    async def main() -> None:
        async with leaving_nothing():
            with pytest.raises(ConnectError) as caught:
                await connect(connector, timeout=30.0)
            assert caught.value.stage == "question"
            assert isinstance(caught.value.__cause__, kind.errors)
            assert caught.value.rollback_errors == ()

    asyncio.run(main())


def test_a_server_that_comes_back_is_reached(kind: Kind) -> None:
    """Killed before the connect, started again while it is tried."""

    async def main() -> None:
        async with leaving_nothing():
            kind.server.kill()
            attempt = connect(kind.connector(), timeout=5.0, retry=kind.patient())
            connecting = asyncio.ensure_future(attempt)
            while attempt.attempts < 3:
                await asyncio.sleep(0.01)
            kind.server.start()
            await kind.check(await connecting)
            await attempt.scope.aclose()
            await only_witness(kind)

    asyncio.run(main())


def test_cancelled_at_any_moment_nothing_is_left_at_the_server(kind: Kind) -> None:
    """A hundred connects, awaited and polled, cancelled after a random part of the time that they take, and later."""
    chance = random.Random(6)

    async def awaits() -> None:
        async with connect(kind.connector()) as client:
            await kind.check(client)

    async def polls() -> None:
        attempt = connect(kind.connector())
        try:
            while not attempt.poll():
                await asyncio.sleep(0)
        finally:
            await attempt.aclose()
        await attempt.scope.aclose()

    async def main() -> None:
        ended = 0
        async with leaving_nothing():
            await awaits()
            began = asyncio.get_running_loop().time()
            await awaits()
            takes = asyncio.get_running_loop().time() - began
            for _ in range(100):
                task = asyncio.ensure_future(chance.choice([awaits, polls])())
                await asyncio.sleep(chance.uniform(0, 2 * takes))
                task.cancel()
                ended += (await asyncio.gather(task, return_exceptions=True))[0] is None
            await only_witness(kind)
        print(ended, "came to their end")

    asyncio.run(main())


@pytest.mark.parametrize("kind", [redis_kind], indirect=True, ids=["redis"])
def test_a_subscription_is_a_stage_of_its_own(kind: Kind) -> None:
    """A subscription that is never confirmed is taken back; asked afterwards, the server knows of none."""

    async def subscriber(stages: Stages, confirms: bool) -> str:
        client = await stages.acquire(kind.make, release=lambda client: client.aclose(), name="client")
        feed = client.pubsub()
        await stages.acquire(partial(subscribe, feed), release=lambda _: feed.aclose(), name="subscription")
        message = await stages.step(feed.get_message(timeout=5.0), name="confirmation")
        if not confirms:
            await stages.step(feed.get_message(ignore_subscribe_messages=True, timeout=None), name="message")
        return str(message["channel"])

    async def subscribe(feed: Any) -> Any:
        await feed.subscribe("weather")
        return feed

    async def main() -> None:
        async with leaving_nothing(), connect(kind.connector()) as witness:
            async with connect(subscriber, True) as channel:
                assert "weather" in channel
                assert (await witness.pubsub_numsub("weather"))[0][1] == 1
            with pytest.raises(ConnectTimeout) as caught:
                await connect(subscriber, False, timeout=0.2, retry=Retry(attempts=3, backoff=(0.0, 0.0)))
            assert caught.value.stage == "message"
            for _ in range(500):
                if (await witness.pubsub_numsub("weather"))[0][1] == 0:
                    break
                await asyncio.sleep(0.01)
            assert (await witness.pubsub_numsub("weather"))[0][1] == 0

    asyncio.run(main())
