"""Limits, shares and pauses in the database: what is true of the other stores, and a model, of its functions."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings

from lifecycle import Rate
from lifecycle.scheduler._store.limits import EVERYTHING, Limit, LimitKey
from lifecycle.scheduler._store.postgres.heard import claimed_of
from lifecycle.scheduler._store.postgres.limits import COUNTED, limit_records
from lifecycle.scheduler._store.postgres.said import ending_said, job_said, limit_said, run_said
from lifecycle.scheduler._store.records import Claimed, Ending, JobStatus, NewJob, NewRun

from ...properties.at_length import at_length
from ..store import test_limits as limits
from ..store.test_limits import MAIL, SEND, STEPS, job, replay
from .calls import Functions


@dataclass
class InDatabase:
    """A database, as the turns of one scheduler work on it."""

    base: Functions
    shares: Any = None

    async def add(self, job: NewJob) -> int:
        (number,) = self.base.value("put_plain_jobs($1, 1)", [{**job_said(job), "now": 0.0}])
        return int(number)

    async def claim(self, limit: int, now: float) -> tuple[Claimed, ...]:
        said = self.base.value("claim(1, $1, NULL, $2, NULL, $3)", limit, self.shares, now)
        self.shares = said.get("shares", self.shares)
        return tuple(claimed_of(said))

    async def finish(self, claimed: Claimed) -> None:
        said = ending_said(claimed.id, claimed.attempt, Ending(JobStatus.SUCCEEDED))
        assert self.base.value("finish_plain($1, 1)", [{**said, "now": 0.0}]) == [claimed.id]

    async def give_back(self, claimed: Claimed, now: float = 1.0) -> None:
        assert self.base.value("give_back($1, 1, $2)", [[claimed.id, claimed.attempt]], now) == [claimed.id]

    async def put(self, limit: Limit) -> None:
        self.base.value("put_limit($1)", limit_said(limit))

    async def pause(self, key: LimitKey, *, paused: bool) -> bool:
        return bool(self.base.value("pause_limit($1, $2, $3)", *key, paused))

    async def records(self) -> Any:
        return limit_records(self.base.value("limit_facts($1)", COUNTED))


@pytest.fixture
def store(functions: Functions) -> Iterator[InDatabase]:
    """A store with one scheduler; what is done to it is undone."""
    with functions.undone():
        functions.enter_as_one()
        yield InDatabase(functions)


SHARED = [test for name, test in vars(limits).items() if name.startswith("test_") and asyncio.iscoroutinefunction(test)]


@pytest.mark.parametrize("test", [test for test in SHARED if "key" not in test.__annotations__])
def test_what_is_true_of_every_store(store: Any, test: Any) -> None:
    """Each of the tests that the other stores have."""
    asyncio.run(test(store))


@pytest.mark.parametrize("key", [EVERYTHING, MAIL, SEND])
def test_a_rate_that_is_set_again_does_not_let_in_another_burst(store: Any, key: LimitKey) -> None:
    """Nor the one with a parameter."""
    asyncio.run(limits.test_a_rate_that_is_set_again_does_not_let_in_another_burst(store, key))


def put_run(store: InDatabase, *jobs: NewJob) -> None:
    """Store a run of a flow with these jobs."""
    store.base.value("insert_run($1, false, 1, 1)", run_said(NewRun("f", "f", "d", "{}", jobs)))


def test_a_full_handler_holds_up_no_other_job_of_the_same_flow(store: InDatabase) -> None:
    """However many of it wait in front."""
    jobs = [*(job("send", priority=1)._replace(name=f"send {number}") for number in range(300)), job("x")]
    asyncio.run(store.put(Limit(SEND, at_once=2)))
    put_run(store, *jobs)
    names = [claimed.name for _ in range(3) for claimed in asyncio.run(store.claim(2, 1.0))]
    assert names == ["send 0", "send 1", "x"]
    asyncio.run(store.pause(EVERYTHING, paused=True))
    ready = {record.name: record.ready for record in asyncio.run(store.records())}
    assert ready == {"": 298, "default": 298, "send": 298}


def test_ready_jobs_are_counted_as_far_as_people_can_tell_them_apart(store: InDatabase) -> None:
    """Those of a handler also where a flow calls it."""
    asyncio.run(store.put(Limit(SEND, rate=Rate(1))))
    new = [{**job_said(job("send", queue)), "now": 0.0} for queue in ("a", "b") for _ in range(3)]
    store.base.value("put_plain_jobs($1, 1)", new)
    put_run(store, job("send", "a"))
    ready = {(kind, name): count for kind, name, count in store.base.value("limit_facts(5)")["ready"]}
    assert ready == {("queue", "a"): 4, ("queue", "b"): 3, ("handler", "send"): 5}


def follow(functions: Functions, steps: list[Any]) -> None:
    """Take the steps."""
    with functions.undone():
        functions.enter_as_one()
        asyncio.run(replay(InDatabase(functions), steps))  # type: ignore[arg-type]


@given(steps=STEPS)
@settings(max_examples=60, deadline=None)
def test_limits_hold_whatever_is_done(functions: Functions, steps: list[Any]) -> None:
    """Random jobs, claims, ends, returns, limits and pauses."""
    follow(functions, steps)


@at_length(3_000, STEPS)
def test_limits_hold_at_length(functions: Functions, steps: list[Any]) -> None:
    """Thousands of programs."""
    follow(functions, steps)
