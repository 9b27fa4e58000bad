"""Limits, shares and pauses: the arithmetic by itself, and each store against a plain model."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle import Rate
from lifecycle.scheduler._store.lanes import Head, Shares, choose
from lifecycle.scheduler._store.limits import EVERYTHING, Limit, LimitKey, Openings
from lifecycle.scheduler._store.memory.store import MemoryStore
from lifecycle.scheduler._store.records import Claimed, Ending, JobStatus, NewJob
from lifecycle.scheduler._store.sqlite import claiming, operations, owners
from lifecycle.scheduler._store.sqlite.files import connect
from lifecycle.scheduler._store.sqlite.schema import bring_up_to_date

from ...properties.at_length import at_length

MAIL, REPORTS = LimitKey("queue", "mail"), LimitKey("queue", "reports")
SEND = LimitKey("handler", "send")


def test_a_limit_counts_what_runs_and_what_is_let_in() -> None:
    """Over all schedulers, and at once."""
    openings = Openings([Limit(MAIL, at_once=3)], [("mail", "send", 1), ("reports", "send", 9)])
    assert openings.admits("mail", "send")
    for _ in range(2):
        openings.take("mail", "send")
    assert not openings.admits("mail", "other")
    assert openings.held_back
    assert openings.admits("reports", "send")


def test_a_rate_lets_a_burst_in_and_says_when_it_opens() -> None:
    """Two at once, then one each half second; what was not used is not saved up."""
    limits, now = [Limit(SEND, rate=Rate(2, burst=2))], 100.0
    for expected in ([100.0, 100.0, 100.5, 101.0], [200.0, 200.0, 200.5, 201.0]):
        begun: list[float] = []
        while len(begun) < 4:
            openings = Openings(limits, [], now)
            if openings.admits("default", "send"):
                openings.take("default", "send")
                limits = list(openings.used.values())
                begun.append(now)
            else:
                assert openings.next_at is not None
                assert not openings.held_back
                now = openings.next_at
        assert begun == pytest.approx(expected)
        now = 200.0


# Both stores as one small machine: the same steps, the same picture


@dataclass
class OnFile:
    """An SQLite store, as its writer's thread works on it."""

    db: sqlite3.Connection
    shares: Shares = field(default_factory=Shares)

    async def add(self, job: NewJob) -> int:
        return operations.insert_job(self.db, job, None, 1, 0.0)

    async def claim(self, limit: int, now: float) -> tuple[Claimed, ...]:
        return claiming.claim(self.db, 1, limit, now, self.shares).jobs

    async def finish(self, claimed: Claimed) -> None:
        operations.finish(self.db, claimed.id, claimed.attempt, Ending(JobStatus.SUCCEEDED), 0.0)

    async def give_back(self, claimed: Claimed, now: float = 1.0) -> None:
        claiming.give_back(self.db, [(claimed.id, claimed.attempt)], now)

    async def put(self, limit: Limit) -> None:
        claiming.put_limit(self.db, limit)

    async def pause(self, key: LimitKey, *, paused: bool) -> bool:
        return claiming.pause(self.db, key, paused=paused)

    async def records(self) -> Any:
        return claiming.limit_records(self.db)


@dataclass
class InMemory:
    """The store in memory."""

    store: MemoryStore = field(default_factory=MemoryStore)

    async def add(self, job: NewJob) -> int:
        return await self.store.add_job(job)

    async def claim(self, limit: int, now: float) -> tuple[Claimed, ...]:
        return (await self.store.claim(limit, now)).jobs

    async def finish(self, claimed: Claimed) -> None:
        await self.store.finish(claimed.id, claimed.attempt, Ending(JobStatus.SUCCEEDED), 0.0)

    async def give_back(self, claimed: Claimed, now: float = 1.0) -> None:
        await self.store.give_back([claimed], now)

    async def put(self, limit: Limit) -> None:
        await self.store.put_limit(limit)

    async def pause(self, key: LimitKey, *, paused: bool) -> bool:
        return await self.store.pause(key, paused=paused)

    async def records(self) -> Any:
        return await self.store.limits()


Machine = OnFile | InMemory


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machine]:
    """Each store in turn."""
    if request.param == "memory":
        yield InMemory()
        return
    with closing(connect(tmp_path / "jobs.sqlite", "jobs.sqlite")) as db:
        owners.register(db, "t", 1, "t", 0.0)
        yield OnFile(db)


def job(handler: str, queue: str = "default", priority: int = 0) -> NewJob:
    """Return a job that calls a handler."""
    return NewJob(handler, "call", priority=priority, payload={"handler": handler, "args": []}, queue=queue)


async def names(store: Machine, limit: int, now: float = 1.0) -> str:
    """Claim jobs, and return their names in order."""
    return "".join(claimed.name for claimed in await store.claim(limit, now))


