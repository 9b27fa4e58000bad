"""Random programs of owners in owners, closed from anywhere inside: no close waits for itself.

A program is a path of layers, from the outside to the inside; each owns, in its way, what runs the next one: a task, a
release, a factory, a held context manager, a finalizer, a loop of a pair, a run of a timer, a stage of a connect, or a
plain await. At its inner end, and here and there on the way, somebody closes one of the owners around, while the host
may be cancelled. Nothing in it takes longer than a moment, and every timeout is far away: what takes longer than all
moments together has waited for itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lifecycle import (
    Pool,
    ReaderWorker,
    Registry,
    Scope,
    Stages,
    StillLent,
    TaskGroup,
    TaskManager,
    connect,
    link,
    once,
)
from lifecycle.testing import Bubble, run_virtual

from ..leaves import leaves
from ..loops import on_every_loop, run_on
from .at_length import on_every_loop_at_length

MOMENT = 0.001
ENOUGH = 100 * MOMENT  # for everything in a program; the shortest timeout of an owner is 50 times as long

Inside = Callable[[], Awaitable[None]]


@dataclass
class Run:
    """One run of a program: its owners from the outside to the inside, and what went wrong.

    Args:
        enough: seconds that each close may take.
    """

    enough: float
    owners: list[Any] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def own(self, owner: Any) -> Any:
        self.owners.append(owner)
        return owner

    async def wait(self) -> None:
        """Wait in the body of a block until what is inside is over; it may never begin."""
        with anyio.move_on_after(20 * MOMENT):
            await self.over.wait()


# The layers

Layer = Callable[[Run, Inside], Awaitable[None]]
LAYERS: dict[str, Layer] = {}


def layer(fn: Layer) -> Layer:
    LAYERS[fn.__name__.replace("_", " ")] = fn
    return fn


async def tidy() -> None:
    """Run until it is cancelled, and take a moment to end."""
    try:
        await asyncio.sleep(3600)
    finally:
        await asyncio.sleep(MOMENT)


@layer
async def task_of_a_scope(run: Run, inside: Inside) -> None:
    async with run.own(Scope()) as scope:
        scope.start_soon(tidy)
        scope.start_soon(inside)
        scope.start_soon(tidy)
        await run.wait()


@layer
async def awaited_task_of_a_scope(run: Run, inside: Inside) -> None:
    async with run.own(Scope()) as scope:
        await scope.start_soon(inside).wait()


@layer
async def task_of_a_child(run: Run, inside: Inside) -> None:
    async with run.own(Scope()) as scope:
        child = run.own(scope.child())
        child.start_soon(inside)
        scope.start_soon(tidy)
        await run.wait()


@layer
async def task_of_a_scope_without_a_block(run: Run, inside: Inside) -> None:
    scope = run.own(Scope())
    handle = scope.start_soon(inside)
    try:
        await handle.wait()
    finally:
        await scope.aclose()


@layer
async def block_in_a_task_of_a_scope(run: Run, inside: Inside) -> None:
    scope = run.own(Scope())

    async def host() -> None:
        async with run.own(Scope()):
            await inside()

    handle = scope.start_soon(host)
    try:
        await handle.wait()
    finally:
        await scope.aclose()


@layer
async def release(run: Run, inside: Inside) -> None:
    async with run.own(Scope()) as scope:
        scope.start_soon(tidy)
        scope.push_async_callback(inside)


@layer
async def factory(run: Run, inside: Inside) -> None:
    async with run.own(Scope()) as scope:
        await scope.acquire(inside, release=lambda _: None)


@layer
async def factory_for_a_task(run: Run, inside: Inside) -> None:
    async def user() -> None:
        await scope.acquire(inside, release=lambda _: None)

    async with run.own(Scope()) as scope:
        scope.start_soon(user)
        await run.wait()


@layer
async def entering(run: Run, inside: Inside) -> None:
    @asynccontextmanager
    async def entered() -> AsyncIterator[None]:
        await inside()
        yield

    async with run.own(Scope()) as scope:
        await scope.enter(entered())


@layer
async def leaving(run: Run, inside: Inside) -> None:
    @asynccontextmanager
    async def left() -> AsyncIterator[None]:
        try:
            yield
        finally:
            await inside()

    async with run.own(Scope()) as scope:
        await scope.enter(left())


@layer
async def held_manager(run: Run, inside: Inside) -> None:
    async with run.own(Scope()) as scope:
        manager = run.own(await scope.enter(TaskManager()))
        manager.start_soon(inside)
        manager.start_soon(asyncio.sleep, MOMENT)
        await run.wait()


@layer
async def held_group(run: Run, inside: Inside) -> None:
    @asynccontextmanager
    async def held() -> AsyncIterator[None]:
        async with TaskGroup() as group:
            group.start_soon(inside)
            group.start_soon(tidy)
            try:
                yield
            finally:
                group.cancel()

    async with run.own(Scope()) as scope:
        await scope.enter(held())
        await run.wait()


@layer
async def held_anyio_group(run: Run, inside: Inside) -> None:
    @asynccontextmanager
    async def held() -> AsyncIterator[None]:
        async with anyio.create_task_group() as group:
            group.start_soon(inside)
            try:
                yield
            finally:
                group.cancel_scope.cancel()

    async with run.own(Scope()) as scope:
        await scope.enter(held())
        await run.wait()


@layer
async def task_of_a_manager(run: Run, inside: Inside) -> None:
    async with run.own(TaskManager()) as manager:
        manager.start_soon(inside)
        manager.start_soon(asyncio.sleep, MOMENT)


@layer
async def drained_manager(run: Run, inside: Inside) -> None:
    async with run.own(Scope()) as scope:
        manager = run.own(await scope.enter(TaskManager()))
        manager.start_soon(inside)
        scope.push_async_callback(manager.drain)


@layer
async def member_of_a_group(run: Run, inside: Inside) -> None:
    async with TaskGroup() as group:
        group.start_soon(inside)


@layer
async def native_member_of_a_group(run: Run, inside: Inside) -> None:
    async with TaskGroup() as group:
        group.create_task(as_coroutine(inside))


@layer
async def member_of_a_group_of_asyncio(run: Run, inside: Inside) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(as_coroutine(inside))


@layer
async def member_of_a_group_of_anyio(run: Run, inside: Inside) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(inside)


@layer
async def plain_await(run: Run, inside: Inside) -> None:
    await asyncio.create_task(as_coroutine(inside))


@layer
async def gathered(run: Run, inside: Inside) -> None:
    await asyncio.gather(inside(), asyncio.sleep(MOMENT))


@layer
async def waited_for(run: Run, inside: Inside) -> None:
    old = sys.version_info < (3, 12)  # where a task runs it, whose error is lost when the wait is cancelled
    await asyncio.wait_for(unasked(inside) if old else inside(), 3600)


@layer
async def as_it_completes(run: Run, inside: Inside) -> None:
    for first in asyncio.as_completed([unasked(inside), asyncio.sleep(MOMENT)]):
        await first


@layer
async def one_of_several(run: Run, inside: Inside) -> None:
    inner = unasked(inside)
    left = {inner, *(asyncio.ensure_future(asyncio.sleep(moments * MOMENT)) for moments in range(1, 6))}
    try:
        while left:
            done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
            if inner in done:
                inner.result()
                return
    finally:
        for other in left - {inner}:
            other.cancel()


@layer
async def finalizer(run: Run, inside: Inside) -> None:
    async with run.own(Registry[int, int](finalizer=lambda _: inside())) as registry:
        registry.put(1, 1)


@layer
async def creation(run: Run, inside: Inside) -> None:
    async def make() -> int:
        await inside()
        return 1

    async with run.own(Registry[int, int]()) as registry:
        await registry.get_or_create(1, make)


@layer
async def held_registry(run: Run, inside: Inside) -> None:
    async def use() -> None:
        async with registry.lease(1):
            await inside()

    async with run.own(Scope()) as scope:
        registry = run.own(await scope.enter(Registry[int, int](finalizer=lambda _: None)))
        registry.put(1, 1)
        scope.start_soon(use)
        await run.wait()


@layer
async def value_of_a_pool(run: Run, inside: Inside) -> None:
    async with (
        run.own(Pool[None](inside, lambda _: None, max_size=1)) as pool,
        pool.acquire(),
    ):
        pass


@layer
async def end_in_a_pool(run: Run, inside: Inside) -> None:
    async with run.own(Pool[int](lambda: 1, lambda _: inside(), max_size=1)) as pool, pool.acquire():
        pass


@layer
async def loan_in_a_held_pool(run: Run, inside: Inside) -> None:
    async def use() -> None:
        async with pool.acquire():
            await inside()

    async with run.own(Scope()) as scope:
        pool = run.own(await scope.enter(Pool[int](lambda: 1, lambda _: None, max_size=1)))
        scope.start_soon(use)
        await run.wait()


@layer
async def worker_of_a_pair(run: Run, inside: Inside) -> None:
    async def reader(send: Any) -> None:
        await asyncio.sleep(3600)

    async def worker(receive: Any) -> None:
        await inside()

    async with run.own(Scope()) as scope:
        run.own(await scope.enter(ReaderWorker(reader, worker)))
        await run.wait()


@layer
async def close_of_a_pair(run: Run, inside: Inside) -> None:
    async def reader(send: Any) -> None:
        await asyncio.sleep(MOMENT)

    async def worker(receive: Any) -> None:
        await asyncio.sleep(3600)

    async with run.own(ReaderWorker(reader, worker, close=inside, drain_timeout=0.0)) as pair:
        await pair.wait()


@layer
async def linked_loop(run: Run, inside: Inside) -> None:
    outcome = await link(lambda: as_coroutine(inside), tidy)
    for error in outcome.errors:
        raise error


@layer
async def run_of_a_timer(run: Run, inside: Inside) -> None:
    async with run.own(Scope()) as scope:
        scope.start_soon(once(lambda: as_coroutine(inside), MOMENT))
        await run.wait()


@layer
async def stage_of_a_connect(run: Run, inside: Inside) -> None:
    async def connector(stages: Stages) -> None:
        await stages.acquire(inside, release=lambda _: None)

    attempt = run.own(connect(connector))
    async with attempt:
        pass


async def as_coroutine(inside: Inside) -> None:
    await inside()


def unasked(inside: Inside) -> asyncio.Task[None]:
    """Return a task that nobody asks for its error once who waits for it has gone."""
    task = asyncio.create_task(as_coroutine(inside))
    task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    return task


# Programs


@dataclass(frozen=True)
class Close:
    """One close of an owner around: from which layer on inwards, which owner, and after how many moments."""

    depth: int
    owner: int
    moment: int
    how: str


@dataclass(frozen=True)
class Program:
    layers: tuple[str, ...]
    inner: tuple[int, ...]  # which owners the innermost closes, one after the other
    at_once: bool
    closes: tuple[Close, ...]
    cancelled_at: int | None


numbers = st.integers(0, 7)
programs = st.builds(
    Program,
    layers=st.lists(st.sampled_from(sorted(LAYERS)), min_size=1, max_size=4).map(tuple),
    inner=st.lists(numbers, min_size=1, max_size=3).map(tuple),
    at_once=st.booleans(),
    closes=st.lists(
        st.builds(Close, st.integers(0, 3), numbers, st.integers(0, 6), st.sampled_from(["task", "here"])), max_size=2
    ).map(tuple),
    cancelled_at=st.one_of(st.none(), st.integers(0, 8)),
)


async def close(run: Run, owner: Any) -> None:
    """Close *owner*, and see that this waits for nothing but moments."""
    now = asyncio.get_running_loop().time
    began = now()
    try:
        await owner.aclose()
    finally:
        if now() - began > run.enough:
            run.late.append(f"closing {owner!r} took {now() - began:.3f} s")


async def host(program: Program, run: Run) -> None:
    started: list[asyncio.Task[None]] = []

    async def closer(planned: Close) -> None:
        await asyncio.sleep(planned.moment * MOMENT)
        if run.owners:
            await close(run, run.owners[planned.owner % len(run.owners)])

    async def innermost() -> None:
        await asyncio.sleep(2 * MOMENT)
        owners = [run.owners[number % len(run.owners)] for number in program.inner] if run.owners else []
        if program.at_once:
            await asyncio.gather(*(close(run, owner) for owner in owners))
        else:
            for owner in owners:
                await close(run, owner)

    async def at(depth: int) -> None:
        closes = [planned for planned in program.closes if planned.depth == depth]
        started.extend(asyncio.create_task(closer(planned)) for planned in closes if planned.how == "task")
        try:
            if depth == len(program.layers):
                await innermost()
            else:
                await LAYERS[program.layers[depth]](run, lambda: at(depth + 1))
        finally:
            run.over.set()
            for planned in closes:
                if planned.how == "here":
                    await closer(planned)

    try:
        await at(0)
    finally:
        await asyncio.gather(*started, return_exceptions=True)


async def run_program(program: Program, enough: float = ENOUGH) -> None:
    loop = asyncio.get_running_loop()
    run = Run(enough)
    caught: list[BaseException] = []

    async def hosted() -> None:
        try:
            await host(program, run)
        except BaseException as error:
            caught.append(error)

    began = loop.time()
    task = asyncio.create_task(hosted())
    when = 3600 if program.cancelled_at is None else program.cancelled_at * MOMENT
    kick = loop.call_later(when, task.cancel, "because")
    await asyncio.wait([task])
    kick.cancel()
    took = loop.time() - began
    late = [leaf for error in caught for leaf in leaves(error) if isinstance(leaf, TimeoutError)]
    late = [leaf for leaf in late if not isinstance(leaf, StillLent)]  # to one who is inside what it closes
    assert not run.late, run.late
    assert took < 4 * enough, (took, caught)
    assert not late, late
    met = [error.args for error in caught if isinstance(error, asyncio.CancelledError)]
    assert all(words in (("because",), ()) for words in met), met  # a gather of asyncio's forgets them
    assert not met or program.cancelled_at is not None, met
    for owner in run.owners:  # what its own tasks have closed is closed now, and what was never entered can be
        with contextlib.suppress(Exception):
            await close(run, owner)
    assert not run.late, run.late
    for _ in range(1000):  # who closed what it belonged to goes on, and comes to its end
        if asyncio.all_tasks() == {asyncio.current_task()}:
            break
        await asyncio.sleep(MOMENT)


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Iterator[None]:
    """What tasks raise whose owner is gone is not what this is about."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(programs)
