"""Random programs of owners that outlive their loops: module-level ones, which one loop after the other meets.

A loop ends in order, or is closed over whatever is half done in it. Whatever the program, the next one gets nothing
that belongs to a dead loop, waits for nothing that it has left, and finds each owner at work; the last one closes them.
"""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Callable, Coroutine
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lifecycle import Limiter, Pool, Registry, TaskManager, WrongLoop, cached

from ..loops import LOOPS, some_turns
from .at_length import at_length


class Tied:
    """A value that works in the loop that made it."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()

    def work(self) -> None:
        assert asyncio.get_running_loop() is self.loop, "a value of another loop"

    async def close(self) -> None:
        self.work()
        await asyncio.sleep(0)
        self.work()


class Owners:
    """One of each kind, and what they can be asked for; `hangs` has everything begin that never ends."""

    def __init__(self) -> None:
        self.hangs = False
        self.registry = Registry[int, Tied]("global", finalizer=Tied.close, ttl=60.0, max_size=2, close_timeout=1.0)
        self.pool = Pool(self.make, Tied.close, max_size=2, min_size=1, name="global")
        self.manager = TaskManager("global", limit=2, drain_timeout=0)
        self.limiter = Limiter(2)
        self.cached = cached(ttl=60.0)(self.make_for)

    async def make(self) -> Tied:
        await asyncio.sleep(3600 if self.hangs else 0)
        return Tied()

    async def make_for(self, number: int) -> Tied:
        return await self.make()

    def put(self, number: int) -> None:
        self.registry.put(number, Tied())

    async def create(self, number: int) -> None:
        (await self.registry.get_or_create(number, self.make)).work()

    async def lease(self, number: int) -> None:
        async with self.registry.lease(number, self.make) as value:
            value.work()
            await asyncio.sleep(3600 if self.hangs else 0)
            value.work()

    async def borrow(self, _: int) -> None:
        async with self.pool.acquire() as value:
            value.work()
            await asyncio.sleep(3600 if self.hangs else 0)
            value.work()

    async def spawn(self, _: int) -> None:
        try:
            await self.spawn_in_manager()
        except WrongLoop as error:  # a manager has no other answer for tasks that were left behind
            assert "event loop that was closed with" in str(error)  # noqa: PT017
            self.manager = TaskManager("another", limit=2, drain_timeout=0)
            await self.spawn_in_manager()

    async def spawn_in_manager(self) -> None:
        handle = await self.manager.spawn(self.make)
        await handle.wait()
        handle.result().work()

    async def limit(self, _: int) -> None:
        async with self.limiter.hold():
            await asyncio.sleep(3600 if self.hangs else 0)

    async def call(self, number: int) -> None:
        (await self.cached(number)).work()

    async def close(self) -> None:
        await self.registry.aclose()
        await self.pool.aclose()
        await self.manager.aclose()
        self.registry._check_invariants()
        self.pool._check_invariants()


WAYS: dict[str, Callable[[Owners, int], Coroutine[Any, Any, None]]] = {
    "create": Owners.create,
    "lease": Owners.lease,
    "borrow": Owners.borrow,
    "spawn": Owners.spawn,
    "limit": Owners.limit,
    "call": Owners.call,
}

lives = st.fixed_dictionaries(
    {
        "loop": st.sampled_from(sorted(LOOPS)),
        "does": st.lists(st.tuples(st.sampled_from(sorted(WAYS)), st.integers(0, 2)), max_size=8),
        "leaves": st.lists(st.tuples(st.sampled_from(sorted(WAYS)), st.integers(0, 4)), max_size=5),
        "puts": st.booleans(),
        "ends": st.sampled_from(["in order", "closed by hand", "owners closed"]),
    }
)
PROGRAMS = st.lists(lives, min_size=1, max_size=4)


async def live(owners: Owners, life: dict[str, Any]) -> list[asyncio.Task[None]]:
    """Use the owners, then begin what is left half done; return the tasks of that."""
    async with asyncio.timeout(60):
        await asyncio.gather(*(WAYS[way](owners, number) for way, number in life["does"]))
    if life["puts"]:
        owners.put(3)
    owners.hangs = True
    left = [asyncio.create_task(WAYS[way](owners, number)) for way, number in life["leaves"]]
    await some_turns()
    owners.hangs = False
    return left


def run_life(owners: Owners, life: dict[str, Any]) -> None:
    """Run one loop from its beginning to its end."""
    if life["ends"] == "in order":
        with asyncio.Runner(loop_factory=LOOPS[life["loop"]]) as runner:
            runner.run(live(owners, life))
        return
    loop = LOOPS[life["loop"]]()
    loop.set_exception_handler(lambda loop, context: None)  # tasks that are destroyed
    left = loop.run_until_complete(live(owners, life))
    if life["ends"] == "owners closed":
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left))
        loop.run_until_complete(asyncio.wait_for(owners.close(), 60))
    loop.close()
    del left
    gc.collect()  # which gives back what a limiter has lent


def run_program(program: list[dict[str, Any]]) -> None:
    """Run one program, and check it."""
    owners = Owners()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # for what a closed loop takes with it
        for life in program:
            if owners.registry.closed:
                owners = Owners()
            run_life(owners, life)
            owners.registry._check_invariants()
            owners.pool._check_invariants()
        if not owners.registry.closed:
            last = {"loop": "asyncio", "does": [(way, 0) for way in WAYS], "leaves": [], "puts": False}
            run_life(owners, {**last, "ends": "owners closed"})


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(PROGRAMS)
def test_loops_in_turn(program: list[dict[str, Any]]) -> None:
    """However each of them ends."""
    run_program(program)


@at_length(3_000, PROGRAMS)
def test_loops_in_turn_at_length(program: list[dict[str, Any]]) -> None:
    """The same, for a night."""
    run_program(program)
