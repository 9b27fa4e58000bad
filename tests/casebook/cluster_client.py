"""The client of case E: six steps to a session with the cluster, ours and the way the original was.

1. ask the driver for an egress subscription; the request has an id, the subscription comes later;
2. wait until the subscription is there;
3. open an ingress publication, a connection of its own;
4. send the connect request through it;
5. wait for the response, which comes through the subscription;
6. conclude: the session is open.
"""

from __future__ import annotations

import asyncio
import enum
import itertools
import json
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Self

from lifecycle import Scope, Stages

Script = dict[str, dict[str, Any]]


class Refused(ConnectionError):
    """The peer said no, or hung up."""


class Driver:
    """A client's long-lived connection to the driver, shared by all its attempts."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._ids = itertools.count(1)
        self._events: dict[tuple[int, str], asyncio.Future[dict[str, Any]]] = {}
        self.port: int = writer.get_extra_info("peername")[1]

    @classmethod
    @asynccontextmanager
    async def to(cls, port: int) -> AsyncIterator[Self]:
        """Connect to the driver for the length of a block."""
        async with Scope("driver") as scope:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            scope.callback(writer.close)
            driver = cls(reader, writer)
            scope.start_soon(driver._dispatch)
            yield driver

    async def _dispatch(self) -> None:
        while line := await self._reader.readline():
            event = json.loads(line)
            for name in (event["event"], "any"):
                waiter = self._events.get((event["id"], name))
                if waiter is not None and not waiter.done():
                    waiter.set_result(event)

    def send(self, op: str, **args: Any) -> None:
        """Send a request."""
        self._writer.write(json.dumps({"op": op, "args": args}).encode() + b"\n")

    def expect(self, id: int, event: str = "any") -> asyncio.Future[dict[str, Any]]:  # noqa: A002
        """Return a future of an event; of any that concerns *id* by default."""
        future = asyncio.get_running_loop().create_future()
        self._events[id, event] = future
        future.add_done_callback(lambda _: self._events.pop((id, event), None))
        return future

    def request_subscription(self, script: dict[str, Any]) -> int:
        """Ask for a subscription; return the id of the request, which is also the one of the subscription."""
        number = next(self._ids)
        self.send("add_subscription", id=number, script=script)
        return number

    async def remove(self, id: int) -> None:  # noqa: A002
        """Remove a subscription, or take the request back; wait until it is done."""
        removed = self.expect(id, "removed")
        self.send("remove", id=id)
        await removed

    async def wait_for(self, id: int, wanted: str) -> None:  # noqa: A002
        """Wait for what comes through a subscription."""
        event = (await self.expect(id))["event"]
        if event != wanted:
            raise Refused(event)

    async def kept(self) -> dict[str, int]:
        """Return what the peer keeps."""
        counted = self.expect(0, "count")
        self.send("count")
        kept: dict[str, int] = (await counted)["kept"]
        return kept


class Publication:
    """A connection of its own to the cluster."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int, id: int) -> Self:  # noqa: A002
        """Connect, and say what for."""
        publication = cls(*await asyncio.open_connection("127.0.0.1", port))
        publication.send("ingress", id=id)
        return publication

    def send(self, op: str, **request: Any) -> None:
        """Send a request."""
        self._writer.write(json.dumps({"op": op, **request}).encode() + b"\n")

    async def answer(self) -> None:
        """Wait for an answer."""
        if not await self._reader.readline():
            raise Refused("hung up")

    def close(self) -> None:
        """Close it."""
        self._writer.close()


# Ours


async def cluster(stages: Stages, driver: Driver, script: Script) -> int:
    """Connect to the cluster; return the id of the session."""
    session = await stages.acquire(
        driver.request_subscription, script["subscription"], release=driver.remove, name="subscription"
    )
    await stages.step(driver.wait_for(session, "subscribed"), name="egress")
    port = 1 if script["ingress"].get("refuse") else driver.port
    publication = await stages.acquire(Publication.open, port, session, name="ingress")
    response = driver.wait_for(session, "accepted")
    publication.send("connect", args={"id": session, "script": script["response"]})
    await stages.step(first_of(response, publication, script), name="response")
    publication.send("conclude", args={"id": session, "script": script["conclude"]})
    await stages.step(publication.answer(), name="conclude")
    return session