@pytest.mark.asyncio
async def test_queues_take_turns_and_priority_orders_each(store: Machine) -> None:
    """However many wait in one of them."""
    for _ in range(6):
        await store.add(job("a", "bulk"))
    await store.add(job("b", "mail"))
    await store.add(job("B", "mail", priority=5))
    assert await names(store, 4) == "Baab"
    assert await names(store, 9) == "aaaa"


@pytest.mark.asyncio
async def test_weights_are_shares(store: Machine) -> None:
    """Three of one for each of the other, also when jobs are taken one by one; and all of it when it is alone."""
    await store.put(Limit(MAIL, weight=3.0))
    for _ in range(40):
        await store.add(job("m", "mail"))
        await store.add(job("r", "reports"))
    taken = "".join([await names(store, 1) for _ in range(40)])
    assert abs(Counter(taken)["m"] - 30) <= 1
    rest = await names(store, 99)
    assert len(rest) == 40
    assert rest.endswith("rrrrrrrrrr")


@pytest.mark.asyncio
async def test_a_queue_that_had_nothing_gets_no_credit(store: Machine) -> None:
    """A hundred of the other have run; then they take turns."""
    for _ in range(100):
        await store.add(job("a", "bulk"))
    assert await names(store, 90) == "a" * 90
    for _ in range(10):
        await store.add(job("b", "mail"))
    taken = await names(store, 10)
    assert Counter(taken) == {"a": 5, "b": 5}


@pytest.mark.asyncio
async def test_a_queue_that_comes_late_gets_no_credit(store: Machine) -> None:
    """Two queues have taken turns for long; a third takes its turn beside them."""
    for _ in range(60):
        await store.add(job("a", "bulk"))
        await store.add(job("b", "mail"))
    assert len(await names(store, 90)) == 90
    for _ in range(10):
        await store.add(job("c", "reports"))
    assert Counter(await names(store, 12)) == {"a": 4, "b": 4, "c": 4}


@pytest.mark.asyncio
async def test_a_clock_that_is_set_back_does_not_close_a_rate_for_long(store: Machine) -> None:
    """A burst later it is open again, however often somebody looks, and it is not opened by that either."""
    await store.put(Limit(SEND, rate=Rate(2, burst=2)))
    for _ in range(9):
        await store.add(job("send"))
    assert await names(store, 9, now=1e6) == "sendsend"
    begun = [await names(store, 9, now=100.0 + tick / 8) for tick in range(13)]
    assert [tick / 8 for tick, which in enumerate(begun) if which] == [0.5, 1.0, 1.5]
    assert "".join(begun) == "send" * 3


@pytest.mark.asyncio
@pytest.mark.parametrize("key", [EVERYTHING, MAIL, SEND])
async def test_a_rate_that_is_set_again_does_not_let_in_another_burst(store: Machine, key: LimitKey) -> None:
    """Services set their limits at every start; one that is set anew goes on from what has been used as well."""
    for _ in range(9):
        await store.add(job("send", "mail"))
    pair = Rate(2, per=3600.0, burst=2)
    for begun, rate in (("sendsend", pair), ("", pair), ("", Rate(1, per=3600.0))):
        await store.put(Limit(key, rate=rate))
        assert await names(store, 9) == begun
    await store.put(Limit(key, rate=Rate(3600, per=3600.0, burst=1)))
    assert await names(store, 9) == ""
    assert await names(store, 9, now=2.1) == "send"


def test_what_is_held_back_is_looked_at_again_within_a_second() -> None:
    """Another process may have ended what filled the limit, or a pause: nobody tells."""
    with closing(database_in_memory()) as db:
        operations.insert_job(db, job("send"), None, 1, 0.0)
        claiming.pause(db, SEND, paused=True)
        assert claiming.claim(db, 1, 1, 100.0) == ((), 101.0)
        claiming.pause(db, SEND, paused=False)
        claims = claiming.claim(db, 1, 1, 100.0)
        assert ([it.name for it in claims.jobs], claims.next_due) == (["send"], None)


def test_the_index_of_handlers_is_there_while_one_has_a_limit() -> None:
    """Every job would pay for it."""
    with closing(database_in_memory()) as db:
        indexed = [("jobs_ready_by_handler",)]
        query = "SELECT name FROM sqlite_master WHERE name = 'jobs_ready_by_handler'"
        assert db.execute(query).fetchall() == []
        claiming.put_limit(db, Limit(SEND, at_once=1))
        claiming.pause(db, LimitKey("handler", "other"), paused=True)
        assert db.execute(query).fetchall() == indexed
        claiming.put_limit(db, Limit(SEND))
        assert db.execute(query).fetchall() == indexed
        claiming.pause(db, LimitKey("handler", "other"), paused=False)
        assert db.execute(query).fetchall() == []