def test_no_close_waits_for_itself(program: Program) -> None:
    """In virtual time, where also nothing may be left behind."""

    async def scenario(bubble: Bubble) -> None:
        await run_program(program)

    run_virtual(scenario)


@pytest.mark.parametrize("name", sorted(LAYERS))
def test_each_layer_can_be_closed_from_inside(name: str) -> None:
    """Every layer alone, in a scope, and around one."""

    async def scenario(bubble: Bubble) -> None:
        for layers in ((name,), ("task of a scope", name), (name, "task of a scope"), (name, name)):
            for owner in range(len(layers)):
                await run_program(Program(layers, (owner,), False, (), None))

    run_virtual(scenario)


@on_every_loop
@pytest.mark.parametrize("name", sorted(LAYERS))
def test_each_layer_can_be_closed_by_several_at_once(name: str, new_loop: Any) -> None:
    """On an eager loop these have begun before anybody waits for them."""
    run_on(new_loop, run_program(Program((name,), (0, 0, 0), True, (), None), 4.0))
    run_on(new_loop, run_program(Program(("task of a scope", name), (0, 1, 1), True, (), None), 4.0))


@on_every_loop_at_length(20_000, programs)
def test_no_close_waits_for_itself_on_every_loop(new_loop: Any, program: Program) -> None:
    """The same, twenty thousand times on each kind of loop, where a moment may take a little longer."""
    run_on(new_loop, run_program(program, 4.0))