async def first_of(response: Coroutine[Any, Any, None], publication: Publication, script: Script) -> None:
    """Wait for the response, or for the end of the publication that asked for it."""
    if not script["response"].get("cut"):
        await response
        return
    response.close()
    await publication.answer()


# As it was


class Step(enum.Enum):
    """Where the original is."""

    SUBSCRIBE, EGRESS, INGRESS, REQUEST, RESPONSE, CONCLUDE, DONE = range(7)


class LeakyConnect:
    """``AeronCluster.AsyncConnect`` in miniature: a state per step, one deadline, and a close that forgets.

    Each `poll` does what can be done without waiting. ``close`` closes what is there; the subscription that was asked
    for, and is not there yet, it does not think of.
    """

    def __init__(self, driver: Driver, script: Script, timeout: float) -> None:
        self._driver = driver
        self._script = script
        self._deadline = asyncio.get_running_loop().time() + timeout
        self._step = Step.SUBSCRIBE
        self._correlation_id = 0
        self._waiting: asyncio.Future[Any] | None = None
        self._subscription: int | None = None
        self._publication: Publication | None = None

    def poll(self) -> bool:
        """Go on by at most one step; return whether all have been made."""
        if self._step is not Step.DONE and asyncio.get_running_loop().time() > self._deadline:
            raise TimeoutError(f"in step {self._step.name}")
        getattr(self, f"_{self._step.name.lower()}")()
        return self._step is Step.DONE

    def _expect(self, waiting: Coroutine[Any, Any, None]) -> None:
        self._waiting = asyncio.ensure_future(waiting)

    def _arrived(self) -> bool:
        assert self._waiting is not None
        if not self._waiting.done():
            return False
        self._waiting.result()
        return True

    def _subscribe(self) -> None:
        self._correlation_id = self._driver.request_subscription(self._script["subscription"])
        self._expect(self._driver.wait_for(self._correlation_id, "subscribed"))
        self._step = Step.EGRESS

    def _egress(self) -> None:
        if self._arrived():
            self._subscription = self._correlation_id
            self._expect(self._open(1 if self._script["ingress"].get("refuse") else self._driver.port))
            self._step = Step.INGRESS

    async def _open(self, port: int) -> None:
        self._publication = await Publication.open(port, self._correlation_id)

    def _ingress(self) -> None:
        if self._arrived():
            self._step = Step.REQUEST

    def _request(self) -> None:
        publication, id = self._asked()  # noqa: A001
        self._expect(first_of(self._driver.wait_for(id, "accepted"), publication, self._script))
        publication.send("connect", args={"id": id, "script": self._script["response"]})
        self._step = Step.RESPONSE

    def _response(self) -> None:
        if self._arrived():
            publication, id = self._asked()  # noqa: A001
            self._expect(publication.answer())
            publication.send("conclude", args={"id": id, "script": self._script["conclude"]})
            self._step = Step.CONCLUDE

    def _conclude(self) -> None:
        if self._arrived():
            self._step = Step.DONE

    def _asked(self) -> tuple[Publication, int]:
        assert self._publication is not None
        return self._publication, self._correlation_id

    def _done(self) -> None:
        pass

    async def aclose(self) -> None:
        """Close what is there."""
        if self._waiting is not None:
            self._waiting.cancel()
            await asyncio.gather(self._waiting, return_exceptions=True)
        if self._publication is not None:
            self._publication.close()
        if self._subscription is not None:
            await self._driver.remove(self._subscription)
        # And the one that was asked for, and did not come in time? self._driver.remove(self._correlation_id)