@pytest.mark.asyncio
async def test_a_full_handler_holds_nobody_else_up(store: Machine) -> None:
    """Ten thousand of it wait in front; as one ends the next begins."""
    await store.put(Limit(SEND, at_once=2))
    for _ in range(50):
        await store.add(job("send", priority=9))
    await store.add(job("x"))
    claimed = await store.claim(5, 1.0)
    assert [one.name for one in claimed] == ["send", "send", "x"]
    assert await names(store, 5) == ""
    await store.finish(claimed[0])
    assert await names(store, 5) == "send"
    await store.put(Limit(SEND))  # no limit any more
    assert await names(store, 99) == "send" * 47


@pytest.mark.asyncio
async def test_what_is_given_back_has_used_nothing(store: Machine) -> None:
    """Neither a place nor a part of a rate."""
    await store.put(Limit(SEND, at_once=1, rate=Rate(1, per=60.0)))
    await store.add(job("send"))
    (claimed,) = await store.claim(1, 1.0)
    await store.give_back(claimed)
    (claimed,) = await store.claim(1, 1.0)
    await store.finish(claimed)
    await store.add(job("send"))
    assert await names(store, 1, 1.5) == ""
    assert await names(store, 1, 61.5) == "send"


@pytest.mark.asyncio
async def test_what_is_given_back_late_gives_nothing_back_that_time_has(store: Machine) -> None:
    """The rate was whole again: what has begun since counts, and had not counted any more."""
    await store.put(Limit(SEND, rate=Rate(1, per=60.0)))
    for _ in range(3):
        await store.add(job("send"))
    (late,) = await store.claim(1, 1.0)
    assert await names(store, 1, 100.0) == "send"
    await store.give_back(late, 101.0)
    assert await names(store, 1, 102.0) == ""
    assert await names(store, 1, 160.0) == "send"
    assert await names(store, 1, 219.0) == ""


@pytest.mark.asyncio
async def test_pauses_add_up(store: Machine) -> None:
    """Of a queue, a handler, everything; each ends by itself, and a new limit ends none."""
    await store.add(job("send", "mail"))
    for key in (MAIL, SEND, EVERYTHING):
        assert await store.pause(key, paused=True)
        assert not await store.pause(key, paused=True)
    await store.put(Limit(MAIL, at_once=5))
    for key in (EVERYTHING, MAIL):
        assert await names(store, 1) == ""
        assert await store.pause(key, paused=False)
    assert await names(store, 1) == ""
    await store.pause(SEND, paused=False)
    assert await names(store, 1) == "send"


@pytest.mark.asyncio
async def test_limits_are_told_and_forgotten(store: Machine) -> None:
    """With what runs and what could; one that holds nothing back is not kept."""
    await store.put(Limit(MAIL, at_once=1, rate=Rate(5)))
    await store.pause(SEND, paused=True)
    for name in ("send", "x", "x"):
        await store.add(job(name, "mail"))
    await store.claim(9, 1.0)
    mail, send = sorted(await store.records(), key=lambda record: record.name)
    assert (mail.limit, mail.rate, mail.paused, mail.running, mail.ready) == (1, Rate(5), False, 1, 2)
    assert (send.limit, send.rate, send.paused, send.running, send.ready) == (None, None, True, 0, 1)
    await store.put(Limit(MAIL))
    await store.pause(SEND, paused=False)
    (mail,) = await store.records()
    assert (mail.kind, mail.name, mail.limit, mail.weight) == ("queue", "mail", None, 1.0)


# A model: what may begin is what no limit holds back, and nothing that may is left while there is room


QUEUES, HANDLERS = ["default", "mail", "bulk"], ["send", "fetch", "count"]
KEYS = [EVERYTHING, *(LimitKey("queue", name) for name in QUEUES), *(LimitKey("handler", name) for name in HANDLERS)]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from(QUEUES), st.sampled_from(HANDLERS), st.integers(-1, 1)),
        st.tuples(st.just("claim"), st.integers(1, 5)),
        st.tuples(st.just("finish"), st.integers(0, 9)),
        st.tuples(st.just("give back"), st.integers(0, 9)),
        st.tuples(st.just("limit"), st.sampled_from(KEYS), st.sampled_from([None, 0, 1, 3])),
        st.tuples(st.just("pause"), st.sampled_from(KEYS), st.booleans()),
    ),
    max_size=60,
)


