"""Case C, rows 8, 11 and 13: requests for sites, database connections, and saying what grew.

Each miniature is written the way the warehouse's was.
One look, the same for both, finds its leak and none of ours.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from lifecycle import Pool, Scope, TaskManager, take_snapshot
from lifecycle.testing import Bubble

from ..loops import virtual
from .live import Thing, alive, settle
from .site_requests import SiteRequests

# C8: requests for storage sites


class LeakyRequests:
    """Three maps that only grow, and a sweep every 300 seconds over all of what is older than 600."""

    def __init__(self, assign: Callable[[str], Any]) -> None:
        self.assign = assign
        self.pending: dict[str, Thing] = {}
        self.processing: dict[str, Thing] = {}
        self.completed: dict[str, Thing] = {}

    async def site_for(self, request: str) -> str:
        """Return the site for a request."""
        self.pending[request] = Thing()
        self.processing[request] = Thing()
        site = await self.assign(request)
        self.completed[request] = Thing(site)
        return str(site)


@pytest.mark.asyncio
async def test_c8_leaky_requests_stay_in_every_map() -> None:
    """Those that were answered, and those whose sender has left."""
    never = asyncio.Event()

    async def assign(request: str) -> str:
        if "gone" in request:
            await never.wait()
        return f"site of {request}"

    requests = LeakyRequests(assign)
    for number in range(20):
        await requests.site_for(f"good {number}")
        with anyio.move_on_after(0.001):
            await requests.site_for(f"gone {number}")
    assert (len(requests.pending), len(requests.processing), len(requests.completed)) == (40, 40, 20)
    assert alive(Thing) == 100


@pytest.mark.asyncio
async def test_c8_ours_serves_by_priority_lets_the_departed_go_and_forgets_answers() -> None:
    """The most urgent first; one search for all who ask the same; a cancelled waiter leaves; answers expire."""
    now = 0.0
    served: list[str] = []
    free = asyncio.Event()

    async def assign(request: str) -> str:
        await free.wait()
        served.append(request)
        return f"site of {request}"

    async with SiteRequests(assign, sites=1, ttl=600.0, most_answers=50, clock=lambda: now) as requests:
        async with TaskManager() as senders:
            first = senders.start_soon(requests.site_for, "first")
            with anyio.fail_after(30):
                while not requests.queue.statistics().running:
                    await anyio.sleep(0.001)
            low = senders.start_soon(requests.site_for, "low", 1)
            gone = senders.start_soon(requests.site_for, "gone", 5)
            high = [senders.start_soon(requests.site_for, "high", 9) for _ in range(3)]
            with anyio.fail_after(30):
                while requests.waiting < 4:
                    await anyio.sleep(0.001)
            gone.cancel("the robot has left")
            await gone.wait()
            with anyio.fail_after(30):
                while requests.waiting > 3:
                    await anyio.sleep(0.001)
            free.set()
            sites = [await handle for handle in (first, low, *high)]
        assert served == ["first", "high", "low"]
        assert sites == ["site of first", "site of low", *["site of high"] * 3]
        assert (requests.waiting, len(requests.answers)) == (0, 3)
        now = 601.0
        requests.answers.sweep()
        assert len(requests.answers) == 0
        for number in range(80):
            await requests.site_for(f"request {number}")
        assert len(requests.answers) == 50


@pytest.mark.asyncio
async def test_c8_waiting_requests_are_bounded() -> None:
    """One more is refused at once; nothing of those that wait is left at the end."""

    async def assign(request: str) -> str:
        await anyio.sleep_forever()
        return request

    async with SiteRequests(assign, sites=1, most_waiting=3) as requests, Scope() as senders:
        for number in range(3):
            senders.start_soon(requests.site_for, f"request {number}")
        with anyio.fail_after(30):
            while requests.waiting < 3:
                await anyio.sleep(0.001)
        with pytest.raises(anyio.WouldBlock):
            await requests.site_for("one more")
        await senders.aclose()
        with anyio.fail_after(30):
            while requests.waiting:
                await anyio.sleep(0.001)
    assert asyncio.all_tasks() == {asyncio.current_task()}


# C11: connections to the database


class Connection:
    """A connection, counted while it is open."""

    open = 0

    def __init__(self) -> None:
        type(self).open += 1

    def close(self) -> None:
        """Close it."""
        type(self).open -= 1


class LeakyPool:
    """Fifty connections and a hundred more when they do not suffice; who forgets one is never asked."""

    def __init__(self) -> None:
        self.idle: list[Connection] = []
        self.lent: list[Connection] = []

    async def checkout(self) -> Connection:
        """Lend a connection."""
        while not self.idle and len(self.lent) >= 150:
            await asyncio.sleep(1)
        connection = self.idle.pop() if self.idle else Connection()
        self.lent.append(connection)
        return connection

    def checkin(self, connection: Connection) -> None:
        """Take it back, and keep it for ever."""
        self.lent.remove(connection)
        self.idle.append(connection)


@virtual
async def test_c11_the_leaky_pool_opens_what_it_is_asked_for_and_keeps_it(bubble: Bubble) -> None:
    """A burst of 200 leaves 150 connections open a day later, and nobody knows who forgot one."""
    Connection.open = 0
    pool = LeakyPool()

    async def query() -> None:
        connection = await pool.checkout()
        await asyncio.sleep(1)
        pool.checkin(connection)

    await asyncio.gather(*(query() for _ in range(200)))
    await asyncio.sleep(86_400)
    assert Connection.open == 150


@virtual
async def test_c11_ours_is_small_shrinks_and_names_who_forgot_one(bubble: Bubble) -> None:
    """Thirty at most, ten after a while; the borrower of one that is out for long is named with its place."""
    Connection.open = most = 0
    records: list[logging.LogRecord] = []
    listener = logging.Handler()
    listener.emit = records.append  # type: ignore[method-assign]
    logging.getLogger("lifecycle").addHandler(listener)
    pool = Pool(Connection, Connection.close, max_size=30, min_size=10, max_idle=60.0, leak_threshold=30.0, name="db")

    async def query() -> None:
        nonlocal most
        async with pool.acquire():
            most = max(most, Connection.open)
            await asyncio.sleep(1)

    async def forgetful_borrower() -> None:
        async with pool.acquire():
            await asyncio.sleep(100)

    try:
        async with pool:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(200):
                    tasks.create_task(query())
            assert most == 30
            await asyncio.sleep(300)
            assert Connection.open == 10
            assert records == []
            await forgetful_borrower()
            assert any("forgetful_borrower" in str(vars(record)["borrower_at"]) for record in records), records
    finally:
        logging.getLogger("lifecycle").removeHandler(listener)
    assert Connection.open == 0


# C13: saying what grew


@pytest.mark.asyncio
async def test_c13_a_comparison_of_snapshots_names_what_grew() -> None:
    """Of a leaky service it names the place, of ours there is nothing to name."""
    async with Scope("service") as service:
        manager = await service.enter(TaskManager("side work"))

        async def ours() -> None:
            for _ in range(20):
                handle = manager.start_soon(anyio.sleep, 0)
                await handle.wait()

        async def leaky() -> None:
            for _ in range(20):
                service.callback(str, Thing())  # one more release per request, and none ever runs

        await ours()
        await settle()
        before = take_snapshot()
        await ours()
        await settle()
        assert not take_snapshot().compare_to(before).grown, str(take_snapshot().compare_to(before))
        await leaky()
        grown = take_snapshot().compare_to(before).grown
        assert [growth.change for growth in grown] == [20]
        assert "service" in str(grown[0])