class Model:
    """Jobs and limits as plain lists."""

    def __init__(self) -> None:
        self.ready: dict[int, NewJob] = {}
        self.running: dict[int, tuple[Claimed, NewJob]] = {}
        self.limits: dict[LimitKey, int | None] = {}
        self.paused: set[LimitKey] = set()

    def keys(self, new: NewJob) -> list[LimitKey]:
        return [EVERYTHING, LimitKey("queue", new.queue), LimitKey("handler", new.name)]

    def may_begin(self, new: NewJob) -> bool:
        for key in self.keys(new):
            used = sum(key in self.keys(other) for _, other in self.running.values())
            limit = self.limits.get(key)
            if key in self.paused or (limit is not None and used >= limit):
                return False
        return True


async def replay(store: Machine, steps: list[Any]) -> None:
    """Do the steps in a store and in the model, and compare what could begin after each."""
    model = Model()
    for kind, *args in steps:
        if kind == "add":
            queue, handler, priority = args
            new = job(handler, queue, priority)
            model.ready[await store.add(new)] = new
        elif kind == "claim":
            claims = await store.claim(args[0], 1.0)
            assert len({claimed.id for claimed in claims}) == len(claims) <= args[0]
            for claimed in claims:
                new = model.ready.pop(claimed.id)
                assert model.may_begin(new), "a limit was passed over"
                more_urgent = [
                    number
                    for number, other in model.ready.items()
                    if (other.queue, other.name) == (new.queue, new.name)
                    and (-other.priority, number) < (-new.priority, claimed.id)
                ]
                assert not more_urgent, "priority within a queue and handler"
                model.running[claimed.id] = claimed, new
            if len(claims) < args[0]:
                assert not any(map(model.may_begin, model.ready.values())), "there was room, and it may begin"
        elif kind == "limit":
            key, most = args
            model.limits[key] = most
            await store.put(Limit(key, at_once=most))
        elif kind == "pause":
            key, paused = args
            changed = await store.pause(key, paused=paused)
            assert changed == ((key in model.paused) != paused)
            (model.paused.add if paused else model.paused.discard)(key)
        elif model.running:
            number = sorted(model.running)[args[0] % len(model.running)]
            claimed, new = model.running.pop(number)
            if kind == "finish":
                await store.finish(claimed)
            else:
                await store.give_back(claimed)
                model.ready[number] = new
    for record in await store.records():
        key = LimitKey(record.kind, record.name)
        assert record.limit == model.limits.get(key)
        assert record.paused == (key in model.paused)
        assert record.running == sum(key in model.keys(new) for _, new in model.running.values())
        assert record.ready == sum(key in model.keys(new) for new in model.ready.values())


@pytest.mark.parametrize("kind", ["memory", "file"])
@given(steps=STEPS)
@settings(max_examples=150, deadline=None)
def test_limits_hold_whatever_is_done(kind: str, steps: list[Any]) -> None:
    """Random jobs, claims, ends, returns, limits and pauses."""
    follow(kind, steps)


@pytest.mark.parametrize("kind", ["memory", "file"])
@at_length(3_000, STEPS)
def test_limits_hold_at_length(kind: str, steps: list[Any]) -> None:
    """Thousands of programs."""
    follow(kind, steps)


def follow(kind: str, steps: list[Any]) -> None:
    """Take the steps in a store of that kind."""
    if kind == "memory":
        asyncio.run(replay(InMemory(), steps))
        return
    with closing(database_in_memory()) as db:
        asyncio.run(replay(OnFile(db), steps))


def database_in_memory() -> sqlite3.Connection:
    """Return the tables of a store, with one owner, without a file."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    bring_up_to_date(db, "memory")
    owners.register(db, "t", 1, "t", 0.0)
    return db


class _Full(Openings):
    """Counts how often it is asked."""

    asked = 0

    def admits(self, queue: str, handler: str | None) -> bool:
        """Count, and answer."""
        self.asked += 1
        return super().admits(queue, handler)


class _OneJob:
    """A lane with one job."""

    def __init__(self, number: int) -> None:
        self.queue, self.handler = f"queue{number}", "full"
        self.jobs = [number]

    def head(self) -> Head | None:
        """Return what orders it."""
        return (0.0, self.jobs[0]) if self.jobs else None

    def pop(self) -> int:
        """Take it out."""
        return self.jobs.pop()


class _Turns(Shares):
    """Counts how often a queue is looked at."""

    looked = 0

    def start_of(self, queue: str) -> float:
        """Count, and answer."""
        self.looked += 1
        return super().start_of(queue)


def test_a_full_handler_costs_one_look_at_each_of_its_queues() -> None:
    """Ten times as many queues cost ten times as much, not a hundred times: nothing of them begins, at each look."""
    for queues in (100, 1_000):
        openings = _Full([Limit(LimitKey("handler", "full"), at_once=2)])
        shares = _Turns()
        assert choose([_OneJob(number) for number in range(queues)], 8, openings, shares) == [0, 1]
        assert openings.asked <= 2 * queues
        assert shares.looked <= 4 * queues
